"""What a loader gives to another block: arrays of blocks of the same shapes, all of them or those of a layer.

They run, and no shape tells. Between two tensors that a port dumped, or from its end alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.bugs.memory.weights import LAYERS, blocks_away, layers_elsewhere
from refnet.graph import Node

_Arrays = Mapping[int, Sequence[Node]]  # by the number of a block, its nodes that have arrays


def block_elsewhere(segment: Segment) -> Iterator[Change]:
    """a block has the weights of another one, of the same shapes."""
    for arrays, inside in _alike(segment):
        for block in inside:
            for other in arrays:
                if other != block:
                    kind, facts = blocks_away(other - block)
                    facts |= {"block": block, "other": other}
                    yield _given(segment, arrays, {block: other}, str(other), facts, kind)


def blocks_exchanged(segment: Segment) -> Iterator[Change]:
    """blocks of the same shapes have each other's weights.

    Two of them, or all: each those of the one before, or behind, or in reverse order.
    """
    for arrays, inside in _alike(segment):
        for one, other in itertools.combinations(inside, 2):
            facts = {"block": one, "other": other}
            yield _given(segment, arrays, {one: other, other: one}, str(other), facts, f"{one} {other}")
        if len(inside) > 2:
            facts = {"least": inside[0], "most": inside[-1]}
            ways = {"before": inside[:1] + inside[:-1], "behind": inside[1:] + inside[-1:], "reversed": inside[::-1]}
            for form, others in ways.items():
                yield _given(
                    segment, arrays, dict(zip(inside, others, strict=True)), form, facts, f"{form} {inside[0]}"
                )


def layer_elsewhere(segment: Segment) -> Iterator[Change]:
    """a layer of a block has the weights of the same layer of another block, of the same shapes."""
    if segment.candidate is not None and len(segment.units) > LAYERS:  # for shorter ones there is `weights_elsewhere`
        yield from layers_elsewhere(segment, same_part=True)


def _alike(segment: Segment) -> Iterator[tuple[_Arrays, list[int]]]:
    """Blocks of the same shapes, and those of them of which a segment has several layers."""
    if segment.candidate is None:
        return
    arrays: dict[int, list[Node]] = {}
    for node in segment.whole.nodes:
        if node.params and (block := segment.parts.block_of(node.name)):
            arrays.setdefault(block, []).append(node)
    alike: dict[tuple[object, ...], dict[int, list[Node]]] = {}
    for block, nodes in arrays.items():
        alike.setdefault(tuple((node.op, *node.params.values()) for node in nodes), {})[block] = nodes
    layers = Counter(segment.parts.block_of(unit.name) for unit in segment.units)
    for same in alike.values():
        yield same, [block for block in same if layers[block] > 1]


def _given(
    segment: Segment, arrays: _Arrays, of: Mapping[int, int], form: str, facts: Mapping[str, int], kind: str
) -> Change:
    """Blocks with arrays of others: `of` has whose, by block."""
    params = {
        f"{node.name}.{slot}": segment.params[f"{other.name}.{slot}"]
        for block, theirs in of.items()
        for node, other in zip(arrays[block], arrays[theirs], strict=True)
        for slot in node.params
        if node.name in segment.graph.by_name
    }
    first = next(node.name for node in arrays[min(of)] if node.name in segment.graph.by_name)
    return Change(first, form, facts, kind=kind, params=params, lone=True)
