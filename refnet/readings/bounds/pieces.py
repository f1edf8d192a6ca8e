"""What bounds a tensor, made as it is asked for: all of it, or piece by piece.

A bound takes a dozen arrays as large as the tensor. Of a piece that a processor's cache holds they cost a part of the
time; and where each element is made of those at its own place, no other array than the inputs is ever there as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings.carried import Value, nothing
from refnet.readings.precision import Precision

__all__ = ["Bound", "BoundPiece", "Where", "like", "pieces"]

Array = npt.NDArray[Any]
Where = tuple[slice, ...]

_PIECE = 1 << 16  # numbers: arrays of half a MiB, some of which a core's own cache holds
_LARGE = 4 * _PIECE  # from which on that pays
_ENDLESS = (-math.inf, math.inf)


class BoundPiece:
    """The exact result of a piece of a tensor, how far rounding may move it, and by what variance.

    Parameters
    ----------
    value : of the piece
    span : the least and the largest number that the tensor can hold; what is beyond is cut off, which widens no error
    """

    def __init__(self, value: Value, span: tuple[float, float]) -> None:
        self.y = value.y if all(map(math.isinf, span)) else value.y.clip(*span)
        self._value = value

    @cached_property
    def limits(self) -> tuple[Array, Array]:
        """(worst, expected)."""
        with np.errstate(over="ignore", invalid="ignore"):  # through many nodes a bound may grow beyond all numbers
            worst, expected = self._value.limits
            least = worst if expected is worst else np.minimum(expected, worst)
            if not np.isnan(least.sum()):  # nothing is below zero, so that no two infinities cancel
                return worst, least
            worst, expected = (np.where(np.isnan(each), np.inf, each) for each in (worst, expected))
            return worst, np.minimum(expected, worst)

    @cached_property
    def variance(self) -> Array:
        """The variance of each element."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._value.variance


class Bound:
    """A segment's exact result `y` and its three yardsticks; `rms` is one number for the tensor.

    Parameters
    ----------
    shape : of the tensor
    made : the value of a piece of it
    span : as of `BoundPiece`
    """

    def __init__(
        self, shape: tuple[int, ...], made: Callable[[Where], Value], span: tuple[float, float] = _ENDLESS
    ) -> None:
        self.shape, self._made, self._span = shape, made, span

    @classmethod
    def of(cls, value: Value) -> Bound:
        """The bound of a tensor that is there."""
        found = cls(value.y.shape, value.piece, value.precision.span)
        found.__dict__["y"] = BoundPiece(value, value.precision.span).y
        return found

    @classmethod
    def given(cls, y: Array, worst: Array, expected: Array, rms: float) -> Bound:
        """A bound of arrays."""
        found = cls.of(Value(y, (worst, expected, nothing(y)), Precision.of("float64")))
        found.__dict__["rms"] = rms
        return found

    def piece(self, where: Where) -> BoundPiece:
        """What bounds a part of the tensor."""
        with np.errstate(over="ignore", invalid="ignore"):
            return BoundPiece(self._made(where), self._span)

    def pieces(self) -> list[Where]:
        """Indices of the pieces that it is looked at in."""
        return pieces(self.shape)

    @cached_property
    def is_one(self) -> bool:
        """Whether it is looked at as a whole."""
        return len(self.pieces()) == 1

    def __iter__(self) -> Iterator[tuple[Where, BoundPiece]]:
        yield from ((where, self.edge if self.is_one else self.piece(where)) for where in self.pieces())

    @cached_property
    def corner(self) -> Where:
        """Indices of a part that is laid out in memory as all of the tensor is; all of it where that is one piece."""
        least = (slice(0, side if axis == 1 else min(side, 2)) for axis, side in enumerate(self.shape))
        return self.pieces()[0] if self.is_one else tuple(least)

    @cached_property
    def edge(self) -> BoundPiece:
        """What bounds that part."""
        return self.piece(self.corner)

    @cached_property
    def y(self) -> Array:
        """The exact result."""
        return self._result[0]

    @cached_property
    def rms(self) -> float:
        """The rms that rounding explains."""
        return self._result[1]

    @property
    def worst(self) -> Array:
        """The worst case."""
        return self._limits[0]

    @property
    def expected(self) -> Array:
        """The expected bound, nowhere beyond the worst case."""
        return self._limits[1]

    def measured(self, variance: Array) -> float:
        """Take the rms from the variances of all elements; infinite where one is not known."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = variance.mean()
            self.__dict__["rms"] = math.inf if np.isnan(mean) else float(np.sqrt(mean))
        return self.rms

    @property
    def is_measured(self) -> bool:
        """Whether the rms is known already."""
        return "rms" in self.__dict__

    @cached_property
    def _limits(self) -> tuple[Array, Array]:
        if self.is_one:
            return self.edge.limits
        worst, expected = (like(each, self.shape) for each in self.edge.limits)
        for where, part in self:
            worst[where], expected[where] = part.limits
        return worst, expected

    @cached_property
    def _result(self) -> tuple[Array, float]:
        if self.is_one:
            return self.edge.y, self.measured(self.edge.variance)
        whole = self.__dict__.get("y")
        y = like(self.edge.y, self.shape) if whole is None else whole
        variance = like(self.edge.variance, self.shape)
        for where, part in self:
            variance[where] = part.variance
            if whole is None:
                y[where] = part.y
        return y, self.measured(variance)


def pieces(shape: tuple[int, ...]) -> list[Where]:
    """Indices of the pieces that a map (N, C, H, W) is looked at in: images, or rows of them; else of all of it."""
    if math.prod(shape) <= _LARGE or len(shape) != 4:
        return [tuple(slice(0, side) for side in shape)]
    N, C, H, W = shape
    rows = min(H, max(1, _PIECE // (C * W)))
    images = max(1, _PIECE // (C * H * W)) if rows == H else 1
    return [
        (slice(n, min(n + images, N)), slice(0, C), slice(h, min(h + rows, H)), slice(0, W))
        for n in range(0, N, images)
        for h in range(0, H, rows)
    ]


def like(part: Array, shape: tuple[int, ...], dtype: npt.DTypeLike | None = None) -> Array:
    """An array, not filled, whose axes lie in memory as those of a part of it do; of the part's dtype or another."""
    order = sorted(range(part.ndim), key=lambda axis: -abs(part.strides[axis]))
    made = np.empty([shape[axis] for axis in order], part.dtype if dtype is None else dtype)
    return made.transpose(np.argsort(order))
