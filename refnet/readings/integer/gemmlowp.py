"""Functions in fixed point: exp, 1 / (1 + x) and the logistic function on int32, after gemmlowp.

A number of format Qi.f has i whole bits and f = 31 - i bits behind the point: it stands for integer / 2^f. Products are
`fixedpoint.srdhm`. All take ints, or int64 arrays elementwise. Source: gemmlowp, fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.readings.integer.fixedpoint import INT32_MAX, rdp, saturating_left_shift, srdhm

__all__ = ["exp_on_negative", "logistic", "one_over_one_plus"]

_EIGHTH = 1895147668  # exp(-1/8), Q0.31
_THIRD = 715827883  # 1/3, Q0.31
# exp(-2^k), Q0.31, k = -2 .. 4
_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}


def _exp_between(a: Any) -> Any:
    """exp(a) for -1/4 <= a < 0 in Q0.31, a Taylor polynomial about -1/8.

    x = a + 1/8; c + c * (x + t), t = (((x^4 / 4 + x^3) / 3) + x^2) / 2, c = exp(-1/8).
    """
    x = a + 2**28
    x2 = srdhm(x, x)
    x3 = srdhm(x2, x)
    x4 = srdhm(x2, x2)
    t = rdp(srdhm(rdp(x4, 2) + x3, _THIRD) + x2, 1)
    return _EIGHTH + srdhm(_EIGHTH, x + t)


def exp_on_negative(a: Any, whole: int) -> Any:
    """exp(a) in Q0.31 of a <= 0 in Q(whole).(31 - whole).

    a is a rest in [-1/4, 0) and a sum of -2^k, k = -2 .. 4: the exponential of the rest times those of the powers. With
    more than five whole bits, what lies below -32 becomes 0.
    """
    a, f = np.int64(a), 31 - whole  # not NumPy's own int, which has 32 bits on some machines
    rest = (a & ((1 << (f - 2)) - 1)) - (1 << (f - 2))
    y = _exp_between(saturating_left_shift(rest, whole))
    left = rest - a  # multiples of 1/4
    for k, factor in _POWERS.items():
        if k < whole:
            y = np.where((left >> (f + k)) & 1, srdhm(y, factor), y)
    if whole > 5:
        y = np.where(a < -(32 << f), 0, y)
    return np.where(a == 0, INT32_MAX, y)


def one_over_one_plus(a: Any) -> Any:
    """1 / (1 + a) in Q0.31 of 0 <= a < 1 in Q0.31: three Newton steps for the reciprocal of (1 + a) / 2, in Q2.29.

    h = (1 + a) / 2; x = 48/17 - 32/17 * h; three times x = x + x * (1 - h * x); the result is x / 2.
    """
    half = (np.int64(a) + INT32_MAX + 1) >> 1  # both are positive
    x = 1515870810 + srdhm(half, -1010580540)
    for _ in range(3):
        x = x + saturating_left_shift(srdhm(x, 2**29 - srdhm(half, x)), 2)
    return saturating_left_shift(x, 1)


def logistic(a: Any, whole: int) -> Any:
    """1 / (1 + exp(-a)) in Q0.31 of a in Q(whole).(31 - whole): by the negative side, and mirrored for a > 0."""
    a = np.int64(a)
    y = one_over_one_plus(exp_on_negative(-np.abs(a), whole))
    return np.where(a == 0, 2**30, np.where(a > 0, y, INT32_MAX - y))
