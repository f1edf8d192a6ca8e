"""Tensors that a port dumps otherwise than it computes with them: what follows them is right about what they should be.

Right numbers in another order, a part that the dump leaves out or overwrites, a zero point that is
declared wrongly; or any other numbers: then what follows tells that the port went on with the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.segments import Segment, limit
from refnet.judge.measures.yardstick import fits, says, useful_limit
from refnet.readings.bounds import Precision

__all__ = ["OF_DUMPS", "Mended", "mended", "with_mended"]

Array = npt.NDArray[Any]

OF_DUMPS = ("never-written", "zero-point", "left-over")  # bugs that a dump may have of a port without them


class Mended(NamedTuple):
    """A tensor as it should be, and how far a port's own may lie from it, if not nowhere."""

    y: Array
    slack: Array | None = None


def mended(segment: Segment, precision: Precision) -> Mended | None:
    """What a port may have where its dump is wrong: with what was done to it undone, else what it should be.

    None of a segment whose bound says nothing.
    """
    if (moved := _relaid(segment, precision)) is not None:
        return Mended(moved)
    for bug in OF_DUMPS:
        for change in BUGS[bug].changes(segment):
            if change.view is not None and fits(segment.changed(change), precision):
                return _undone(segment, precision, change.view)
    made = useful_limit(segment, precision)
    if (
        segment.candidate is None
        or made.shape != segment.candidate.shape
        or not says(len(segment.graph), made, precision)
    ):
        return None
    # Where the dump lies within what a port's own may be apart, what follows cannot tell the one from the other.
    told = bool((np.abs(segment.candidate.astype(np.float64) - made.y) > made.expected).any())
    return Mended(made.y, made.expected) if told else None


def with_mended(segment: Segment, known: Mapping[str, Mended]) -> Segment:
    """A segment that is given some tensors as they should be."""
    given = {name: known[name].y if name in known else y for name, y in segment.given.items()}
    slack = {name: each.slack for name, each in known.items() if each.slack is not None}
    return replace(segment, given=given, slack={**segment.slack, **slack} if slack else segment.slack)


def _undone(segment: Segment, precision: Precision, view: Callable[[Array], Array]) -> Mended:
    """A port's tensor without what was done to it; what that hides is what it should be within rounding."""
    assert segment.candidate is not None
    made = limit(segment, precision)
    y = segment.candidate - (view(made.y) - made.y)
    lost = y != segment.candidate
    return Mended(y, np.where(lost, made.expected, 0.0))


def _relaid(segment: Segment, precision: Precision) -> Array | None:
    """The candidate's tensor in the order that it should have, if its numbers are right but lie in another one."""
    y = segment.candidate
    for change in BUGS["result-order"].changes(segment):
        assert y is not None
        assert change.view is not None
        moved = np.empty_like(y, order="C")
        moved.reshape(-1)[change.view(np.arange(y.size).reshape(y.shape)).ravel()] = y.ravel()
        if fits(replace(segment, candidate=moved), precision):
            return moved
    return None
