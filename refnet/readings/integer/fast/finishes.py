"""From sums to integers of the output, many at once: the two ways in which runtimes rescale.

A finish is made once a convolution and called with each strip of sums: (T, Q, K) whole numbers in, integers out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from refnet.readings.integer.fast.sums import Finish
from refnet.readings.integer.fixedpoint import mbqm, mbqm_half_up, mbqm_single, multiplier
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["Rounding", "by_float", "by_multiplier", "by_table", "elementwise"]

Rounding = Callable[[Any, Any, Any], Any]

_NEAREST = (mbqm, mbqm_half_up, mbqm_single)
_SAFE = 2.0**-13


def by_multiplier(ratios: Array, rounding: Rounding, to: Quantisation, limits: tuple[int, int]) -> Finish:
    """clip(rounding(sum, Q(ratio[k])) + z), K ratios in float64.

    Nearly every sum is far enough from a tie to be rounded in float32, whatever the rule. With n = max(-e, 0) and
    v = sum * ratio, the three rules of `fixedpoint` that go to the nearest integer differ from v by at most 1/2, by
    2^-(n+1) that a first rounding moved it, and by 2^-31 |v| that m is off. The product in float32 is within 2^-23 |v|
    of v. Where |v| is 512 or more, the clip to 8 bits decides; below, both errors together are less than 2^-13. So
    where the product is further than 2^-(n+1) + 2^-13 from a tie, its nearest integer is the rule's. Only the others,
    a few in a thousand, go through the rule itself in int64. All of them do where a shift to the left might wrap, for
    other rules, and for int16.
    """
    m, e = multiplier(ratios)
    z = to.single()[1]
    low, high = limits[0] - z, limits[1] - z
    factor, right = ratios.astype(np.float32), np.maximum(-e, 0)
    distance = (0.5 - _SAFE - np.where(right > 0, 2.0 ** -(right + 1.0), 0.0)).astype(np.float32)
    K, left = len(ratios), 2.0 ** max(int(e.max()), 0)
    fits = rounding in _NEAREST and to.dtype.itemsize == 1

    @lru_cache(maxsize=4)
    def tiled(Q: int) -> tuple[Array, Array]:
        return np.tile(factor, Q), np.tile(distance, Q)

    def exact(total: Array, index: Array) -> Array:
        k = index % K
        return rounding(total.reshape(-1)[index].astype(np.int64), m[k], e[k])

    def finish(total: Array, out: Array) -> None:
        T, Q, _ = total.shape
        if not fits or (left > 1 and float(np.abs(total).max(initial=0)) * left >= 2**31):
            y = exact(total, np.arange(total.size)).reshape(T, Q * K)
        else:
            factors, distances = tiled(Q)
            v = (total.reshape(T, Q * K) * factors).astype(np.float32, copy=False)
            y = np.rint(v)
            v -= y
            np.abs(v, out=v)
            doubtful = np.flatnonzero(v >= distances)
            if len(doubtful):
                y.reshape(-1)[doubtful] = exact(total, doubtful)
        np.clip(y, low, high, out=y)
        np.add(y, z, out=out.reshape(T, Q * K), casting="unsafe")

    return finish


def by_float(factors: Array, to: Quantisation, limits: tuple[int, int], bias: Array | None = None) -> Finish:
    """clip(rint(f32(f32(f32(sum) + bias[k]) * factor[k])) + z), K factors and biases in float32."""
    z = to.single()[1]
    low, high = limits[0] - z, limits[1] - z

    @lru_cache(maxsize=4)
    def tiled(Q: int) -> tuple[Array, Array | None]:
        return np.tile(factors, Q), None if bias is None else np.tile(bias, Q)

    def finish(total: Array, out: Array) -> None:
        T, Q, K = total.shape
        each, offset = tiled(Q)
        y = total.astype(np.float32, copy=False).reshape(T, Q * K)
        y = y * each if offset is None else (y + offset) * each
        np.rint(y, out=y)
        np.clip(y, low, high, out=y)
        np.add(y, z, out=out.reshape(T, Q * K), casting="unsafe")

    return finish


def elementwise(total: Array, finish: Finish, dtype: Any) -> Array:
    """A finish of one ratio over an array of any shape."""
    out = np.empty(total.shape, dtype)
    finish(np.ascontiguousarray(total).reshape(-1, 1, 1), out.reshape(-1, 1, 1))
    return out


def by_table(x: QuantisedTensor, formula: Callable[[Array], Array], to: Quantisation) -> QuantisedTensor:
    """A formula of single integers over an array: over the dtype's integers, in int64, then looked up."""
    q = x.quantisation
    values = np.arange(q.low, q.high + 1)
    made = np.clip(formula(values), to.low, to.high).astype(to.dtype)
    table = np.roll(made, q.low)  # by the integers' bits read as unsigned
    return QuantisedTensor(table[x.values.view(f"u{q.dtype.itemsize}")], to)
