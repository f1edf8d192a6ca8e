"""How often a node makes, or weighs with, numbers of each size: counts between round numbers, zero one of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.network import Network
from refnet.study.tiles import kernel_tiles, map_tiles

__all__ = ["Histogram", "histogram_of", "node_histogram"]

_BARS = 32  # bars at most, about


class Histogram(NamedTuple):
    """Counts of numbers.

    Attributes
    ----------
    step : the width of a bar
    first : the first bar begins at `first * step`
    counts : of each bar; a number on an edge belongs to the bar above it
    size, zeros : how many numbers, and how many of them are zero
    others : how many are not finite, and in no bar
    """

    step: float
    first: int
    counts: tuple[int, ...]
    size: int
    zeros: int
    others: int

    def edges(self, bar: int) -> tuple[float, float]:
        """Between which numbers a bar stands."""
        return (self.first + bar) * self.step, (self.first + bar + 1) * self.step


def histogram_of(values: npt.NDArray[Any]) -> Histogram:
    """Count numbers; the step is 1, 2 or 5 times a power of ten, so that zero is an edge.

    Examples
    --------
    >>> histogram_of(np.array([-0.1, 0.0, 0.0, 0.1, 0.25]))._replace(counts=())
    Histogram(step=0.02, first=-5, counts=(), size=5, zeros=2, others=0)
    """
    numbers = np.asarray(values, np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    step = _round_step((high - low) / _BARS or max(abs(low), 1.0))
    first, last = math.floor(low / step), math.floor(high / step)
    bars = np.floor(finite / step).astype(np.int64) - first
    counts = np.bincount(bars, minlength=last - first + 1)
    zeros = int((finite == 0).sum())
    return Histogram(step, first, tuple(counts.tolist()), len(numbers), zeros, len(numbers) - len(finite))


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((step * power for step in (1, 2, 5) if step * power >= least), 10 * power)


def node_histogram(net: Network, x: npt.NDArray[Any], name: str, *, kernels: bool = False) -> Histogram:
    """Of all numbers that a node makes of the first image, or of its weights.

    Raises
    ------
    RequestError
        if there is no such node, or it has no weights and they are asked for.
    """
    tiles = kernel_tiles(net, name) if kernels else map_tiles(net, x, name)
    return histogram_of(np.concatenate([tile.values.ravel() for tile in tiles]))
