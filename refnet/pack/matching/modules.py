"""Modules that hold others, and layers without weights, by a vendor's names: what each of them makes.

A port that dumps what its blocks make calls it `features.3`, `blocks.2.1` or `block_3_add`; a scheme has the names of
layers with weights alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from refnet.graph import Graph
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES, POOLS

__all__ = ["block_ends", "made_by_modules", "stem_end", "sums"]

_PARTS = re.compile(r"[./]")
_LAST = "project"  # what Keras calls the convolution before a sum, in the place of whose name the sum's is


def made_by_modules(graph: Graph, modules: Mapping[str, str]) -> dict[str, str]:
    """{a module that holds others: the node that it makes}.

    A module makes what its last layer does, with the activation or gate behind that. One that reads what is added to
    its result adds it, if it is a block or holds some: modules next inside those of several blocks are blocks.

    Parameters
    ----------
    graph : under its known names
    modules : of nodes with parameters, the vendor's names of the layers

    Examples
    --------
    >>> from refnet import build
    >>> from refnet.files.schemes import torchvision
    >>> graph = build("torchvision/mobilenet_v2")
    >>> made = made_by_modules(graph, torchvision.modules(graph))
    >>> [made[name] for name in ("features.0", "features.3.conv.0", "features.3.conv", "features.3")]
    ['stem.act', 'block3.expand.act', 'block3.project.bn', 'block3.add']
    """
    inside: dict[str, list[str]] = {}
    for node in graph.nodes:
        parts = _PARTS.split(modules.get(node.name, ""))
        for count in range(1, len(parts)):
            inside.setdefault(modules[node.name][: len("/".join(parts[:count]))], []).append(node.name)
    depths = {path: len(_PARTS.split(path)) for path in inside}
    wide = [depths[path] for path, nodes in inside.items() if sum(_is_depthwise(graph, node) for node in nodes) > 1]
    made: dict[str, str] = {}
    for path, nodes in inside.items():
        *_, made[path] = _behind(graph, nodes, adds=depths[path] <= max(wide, default=0) + 1)
    return made


def _is_depthwise(graph: Graph, node: str) -> bool:
    return graph[node].op == "depthwise_conv2d"


def _behind(graph: Graph, nodes: list[str], *, adds: bool) -> Iterator[str]:
    """The last of some nodes, and what follows it in their module.

    What that joins to it, the module reads or makes, or pools.
    """
    read = {name for node in nodes for name in (node, *graph[node].inputs)}
    read |= {graph[name].inputs[0] for name in read if name in graph and graph[name].op in POOLS}
    name = nodes[-1]
    yield name
    while (reader := graph.only_reader(name)) is not None:
        if reader.op == "add":
            if adds and read >= {*reader.inputs} - {name}:
                yield reader.name
            return
        if reader.op not in (*ACTIVATIONS, *GATES) and not (reader.op == "scale" and read >= {*reader.inputs} - {name}):
            return
        name = reader.name
        yield name


def sums(graph: Graph, modules: Mapping[str, str]) -> dict[str, str]:
    """{what Keras calls a sum: its node}: as it calls the convolution before it, but for the last word."""
    made = {}
    for unit in graph.units():
        name = modules.get(unit.conv.name, "")
        reader = graph.only_reader(unit.output)
        if name.endswith(_LAST) and reader is not None and reader.op == "add":
            made[f"{name.removesuffix(_LAST)}add"] = reader.name
    return made


def stem_end(graph: Graph) -> str:
    """What the first convolution makes with all that follows; '' where there is none."""
    return next((unit.output for unit in graph.units() if unit.conv.op in CONVOLUTIONS), "")


def block_ends(graph: Graph) -> list[str]:
    """What each block makes: its last convolution, after a depthwise one, with all that follows, and the sum."""
    ends = []
    units = graph.units()
    scaled = {node.inputs[0]: node.name for node in graph.nodes if node.op == "scale"}
    for first, rest in ((unit, units[index + 1 :]) for index, unit in enumerate(units)):
        if first.conv.op != "depthwise_conv2d":
            continue
        made = {first.output, (gated := scaled.get(first.output, first.output))}
        if (act := graph.only_reader(gated)) is not None and act.op in ACTIVATIONS:  # of some vendors behind the gate
            made.add(act.name)
        later = itertools.takewhile(lambda unit: unit.conv.op != "depthwise_conv2d", rest)
        last = next((unit for unit in later if unit.conv.op == "pointwise_conv2d" and {*unit.conv.inputs} & made), None)
        if last is None:
            continue
        reader = graph.only_reader(last.output)
        ends.append(reader.name if reader is not None and reader.op == "add" else last.output)
    return ends
