"""A tensor and how far rounding may have moved it: what `bounds` carries from node to node.

How a sum, a store and params in short or integer formats add to it is here, with no operation in mind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.readings.precision import Precision

__all__ = [
    "LAMBDA",
    "Loose",
    "Sum",
    "Value",
    "channel",
    "gamma",
    "is_nothing",
    "moved",
    "norms_moved",
    "nothing",
    "parted",
    "plus",
    "stored",
    "through",
    "times",
]

Array = npt.NDArray[np.float64]

LAMBDA = 6.0  # of the expected bound


class Sum(NamedTuple):
    """Roundings on the longest path, sum of absolute terms, sum of squared terms.

    `drift` is how far the sum may have gone astray in one direction before more was added to it, see `_drift`.
    """

    K: int
    A: Array
    B2: Array
    drift: Array | float = 0.0

    def piece(self, where: tuple[slice, ...]) -> Sum:
        """A part of it."""
        drift = np.broadcast_to(self.drift, self.A.shape)
        return Sum(self.K, self.A[where], self.B2[where], drift[where])


class Loose(NamedTuple):
    """A parameter that a port may have otherwise: how far, element by element."""

    value: Array
    slack: Array


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor and how far an honest one may lie from it.

    Attributes
    ----------
    y : the exact result
    carried : (worst, expected, variance) that were carried in
    open : the sum that made it, where a batch norm may go on with it, because a port may fold that
    steps : how many roundings, of its store and the sum before it, may each underflow; 0 where nothing is stored
    """

    y: Array
    carried: tuple[Array, Array, Array]
    precision: Precision
    open: Sum | None = None
    steps: int = 0

    @cached_property
    def held(self) -> tuple[Array, Array, Array]:
        """(worst, expected, variance) with the store, without the open sum."""
        if not self.steps:
            return self.carried
        worst, expected, var = self.carried
        cost = np.abs(self.y)
        cost *= self.precision.u_store
        cost += self.steps * self.precision.tiny / 2 + self.precision.step
        most = plus(worst, cost)
        return most, most if expected is worst else plus(expected, cost), plus(var, cost * cost)

    def held_in(self, precision: Precision) -> Value:
        """The same, stored in another precision than that of what it was made of."""
        return Value(self.y, self.carried, precision, self.open, max(self.steps, 1))

    @property
    def worst(self) -> Array:
        """The worst case, without the open sum."""
        return self.held[0]

    @property
    def expected(self) -> Array:
        """The expected bound, without the open sum."""
        return self.held[1]

    @property
    def var(self) -> Array:
        """The variance, without the open sum."""
        return self.held[2]

    @property
    def total(self) -> tuple[Array, Array, Array]:
        """(worst, expected, variance) with the open sum."""
        return *self.limits, self.variance

    @property
    def limits(self) -> tuple[Array, Array]:
        """(worst, expected) with the open sum."""
        if self.open is None:
            return self.held[:2]
        u, (K, A, *_) = self.precision.u, self.open
        worst = gamma(K, u) * A
        if K * u >= 1:
            worst[A == 0] = 0  # not infinity times zero
        worst += self.worst
        expected = LAMBDA * math.sqrt(K) * u * A
        expected += self.expected
        if self.precision.drifts:
            expected += self.drift
        return worst, expected

    @property
    def variance(self) -> Array:
        """The variance with the open sum."""
        if self.open is None:
            return self.var
        u, (K, _, B2, _) = self.precision.u, self.open
        var = self.y**2
        var += B2
        var *= K * u**2
        var += self.var
        if self.precision.drifts:
            var += self.drift**2
        return var

    @property
    def drift(self) -> Array | float:
        """How far an open sum may go astray in one direction, in a format in which sums do."""
        if self.open is None or not self.precision.drifts:
            return 0.0
        K, A, _, before = self.open
        return np.maximum(before, _drift(self.y, K, A, self.precision.u))

    def piece(self, where: tuple[slice, ...]) -> Value:
        """A part of it, which has moved as far as it has in the whole."""
        worst, expected, var = self.carried
        least = worst[where]
        carried = least, least if expected is worst else expected[where], var[where]
        total = None if self.open is None else self.open.piece(where)
        return Value(self.y[where], carried, self.precision, total, self.steps)


def stored(y: Array, total: Sum | None, worst: Array, expected: Array, var: Array, p: Precision) -> Value:
    """A value whose result is stored; its sum, if any, stays open."""
    return Value(y, (worst, expected, var), p, total, (total.K if total else 0) + 1)


def is_nothing(each: Array) -> bool:
    """Whether an array is made by `nothing`, and so zero without a look at all of it."""
    return each.size > 0 and not any(each.strides) and not each[(0,) * each.ndim]


def times(factor: Array | float, each: Array) -> Array:
    """A product, of the shape of `each`, which stays nothing."""
    return each if is_nothing(each) else factor * each


def plus(each: Array, own: Array | float) -> Array:
    """A sum, of the shape of `each`; where that is nothing, `own` itself, which may take no memory either."""
    return np.broadcast_to(np.asarray(own, each.dtype), each.shape) if is_nothing(each) else each + own


def through(run: Callable[[Array], Array], each: Array, like: Array) -> Array:
    """What an operation that keeps zeros makes of how far its input has moved, in the shape of its result."""
    return nothing(like) if is_nothing(each) else run(each)


def _drift(y: Array, K: int, A: Array, u: float) -> Array:
    """u K y^2 / (2 A): how far a plain sum kept in a short format may go astray in one direction.

    In a short format the terms of a long sum are soon no larger than a unit of what has been summed up, and like terms
    then round alike, step after step. Of K terms of size A / K a plain sum has j y / K after j, and a step rounds by u
    times that at most: the sum of all steps would be u K abs(y) / 2. But only terms of one sign add up so; what they
    leave when they are of both is in the share abs(y) / A.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(A > 0, u * K * y**2 / (2 * A), 0.0)


def gamma(K: int, u: float) -> float:
    """gamma_K = K u / (1 - K u), infinite when K u >= 1."""
    return K * u / (1 - K * u) if K * u < 1 else math.inf


def nothing(like: Array) -> Array:
    """Zeros in the shape of an array, which take no memory."""
    return np.broadcast_to(like.dtype.type(0), like.shape)


def moved(x: Value, w: Array, b: Array | None) -> tuple[Array, Array]:
    """How far the formats that weights and bias are stored in may move each of them; see `_convolved`."""
    d, d_b, p = np.zeros_like(w), np.zeros_like(w, shape=len(w)), x.precision
    if p.short:
        d, d_b = p.rounded(w), d_b if b is None else p.rounded(b)
    if p.levels:
        half = np.abs(w).reshape(len(w), -1).max(axis=1) / (2 * p.levels)  # of a step, per filter
        d = d + half.reshape(-1, *[1] * (w.ndim - 1))
        d_b = d_b + half * _step(x)
    return d, d_b


def _step(x: Value) -> float:
    """The step of an integer tensor: where it is given, no more than its smallest number that is not zero.

    It is given, too, where nothing is stored between it and the result.
    """
    seen = np.abs(x.y[x.y != 0])
    if not (x.precision.step or x.precision.fused) or x.worst.any() or not seen.size:
        return 2 * x.precision.step
    return float(seen.min())


def parted(param: Array | Loose | None) -> tuple[Array | None, Array | None]:
    """A parameter, and how far a port's own may lie from it, None where it is the port's own."""
    return (param.value, param.slack) if isinstance(param, Loose) else (param, None)


def norms_moved(x: Value, s: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """How far a batch norm's params, stored in a short format, may move its result; see `batch_norm`."""
    rounded = x.precision.rounded
    least = np.maximum(var + eps - rounded(var + eps), x.precision.tiny)
    d_s = channel((np.abs(gamma) + rounded(gamma)) / np.sqrt(least)) - np.abs(s)
    d_m, m = channel(rounded(mean)), channel(mean)
    made: Array = d_s * (np.abs(x.y - m) + x.total[0]) + (np.abs(s) + d_s) * d_m + channel(rounded(beta))
    return made


def channel(vector: Array) -> Array:
    """(C,) -> (C, 1, 1), to meet (N, C, H, W)."""
    return vector.reshape(-1, 1, 1)
