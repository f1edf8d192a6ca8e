"""Vectors too short to tell by themselves that they were read from the wrong place, in a file where the others were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.verification.array_findings import ArrayFinding
from refnet.verification.sides import Sides

__all__ = ["shifted_too"]

Array = npt.NDArray[Any]
_SHIFTED = "shifted"


def shifted_too(values: Sequence[ArrayFinding], sides: Sides) -> tuple[ArrayFinding, ...]:
    """The findings, in which wrong vectors are shifted as most of what is wrong is, if their numbers say no other.

    A file that is read from the wrong place on is so in every array. A vector of a few numbers holds then those of its
    neighbours: those that are its own must be the same, and where none is, all must be numbers that the original has.
    """
    wrong = [value for value in values if value.fault]
    found = [value.mistake for value in wrong if value.kind == _SHIFTED and value.mistake]
    counts = Counter((mistake.form, mistake.facts["by"]) for mistake in found)
    if not counts or 2 * max(counts.values()) <= len(wrong) or len(found) == len(wrong):
        return tuple(values)
    ((form, by), _), *_ = counts.most_common(1)
    like = next(each for each in found if (each.form, each.facts["by"]) == (form, by))
    numbers = np.unique(np.concatenate([array.ravel() for array in sides.original.params.values()]))

    def told(value: ArrayFinding) -> ArrayFinding:
        one, other = (file.params.get(value.name) for file in (sides.original, sides.copy))
        if not value.fault or value.kind == _SHIFTED or one is None or other is None or one.shape != other.shape:
            return value
        if one.ndim > 1 or not _is_moved(one, other, by if form == "early" else -by, numbers):
            return value
        return replace(value, kind=_SHIFTED, mistake=like._replace(node=value.name), rounding=None)

    return tuple(map(told, values))


def _is_moved(wanted: Array, copy: Array, by: int, numbers: Array) -> bool:
    """Whether `copy[i]` is `wanted[i + by]` where both are there; where nowhere, all of its numbers are known ones."""
    if abs(by) >= copy.size:
        return bool(np.isin(copy, numbers).all())
    here, there = slice(max(-by, 0), copy.size - max(by, 0)), slice(max(by, 0), copy.size - max(-by, 0))
    return np.array_equal(copy[here], wanted[there])
