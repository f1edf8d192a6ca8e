"""Inputs in 8 bits, as quantised networks take them; their range may be too small for what the network is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import room
from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE

__all__ = ["input_stepped"]

Array = npt.NDArray[Any]

_NEAR = 1e-4  # of a step: how far from a half a port's own number may be rounded the other way


class _Bytes(NamedTuple):
    """What a byte stands for: a step, and the least and the largest number of steps."""

    step: float
    least: int
    most: int


# For inputs from -1 to 1, or from 0 to 1; without a sign zero has a place that is not in the middle.
_RANGES: Mapping[str, _Bytes] = {
    "127": _Bytes(1 / 127, -127, 127),
    "128": _Bytes(1 / 128, -128, 127),
    "127.5": _Bytes(1 / 127.5, -128, 127),
    "127.5 up": _Bytes(1 / 127.5, -127, 128),
    "255": _Bytes(1 / 255, 0, 255),
}
_MANNERS = {"rounded": np.rint, "cut off": np.trunc}


def input_stepped(segment: Segment) -> Iterator[Change]:
    """an input in 8 bits.

    It is rounded to the steps of a range, or cut off to them, and ends where the range does: one for inputs from -1 to
    1, or from 0 to 1, or as far as its own numbers reach.
    """
    x = segment.given.get(SOURCE)
    if x is None or not x.size:
        return
    for form, held in (*_RANGES.items(), *_own(x)):
        for manner in _MANNERS:
            facts = {"manner": manner, "step": held.step, "low": held.least * held.step, "high": held.most * held.step}
            given = Deferred([SOURCE], partial(_stepped, segment, held, manner))
            yield Change(SOURCE, f"{form} {manner}", facts, given=given)


def _own(x: Array) -> Iterator[tuple[str, _Bytes]]:
    """The range of its own numbers: as far on both sides of zero, or from its least to its largest."""
    low, high = float(x.min(initial=0.0)), float(x.max(initial=0.0))
    if high > low:
        yield "own", _Bytes(max(-low, high) / 127, -127, 127)
        zero = round(-low / (high - low) * 255)
        yield "own ends", _Bytes((high - low) / 255, -zero, 255 - zero)


def _stepped(segment: Segment, held: _Bytes, manner: str) -> Mapping[str, Expected]:
    """The input in such steps; where its number is near the edge between two, it may be either."""
    x = segment.given[SOURCE].astype(np.float64)
    steps, edge = x / held.step, 0.5 if manner == "rounded" else 0.0
    made = _MANNERS[manner](steps).clip(held.least, held.most) * held.step
    unsure = np.abs(steps - edge - np.rint(steps - edge)) < _NEAR
    unsure &= (steps > held.least) & (steps < held.most)
    slack = room(made, x, segment.whole.recipe.preprocessing) + np.where(unsure, held.step, 0.0)
    return {SOURCE: Expected(made, slack)}
