"""Mistakes that begin at a block, or end at one: a port that was changed from there on, or that was mended that far."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.language.changes import Change
from refnet.bugs.systematic import Scope, runs_of
from refnet.judge.causes.likely import FREQUENT
from refnet.judge.causes.sketch import explained
from refnet.judge.causes.ways import SHARE, Way, Ways

__all__ = ["MANY", "begun", "begun_soon"]

# Of how many mistakes the block is looked for early: of those that move enough when they are all over, and of those
# that do not move far too much either. From one block on a mistake moves less, in most cases not much less. Tuned, on
# the table in tests/judge/test_long.py: the largest tenth that leaves out no mistake; of 1 or 3 times a power of ten
# the least that keeps 19 of 20; the least number of tens that has 7 of 8 among them.
_SOON, _LEAST, _MOST = 20, 0.3, 30.0
# Of how many it is looked for before two mistakes are, and of all others behind these; and what the right block's
# neighbours explain of the error, or it is not looked at: every other block is. Tuned, on the table in
# tests/judge/test_long.py, of all of a network: the least power of two within which seven of ten of the right ones are,
# and the largest tenth that keeps eleven of twelve.
MANY, _NEXT = 32, 0.3


def begun(ways: Ways, whole: Iterable[Way]) -> Iterator[list[Way]]:
    """The same change from one block on, or up to one, at all of its places or at those of a kind.

    The likeliest first, by how much it explains at all of these; what is of one kind, together. Every other block is
    looked at, and those beside one that explains some of the error.
    """
    for bug, form, changes in _likely(ways, whole):
        yield [way for kind in ("from", "until") for way in _around(ways, BUGS[bug], form, changes, kind)]


def _around(ways: Ways, bug: Bug, form: str, changes: Mapping[str, Change], kind: str) -> Iterator[Way]:
    """Every other run of places of a kind, and those beside one that explains some of the error."""
    runs = [each for each in runs_of(ways.segment.parts, tuple(changes)).items() if each[0].kind == kind]
    near: set[int] = set()
    for index in range(0, len(runs), 2):
        for way in _begun_at(ways, bug, form, changes, runs, index):
            near |= {index - 1, index + 1} if explained(ways.error, way.effect) >= _NEXT else set()
            yield way
    for index in sorted(near & {*range(1, len(runs), 2)}):
        yield from _begun_at(ways, bug, form, changes, runs, index)


def begun_soon(ways: Ways, whole: Iterable[Way]) -> Iterator[list[Way]]:
    """The same from one block on, of the likeliest few, by a search: the nearer a block, the less is left of the error.

    That is so where what the layers move adds up; else `begun` still finds it. What ports have wrong most often is
    among them in any case: what explodes where it is everywhere is nothing like what it is from one block on.
    """
    size = float(np.linalg.norm(ways.error))
    moved = [(way, float(np.linalg.norm(way.effect.astype(np.float64))) / size) for way in whole if size]
    kinds = [[way for way, share in moved if _LEAST <= share <= most] for most in (math.inf, _MOST)]
    both = itertools.chain(*(itertools.islice(_likely(ways, kind), _SOON) for kind in kinds))
    every = (*both, *_frequent(ways))
    for bug, form, changes in {(each[0], each[1], len(each[2])): each for each in every}.values():
        runs = runs_of(ways.segment.parts, tuple(changes))
        starts = [(scope, nodes) for scope, nodes in runs.items() if scope.kind == "from"]
        if starts:
            yield _lowest(len(starts), partial(_begun_at, ways, BUGS[bug], form, changes, starts))


def _frequent(ways: Ways) -> Iterator[tuple[str, str, Mapping[str, Change]]]:
    """What ports have wrong most often, at all places and at those in blocks: a head is often written by itself."""
    parts = ways.segment.parts
    for bug in FREQUENT:
        for form, changes in ways.placed(bug).items():
            yield bug.id, form, changes
            yield bug.id, form, {node: change for node, change in changes.items() if parts.block_of(node)}


def _begun_at(
    ways: Ways,
    bug: Bug,
    form: str,
    changes: Mapping[str, Change],
    runs: Sequence[tuple[Scope, tuple[str, ...]]],
    index: int,
) -> list[Way]:
    return list(ways.at_scopes(bug, form, changes, dict([runs[index]])))


def _likely(ways: Ways, whole: Iterable[Way]) -> Iterator[tuple[str, str, Mapping[str, Change]]]:
    """Changes at many places that could explain a part of the error, the likeliest first: bug, form, and by place."""
    shares = {way.key: (explained(ways.error, way.effect), way.extent.nodes) for way in whole if way.extent}
    for (bug_id, form, _), (share, nodes) in sorted(shares.items(), key=lambda item: -item[1][0]):
        placed = ways.placed(BUGS[bug_id]).get(form, {})
        changes = {node: placed[node] for node in nodes if node in placed}
        if share >= SHARE and changes:
            yield bug_id, form, changes


def _lowest(count: int, ways_at: Callable[[int], list[Way]]) -> list[Way]:
    """The ways at the index, of so many, where least is left, if what is left falls and then rises."""
    found: dict[int, list[Way]] = {}

    def left(index: int) -> float:
        if index not in found:
            found[index] = ways_at(index)
        return min((way.residual for way in found[index]), default=math.inf)

    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if left(middle) <= left(middle + 1):
            high = middle
        else:
            low = middle + 1
    left(low)
    return found[low]
