"""The roundings of integer kernels: what a runtime does with a product, a shift and a scale.

Each function takes Python ints, or int64 arrays elementwise; nothing is approximated and nothing is clipped unless the
docstring says so. An int becomes an int64 where NumPy takes it: by itself it would be of 32 bits on some machines.
Names are those of gemmlowp and TensorFlow Lite, which most kernels copy. Both executions, `loops` and `fast`, use these
and nothing else in common.

x >> n is the arithmetic shift: floor(x / 2^n).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refnet.errors import RequestError

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "mbqm",
    "mbqm64",
    "mbqm_half_up",
    "mbqm_single",
    "multiplier",
    "rdp",
    "rescale",
    "round_away",
    "sat16",
    "saturating_left_shift",
    "srdhm",
    "srdhm16",
    "wrap32",
]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_MOST_LEFT = 30  # bits that a kernel may shift an int32 to the left by


def multiplier(d: Any) -> tuple[Any, Any]:
    """Write a scale as an integer and a power of two: d ~ m * 2^(e - 31).

    With d = q * 2^e, 1/2 <= q < 1 (frexp): m = round_away(q * 2^31); where m is 2^31, m = 2^30 and e grows by one;
    where e < -31, or d is 0, both are 0. So m lies in 2^30 .. 2^31 - 1, and e > 0 shifts to the left.

    Parameters
    ----------
    d : float, or float64 array; finite and not negative

    Returns
    -------
    m, e : ints, or int64 arrays of the shape of d

    Raises
    ------
    RequestError
        for a NaN, an infinite or negative scale, and for one of 2^30 or more, which no kernel can shift an int32 by.

    Notes
    -----
    QuantizeMultiplier in TensorFlow Lite, kernels/internal/quantization_util.cc. Some kernels store e with the
    opposite sign, as a shift to the right.

    Examples
    --------
    >>> multiplier(0.75)
    (1610612736, 0)
    """
    array = np.asarray(d, np.float64)
    least, most = float(array.min()), float(array.max())
    if not (least >= 0 and most < math.inf):
        raise RequestError(f"scales whose ratio is {most if least >= 0 else least}: kernels have no multiplier for it")
    q, e = np.frexp(array)
    m = np.floor(q * 2.0**31 + 0.5).astype(np.int64)  # exact: q has 53 bits, and 31 + 22 of them are kept
    over = m == 2**31
    m, e = m >> over, e + over.astype(np.int64)
    if least < 2.0**-31:
        gone = (e < -31) | (array == 0)
        m, e = np.where(gone, 0, m), np.where(gone, 0, e)
    if most >= 2.0**_MOST_LEFT:
        raise RequestError(f"scales whose ratio is {most:g}: kernels multiply int32 by less than 2^{_MOST_LEFT}")
    return (m, e) if array.ndim else (int(m), int(e))


def wrap32(x: Any) -> Any:
    """The int32 that int32 arithmetic leaves of a whole number: modulo 2^32, two's complement."""
    return ((x + 2**31) & 0xFFFFFFFF) - 2**31


def sat16(x: Any) -> Any:
    """Clip to int16."""
    return np.minimum(np.maximum(np.int64(x), -(2**15)), 2**15 - 1)


def saturating_left_shift(x: Any, n: int) -> Any:
    """x * 2^n clipped to int32, for int32 x and n <= 31 (gemmlowp, SaturatingRoundingMultiplyByPOT)."""
    return np.minimum(np.maximum(np.int64(x) << n, INT32_MIN), INT32_MAX)


def srdhm(a: Any, b: Any) -> Any:
    """Saturating rounding doubling high multiply: (a * b + 2^30) >> 31 of two int32; ties go up, for both signs.

    Only -2^31 times itself saturates, to 2^31 - 1. gemmlowp, fixedpoint/fixedpoint.h: its nudge depends on the sign
    and its division truncates, which comes to the same function. One instruction on ARM: vqrdmulh.

    Examples
    --------
    >>> srdhm(-3, 2**30), srdhm(3, 2**30)  # -1.5 and 1.5
    (-1, 2)
    """
    high = (a * b + 2**30) >> 31
    return high - (high == 2**31)


def srdhm16(a: Any, b: Any) -> Any:
    """As `srdhm` in 16 bits: (a * b + 2^14) >> 15; -2^15 times itself saturates to 2^15 - 1."""
    high = (a * b + 2**14) >> 15
    return high - (high == 2**15)


def rdp(x: Any, n: Any) -> Any:
    """Rounding divide by a power of two, 2^n with 0 <= n <= 31: ties go away from zero.

    r = x & (2^n - 1); (x >> n) + (r > ((2^n - 1) >> 1) + (x < 0)). gemmlowp, fixedpoint/fixedpoint.h,
    RoundingDivideByPOT.

    Examples
    --------
    >>> rdp(-3, 1), rdp(3, 1)  # -1.5 and 1.5
    (-2, 2)
    """
    mask = (1 << n) - 1
    return (x >> n) + ((x & mask) > (mask >> 1) + (x < 0))


def mbqm(x: Any, m: Any, e: Any) -> Any:
    """Multiply an int32 by a quantised multiplier, rounding twice: RDP(SRDHM(wrap32(x * 2^max(e, 0)), m), max(-e, 0)).

    The first rounding sends ties up, the second away from zero; the shift to the left wraps, as int32 does.

    Notes
    -----
    MultiplyByQuantizedMultiplier in TensorFlow Lite, kernels/internal/common.cc, as every published build has it.
    CMSIS-NN's arm_nn_requantize does the same.

    Examples
    --------
    >>> m, e = multiplier(0.25)
    >>> mbqm(-6, m, e), mbqm_half_up(-6, m, e), mbqm_single(-6, m, e)  # of -1.5
    (-2, -1, -1)
    >>> m, e = multiplier(0.375)
    >>> mbqm(1, m, e), mbqm_single(1, m, e)  # of 0.375: 0.75, 1, 1/2, 1
    (1, 0)
    """
    left, right = e * (e > 0), -e * (e < 0)
    return rdp(srdhm(wrap32(x << left), m), right)


def mbqm_half_up(x: Any, m: Any, e: Any) -> Any:
    """As `mbqm`, but the second rounding sends ties up too: (SRDHM(..) + 2^(n - 1)) >> n, n = -e > 0.

    What TensorFlow Lite's optimised kernels do on x86, where NEON instructions are translated: vqrdmulh, then vrshl.
    """
    left, right = e * (e > 0), -e * (e < 0)
    return (srdhm(wrap32(x << left), m) + ((1 << right) >> 1)) >> right


def mbqm_single(x: Any, m: Any, e: Any) -> Any:
    """Multiply an int32 by a quantised multiplier, rounding once, ties up: (x * m + 2^(30 - e)) >> (31 - e).

    Notes
    -----
    TensorFlow Lite built with TFLITE_SINGLE_ROUNDING, CMSIS-NN with CMSIS_NN_USE_SINGLE_ROUNDING, ruy on ARM. Differs
    from `mbqm` by one in 0.1 to 3 % of a convolution's elements. Exact for e <= 30 as long as x * m fits in int64.
    """
    shift = 31 - e
    return (x * m + (1 << (shift - 1))) >> shift


def mbqm64(x: Any, m: Any, e: Any) -> Any:
    """Multiply an int64 sum by a multiplier of 15 bits, rounding once, ties up.

    mr = (m + 2^15) >> 16, but 2^15 - 1 where m >= 0x7FFF0000; (x * mr + 2^(14 - e)) >> (15 - e).

    Notes
    -----
    MultiplyByQuantizedMultiplier(int64_t, ..) in TensorFlow Lite, kernels/internal/common.cc: int16 activations with
    int8 weights.
    """
    reduced = np.where(m < 0x7FFF0000, (np.int64(m) + 2**15) >> 16, 2**15 - 1)
    shift = 15 - e
    return (x * reduced + (1 << (shift - 1))) >> shift


def round_away(x: Any) -> Any:
    """C's round(): to the nearest whole number, ties away from zero; dtype in is dtype out.

    Not trunc(x + 1/2), whose sum rounds: that makes 1 of the float64 below 1/2.
    """
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x).astype(np.asarray(x).dtype)


def rescale(x: Any, scale: Any) -> Any:
    """Multiply a sum by a scale in float32, ties to even: rint(f32(f32(x) * scale)); float32.

    XNNPACK on x86 (params "fp32"), onnxruntime's MLAS and PyTorch's kernels, whose vcvtps2dq rounds so.
    """
    return np.rint(np.float32(x) * np.float32(scale))
