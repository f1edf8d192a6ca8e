"""How far values have moved that are found elsewhere: borders, largest ones, joined maps, other sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings import fast
from refnet.readings.bounds.storing import closed, kept
from refnet.readings.carried import Value, plus, through

__all__ = ["concat", "flatten", "max_pool2d", "pad", "resize_bilinear", "resize_legacy", "resize_nearest"]

Array = npt.NDArray[np.float64]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def max_pool2d(x: Value, *, kernel: Pair, stride: Pair, pad: Pad) -> Value:
    """Rounds nothing; the largest of a window moves by no more than its elements do."""
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "pad": pad}
    return _carried(x, partial(fast.max_pool2d, **window), fast.max_pool2d(x.y, **window))


def pad(x: Value, *, pad: Pad, mode: str, value: float) -> Value:
    """Rounds nothing; a constant border is exact."""
    y = fast.pad(x.y, pad=pad, mode=mode, value=value)
    return _carried(x, partial(fast.pad, pad=pad, mode=mode, value=0.0), y)


def concat(*xs: Value) -> Value:
    """Rounds nothing."""
    worst, expected, var = (fast.concat(*each) for each in zip(*(x.total for x in xs), strict=True))
    return kept(fast.concat(*(x.y for x in xs)), worst, expected, var, xs[0].precision)


def flatten(x: Value) -> Value:
    """Rounds nothing."""
    return _carried(x, fast.flatten, fast.flatten(x.y))


def resize_bilinear(x: Value, *, size: Pair, align_corners: bool) -> Value:
    """4 u (A + n r): four roundings of the weighted terms; and coordinates up to n, the input's size, round too.

    A coordinate that moves by 4 u n moves the result by at most that times r, the range of the 3x3 neighbourhood.
    """
    return _interpolated(x, partial(fast.resize_bilinear, size=size, align_corners=align_corners))


def resize_legacy(x: Value, *, size: Pair) -> Value:
    """As `resize_bilinear`: its coordinates are one product less."""
    return _interpolated(x, partial(fast.resize_legacy, size=size))


def _interpolated(x: Value, run: Callable[[Array], Array]) -> Value:
    spread = _reached(x.y, np.maximum) - _reached(x.y, np.minimum)
    own = run(np.abs(x.y) + max(x.y.shape[2:]) * spread) * 4 * x.precision.u
    worst, expected, var = (through(run, each, own) for each in x.total)
    return closed(run(x.y), plus(worst, own), plus(expected, own), plus(var, own**2), x.precision)


def _reached(y: Array, pick: np.ufunc) -> Array:
    """The largest or smallest number of the 3x3 neighbourhood of each point, as far as the map goes."""
    for axis in (2, 3):
        last = y.shape[axis] - 1
        before, after = (np.clip(np.arange(last + 1) + step, 0, last) for step in (-1, 1))
        y = pick(pick(np.take(y, before, axis), y), np.take(y, after, axis))
    return y


def resize_nearest(x: Value, **how: Any) -> Value:
    """Rounds nothing; which pixel is the nearest is told in float32 for every implementation alike."""
    return _carried(x, partial(fast.resize_nearest, **how), fast.resize_nearest(x.y, **how))


def _carried(x: Value, run: Callable[[Array], Array], y: Array) -> Value:
    """A result that rounds nothing, and what it carries."""
    worst, expected, var = (through(run, each, y) for each in x.total)
    return kept(y, worst, expected, var, x.precision)
