"""Which of several formulas that lie near to each other made the arrays of a file: the one that most of them show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Mistake
from refnet.verification.kinds import Fault
from refnet.verification.roundings import Rounding

__all__ = ["FittingFormula", "most_shown", "way_of"]

_CLEARER = 0.5  # of the squares that a formula leaves, what another one that explains as many must leave less than


class FittingFormula(NamedTuple):
    """A mistake within which an array lies, the rounding besides, and the mean square of what it leaves, per slack."""

    mistake: Mistake
    rounding: Rounding | None
    left: float


def way_of(copy: npt.NDArray[Any], fault: Fault, rounding: Rounding) -> FittingFormula:
    """A fault within which an array of the copy lies, and how well."""
    made = rounding.widen(fault.made)
    rounds = made.slack > 0
    left = float(np.mean(np.square(np.where(rounds, copy - made.value, 0.0) / np.where(rounds, made.slack, 1.0))))
    return FittingFormula(fault.mistake, None if rounding.fine else rounding, left)


def most_shown(ways: Mapping[int, Sequence[FittingFormula]]) -> dict[int, FittingFormula]:
    """Of the formulas that fit an array, the one that explains most arrays; of as many, one that leaves clearly less.

    Parameters
    ----------
    ways : by the array's number; the first of several stays where no other leaves clearly less
    """
    said: dict[int, FittingFormula] = {}
    while unsaid := {index: each for index, each in ways.items() if each and index not in said}:
        left: dict[tuple[str, str], list[float]] = {}
        for way in (way for each in unsaid.values() for way in each):
            left.setdefault((way.mistake.bug, way.mistake.form), []).append(way.left)
        most = max(map(len, left.values()))
        best, *others = (key for key, each in left.items() if len(each) == most)
        for key in others:
            best = key if sum(left[key]) < _CLEARER * sum(left[best]) else best
        for index, each in unsaid.items():
            fitting = [way for way in each if (way.mistake.bug, way.mistake.form) == best]
            if fitting:
                said[index] = fitting[0]
    return said
