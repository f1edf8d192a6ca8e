"""What can be seen in an error that no bug of the catalogue explains: where it is, and of what form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, limit
from refnet.readings.bounds import Precision

__all__ = ["Feature", "describe"]

Array = npt.NDArray[Any]


class Feature(NamedTuple):
    """One thing that can be seen, in values; `report` words it.

    Attributes
    ----------
    kind : 'cut-off', 'channels', 'border', 'ratio', 'affine', 'shift' or 'permuted'
    facts : its figures
    """

    kind: str
    facts: Mapping[str, Any]


def describe(segment: Segment, precision: Precision) -> tuple[Feature, ...]:
    """What can be seen in the error of a segment's tensor; nothing where nothing stands out."""
    assert segment.candidate is not None
    target, made = segment.candidate.astype(np.float64), limit(segment, precision)
    y = made.y
    if y.shape != target.shape or not (before := _size(target - y)):
        return ()
    beyond = np.abs(target - y) > made.expected
    found = [_cut_off(beyond, target, y), _channels(beyond), _border(beyond), _ratio(target, y, before)]
    found += [_affine(target, y, before), _shift(target, y, before), _permuted(target, y, before)]
    return tuple(feature for feature in found if feature is not None)


def _size(error: Array) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _cut_off(beyond: Array, target: Array, y: Array) -> Feature | None:
    """All that is off lies beyond the largest or smallest value that the port has: a scale that does not reach."""
    least, most = float(target.min()), float(target.max())
    over, under = beyond & (y > most) & (target == most), beyond & (y < least) & (target == least)
    if not beyond.any() or not np.array_equal(beyond, over | under):
        return None
    ends = {"above": most} if over.any() else {}
    return Feature("cut-off", ends | ({"below": least} if under.any() else {}))


def _channels(beyond: Array) -> Feature | None:
    if beyond.ndim < 2 or beyond.shape[1] < 2:
        return None
    channels = np.flatnonzero(beyond.any(axis=tuple(axis for axis in range(beyond.ndim) if axis != 1)))
    if 0 < len(channels) <= min(3, beyond.shape[1] - 1):
        return Feature("channels", {"channels": tuple(map(int, channels)), "of": beyond.shape[1]})
    return None


def _border(beyond: Array) -> Feature | None:
    if beyond.ndim != 4 or min(beyond.shape[2:]) < 5 or not beyond.any() or beyond[:, :, 2:-2, 2:-2].any():
        return None
    top, bottom, left, right = beyond[:, :, :2], beyond[:, :, -2:], beyond[..., :2], beyond[..., -2:]
    sides = {"top": top, "bottom": bottom, "left": left, "right": right}
    return Feature("border", {"sides": tuple(side for side, part in sides.items() if part.any())})


def _ratio(target: Array, y: Array, before: float) -> Feature | None:
    factor = float((target * y).sum() / max(float((y * y).sum()), 1e-300))
    return Feature("ratio", {"factor": factor}) if _size(target - factor * y) < 1e-3 * before else None


def _affine(target: Array, y: Array, before: float) -> Feature | None:
    """One slope and one offset a channel."""
    if y.ndim != 4 or y.shape[2] * y.shape[3] * y.shape[0] < 8:
        return None
    axes = (0, 2, 3)
    centred = y - y.mean(axis=axes, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=axes, keepdims=True), 1e-300)
    slope = (target * centred).sum(axis=axes, keepdims=True) / spread
    offset = target.mean(axis=axes, keepdims=True) - slope * y.mean(axis=axes, keepdims=True)
    return Feature("affine", {}) if _size(target - slope * y - offset) < 1e-3 * before else None


def _shift(target: Array, y: Array, before: float) -> Feature | None:
    if y.ndim != 4 or min(y.shape[2:]) < 7:
        return None
    for pixels in _pixels():
        moved = np.roll(y, pixels, axis=(2, 3))
        if _size(target[_INNER] - moved[_INNER]) < 1e-3 * before:
            return Feature("shift", {"pixels": pixels})
    return None


_INNER = (..., slice(2, -2), slice(2, -2))


def _pixels() -> Iterator[tuple[int, int]]:
    """Every shift by up to two pixels."""
    return ((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0))


def _permuted(target: Array, y: Array, before: float) -> Feature | None:
    """The same values in another order."""
    if y.size < 2 or before <= 1e-3 * _size(y):
        return None
    apart = _size(np.sort(target, axis=None) - np.sort(y, axis=None))
    return Feature("permuted", {}) if apart < 1e-5 * _size(y) else None
