"""TensorFlow Lite's logistic function and tanh of int16, as scalar loops: between entries of one table of 16 bits.

The table holds f, the logistic function at i / 24 in steps of 2^-16, each entry moved by half of what interpolation
would be off by between two entries: T[i] = floor(f(i) - (f(i - 1) - 2 f(i) + f(i + 1)) / 16 + 1/2), i in 0 .. 254, and
T[255] = 65535. The input is brought to steps of 1 / (3 * 4096) by a multiplier of at most 15 bits and a shift; where
its scale is 2^-12 or 2^-11, by 3 and 6 alone.

Notes
-----
reference/integer_ops/logistic.h, tanh.h; kernels/activations.cc (SigmoidPrepare, TanhPrepare). The table stands in
internal/common.h; its formula is inferred from it.
"""

from __future__ import annotations

import math

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["logistic16", "tanh16"]


def _entry(i: int) -> int:
    before, here, after = (65536 / (1 + math.exp(-k / 24)) for k in (i - 1, i, i + 1))
    return math.floor(here - (before - 2 * here + after) / 16 + 0.5)


_TABLE = [*map(_entry, range(255)), 65535]


def logistic16(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """1 / (1 + exp(-x)) in steps of 1/32768.

    v = (q * m + (1 << (n - 1))) >> n, see `_preparation`; u = |v| >> 9, t = |v| & 511;
    r = (T[u] << 9) + t * (T[u + 1] - T[u]), 0x7fff << 10 where u >= 255;
    y = (r + 2^9) >> 10 where v >= 0, else (2^25 - r + 2^9 - 1) >> 10.
    """
    m, n = _preparation(x, to, "sigmoid")
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = (int(x.values[index]) * m + ((1 << n) >> 1)) >> n
        u, t = abs(v) >> 9, abs(v) & 511
        r = 0x7FFF << 10 if u >= 255 else (_TABLE[u] << 9) + t * (_TABLE[u + 1] - _TABLE[u])
        y[index] = (r + 2**9 if v >= 0 else 2**25 - r + 2**9 - 1) >> 10
    return QuantisedTensor(y, to)


def tanh16(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """2 / (1 + exp(-2 x)) - 1 in steps of 1/32768.

    v as of `logistic16`; u = |v| >> 8, t = |v| & 255; r = (T[u] << 8) + t * (T[u + 1] - T[u]), 0xffff << 8 where
    u >= 255; y = (r - 2^23 + 2^7) >> 8 where v >= 0, else (2^23 - r + 2^7 - 1) >> 8.
    """
    m, n = _preparation(x, to, "tanh")
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = (int(x.values[index]) * m + ((1 << n) >> 1)) >> n
        u, t = abs(v) >> 8, abs(v) & 255
        r = 0xFFFF << 8 if u >= 255 else (_TABLE[u] << 8) + t * (_TABLE[u + 1] - _TABLE[u])
        y[index] = (r - 2**23 + 2**7 if v >= 0 else 2**23 - r + 2**7 - 1) >> 8
    return QuantisedTensor(y, to)


def _preparation(x: QuantisedTensor, to: Quantisation, op: str) -> tuple[int, int]:
    """The multiplier m and the shift n of an input.

    Scale 2^-12: 3 and 0; 2^-11: 6 and 0. Else M = double(s_in) * 12288, doubled n times until it is above 32767 / 2,
    at most 31 times, and cut off to an integer.
    """
    s_x, s_y = float(x.quantisation.single()[0]), to.single()
    if (float(s_y[0]), s_y[1]) != (1 / 32768, 0):
        raise RequestError(f"{op}: an output of scale {to.scale} and zero point {s_y[1]}: kernels need 1/32768, 0")
    if s_x in (2.0**-12, 2.0**-11):
        return 3 << round(math.log2(s_x) + 12), 0
    m, n = s_x * 4096 * 3, 0
    while m <= 32767 / 2 and n <= 30:
        m, n = m * 2, n + 1
    return int(m), n
