"""How activations round: each by its largest slope, and what it adds of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from refnet.readings import fast
from refnet.readings.bounds.storing import closed, kept
from refnet.readings.carried import Value, channel, plus, times

__all__ = [
    "clip",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "sigmoid",
    "swish",
    "tanh",
    "thresholded_relu",
]

Array = npt.NDArray[np.float64]


def relu(x: Value) -> Value:
    """Rounds nothing; slope at most 1."""
    return _activated(x, fast.relu(x.y), 1.0, None)


def relu6(x: Value) -> Value:
    """Rounds nothing; slope at most 1."""
    return _activated(x, fast.relu6(x.y), 1.0, None)


def leaky_relu(x: Value, *, slope: float) -> Value:
    """2 u abs(y) where x is negative: the slope as a constant, and the product; elsewhere nothing is rounded.

    max(x, slope x), and the sum of a positive and a negative part, of which one is zero, round no more. The largest
    slope is 1 or its own. Stored in a short format, the constant moves as params do.
    """
    y = fast.leaky_relu(x.y, slope=slope)
    u = 2 * x.precision.u + (x.precision.u_store if x.precision.short else 0)
    return _activated(x, y, max(1.0, abs(slope)), np.where(x.y < 0, u * np.abs(y), 0))


def prelu(x: Value, alpha: Array) -> Value:
    """u abs(alpha x) where x is negative: the product; elsewhere nothing is rounded.

    x + dx is multiplied by 1 or by alpha, and carries dx on by the larger of the two. Stored in a short format, alpha
    is off by d, and the product by d abs(x) more.
    """
    slopes = channel(alpha) if alpha.ndim == 1 and x.y.ndim == 4 else alpha
    y = fast.prelu(x.y, alpha)
    largest = np.maximum(np.abs(slopes), 1)
    worst, expected, var = (each * largest**power for power, each in zip((1, 1, 2), x.total, strict=True))
    own = np.where(x.y < 0, x.precision.u * np.abs(y), 0)
    if x.precision.short:
        own = own + x.precision.rounded(slopes) * (np.abs(x.y) + x.total[0])
    return closed(y, worst + own, expected + own, var + own**2, x.precision)


def thresholded_relu(x: Value, *, threshold: float) -> Value:
    """Rounds nothing; an x that may lie on either side of the threshold, itself a constant, may become 0 or stay."""
    y = fast.thresholded_relu(x.y, threshold=threshold)
    beside = np.abs(x.y - threshold) - x.precision.u * abs(threshold)
    size = np.abs(x.y)
    worst, expected = (
        np.where(beside <= each, size + each, np.where(x.y > threshold, each, 0)) for each in x.total[:2]
    )
    var = np.where(beside <= x.total[0], x.y**2 + x.total[2], np.where(x.y > threshold, x.total[2], 0))
    return kept(y, worst, expected, var, x.precision)


def clip(x: Value, *, low: float, high: float) -> Value:
    """u abs(y): the ends are constants, which are rounded; slope at most 1."""
    y = fast.clip(x.y, low=low, high=high)
    return _activated(x, y, 1.0, x.precision.u * np.abs(y))


def tanh(x: Value) -> Value:
    """9 u absolute; slope at most 1.

    (1 - e) / (1 + e) with e = exp(-2 x) rounds the exponential twice, the difference, the sum and the quotient, of
    values at most 1: 5 u. 2 sigmoid(2 x) - 1 has twice the sigmoid's 4 u, and the difference: 9 u.
    """
    return _activated(x, fast.tanh(x.y), 1.0, 9 * x.precision.u)


def hard_sigmoid(x: Value, *, slope: float, offset: float) -> Value:
    """2 u absolute: slope, product, sum and quotient round values that are at most 1 where the result is not cut."""
    y = fast.hard_sigmoid(x.y, slope=slope, offset=offset)
    return _activated(x, y, abs(slope), 2 * x.precision.u)


def hard_swish(x: Value) -> Value:
    """4 u abs(x) min(abs(x) / 6 + 1/2, 1): never relative to y, which vanishes at -3 while x + 3 keeps its error.

    Covers x * (relu6(x + 3) / 6), (x * relu6(x + 3)) / 6, * (1/6) in either place, and x * clip(x / 6 + 1/2): at most
    four roundings of factors bounded by abs(x) and by min(abs(x) / 6 + 1/2, 1). The slope is largest at 3: 3/2.
    """
    magnitude = np.abs(x.y)
    own = magnitude / 6
    own += 0.5
    np.minimum(own, 1, out=own)
    magnitude *= 4 * x.precision.u
    own *= magnitude
    return _activated(x, fast.hard_swish(x.y), 1.5, own)


def sigmoid(x: Value) -> Value:
    """4 u absolute: exponential, sum and quotient of values at most 1 (or cut where they are larger)."""
    return _activated(x, fast.sigmoid(x.y), 0.25, 4 * x.precision.u)


def swish(x: Value) -> Value:
    """As the sigmoid, times abs(x), and the product; the slope is at most 1.1."""
    return _activated(x, fast.swish(x.y), 1.1, 5 * x.precision.u * np.abs(x.y))


def _activated(x: Value, y: Array, slope: float, own: Array | float | None) -> Value:
    """An activation with a largest slope and an absolute error of its own; None rounds and stores nothing new."""
    worst, expected, var = x.total
    if slope != 1:
        worst, expected, var = times(slope, worst), times(slope, expected), times(slope**2, var)
    if own is None:
        return kept(y, worst, expected, var, x.precision)
    most = plus(worst, own)
    likely = most if expected is worst else plus(expected, own)
    return closed(y, most, likely, plus(var, np.square(own)), x.precision)
