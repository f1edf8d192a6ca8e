"""Several mistakes in one segment: two that explain most of its error, or what explains other tensors and one more."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.bugs.systematic import ALL
from refnet.judge.causes.ways import EXACT, Way, Ways

__all__ = ["beside", "both_ways", "likely_pairs", "varied"]

Array = npt.NDArray[Any]

# Of what explains other tensors, how many mistakes are looked for beside others, the most frequent first; and how many
# tensors one must explain to be looked for beside one that explains none.
_KINDS, _SHARED = 6, 2
_FORMS = 2  # of one bug at a place, among the first of two; tuned on the table in tests/judge/test_pairs.py
_ROWS = 256  # of the matrix of all pairs, which are made at once


def both_ways(ways: Ways, one: Way, other: Way) -> Way | None:
    """Two ways at once, as one with its segment; None where nothing runs so."""
    changed = ways.changed(other, on=ways.changed(one))
    way = ways.run(other.mistake, other.extent, changed)
    return None if way is None else way._replace(changed=changed)


def beside(
    ways: Ways, told: Mapping[tuple[str, str], int], is_open: Callable[[Segment], bool], most: float
) -> Iterator[list[tuple[tuple[Way, ...], Way]]]:
    """Of what explains other tensors, at all of its places here, two at once; then that of several and one more.

    Parameters
    ----------
    told : by bug and form, how many other tensors a mistake explains
    is_open : whether a segment run in a way may be the candidate's
    most : of the error, what one more mistake may leave

    Yields
    ------
    the ways and all of them as one: first each two, then each with one more mistake
    """
    first = sorted(told, key=lambda kind: -told[kind])[:_KINDS]
    own = [way for way in _at_all(ways) if (way.mistake.bug, way.mistake.form) in first]
    pairs = [((one, other), both_ways(ways, one, other)) for one, other in itertools.combinations(own, 2)]
    made: list[tuple[tuple[Way, ...], Way]] = [(pair, both) for pair, both in pairs if both is not None]
    yield made
    bases: list[tuple[tuple[Way, ...], Way]] = [((way,), way) for way in own]
    bases += [(pair, both) for pair, both in made if both.residual < min(way.residual for way in pair)]
    for several, base in bases:
        if all(told[way.mistake.bug, way.mistake.form] >= _SHARED for way in several):
            more = sorted(ways.on_top(base, EXACT, is_open), key=lambda way: way.residual)
            yield [
                ((*several, way), way._replace(changed=ways.changed(way, on=ways.changed(base))))
                for way in more
                if way.residual < most
            ]


def varied(ways: Iterable[Way]) -> list[Way]:
    """The ways that leave least of the error first, two forms at most of one bug at a place; places take turns."""
    forms: Counter[tuple[str, str]] = Counter()
    turns: Counter[str] = Counter()
    kept: list[tuple[int, float, Way]] = []
    for way in sorted(ways, key=lambda way: way.residual):
        what = way.mistake.bug, way.mistake.node
        if forms[what] < _FORMS:
            forms[what] += 1
            turns[way.mistake.node] += 1
            kept.append((turns[way.mistake.node], way.residual, way))
    return [way for *_, way in sorted(kept, key=lambda each: each[:2])]


def _at_all(ways: Ways) -> list[Way]:
    """Of those that were looked at, each that is at all of its places, be it one."""
    several = {(way.mistake.bug, way.mistake.form) for way in ways.looked if way.extent is not None}
    return [
        way
        for way in ways.looked
        if (way.extent is not None and way.extent.scope == ALL)
        or (way.extent is None and (way.mistake.bug, way.mistake.form) not in several)
    ]


def likely_pairs(error: Array, ways: list[Way], least: float, most: int) -> Iterator[tuple[Way, Way]]:
    """Two ways that together could explain the error: the likeliest first.

    Their effects are taken for independent: that share of the error is asked for which lies in their plane.
    """
    if not ways:
        return
    effects = np.array([way.effect for way in ways], np.float64)
    usable = np.isfinite(effects).all(axis=1) & (np.abs(effects).max(axis=1, initial=0) > 0)
    kept = [way for way, use in zip(ways, usable, strict=True) if use]
    unit = effects[usable] / np.linalg.norm(effects[usable], axis=1, keepdims=True)
    along = unit @ (error / (np.linalg.norm(error) or 1.0))
    best, places = np.empty(0), np.empty((0, 2), np.intp)
    for first in range(0, len(kept), _ROWS):  # all at once would be a matrix that no memory holds
        some = np.arange(first, min(first + _ROWS, len(kept)))
        plane = _in_planes(along[some], along, unit[some] @ unit.T)
        plane[np.arange(len(kept)) <= some[:, None]] = 0
        rows, columns = np.nonzero(plane >= max(least, best[-1] if len(best) == most else 0.0))
        best = np.concatenate([best, plane[rows, columns]])
        order = np.argsort(-best, kind="stable")[:most]
        best, places = best[order], np.concatenate([places, np.stack([some[rows], columns], axis=1)])[order]
    for one, other in places:
        if not _nodes(kept[one]) & _nodes(kept[other]):
            yield kept[one], kept[other]


def _in_planes(one: Array, other: Array, across: Array) -> Array:
    """What share of an error lies in the plane of two effects; 0 where both are one direction.

    Parameters
    ----------
    one, other : cosines between effects and the error: rows and columns
    across : those between the effects
    """
    with np.errstate(all="ignore"):
        apart = 1 - across**2
        plane: Array = (one[:, None] ** 2 + other**2 - 2 * across * one[:, None] * other) / apart
    plane[~(apart > 1e-6)] = 0
    return plane


def _nodes(way: Way) -> set[str]:
    return {way.mistake.node} if way.extent is None else {*way.extent.nodes}
