"""Numbers that are solved for: one that nodes have, an eps or the weights of a sum; by which an input is scaled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.knobs import Knob
from refnet.bugs.systematic import ALL, Scope, scopes
from refnet.graph import SOURCE, Node
from refnet.judge.causes.affine import scaled_inputs
from refnet.judge.causes.lanes import side_by_side
from refnet.judge.causes.sketch import explained
from refnet.judge.causes.ways import SHARE, Extent, Way, Ways
from refnet.judge.verdicts import root_mean_square

__all__ = ["best_number", "inputs_solved", "solved"]

Array = npt.NDArray[Any]

_STEPS, _NEARBY = 6, 0.1  # of solving for a number; from one of a grid, which is near, by that share of it
_ALONE = ("pool-divisor", "join-weights")  # what may well be otherwise in the last of its places alone


def solved(ways: Ways, knob: Knob, *, kinds: bool = False) -> Iterator[Way]:
    """Another number in all nodes that have it and in the last of them, or in those of each kind, solved for."""
    names = tuple(node.name for node in ways.segment.nodes(*knob.ops))
    every = scopes(ways.segment.parts, names) if len(names) > 1 else {}
    found: dict[Scope | None, tuple[str, ...]] = {kind: of for kind, of in every.items() if (kind == ALL) != kinds}
    if names and not kinds and (knob.bug in _ALONE or len(names) == 1):
        found[None] = names[-1:]
    ways.budget.expect(len(found))
    for scope, those in found.items():
        nodes = [ways.segment.graph[name] for name in those]
        for number, mistake in knob.said(ways.segment, nodes[0], best_number(ways, knob, nodes)):
            changed = _turned(ways, knob, nodes, number)
            way = ways.run(mistake, None if scope is None else Extent(scope, those), changed)
            yield from ways.kept(None if way is None else way._replace(changed=changed))
        ways.budget.passed()


def inputs_solved(ways: Ways) -> Iterator[Way]:
    """The input scaled and moved, by how much being solved for."""
    for change in scaled_inputs(ways.segment, partial(_left, ways), ways.before):
        changed = ways.segment.changed(change)
        way = ways.run(change.of("input-solved"), None, changed)
        yield from ways.kept(None if way is None else way._replace(changed=changed))


def _left(ways: Ways, inputs: Sequence[Array]) -> Iterator[Array | None]:
    """What is left of the error on other inputs."""
    changed = (ways.segment.changed(Change(SOURCE, given={SOURCE: x})) for x in inputs)
    for some in side_by_side(changed, lambda _: not ways.long):
        yield from (None if y is None else ways.target - y for y in ways.made_by(*some))


def best_number(ways: Ways, knob: Knob, nodes: Sequence[Node]) -> float:
    """The number that leaves least of the error: each step goes as far as the effect of another one explains.

    NaN where that is next to nothing.
    """
    number = start = knob.start(nodes[0])
    if ways.long:
        grid = (start, *knob.grid)
        left = [math.inf if y is None else root_mean_square(ways.target - y) for y in _made(ways, knob, nodes, *grid)]
        number = grid[left.index(min(left))]
    for index in range(_STEPS):
        step = max(abs(number) * (1 if number == start else _NEARBY), knob.step) if knob.grid else knob.step
        here, there = _made(ways, knob, nodes, number, number + step)
        if here is None or there is None:
            break
        slope, rest = there - here, ways.target - here
        square = float((slope * slope).sum())
        if not square > 0 or (not index and number == start and explained(rest.ravel(), slope.ravel()) < SHARE):
            break
        number += step * float((slope * rest).sum()) / square
        number = max(number, 0.0) if knob.grid and min(knob.grid) >= 0 else number
    return number if number != start else math.nan


def _made(ways: Ways, knob: Knob, nodes: Sequence[Node], *numbers: float) -> list[Array | None]:
    return ways.made_by(*(_turned(ways, knob, nodes, number) for number in numbers))


def _turned(ways: Ways, knob: Knob, nodes: Sequence[Node], number: float) -> Segment:
    made = {node.name: knob.nodes(node, number) for node in nodes}
    return ways.segment.changed(Change(nodes[0].name, nodes=made))
