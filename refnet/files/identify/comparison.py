"""Aligned networks -> what the one is that the other is not, and the other under the names of the one.

No difference is what folding does (a batch norm gone, a bias come), where a vector is flattened, what only the size
of the image decides (a global pool is one at any size, and none at all over a single point; a pad is right if the
vendor would pad so), and a constant rounded to float16, as converters round those of a network in float16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from refnet.files.identify.alignment import Layer, Pairs, align, layers, moved
from refnet.files.identify.differences import BIAS, Difference
from refnet.files.identify.naming import named
from refnet.graph import SOURCE, Graph, Node, is_global
from refnet.networks.resize import fitting_pads
from refnet.ops import CONVOLUTIONS
from refnet.readings.shapes import Shape, shapes

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """A graph held against a known network.

    Attributes
    ----------
    graph : the file's, its nodes under the known network's names; its recipe is the known one's at the file's size
    names : the file's name of each node -> its name now
    folded : whether batch norms of the known network have been folded
    found : the share of the known network's convolutions that have a counterpart
    differences : in the order of the network
    """

    graph: Graph
    names: dict[str, str]
    folded: bool
    found: float
    differences: tuple[Difference, ...]


def compare(known: Graph, file: Graph) -> Comparison:
    """Name the nodes of a graph after a known network's, and say how it differs from that.

    Parameters
    ----------
    known : built at any size, not folded
    file : folded or not, at its own size, with any names
    """
    pairs = align(layers(known), layers(file))
    names = named(known, pairs)
    both = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    total = sum(node.op in CONVOLUTIONS for node in known.nodes)
    return Comparison(
        graph=_renamed(known, file, both, names),
        names=names,
        folded=any(ours.norm is not None and theirs.norm is None for ours, theirs in both),
        found=sum(ours.node.op in CONVOLUTIONS for ours, _ in both) / total,
        differences=tuple(_differences(known, file, pairs, names)),
    )


def _differences(known: Graph, file: Graph, pairs: Pairs, names: Mapping[str, str]) -> Iterator[Difference]:
    maps = shapes(file)
    elsewhere = moved(pairs)
    gone = {node.name for node in elsewhere.values()}
    reads, reads_in_file = _origins(pairs, 0), _origins(pairs, 1)
    if known.recipe.channels != file.recipe.channels:
        channels = [f"{recipe.channels} channels" for recipe in (known.recipe, file.recipe)]
        yield Difference(SOURCE, "shape", *channels)
    for ours, theirs in pairs:
        if ours and theirs:
            name = ours.node.name
            yield from _of_node(known, ours.node, theirs.node, maps)
            yield from _of_bias(name, ours, theirs)
            yield from _of_norm(names, ours, theirs)
            sides = [reads[x] for x in ours.node.inputs], [reads_in_file[x] for x in theirs.node.inputs]
            if not _meet(*sides):
                yield _of_inputs(ours.node, theirs.node, names)
        elif ours and ours.node.name not in gone and not _needless(ours.node, reads, pairs, maps):
            yield Difference(ours.node.name, "missing", _words(ours.node), "")
        elif theirs and theirs.node.name in elsewhere:
            yield _of_inputs(elsewhere[theirs.node.name], theirs.node, names)
        elif theirs and theirs.node.op != "flatten" and not _rest_of_a_slope(theirs.node, file):
            yield Difference(names[theirs.node.name], "extra", "", _words(theirs.node))


def _needless(ours: Node, reads: Mapping[str, frozenset[str]], pairs: Pairs, maps: Mapping[str, Shape]) -> bool:
    """Whether a node that the file lacks does nothing there: a flatten, a pool of a map that is a single point."""
    if ours.op == "flatten":
        return True
    if ours.op != "avg_pool2d":
        return False
    sources = [layer for one, layer in pairs if one and layer and one.output in reads[ours.inputs[0]]]
    return any(maps[layer.output][1:] == (1, 1) for layer in sources)


def _rest_of_a_slope(theirs: Node, file: Graph) -> bool:
    """Whether a node is what is left when a gate's slope is rounded to float16: clip(x + 3, 0, 6) times 0.1666."""
    if theirs.op != "affine" or theirs.attrs["offset"] != 0 or theirs.inputs[0] == SOURCE:
        return False
    gate = file[theirs.inputs[0]]
    if gate.op != "hard_sigmoid":
        return False
    slope = gate.attrs["slope"]
    if not abs(slope) < 1:
        return False
    return _same(float(np.float16(slope)), theirs.attrs["slope"] * slope)


def _of_node(known: Graph, ours: Node, theirs: Node, maps: Mapping[str, Shape]) -> Iterator[Difference]:
    """Operation, channels, kernel and attributes."""
    if ours.op != theirs.op:
        yield Difference(ours.name, "operation", _words(ours), _words(theirs))
        return
    if ours.op in CONVOLUTIONS:
        w, theirs_w = ours.params["w"], theirs.params["w"]
        if w[0] != theirs_w[0]:
            yield Difference(ours.name, "shape", f"{w[0]} channels", f"{theirs_w[0]} channels")
        if ours.op != "pointwise_conv2d" and w[-2:] != theirs_w[-2:]:
            yield Difference(ours.name, "shape", f"kernel {w[-2:]}", f"kernel {theirs_w[-2:]}")
    image = maps[theirs.inputs[0]]
    if ours.op == "avg_pool2d":  # all pools of the known networks are global
        if not is_global(theirs, image):
            yield Difference(ours.name, "attribute", "kernel global", f"kernel {theirs.attrs['kernel']}")
        return
    for key, value in ours.attrs.items():
        if key == "pad" and ours.op in CONVOLUTIONS:
            fitting = fitting_pads(known, ours, theirs, image)
            if theirs.attrs[key] in fitting:
                continue
            value = fitting[0]
        if not _same(value, theirs.attrs[key]) and not _rounded(value, theirs.attrs[key]):
            yield Difference(ours.name, "attribute", f"{key} {_shown(value)}", f"{key} {_shown(theirs.attrs[key])}")


def _of_inputs(ours: Node, theirs: Node, names: Mapping[str, str]) -> Difference:
    inputs = " and ".join(ours.inputs), " and ".join(names.get(x, x) for x in theirs.inputs)
    return Difference(ours.name, "attribute", f"input {inputs[0]}", f"input {inputs[1]}")


def _of_bias(name: str, ours: Layer, theirs: Layer) -> Iterator[Difference]:
    """A bias that is there, or not, for another reason than folding."""
    if ours.node.op not in CONVOLUTIONS or (ours.norm and not theirs.norm):
        return
    if "b" in theirs.node.params and "b" not in ours.node.params:
        yield Difference(name, "extra", "", BIAS)
    if "b" in ours.node.params and "b" not in theirs.node.params and not (theirs.norm and not ours.norm):
        yield Difference(name, "missing", BIAS, "")


def _of_norm(names: Mapping[str, str], ours: Layer, theirs: Layer) -> Iterator[Difference]:
    if theirs.norm and not ours.norm:
        yield Difference(names[theirs.norm.name], "extra", "", _words(theirs.norm))
    if theirs.norm and ours.norm and not _same(ours.norm.attrs["eps"], theirs.norm.attrs["eps"]):
        eps = [f"eps {_shown(layer.norm.attrs['eps'])}" for layer in (ours, theirs) if layer.norm]
        yield Difference(ours.norm.name, "attribute", *eps)


def _origins(pairs: Pairs, side: int) -> dict[str, frozenset[str]]:
    """The known network's tensors that each tensor of one side stands for, looking through what only one side has."""
    origins = {SOURCE: frozenset((SOURCE,))}
    for pair in pairs:
        ours, layer = pair[0], pair[side]
        if layer is None:
            continue
        if None not in pair and ours is not None:
            origins[layer.output] = frozenset((ours.output,))
        else:
            origins[layer.output] = frozenset[str]().union(*(origins[name] for name in layer.node.inputs))
        if layer.norm is not None:
            origins[layer.node.name] = origins[layer.output]
    return origins


def _meet(ours: list[frozenset[str]], theirs: list[frozenset[str]]) -> bool:
    """Whether two nodes read the same tensors, in either order: add and scale do not mind."""
    return any(
        len(ours) == len(order) and all(one & other for one, other in zip(ours, order, strict=True))
        for order in (theirs, theirs[::-1])
    )


def _renamed(known: Graph, file: Graph, both: Iterable[tuple[Layer, Layer]], names: Mapping[str, str]) -> Graph:
    """The file's graph under our names; a number that is the known one in float32 is the known one."""
    twins = {theirs.node.name: ours.node for ours, theirs in both}
    twins |= {theirs.norm.name: ours.norm for ours, theirs in both if ours.norm and theirs.norm}
    stand_for = {theirs.output: ours.output for ours, theirs in both}
    nodes = []
    for node in file.nodes:
        attrs = dict(node.attrs)
        if node.name in twins and twins[node.name].op == node.op:
            exact = twins[node.name].attrs
            attrs = {k: exact[k] if isinstance(v, float) and _same(exact[k], v) else v for k, v in attrs.items()}
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if node.op == "add" and node.name in twins:  # a sum does not mind the order of its terms
            terms = tuple(stand_for.get(name, name) for name in node.inputs)
            inputs = inputs[::-1] if terms[::-1] == twins[node.name].inputs else inputs
        nodes.append(replace(node, name=names[node.name], inputs=inputs, attrs=attrs))
    recipe = replace(known.recipe, size=file.recipe.size, channels=file.recipe.channels)
    return Graph(recipe, tuple(nodes))


def _same(one: Any, other: Any) -> bool:
    """Equal; two numbers also if a file that holds float32 could not tell them apart."""
    if isinstance(one, float) and isinstance(other, int | float):
        with np.errstate(over="ignore"):  # a file's number may be beyond float32
            return bool(np.float32(one) == np.float32(other))
    return bool(one == other)


def _rounded(exact: Any, value: Any) -> bool:
    """Whether a constant is the known one rounded to float16."""
    return isinstance(exact, float) and isinstance(value, float) and value == float(np.float16(exact))


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _words(node: Node) -> str:
    """An operation with what tells it from others of its kind."""
    if node.op in CONVOLUTIONS:
        return f"{node.op} with {node.params['w'][0]} channels"
    keys = ("slope", "offset", "mode") if node.op == "avg_pool2d" else ("kernel", "slope", "offset", "mode")
    return " ".join([node.op, *(f"{key} {_shown(node.attrs[key])}" for key in keys if key in node.attrs)])
