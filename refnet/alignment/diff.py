"""Two graphs under the same names -> every difference between them, node by node.

No difference is what folding does (a batch norm gone, a bias come), an operation that changes nothing, the order of
what is added, what only the size of the image decides (a global pool is one at any size, and none over a single point;
a pad is right if the vendor would pad so), and a constant that float32 cannot tell from the known one. A constant that
was rounded to float16 or bfloat16 is a difference that says so.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnet.alignment.differences import OUTPUT, STRUCTURE, WHOLE, Difference, described
from refnet.errors import GraphError
from refnet.graph import SOURCE, Graph, Node, is_global
from refnet.networks.dialects import MODELS
from refnet.networks.resize import fitting_pads
from refnet.networks.rewrite import norms
from refnet.ops import CONVOLUTIONS, POOLS, WINDOWED
from refnet.readings.orders import rounded
from refnet.readings.shapes import Shape, shape_after

__all__ = ["differences", "factors_of_pools", "folded_norms", "same_number"]

Origins = Mapping[str, frozenset[str]]

_SHORT = ("float16", "bfloat16")
_SIXTH = 1 / 6  # the slope within a hard swish


@dataclass(frozen=True)
class _Both:
    """Two graphs, the shape of every tensor of each, and which tensors of both each stands for."""

    one: Graph
    other: Graph
    maps: Mapping[str, Shape]
    other_maps: Mapping[str, Shape]
    origins: Origins
    other_origins: Origins

    @property
    def same_size(self) -> bool:
        return self.one.recipe.size == self.other.recipe.size


def differences(one: Graph, other: Graph, *, folded: bool = False) -> tuple[Difference, ...]:
    """In what a graph is another than a known one.

    Parameters
    ----------
    one : the known graph
    other : under the known one's names, where it has the node; folded or not, for images of any size
    folded : whether the known graph may have its batch norms worked in, too: then one that it lacks is no difference

    Returns
    -------
    differences : in the order of the known graph

    Examples
    --------
    >>> differences(graph, graph)  # doctest: +SKIP
    ()
    """
    common = [node.name for node in one.nodes if node.name in other]
    place = {node.name: i for i, node in enumerate(other.nodes)}
    standing = {common[i] for i in _rising([place[name] for name in common])}
    sides = _Both(one, other, _maps(one), _maps(other), _origins(one, standing), _origins(other, standing))
    gone, come = folded_norms(one, other), folded_norms(other, one)
    needless = {*gone, *(norm for norm, conv in come.items() if folded or conv not in one)}
    worked_in = {*gone.values(), *come.values()}
    factors, other_factors = factors_of_pools(one, other), factors_of_pools(other, one)
    found = [*_of_input(sides), *_of_outputs(sides)]
    for mine, theirs in _rows(one, other, standing):
        if mine and theirs:
            found += _of_node(sides, mine, theirs, mine.name in worked_in)
        elif mine and mine.name in factors:
            found.append(_of_factor(one, mine, mine.attrs["slope"], 1.0))
        elif theirs and theirs.name in other_factors:
            found.append(_of_factor(other, theirs, 1.0, theirs.attrs["slope"]))
        elif mine and mine.name not in needless and (needs := _alone(sides, mine, False)):
            found.append(Difference(mine.name, "missing", described(mine), None, needs))
        elif theirs and theirs.name not in needless and (needs := _alone(sides, theirs, True)):
            found.append(Difference(theirs.name, "extra", None, described(theirs), needs))
    return tuple(found)


def folded_norms(graph: Graph, other: Graph) -> dict[str, str]:
    """The batch norms of a graph that the other one has not, each with the convolution that it follows."""
    return {norm.name: conv for conv, norm in norms(graph).items() if norm.name not in other}


def factors_of_pools(graph: Graph, other: Graph) -> frozenset[str]:
    """The factors between a global mean and its reader of which the other graph has only the mean."""
    factors = [
        node
        for node in graph.nodes
        if node.op == "affine" and not node.attrs["offset"] and node.attrs["slope"] != 1 and node.name not in other
    ]
    if not factors:  # as in most graphs, whose maps need not be worked out
        return frozenset()
    maps, readers = _maps(graph), graph.readers()
    return frozenset(
        node.name
        for node in factors
        if (pool := graph.by_name.get(node.inputs[0])) is not None and _is_mean(pool, maps) and pool.name in other
        if any(reader.name in other for reader in readers.get(node.name, ()))
    )


def _is_mean(node: Node, maps: Mapping[str, Shape]) -> bool:
    return node.op == "avg_pool2d" and is_global(node, maps.get(node.inputs[0], ()))


def same_number(one: Any, other: Any) -> bool:
    """Equal; two numbers also if a file that holds float32 could not tell them apart."""
    if isinstance(one, float) and isinstance(other, int | float):
        with np.errstate(over="ignore"):  # a file's number may be beyond float32
            return bool(np.float32(one) == np.float32(other))
    return bool(one == other)


# ---------------------------------------------------------------------------------------------- which node stands where


def _rising(places: list[int]) -> list[int]:
    """Indices of a longest rising subsequence: the nodes that stand in the same order on both sides.

    The others have moved. Patience sorting (Schensted, Canad. J. Math. 13, 1961).
    """
    ends: list[int] = []  # index of the lowest end of a rising subsequence of each length
    lowest: list[int] = []
    before: list[int | None] = []
    for index, place in enumerate(places):
        length = bisect_left(lowest, place)
        before.append(ends[length - 1] if length else None)
        ends[length : length + 1], lowest[length : length + 1] = [index], [place]
    found: list[int] = []
    index_or_none = ends[-1] if ends else None
    while index_or_none is not None:
        found.append(index_or_none)
        index_or_none = before[index_or_none]
    return found[::-1]


def _rows(one: Graph, other: Graph, standing: Collection[str]) -> Iterator[tuple[Node | None, Node | None]]:
    """Both graphs' nodes in the order of the first, what the second alone has before what it stands before."""
    theirs = iter(other.nodes)
    for node in one.nodes:
        while node.name in standing and (each := next(theirs)).name != node.name:
            if each.name not in one:
                yield None, each
        yield node, other.by_name.get(node.name)
    yield from ((None, each) for each in theirs if each.name not in one)


def _maps(graph: Graph) -> dict[str, Shape]:
    """Shape of every tensor; none of those from where a graph no longer fits together."""
    found: dict[str, Shape] = {SOURCE: graph.input_shape}
    for node in graph.nodes:
        if all(name in found for name in node.inputs):
            with suppress(GraphError):
                found[node.name] = shape_after(node, *(found[name] for name in node.inputs))
    return found


def _origins(graph: Graph, standing: Collection[str]) -> Origins:
    """The common tensors that each tensor stands for, looking through nodes of one side alone and those that moved."""
    origins = {SOURCE: frozenset((SOURCE,))}
    for node in graph.nodes:
        own = frozenset((node.name,))
        through = (origins[name] for name in node.inputs)
        origins[node.name] = own if node.name in standing else frozenset[str]().union(*through)
    return origins


# --------------------------------------------------------------------------------------------------- nodes of one side


def _alone(sides: _Both, node: Node, extra: bool) -> str:
    """What a policy must allow for a node that one side alone has; nothing if it does nothing there."""
    if extra:
        graph, sources = sides.other, frozenset(node.inputs[:1])
    else:
        graph, sources = sides.one, sides.origins[node.inputs[0]]
    if _changes_nothing(node, any(sides.other_maps.get(name, ())[1:] == (1, 1) for name in sources)):
        return ""
    return next((store for store in _SHORT if _is_residue(graph, node, store)), STRUCTURE)


def _changes_nothing(node: Node, of_a_point: bool) -> bool:
    """Whether a node makes what it reads; `of_a_point`: its map is a single one."""
    if node.op == "affine":
        return bool(node.attrs["slope"] == 1 and node.attrs["offset"] == 0)
    if "pad" in node.attrs and any(map(any, node.attrs["pad"])):
        return False
    if node.op in POOLS:
        return of_a_point or bool(node.attrs["kernel"] == node.attrs["stride"] == (1, 1))
    return node.op in ("flatten", "pad")


def _is_residue(graph: Graph, node: Node, store: str) -> bool:
    """Whether a node is what is left when a factor is rounded: clip(x + 3, 0, 6) times 0.1666 in float16.

    That is a gate's slope, or 1 by the number of points of a mean that is written as a sum.
    """
    if node.op != "affine" or node.attrs["offset"] != 0 or node.inputs[0] == SOURCE:
        return False
    gate = graph[node.inputs[0]]
    slope = gate.attrs["slope"] if gate.op == "hard_sigmoid" else _SIXTH if gate.op == "hard_swish" else 0.0
    slope = 1 / math.prod(gate.attrs["kernel"]) if gate.op == "avg_pool2d" else slope
    return bool(0 < abs(slope) < 1) and same_number(_rounded(slope, store), node.attrs["slope"] * slope)


def _of_factor(graph: Graph, node: Node, known: float, found: float) -> Difference:
    needs = next((store for store in _SHORT if _is_residue(graph, node, store)), STRUCTURE)
    return Difference(node.inputs[0], "factor", known, found, needs)


# -------------------------------------------------------------------------------------------------- nodes of both sides


def _of_input(sides: _Both) -> Iterator[Difference]:
    mine, theirs = sides.one.recipe, sides.other.recipe
    for key, known, found in (("size", mine.size, theirs.size), ("channels", mine.channels, theirs.channels)):
        if known != found:
            yield Difference(SOURCE, key, known, found)


def _of_outputs(sides: _Both) -> Iterator[Difference]:
    known, found = sides.one.outputs, sides.other.outputs
    stand_for = [sides.origins[name] for name in known], [sides.other_origins[name] for name in found]
    if len(known) != len(found) or not all(one & other for one, other in zip(*stand_for, strict=True)):
        yield Difference(OUTPUT, "returns", known, found)


def _of_node(sides: _Both, mine: Node, theirs: Node, worked_in: bool) -> Iterator[Difference]:
    """Operation, weights, attributes and what is read; `worked_in`: a batch norm, on one side alone."""
    name = mine.name
    if mine.op != theirs.op:
        yield Difference(name, "op", described(mine), described(theirs))
    else:
        if mine.op in CONVOLUTIONS:
            yield from _of_weights(mine, theirs, worked_in)
        yield from _of_attributes(sides, mine, theirs)
    reads, other_reads = ([o[x] for x in n.inputs] for o, n in ((sides.origins, mine), (sides.other_origins, theirs)))
    if not _meet(reads, other_reads):
        yield Difference(name, "inputs", mine.inputs, theirs.inputs)


def _of_weights(mine: Node, theirs: Node, worked_in: bool) -> Iterator[Difference]:
    """Channels of the output and the kernel; channels of the input are the business of the layer that makes them."""
    w, other_w = mine.params["w"], theirs.params["w"]
    if w[0] != other_w[0]:
        yield Difference(mine.name, "channels", w[0], other_w[0])
    if mine.op in WINDOWED and w[-2:] != other_w[-2:]:
        yield Difference(mine.name, "filter", w[-2:], other_w[-2:])
    bias, other_bias = "b" in mine.params, "b" in theirs.params
    if bias != other_bias and not worked_in:
        yield Difference(mine.name, "bias", bias, other_bias)


def _of_attributes(sides: _Both, mine: Node, theirs: Node) -> Iterator[Difference]:
    if mine.op in POOLS:
        yield from _of_pool(sides, mine, theirs)
        return
    for key, value in mine.attrs.items():
        found = theirs.attrs[key]
        if key == "pad" and mine.op in WINDOWED:
            fitting = _fitting(sides, mine, theirs)
            if found not in fitting:
                yield Difference(mine.name, key, fitting[0], found)
        elif not same_number(value, found):
            yield Difference(mine.name, key, value, found, _needs(mine, theirs, key))


def _of_pool(sides: _Both, mine: Node, theirs: Node) -> Iterator[Difference]:
    """A global pool is one whatever its map; one that is as the known one's number by number is no other."""
    whole = is_global(mine, sides.maps.get(mine.inputs[0], ()))
    other_whole = is_global(theirs, sides.other_maps.get(theirs.inputs[0], ()))
    if (whole and other_whole) or (mine.attrs == theirs.attrs and sides.same_size):
        return
    if whole or other_whole:
        known, found = (WHOLE if w else node.attrs["kernel"] for w, node in ((whole, mine), (other_whole, theirs)))
        yield Difference(mine.name, "kernel", known, found)
        return
    for key, value in mine.attrs.items():
        if value != theirs.attrs[key]:
            yield Difference(mine.name, key, value, theirs.attrs[key])


def _fitting(sides: _Both, mine: Node, theirs: Node) -> list[Any]:
    """How the known graph's vendor would pad the other's map: for the known convolution first, then for the other."""
    own, image, other_image = mine.attrs["pad"], sides.maps.get(mine.inputs[0]), sides.other_maps.get(theirs.inputs[0])
    if sides.one.recipe.model not in MODELS or image is None or other_image is None:
        return [own]
    if own != fitting_pads(sides.one, mine, mine, image)[0]:
        return [own]
    found = list(fitting_pads(sides.one, mine, theirs, other_image))
    return [*found, own] if sides.same_size else found


def _needs(mine: Node, theirs: Node, key: str) -> str:
    """The finest format that rounding the known constant to explains the other one."""
    known, found = mine.attrs[key], theirs.attrs[key]
    if not (isinstance(known, float) and isinstance(found, float)):
        return STRUCTURE
    if key == "offset" and _is_multiple(mine, theirs):
        return _needs(mine, theirs, "slope")
    return next((store for store in _SHORT if same_number(_rounded(known, store), found)), STRUCTURE)


def _is_multiple(mine: Node, theirs: Node) -> bool:
    """Whether an offset is another one because the slope is: (x + 3) times 0.1666."""
    slope, other = mine.attrs["slope"], theirs.attrs["slope"]
    return bool(slope) and same_number(mine.attrs["offset"] * other / slope, theirs.attrs["offset"])


def _rounded(value: float, store: str) -> float:
    return float(rounded(np.array(value), store))


def _meet(mine: list[frozenset[str]], theirs: list[frozenset[str]]) -> bool:
    """Whether two nodes read the same tensors, in either order: add and scale do not mind."""
    return any(
        len(mine) == len(order) and all(one & other for one, other in zip(mine, order, strict=True))
        for order in (theirs, theirs[::-1])
    )
