"""TensorFlow Lite's reference kernels of activations that have a tensor of their own, as scalar loops.

f32(.) is one rounding to float32, double(.) a float32 taken as float64, Q is `fixedpoint.multiplier`, MBQM the
`rounding` that a rule is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.loops.tflite_logistic16 import tanh16
from refnet.readings.integer.loops.tflite_ranges import clipped
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "leaky_relu", "maximum", "minimum", "prelu", "relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "rescaled", "tanh",
]  # fmt: skip

Rounding = Callable[[Any, Any, Any], Any]


def relu(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """RELU as an operation: clip(max(z_out, MBQM(q - z_in, Q(double(f32(s_in / s_out)))) + z_out)).

    kernels/activations.cc.
    """
    return rescaled(x, to, "relu", np.float32, rounding)


def relu6(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `relu`, and at most z_out + round_away(f32(6 / s_out))."""
    return rescaled(x, to, "relu6", np.float32, rounding)


def relu_n1_to_1(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `relu`, between z_out + round_away(f32(-1 / s_out)) and z_out + round_away(f32(1 / s_out))."""
    return rescaled(x, to, "relu_n1_to_1", np.float32, rounding)


def relu_0_to_1(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `relu`, and at most z_out + round_away(f32(1 / s_out))."""
    return rescaled(x, to, "relu_0_to_1", np.float32, rounding)


def leaky_relu(x: QuantisedTensor, *, slope: float, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """clip(MBQM(v, Q(M)) + z_out), v = q - z_in.

    M = double(f32(s_in / s_out)) where v >= 0, else double(f32(f32(s_in * f32(slope)) / s_out)).

    Notes
    -----
    kernels/activations.cc, LeakyReluPrepare; reference/leaky_relu.h.
    """
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    above = multiplier(float(s_x / s_y))
    below, sign = _signed(float(s_x * np.float32(slope) / s_y))
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = int(x.values[index]) - z_x
        moved = rounding(v, *above) if v >= 0 else rounding(v, sign * below[0], below[1])
        y[index] = clipped(int(moved) + z_y, to, "")
    return QuantisedTensor(y, to)


def prelu(x: QuantisedTensor, alpha: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """clip(MBQM(v, Q(double(f32(s_in / s_out)))) + z_out) where v = q - z_in is not negative, else

    clip(MBQM(v * (a - z_a), Q(double(f32(f32(s_in * s_a) / s_out)))) + z_out). Shapes broadcast as in NumPy.

    Notes
    -----
    kernels/activations.cc, PreluPrepare; reference/prelu.h.
    """
    (s_x, z_x), (s_a, z_a), (s_y, z_y) = x.quantisation.single(), alpha.quantisation.single(), to.single()
    above, below = multiplier(float(s_x / s_y)), multiplier(float(s_x * s_a / s_y))
    slopes = np.broadcast_to(alpha.values, x.values.shape)
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = int(x.values[index]) - z_x
        moved = mbqm(v, *above) if v >= 0 else mbqm(v * (int(slopes[index]) - z_a), *below)
        y[index] = clipped(int(moved) + z_y, to, "")
    return QuantisedTensor(y, to)


def tanh(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """8 bits: a table of clip(round_away(f32(tanh(v) * f32(1 / s_out))) + z_out), v = f32(s_in * (q - z_in)).

    Raises
    ------
    RequestError
        when the output is not in steps of 1/128 around the middle of its range: the runtime refuses.

    Notes
    -----
    kernels/activations.cc, TanhPrepare. int16 is `tanh16`.
    """
    if x.values.dtype == np.int16:
        return tanh16(x, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    if (float(s_y), z_y) != (1 / 128, to.low + 128):
        raise RequestError(f"tanh: an output of scale {s_y} and zero point {z_y}: kernels need 1/128, {to.low + 128}")
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = float(s_x * np.float32(int(x.values[index]) - z_x))
        steps = np.float32(math.tanh(v)) * np.float32(128)
        y[index] = min(max(int(round_away(steps)) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def maximum(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """The larger of two integers, whatever their scales; shapes broadcast. reference/maximum_minimum.h."""
    left, right = np.broadcast_arrays(x.values, y.values)
    made = [max(int(left[index]), int(right[index])) for index in np.ndindex(left.shape)]
    return QuantisedTensor(np.array(made, to.dtype).reshape(left.shape), to)


def minimum(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """The smaller of two integers, as `maximum`."""
    left, right = np.broadcast_arrays(x.values, y.values)
    made = [min(int(left[index]), int(right[index])) for index in np.ndindex(left.shape)]
    return QuantisedTensor(np.array(made, to.dtype).reshape(left.shape), to)


def rescaled(x: QuantisedTensor, to: Quantisation, act: str, dtype: Any, rounding: Rounding) -> QuantisedTensor:
    """clip(MBQM(q - z_in, Q(s_in / s_out)) + z_out), the ratio in `dtype`, by the range of an activation."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    m, e = multiplier(float(dtype(s_x) / dtype(s_y)))
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        y[index] = clipped(rounding(int(x.values[index]) - z_x, m, e) + z_y, to, act)
    return QuantisedTensor(y, to)


def _signed(ratio: float) -> tuple[tuple[int, int], int]:
    """The multiplier of a ratio's size, and its sign: a slope may be negative."""
    return multiplier(abs(ratio)), -1 if ratio < 0 else 1
