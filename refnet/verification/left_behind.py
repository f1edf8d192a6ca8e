"""Arrays that were left in their old order where the channels of their layer were put into another one.

The other arrays of the layer tell the order; what is as the original has it was forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.readings.precision import FLOATS
from refnet.verification.orders import nearest_rows

__all__ = ["Left", "count_changed", "left_behind"]

Array = npt.NDArray[Any]

_SHORT = 2 * FLOATS["bfloat16"].u  # relative: an array in a short format is the same one


class Left(NamedTuple):
    """What of a unit was left.

    Attributes
    ----------
    order : of the channels of what it makes
    slots : the arrays in the original's order; none where all are in another one, though what it reads is not
    """

    order: Array
    slots: tuple[str, ...]


def left_behind(one: UnitArrays, two: UnitArrays, read: Array, by_channel: bool) -> Left | None:
    """Which arrays of a copy's unit are in the original's order, though others are not; None where any is of neither.

    Parameters
    ----------
    one, two : the unit of the original and of the copy
    read : the order of the channels that it reads
    by_channel : whether a channel of the result is made of the same one of what is read
    """
    one, two = _comparable(one, two)
    right = {slot: one[slot] for slot in one.tensors}
    if not by_channel:
        right["w"] = np.take(right["w"], read, axis=1)
    order = read
    if not (by_channel and _moves(read)):
        rows = [each.reshape(len(each), -1) for each in (two["w"], right["w"])]
        order = found if (found := nearest_rows(*rows)) is not None else np.arange(len(rows[0]))
    moved = [slot for slot in right if _is_same(two[slot], right[slot][order])]
    left = tuple(slot for slot in right if slot not in moved)
    if any(not _is_same(two[slot], one[slot]) for slot in left):
        return None
    if _moves(order) or (_moves(read) and left == ("w",)):
        return Left(order, left)
    return None


def count_changed(one: UnitArrays, two: UnitArrays) -> int:
    """How many arrays of a copy's unit are others than the original's."""
    one, two = _comparable(one, two)
    return sum(not _is_same(two[slot], one[slot]) for slot in one.tensors)


def _comparable(one: UnitArrays, two: UnitArrays) -> tuple[UnitArrays, UnitArrays]:
    """Two units with the same arrays: folded, where one is."""
    return (one, two) if one.tensors.keys() == two.tensors.keys() else (one.folded(), two.folded())


def _moves(order: Array) -> bool:
    return bool((order != np.arange(len(order))).any())


def _is_same(copy: Array, right: Array) -> bool:
    """Whether an array is another one but for a short format."""
    near = _SHORT * np.abs(right) + FLOATS["float16"].subnormal
    return copy.shape == right.shape and bool((np.abs(copy - right) <= near).all())
