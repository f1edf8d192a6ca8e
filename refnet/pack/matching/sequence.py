"""Tensors under names that say nothing, told by their order alone: as many as a way of dumping has, channel by channel.

A port that is wrong from its first layer on makes no tensor that resembles the network's, nor maps of its sizes. Its
dump is in the order of execution all the same, and the channels of a network, one layer after another, are its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from refnet.graph import SOURCE, Graph
from refnet.ops import ACTIVATIONS, GATES, OPS
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.modules import block_ends, stem_end

__all__ = ["by_order", "has_channels", "orders_of", "parts_of_orders"]

Shape = tuple[int, ...]

_NO_MODULES = ((), ("add", "scale"), ("add",))  # operations that are functions where layers are modules
_ENDS = ((), ("flatten",), ("softmax",), ("flatten", "softmax"))
_NUMBERS = re.compile(r"(\d+)")
_RESCALES = ("affine",)  # how an input in pixels begins
_FEWEST = 10  # tensors, without which an order proves nothing


def by_order(graph: Graph, found: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The candidate's name of each node's tensor, if its order tells all of them; nothing otherwise.

    Parameters
    ----------
    found : the candidate's shapes, in its order
    shapes : of every node and of 'input', in order of execution
    """
    return next(orders_of(graph, found, shapes), {})


def orders_of(graph: Graph, found: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> Iterator[dict[str, str]]:
    """Every such telling, the likeliest first: tensors of equal shapes at the end may be these or those nodes'."""
    if len(found) < _FEWEST:
        return
    dumps = dict.fromkeys(tuple(nodes) for nodes in _dumps(graph) if len(nodes) == len(found))
    ways = [dict(zip(nodes, sources, strict=True)) for sources in _orders(found) for nodes in dumps]
    for last in (None, False, True):
        for pairs in ways:
            if all(_fits(found[source], shapes[node], last) for node, source in pairs.items()):
                yield pairs


def parts_of_orders(graph: Graph, found: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> list[dict[str, str]]:
    """The same where a candidate has a part of a dump without a gap, such as its first blocks, of the right sizes."""
    if len(found) < _FEWEST:
        return []
    count, dumps = len(found), dict.fromkeys(tuple(nodes) for nodes in _dumps(graph))
    parts = dict.fromkeys(nodes[first : first + count] for nodes in dumps for first in range(len(nodes) - count + 1))
    ways = (zip(nodes, sources, strict=True) for sources in _orders(found) for nodes in parts)
    return [
        dict(way) for way in map(list, ways) if all(_fits(found[source], shapes[node], None) for node, source in way)
    ]


def _orders(names: Iterable[str]) -> list[list[str]]:
    """Names as they come; and by the numbers in them, where a file or a folder sorts t10 before t2."""
    given = list(names)
    counted = sorted(given, key=lambda name: [int(part) if part.isdecimal() else part for part in _NUMBERS.split(name)])
    return [given] if counted == given else [given, counted]


def _fits(found: Shape, full: Shape, last: bool | None) -> bool:
    """Whether a tensor has a node's shape in some order of axes; or its channels, where these are last or not."""
    return bool(axis_orders(found, full)) if last is None else has_channels(found, full, last)


def has_channels(found: Shape, full: Shape, last: bool) -> bool:
    """Whether a tensor has a node's channels, and as many axes, but for the batch and axes of length one."""
    channels = full[1]
    if len(found) >= 3:
        return found[-1 if last else -3] == channels and len(full) == 4
    return max(found, default=1) == channels and all(side == 1 for side in full[2:])


def _dumps(graph: Graph) -> Iterator[list[str]]:
    """What ports dump: every node or the ends of fused layers, with the input or without, flattened or not.

    Hooks of modules see no sum or product that a module's own function makes. Nodes of integers are what a runtime
    runs, with all that is fused: of those there is every node alone.
    """
    every = tuple(graph.by_name)
    parts = _parts(graph) if all(node.op in OPS for node in graph.nodes) else ()
    for nodes in (every, *parts):
        for left_out in itertools.product(_NO_MODULES, _ENDS, ((), _RESCALES)):
            some = [name for name in nodes if not any(graph[name].op in ops for ops in left_out)]
            yield some
            yield [SOURCE, *some]


def _parts(graph: Graph) -> Iterator[tuple[str, ...]]:
    """The ends of fused layers, of blocks, and of activations with some other operations."""
    yield graph.fused([node.inputs[0] for node in graph.nodes if node.op in GATES])  # nothing fused behind a gate's
    yield graph.fused()
    yield _without_squeezes(graph)
    yield _without_sums(graph)
    yield from _between_blocks(graph)
    for also in ((), ("add",), ("add", "avg_pool2d"), ("add", "scale", "avg_pool2d")):
        yield _of_ops(graph, also)


def _without_squeezes(graph: Graph) -> tuple[str, ...]:
    """The ends of fused layers, where squeeze-and-excite is one layer: its product is its end."""
    inner = {name for node in graph.nodes if node.op == "scale" for name in _behind_pool(graph, node.inputs[1])}
    return tuple(name for name in graph.fused() if name not in inner)


def _behind_pool(graph: Graph, gate: str) -> Iterator[str]:
    """A gate and what it is made of, back to its pool."""
    while (node := graph.by_name.get(gate)) is not None:
        yield gate
        gate = "" if node.op == "avg_pool2d" else node.inputs[0]


def _without_sums(graph: Graph) -> tuple[str, ...]:
    """All but convolutions with batch norm, which is folded into them; activations are operations of their own."""
    before = {unit.conv.name for unit in graph.units() if unit.norm is not None}
    return tuple(node.name for node in graph.nodes if node.name not in before)


def _between_blocks(graph: Graph) -> Iterator[tuple[str, ...]]:
    """The blocks' ends, with the stem's or without; behind them nothing, the last nodes, or every unit's end."""
    blocks, ends = block_ends(graph), graph.fused()
    if not blocks:
        return
    behind = ends[ends.index(blocks[-1]) + 1 :] if blocks[-1] in ends else ()
    heads = [behind, *((*first, *behind[len(behind) - last :]) for first in (behind[:1], ()) for last in range(3))]
    for head in heads:
        yield stem_end(graph), *blocks, *head
        yield *blocks, *head


def _of_ops(graph: Graph, also: Sequence[str]) -> tuple[str, ...]:
    """The nodes that are activations, those of some other operations, and the last one."""
    kept = (*ACTIVATIONS, *also)
    return tuple(node.name for node in graph.nodes if node.op in kept or node.name == graph.output)
