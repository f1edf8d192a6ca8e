"""From sums to integers of the output, many at once: the two ways in which runtimes rescale.

A finish is made once a convolution and called with each strip of sums: (T, Q, K) whole numbers in, integers out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from refnet.readings.integer.fast.sums import Finish, tiled
from refnet.readings.integer.fixedpoint import mbqm, mbqm_half_up, mbqm_single, multiplier
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["Rounding", "by_float", "by_multiplier", "by_table", "elementwise", "looked_up"]

Rounding = Callable[[Any, Any, Any], Any]

_ERROR = 2.0**-14  # of a sum times its ratio in float32, up to 256


def by_multiplier(ratios: Array, rounding: Rounding, to: Quantisation, limits: tuple[int, int]) -> Finish:
    """clip(rounding(sum, Q(ratio[k])) + z), K ratios in float64.

    What the rules of `fixedpoint` make of v = sum * m * 2^(e - 31) needs no integers nearly everywhere. With n = -e > 0
    and h = 2^-(n + 1), half a step of the first rounding in steps of the output,

        mbqm goes to the integer nearest to v + h where v >= 0, to v - h where v < 0,
        mbqm_half_up to that nearest to v + h,

    and mbqm_single, like the others where e >= 0, to that nearest to v: only which way they go on a tie needs more. The
    product in float32 is within 2^-22 |v| of v, of which 2^-31 |v| are the rounding of m. Where |v| is above 256, the
    clip to 8 bits decides; below, the error is at most 2^-14. So where the product is further than that from a tie, the
    nearest integer is the rule's. The others, one in some thousands, go through the rule itself in int64. All do where
    a shift to the left might wrap, for other rules, and for int16.
    """
    m, e = _multipliers(ratios.astype(np.float64).tobytes())
    z = to.single()[1]
    low, high = limits[0] - z, limits[1] - z
    K, left = len(ratios), 2.0 ** max(int(e.max()), 0)
    fits = rounding in (mbqm, mbqm_half_up, mbqm_single) and to.dtype.itemsize == 1
    moved = np.where(e < 0, np.exp2(e - 1.0), 0.0) if rounding is not mbqm_single else np.zeros(K)
    signed = rounding is mbqm and low < 0  # else what is below zero is clipped
    room = _Room()

    @lru_cache(maxsize=1)
    def row(Q: int) -> tuple[Array, Array]:
        return tiled(ratios.astype(np.float32), Q), tiled(moved.astype(np.float32), Q)

    def exact(total: Array, index: Array) -> Array:
        k = index % K
        return rounding(total.reshape(-1)[index].astype(np.int64), m[k], e[k])

    def finish(total: Array, out: Array) -> None:
        T, Q, _ = total.shape
        y, v = room.pair(T, Q * K)
        if not fits or (left > 1 and float(np.abs(total).max(initial=0)) * left >= 2**31):
            y = exact(total, np.arange(total.size)).reshape(T, Q * K)
        else:
            factors, halves = row(Q)
            np.multiply(total.reshape(T, Q * K), factors, out=v, casting="same_kind")
            np.add(v, np.copysign(halves, v, out=y) if signed else halves, out=v)
            np.rint(v, out=y)
            np.subtract(v, y, out=v)
            np.abs(v, out=v)
            doubtful = _few(v >= np.float32(0.5 - _ERROR))
            if len(doubtful):
                y.reshape(-1)[doubtful] = exact(total, doubtful)
        np.clip(y, low, high, out=y)
        np.add(y, z, out=out.reshape(T, Q * K), casting="unsafe")

    return finish


@lru_cache(maxsize=1024)
def _multipliers(ratios: bytes) -> tuple[Array, Array]:
    """`multiplier` of float64 ratios, which are the same in every run of a network."""
    m, e = multiplier(np.frombuffer(ratios))
    m.flags.writeable = e.flags.writeable = False
    return m, e


def _few(mask: Array) -> Array:
    """Where a mask is true, when it hardly ever is: looked for eight at a time."""
    flat = mask.reshape(-1)
    if flat.size % 8:
        return np.flatnonzero(flat)
    eights = np.flatnonzero(flat.view(np.uint64) != 0)
    places = (eights[:, None] * 8 + np.arange(8)).reshape(-1)
    return places[flat[places]]


def by_float(factors: Array, to: Quantisation, limits: tuple[int, int], bias: Array | None = None) -> Finish:
    """clip(rint(f32(f32(f32(sum) + bias[k]) * factor[k])) + z), K factors and biases in float32."""
    z = to.single()[1]
    low, high = limits[0] - z, limits[1] - z

    @lru_cache(maxsize=1)
    def row(Q: int) -> tuple[Array, Array | None]:
        return tiled(factors, Q), None if bias is None else tiled(bias, Q)

    room = _Room()

    def finish(total: Array, out: Array) -> None:
        T, Q, K = total.shape
        each, offset = row(Q)
        y, _ = room.pair(T, Q * K)
        y[...] = total.reshape(T, Q * K)
        if offset is not None:
            y += offset
        y *= each
        np.rint(y, out=y)
        np.clip(y, low, high, out=y)
        np.add(y, z, out=out.reshape(T, Q * K), casting="unsafe")

    return finish


class _Room:
    """Two arrays of float32 that a finish uses again for every strip: fresh memory costs more than the arithmetic."""

    def __init__(self) -> None:
        self.arrays = np.empty((2, 0, 0), np.float32)

    def pair(self, rows: int, size: int) -> tuple[Array, Array]:
        """Two arrays (rows, size) with anything in them."""
        if self.arrays.shape[1] < rows or self.arrays.shape[2] != size:
            self.arrays = np.empty((2, rows, size), np.float32)
        return self.arrays[0, :rows], self.arrays[1, :rows]


def elementwise(total: Array, finish: Finish, dtype: Any) -> Array:
    """A finish of one ratio over an array of any shape."""
    out = np.empty(total.shape, dtype)
    finish(np.ascontiguousarray(total).reshape(-1, 1, 1), out.reshape(-1, 1, 1))
    return out


def by_table(x: QuantisedTensor, formula: Callable[[Array], Array], to: Quantisation) -> QuantisedTensor:
    """A formula of single integers over an array: over all of the dtype, in int64, then looked up."""
    return QuantisedTensor(looked_up(x, lambda q: np.clip(formula(q), to.low, to.high).astype(to.dtype)), to)


def looked_up(x: QuantisedTensor, formula: Callable[[Array], Array]) -> Array:
    """What a formula makes of each integer of a tensor, by a table of what it makes of all of the dtype."""
    bits = f"u{x.values.itemsize}"
    every = np.arange(2 ** (8 * x.values.itemsize)).astype(bits).view(x.values.dtype)
    return formula(every.astype(np.int64)).take(x.values.view(bits).astype(np.intp))
