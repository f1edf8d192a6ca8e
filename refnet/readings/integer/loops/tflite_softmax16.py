"""TensorFlow Lite's softmax of int16, as scalar loops: two tables of 513 entries, interpolated.

Sources: reference/softmax.h (SoftmaxInt16), kernels/internal/common.h (LUTPopulate, LUTLookup), kernels/activations.cc
(SoftmaxPrepare).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["softmax16"]


def softmax16(x: QuantisedTensor, *, beta: float = 1.0, to: Quantisation) -> QuantisedTensor:
    """exp(beta * x) / sum of exp(beta * x) over axis 1, in steps of 1/32768 from 0 on; x is int16, (N, K, ...).

    (m, e) = Q(double(s_in) * double(beta) / (10 / 65535)); d = q - the row's largest;
    E = exp, by table over [-10, 0], of clip16(MBQM(d, (m, e)) + 32767), Q0.15; S = sum of E; h = leading zeros of S as
    uint32; f = clip16((((S << (h - 1)) + 2^13) >> 14) - 2^15 - 2^16); R = 1 / (1 + f), by table over [0, 1], Q0.15;
    y = clip((E * R + (1 << (30 - h))) >> (31 - h), 0, 32767).

    Raises
    ------
    RequestError
        when the output is not in those steps: the runtime refuses.
    """
    s_x, _ = x.quantisation.single()
    if (float(to.single()[0]), to.single()[1]) != (1 / 32768, 0):
        raise RequestError(
            f"softmax: an output of scale {to.scale} and zero point {to.zero_point}: kernels need 1/32768, 0"
        )
    m, e = multiplier(float(s_x) * float(np.float32(beta)) / (10 / 65535))
    powers = _table(10 / 65535, 32767, math.exp)
    parts = _table(1 / 65535, -32768, lambda v: 1 / (1 + v))
    rows = np.moveaxis(x.values, 1, -1)
    y = np.zeros((rows.size // rows.shape[-1], rows.shape[-1]), to.dtype)
    for n, row in enumerate(rows.reshape(y.shape).astype(int).tolist()):
        largest = max(row)
        each = [_looked_up(_clip16(mbqm(q - largest, m, e) + 32767), powers) for q in row]
        total = sum(each)
        h = 32 - total.bit_length()
        part = _looked_up(_clip16((((total << (h - 1)) + 2**13) >> 14) - 2**15 - 2**16), parts)
        for k, power in enumerate(each):
            y[n, k] = min(max((power * part + (1 << (30 - h))) >> (31 - h), 0), 32767)
    return QuantisedTensor(np.moveaxis(y.reshape(rows.shape), -1, 1), to)


def _table(scale: float, zero_point: int, function: Callable[[float], float]) -> list[int]:
    """A function over the int16 of a quantisation at 513 places, in steps of 2 / 65535.

    Each entry is moved by half of what interpolation would be off by in the middle of the step behind it. In float64,
    ties away from zero: b = round(f(v) * k), w = round((f(v + step) * k + b) / 2) - round(f(v + step / 2) * k),
    entry = clip16(b - round(w / 2)).
    """

    def away(value: float) -> float:
        return float(round_away(np.float64(value)))

    low, high = scale * (-32768 - zero_point), scale * (32767 - zero_point)
    step = (high - low) / 512
    k = 65536 / ((2 / 65535) * 32767 - (2 / 65535) * -32768)
    entries = []
    for i in range(512):
        base = away(function(low + i * step) * k)
        middle = away((function(low + (i + 1) * step) * k + base) / 2)
        wrong = middle - away(function(low + i * step + step / 2) * k)
        entries.append(_clip16(int(base - away(wrong / 2))))
    return [*entries, _clip16(int(away(function(high) * k)))]


def _looked_up(value: int, table: list[int]) -> int:
    """Between entries: i = 256 + (v >> 7); t[i] + (((t[i + 1] - t[i]) * (v & 127) + 64) >> 7)."""
    i = 256 + (value >> 7)
    return table[i] + (((table[i + 1] - table[i]) * (value & 127) + 64) >> 7)


def _clip16(value: int) -> int:
    return min(max(int(value), -32768), 32767)
