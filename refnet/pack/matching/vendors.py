"""Nodes by the names that vendors give their layers: PyTorch's modules, Keras' layers, Flax's paths, blobs of files.

The names are those of `files.schemes`. A scheme is taken when most of its layers are there; of a few tensors alone, the
names of the network's own vendor are, where the shapes agree. What a file puts before or
behind them ('model.', '/Conv2D', ':0') is the same for many, or a word of the list here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np

from refnet.files.schemes import SCHEMES, schemes_of
from refnet.graph import Graph, Node
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import norms
from refnet.ops import ACTIVATIONS, CONVOLUTIONS
from refnet.pack.matching.acts import activations_of, with_activations
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.modules import made_by_modules, sums
from refnet.pack.matching.names import by_equal_names, plain_name, unquantised_name, whole_name, without_node
from refnet.pack.matching.sequence import has_channels
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["by_modules", "by_other_names", "by_vendor"]

_ENOUGH = 0.5  # of a scheme's layers, and at least
_LEAST = 4
_BIASED = re.compile(r"[/.:_](BiasAdd|Add_output_0)(:0)?$")  # the last operation of a layer that makes its sum before
_OPERATION = re.compile(r"[./][A-Z][A-Za-z]*(_\d+)?_output_\d+$")  # what ONNX files have behind a module's name
_PARTS = re.compile(r"[./]")
_FLOORS = {"relu": 0.0, "relu6": 0.0, "hard_swish": -0.376}  # below which activations make nothing
_ROUNDED = 8 * FLOATS["float32"].u  # an activation rounds four times, and is stored
_MANY = 1024  # numbers, of which some that a batch norm makes are below it


def by_vendor(
    graph: Graph,
    names: Collection[str],
    fits: Callable[[str, str], bool] = lambda name, node: False,
    is_other: Callable[[str, str], bool] = lambda name, node: False,
) -> dict[str, str]:
    """{a candidate's name: the node}, of the scheme that knows most of the names; {} where none knows enough.

    Parameters
    ----------
    graph : a network under its known names
    names : of tensors that are no node's by name
    fits : whether a name's tensor has a node's shape, without which a few names say nothing
    is_other : whether it has other channels than the node's, so that what its module holds is none of the scheme's

    Examples
    --------
    >>> from refnet import build
    >>> graph = build("torchvision/mobilenet_v2")
    >>> hooked = [f"model.features.{i}.{j}" for i in (0, 18) for j in (0, 1)]
    >>> hooked += [f"model.features.{i}.conv.{j}.0" for i in range(2, 18) for j in (0, 1)]
    >>> by_vendor(graph, hooked)["model.features.0.1"]
    'stem.bn'
    """
    if graph.recipe.model not in MODELS or not names:
        return {}
    plain = {name: plain_name(name) for name in names}
    best: dict[str, str] = {}
    own = schemes_of(graph.recipe.model)
    for vendor in dict.fromkeys([*own, *SCHEMES]):
        scheme = SCHEMES[vendor]
        try:
            modules = scheme.modules(graph)
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):  # a vendor that has no such network
            continue
        modules = {node: module for node, module in modules.items() if node in graph and module != node}
        for called in (modules, _without_root(modules)):
            hits = _hits({**activations_of(graph, called), **called}, plain)
            layers = _outputs(graph, hits)
            found = _with_modules(
                graph, called, layers, {name: form for name, form in plain.items() if name not in hits}
            )
            few = vendor in own and len(names) < 2 * _LEAST
            enough = _ENOUGH * min(len(modules), len(names))
            acts = with_activations(graph, called, found, plain)
            alone = len(found) < max(_LEAST, enough)  # activations count, as where there is nothing else
            found = acts if few or alone else found
            counted = _only_counted(plain[name] for name in found)
            fit = (few or alone or counted) and all(fits(*each) for each in found.items())
            if not fit and (counted or (alone and not few)):
                continue
            if len(best) < len(found) >= max(1 if few and fit else _LEAST, enough):
                best = acts
    others = {_module_of(name) for name, node in best.items() if is_other(name, node)} - {None}
    return {name: node for name, node in best.items() if not (_module_of(name) in others or is_other(name, node))}


def _only_counted(names: Iterable[str]) -> bool:
    """Whether names are one word with a number each, as anybody's are."""
    return len({name.rstrip("0123456789") for name in names}) == 1


def _module_of(name: str) -> str | None:
    """The module that holds a layer, where its name says that."""
    parts = _PARTS.split(name)
    return ".".join(parts[:-1]) if len(parts) > 1 else None


def _without_root(modules: Mapping[str, str]) -> dict[str, str]:
    """The names without that of the module that holds nearly all, which a port may have alone; not bare numbers."""
    roots = Counter(_PARTS.split(name)[0] for name in modules.values())
    (root, count), *_ = roots.most_common(1) or [("", 0)]
    bare = {node: name[len(root) + 1 :] if _PARTS.split(name)[0] == root else name for node, name in modules.items()}
    inner = 2 * count > len(modules) and all(name and not name[0].isdecimal() for name in bare.values())
    return bare if inner else dict(modules)


def _hits(modules: Mapping[str, str], plain: Mapping[str, str]) -> dict[str, str]:
    """Names that are a module's, under the prefix that most have: those of all its operations."""
    node_of = {plain_name(module): node for node, module in modules.items()}
    whole = {plain_name(module): whole_name(module) for module in modules.values()}
    prefixes: Counter[str] = Counter()
    for name in plain.values():
        prefixes.update(prefix for prefix, _ in _endings(name, node_of))
    if not prefixes:
        return {}
    (prefix, _), *_ = prefixes.most_common(1)
    ahead = f"{prefix}_" if prefix else ""
    return {
        source: node_of[name[len(ahead) :]]
        for source, name in plain.items()
        if name.startswith(ahead)
        and name[len(ahead) :] in node_of
        and _is_of(
            whole_name(source).removeprefix(ahead),
            whole[name[len(ahead) :]],
            _OPERATION.search(unquantised_name(source)),
        )
    }


def _is_of(name: str, module: str, operation: re.Match[str] | None) -> bool:
    """Whether a name is a module's, not that of what holds it, nor of what it holds: 'conv.1', not 'conv.1.0'.

    The operation in an ONNX file tells where the module's name ends; hooks and other files put any words there.
    """
    behind = name.removeprefix(module)
    return name.startswith(module) and (operation is None or behind == f"_{whole_name(operation[0])}")


def _outputs(graph: Graph, hits: Mapping[str, str]) -> dict[str, str]:
    """The names of layers' last operations: the only ones, or of several those that say that a bias is added."""
    names: dict[str, list[str]] = {}
    for source, node in hits.items():
        names.setdefault(node, []).append(source)
    last = {
        node: each if len(each) == 1 else [name for name in each if _BIASED.search(unquantised_name(name))]
        for node, each in names.items()
        if len(each) == 1 or graph[node].op not in ACTIVATIONS
    }
    return {each[0]: node for node, each in last.items() if len(each) == 1}


def _with_modules(
    graph: Graph, modules: Mapping[str, str], found: Mapping[str, str], plain: Mapping[str, str]
) -> dict[str, str]:
    """The same with sums, and with what modules make that hold others, under the prefix that most have.

    Of several that make the same the innermost one is taken.
    """
    made = {
        whole_name(name): node for name, node in {**made_by_modules(graph, modules), **sums(graph, modules)}.items()
    }
    beside = {head for head, _, number in (each.rpartition(".") for each in modules.values()) if number.isdecimal()}
    prefixes: Counter[str] = Counter()
    hits: dict[str, list[tuple[str, str]]] = {}
    for source, form in plain.items():
        endings = _endings(whole_name(source), made) or ([] if _is_numbered(source, beside) else _endings(form, made))
        for prefix, path in endings if source not in found else ():
            prefixes[prefix] += 1
            hits.setdefault(prefix, []).append((source, path))
    ends: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for source, path in hits[prefixes.most_common(1)[0][0]] if prefixes else ():
        node = made[path]
        if node not in found.values() and len(path) > lengths.get(node, 0) and source not in ends.values():
            ends[node], lengths[node] = source, len(path)
    return {**found, **{source: node for node, source in ends.items()}}


def _is_numbered(name: str, beside: Collection[str]) -> bool:
    """Whether a name is that of a layer without weights which has a number in a module whose layers have some."""
    head, _, number = name.rpartition(".")
    return number.isdecimal() and any(f".{head}".endswith(f".{each}") for each in beside)


def _endings(name: str, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What known names a name ends in, each behind the prefix that is left."""
    parts = name.split("_")
    cuts = [("_".join(parts[:begin]), "_".join(parts[begin:])) for begin in range(len(parts))]
    return [(prefix, path) for prefix, path in cuts if path in known]


def by_other_names(graph: Graph, tables: Tables, pairs: dict[str, tuple[str, str]]) -> None:
    """Names of batch norms that were folded, which are the convolutions' then; and names that vendors give."""

    def fits(name: str, node: str) -> bool:
        return bool(axis_orders(tables.found[name], tables.shapes.get(folded.get(node, node), ())))

    def is_other(name: str, node: str) -> bool:
        found, full = tables.found[name], tables.shapes.get(folded.get(node, node), ())
        point = len(full) > 1 and (_is_point(full) or _is_point(found))
        return point and full[1] not in found and math.prod(full) != math.prod(found)

    candidate = tables.candidate
    named, folded = graph, dict[str, str]()
    if graph.recipe.model in MODELS and not any(node.op == "batch_norm" for node in graph.nodes):
        recipe = graph.recipe
        named = build(recipe.model, width=recipe.width, size=recipe.size, classes=recipe.classes)
        folded = {norm.name: conv for conv, norm in norms(named).items() if conv in graph}
    for name, norm in by_equal_names(set(without_node(candidate, pairs)), set(folded)):
        if pairs.get(folded[norm], ("", "name"))[1] == "name":
            pairs[folded[norm]] = name, "name"
    rest = [name for name in without_node(candidate, pairs) if name not in graph]
    bare = {unquantised_name(name): name for name in sorted(rest, key=len, reverse=True)}  # the shortest of each
    rest = [name for name in rest if bare[unquantised_name(name)] == name]
    found = {node: source for source, node in by_vendor(named, rest, fits, is_other).items()}
    found |= {folded[node]: source for node, source in found.items() if node in folded}
    found = {node: source for node, source in found.items() if node in graph and node not in pairs}
    found = {node: source for node, source in found.items() if not _is_copy(graph, tables, found, node)}
    pairs |= {
        _activated(graph, tables, pairs.keys() | found.keys(), *pair): (pair[1], "vendor") for pair in found.items()
    }
    for node, source in found.items():
        if (made := _activation_of(graph, tables, pairs, node, source)) is not None:
            pairs |= {graph[node].inputs[0]: pairs[node], node: (made, "vendor")}


def _is_point(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has one number for each channel of an image, in whatever order of axes."""
    return sum(side > 1 for side in shape[1:]) < 2


def by_modules(
    graph: Graph, tables: Tables, left: Collection[str], lacking: Collection[str]
) -> Iterator[tuple[str, str]]:
    """(node, tensor) where a tensor is called as the module whose only operation the node is, in an ONNX file.

    For a network of one's own, of which no scheme knows the names. A convolution that has a bias may hold a batch norm,
    which was a module of its own.

    Parameters
    ----------
    left : tensors that nothing else tells
    lacking : nodes without a tensor
    """
    if graph.recipe.model in MODELS:
        return
    modules: dict[str, list[Node]] = {}
    for node in graph.nodes:
        modules.setdefault(whole_name(_OPERATION.sub("", node.name)), []).append(node)
    called: dict[str, list[str]] = {}
    for name in left:
        form = whole_name(name)
        made = [modules[form]] if form in modules else [each for key, each in modules.items() if _is_ending(form, key)]
        nodes = made[0] if len(made) == 1 else []
        folded = any(node.op in CONVOLUTIONS and "b" in node.params for node in nodes)
        if len(nodes) == 1 and nodes[0].name in lacking and not folded:
            called.setdefault(nodes[0].name, []).append(name)
    for place, names in called.items():
        found, full = tables.found[names[0]], tables.shapes[place]
        same = bool(axis_orders(found, full)) or any(has_channels(found, full, last) for last in (False, True))
        if len(names) == 1 and same:
            yield place, names[0]


def _is_ending(name: str, module: str) -> bool:
    """Whether one of two names is the end of the other; a number alone says nothing."""
    one, other = f"_{name}", f"_{module}"
    return name[:1].isalpha() and module[:1].isalpha() and (one.endswith(other) or other.endswith(one))


def _is_copy(graph: Graph, tables: Tables, found: Mapping[str, str], node: str) -> bool:
    """Whether what a module makes is its batch norm's tensor once more, which then activates by itself."""
    outer, inner = found[node], found.get(graph[node].inputs[0], "")
    if graph[node].op not in ACTIVATIONS or not inner.startswith(outer) or inner == outer:
        return False
    one, other = (np.asarray(tables.candidate[source]) for source in (outer, inner))
    return np.array_equal(one, other, equal_nan=True)


def _activated(graph: Graph, tables: Tables, known: Collection[str], node: str, source: str) -> str:
    """The activation behind a batch norm, where a vendor's module that is called so makes both: nothing is below it."""
    reader = graph.only_reader(node)
    least = _FLOORS.get(reader.op) if reader is not None and graph[node].op == "batch_norm" else None
    if reader is None or least is None or reader.name in known or math.prod(tables.found[source]) < _MANY:
        return node
    return reader.name if np.asarray(tables.candidate[source]).min() >= least else node


def _activation_of(
    graph: Graph, tables: Tables, pairs: Mapping[str, tuple[str, str]], node: str, source: str
) -> str | None:
    """The tensor that holds an activation's numbers, where what is called so holds what the activation reads.

    As in a head of one's own, whose modules have other numbers than the vendor's.
    """
    op, before = graph[node].op, graph[node].inputs[0]
    if op not in _FLOORS or before in pairs or not axis_orders(tables.found[source], tables.shapes.get(before, ())):
        return None
    x = np.asarray(tables.candidate[source])
    if not x.min() < _FLOORS[op]:
        return None
    made, room = getattr(fast, op)(x), _ROUNDED * np.linalg.norm(x)
    alike = (name for name in without_node(tables.candidate, pairs) if tables.found[name] == x.shape)
    return next((name for name in alike if np.linalg.norm(tables.candidate[name] - made) <= room), None)
