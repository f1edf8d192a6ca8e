"""Weights of which few values are left: signs, powers of two, the nearest of some.

Each is told from the arrays themselves, as in `damage`, and exactly: by the order of the right weights, not by how near
the copy is to them. No training leaves that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import comparable, made_so
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.readings.precision import FLOATS

__all__ = ["weights_binarised", "weights_clustered", "weights_in_powers"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_LOG = 16 * _U  # relative: a number whose logarithm, up to 16 and more, is rounded
_TOSSES = 20  # signs, or places in an order, that agree by chance once in a million times
_MOST = 256  # values of which weights are the nearest ones: an index of a byte
_LOOKED = 4096  # weights that are looked at first: most arrays have more values
# Times a power of two, from where on the next one is taken.
_TURNS = {"nearest exponent": 2**0.5, "nearest": 1.5, "down": 2.0, "up": 1.0}


def weights_binarised(unit: UnitArrays) -> Iterator[Change]:
    """only the signs of the weights are left.

    Times one number for the tensor or for each channel, the mean of their sizes or another; the smallest may be zero.

    Source: https://arxiv.org/abs/1603.05279
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit) or copy.ndim < 2:
        return
    size, right = np.abs(copy), np.abs(wanted.value)
    for per, axes in (("tensor", None), ("channel", tuple(range(1, copy.ndim)))):
        number = size.max(axis=axes, keepdims=True)
        if not ((size == number) | (size == 0)).all() or copy.size - number.size < _TOSSES or not number.all():
            continue
        gone = (size == 0) & (right > 0)
        if not _are_smallest(gone, wanted, axes):
            continue
        signs = np.where(gone, 0.0, np.where(right <= wanted.slack, np.sign(copy), np.sign(wanted.value)))
        count = copy.size // number.size
        mean = right.mean(axis=axes, keepdims=True)
        near = count * _U * mean + wanted.slack.max()
        form = "three" if gone.any() else "mean" if (np.abs(number - mean) <= near).all() else "other"
        yield made_so(unit, f"{per} {form}", Expected.exactly(signs * number))


def weights_in_powers(unit: UnitArrays) -> Iterator[Change]:
    """rounded to powers of two.

    To the nearest exponent or number, down or up; those beyond the ends are there, and the smallest may be zero.

    Source: https://arxiv.org/abs/1702.03044
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit) or copy.size < _TOSSES:
        return
    fraction, power = np.frexp(copy)
    if not copy.any() or not np.isin(np.abs(fraction), (0.0, 0.5)).all():
        return
    least, most = power[copy != 0].min() - 1, power[copy != 0].max() - 1
    size = np.abs(wanted.value)
    gone = (copy == 0) & (size - wanted.slack <= 2.0**least)
    if not _are_smallest(gone, wanted, None):
        return
    exponent = np.frexp(size)[1] - 1
    below = 2.0**exponent
    for form, turn in _TURNS.items():
        further = size > turn * below
        made = 2.0 ** np.clip(exponent + further, least, most)
        tie = np.abs(size - turn * below) <= _LOG * size + wanted.slack
        tie |= (form == "down") & (np.abs(size - below) <= wanted.slack)
        value = np.where(gone, 0.0, np.sign(wanted.value) * made)
        yield made_so(unit, form, Expected(value, np.where(tie, made, 0.0)))


def _are_smallest(gone: npt.NDArray[np.bool_], wanted: Expected, axes: tuple[int, ...] | None) -> bool:
    """Whether no weight that is zero in the copy is larger than one that is not, in the tensor or in each channel."""
    size = np.abs(wanted.value)
    kept = np.where(gone, np.inf, size + wanted.slack).min(axis=axes, keepdims=True)
    return bool((np.where(gone, size - wanted.slack, 0.0) <= kept).all())


def weights_clustered(unit: UnitArrays) -> Iterator[Change]:
    """each weight is one of few values.

    As many as an index of a byte tells apart: the nearest of them, or that of its place in the order of all, where each
    value lies among the weights that have it.

    Source: https://arxiv.org/abs/1510.00149
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit) or len(np.unique(copy.ravel()[:_LOOKED])) > _MOST:
        return
    values, which = np.unique(copy, return_inverse=True)
    equalled = len(np.unique(wanted.value)) - len(values)  # different weights that became equal
    if not 1 < len(values) <= _MOST or equalled < 1:
        return
    order = which.ravel().argsort(kind="stable")
    starts = np.searchsorted(which.ravel()[order], np.arange(len(values)))
    right, slack = (each.ravel()[order] for each in (wanted.value, wanted.slack))
    first, last = np.minimum.reduceat(right, starts), np.maximum.reduceat(right, starts)
    off = np.maximum.reduceat(slack, starts) + 2 * _U * np.abs(values)
    near = off + copy.size * _U * np.abs(values)  # of a mean of so many
    middle = (values[:-1] + values[1:]) / 2
    nearest = (last[:-1] - off[:-1] <= middle) & (middle <= first[1:] + off[1:])
    in_order = last[:-1] - off[:-1] <= first[1:] + off[1:]
    among = (first - near <= values) & (values <= last + near)  # and so a value that one weight has is that weight
    if (nearest.all() and equalled >= _TOSSES) or (in_order.all() and among.all()):
        yield made_so(unit, "nearest" if nearest.all() else "order", Expected.exactly(copy), count=len(values))
