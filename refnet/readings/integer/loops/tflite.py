"""TensorFlow Lite's reference kernels (BUILTIN_REF), as scalar loops: the definition.

Versions: TensorFlow 2.20 and later, LiteRT 1.3.0 and later. Two formulas changed before them: `fully_connected_2_19`
and `mean_2_12` are the older ones. Sources: tensorflow/lite/kernels/internal/reference/, its integer_ops/ for int8 and
int16, and the kernels' Prepare functions for the multipliers.

Every rule takes integers with their quantisation and gives integers of the quantisation `to`. `act`, '' or 'relu',
'relu6', 'relu_n1_to_1', is the activation fused into an operation: a clip of the integers. `rounding` is what
multiplies int32 by a multiplier; other builds of the same kernels have another.

double(.) is a float32 taken as float64, f32(.) one rounding to float32; Q is `fixedpoint.multiplier`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import mbqm, mbqm64, multiplier, round_away
from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.tflite_activations import (
    leaky_relu,
    maximum,
    minimum,
    prelu,
    relu,
    relu6,
    relu_0_to_1,
    relu_n1_to_1,
    rescaled,
    tanh,
)
from refnet.readings.integer.loops.tflite_curves import hard_swish, sigmoid, softmax
from refnet.readings.integer.loops.tflite_maps import (
    avg_pool2d,
    concatenation,
    flatten,
    max_pool2d,
    mean,
    mean_2_12,
    pad,
    reduce_max,
    resize_bilinear,
)
from refnet.readings.integer.loops.tflite_moves import (
    arg_max,
    batch_to_space,
    depth_to_space,
    resize_nearest,
    space_to_batch,
    strided_slice,
    tile,
)
from refnet.readings.integer.loops.tflite_ranges import clipped
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "arg_max", "avg_pool2d", "batch_to_space", "concatenation", "conv2d", "depth_to_space",
    "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "fully_connected_2_19", "hard_swish",
    "leaky_relu", "max_pool2d", "maximum", "mean", "mean_2_12", "minimum", "pad", "pointwise_conv2d", "prelu",
    "quantize", "reduce_max", "relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "requantize",
    "resize_bilinear", "resize_nearest", "scale", "sigmoid", "softmax", "space_to_batch", "strided_slice", "sub",
    "tanh", "tile",
]  # fmt: skip

Rounding = Callable[[Any, Any, Any], Any]


def conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """y = clip(MBQM(sum[k], Q(M[k])) + z_y).

    uint8 : M = double(f32(s_x * s_w)) / double(s_y), the product in float32
    int8 : M[k] = double(s_x) * double(s_w[k]) / double(s_y); zero points of weights are taken as 0
    int16 : M as for int8; `mbqm64` for MBQM, of int64 sums

    Parameters
    ----------
    x : (N, C, H, W); w : (K, C, R, S)
    b : (K,) int32 (int64 with int16), added as it is: its scale is never used; or None
    stride, dilation : (height, width); pad : ((top, bottom), (left, right))
    to, act, rounding : see the module

    Returns
    -------
    y : (N, K, P, Q)

    Notes
    -----
    reference/conv.h, reference/integer_ops/conv.h; the multipliers in kernels/kernel_util.cc,
    PopulateConvolutionQuantizationParams.
    """
    total = sums.conv2d(x, _weights(x, w), b, stride=stride, pad=pad, dilation=dilation)
    return _requantised(total, x, w, to, act, rounding)


def depthwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """As `conv2d`, each channel by itself: w is (K, R, S), its filter k reads channel k // (K / C).

    reference/depthwiseconv_uint8.h, reference/integer_ops/depthwise_conv.h.
    """
    total = sums.depthwise_conv2d(x, _weights(x, w), b, stride=stride, pad=pad, dilation=dilation)
    return _requantised(total, x, w, to, act, rounding)


def pointwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1: w is (K, C). The operation FULLY_CONNECTED is `fully_connected`."""
    total = sums.pointwise_conv2d(x, _weights(x, w), b)
    return _requantised(total, x, w, to, act, rounding)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """y = clip(round_away(double(sum[k]) * E[k]) + z_y), E[k] = double(s_x) * double(s_w[k]) / double(s_y).

    No multiplier and no shift: TensorFlow 2.20, LiteRT 1.3.0 and later. Zero points of weights count where there is one
    for the tensor.

    Parameters
    ----------
    x : (N, C, 1, 1); w : (K, C); b : (K,) int32 or None

    Returns
    -------
    y : (N, K, 1, 1)

    Notes
    -----
    reference/fully_connected.h. Differs from `fully_connected_2_19` by one, in one of some thousand elements.
    """
    total = sums.pointwise_conv2d(x, _linear_weights(w), b)
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, h, v in np.ndindex(total.shape):
        factor = float(s_x) * float(s_w[k]) / float(s_y)
        y[n, k, h, v] = clipped(int(round_away(float(total[n, k, h, v]) * factor)) + z_y, to, act)
    return QuantisedTensor(y, to)


def fully_connected_2_19(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """y = clip(MBQM(sum[k], Q(M[k])) + z_y), until TensorFlow 2.19 and LiteRT 1.2.0; tflite-micro.

    One scale for the tensor : M = double(f32(s_x * s_w)) / double(s_y), for int8 too
    one for each filter : M[k] = double(s_x) * double(s_w[k]) / double(s_y)
    """
    total = sums.pointwise_conv2d(x, _linear_weights(w), b)
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, h, v in np.ndindex(total.shape):
        product = float(s_x * s_w[k]) if w.quantisation.axis is None else float(s_x) * float(s_w[k])
        m, e = multiplier(product / float(s_y))
        y[n, k, h, v] = clipped(rounding(int(total[n, k, h, v]), m, e) + z_y, to, act)
    return QuantisedTensor(y, to)


def add(
    x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """Both sides at twice the larger scale and 20 bits up, then added: x + y; shapes broadcast as in NumPy.

    t = 2 * double(max(s_1, s_2)); A = MBQM((a - z_1) << 20, Q(s_1 / t)); B likewise;
    clip(MBQM(A + B, Q(t / (2^20 * s_out))) + z_out). int16: 15 bits for 20, zero points are 0.

    Raises
    ------
    RequestError
        when t / (2^20 * s_out) is 1 or more: the runtime aborts.

    Notes
    -----
    kernels/add.cc (Prepare), reference/integer_ops/add.h.
    """
    return _sum(x, y, +1, to, act, rounding)


def sub(
    x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """As `add`, with A - B; the last multiplier may be 1 or more. kernels/sub.cc."""
    return _sum(x, y, -1, to, act, rounding)


def scale(
    x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """The operation MUL: clip(MBQM((a - z_1) * (b - z_2), Q(M)) + z_out), M = double(f32(f32(s_1 * s_2) / s_out)).

    Shapes broadcast as in NumPy. kernels/mul.cc (Prepare), reference/integer_ops/mul.h.
    """
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), gate.quantisation.single(), to.single()
    m, e = multiplier(float(s_1 * s_2 / s_y))
    left, right = np.broadcast_arrays(x.values, gate.values)
    y = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        product = (int(left[index]) - z_1) * (int(right[index]) - z_2)
        y[index] = clipped(rounding(product, m, e) + z_y, to, act)
    return QuantisedTensor(y, to)


def requantize(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """QUANTIZE from integers: clip(MBQM(q - z_in, Q(double(s_in) / double(s_out))) + z_out).

    With equal scales and zero points 128 apart this is q ^ 0x80. reference/requantize.h.
    """
    return rescaled(x, to, "", np.float64, rounding)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """clip(int32(round_away(f32(x / s))) + z): a division in float32.

    Where x86 cannot convert to int32, for a NaN and from 2^31 on, it makes -2^31: so the largest numbers become the
    least integer. reference/quantize.h, AffineQuantize.
    """
    s, z = to.single()
    y = np.zeros(x.shape, to.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in np.ndindex(x.shape):
            nearest = float(round_away(np.float32(x[index]) / s))
            whole = int(nearest) if abs(nearest) < 2**31 else -(2**31)
            y[index] = min(max(whole + z, to.low), to.high)
    return QuantisedTensor(y, to)


def dequantize(x: QuantisedTensor) -> Array:
    """f32(s * (q - z)), float32; weights by the scale of each filter. reference/dequantize.h."""
    s, z = x.quantisation.channels(len(x.values))
    y = np.zeros(x.values.shape, np.float32)
    for index in np.ndindex(y.shape):
        k = index[0]
        y[index] = s[k] * np.float32(int(x.values[index]) - int(z[k]))
    return y


def _weights(x: QuantisedTensor, w: QuantisedTensor) -> QuantisedTensor:
    """Convolutions of int8 and int16 take weights as symmetric, whatever the file says."""
    return w if x.values.dtype == np.uint8 else w.symmetric()


def _linear_weights(w: QuantisedTensor) -> QuantisedTensor:
    return w if w.quantisation.axis is None else w.symmetric()


def _requantised(
    total: Array, x: QuantisedTensor, w: QuantisedTensor, to: Quantisation, act: str, rounding: Rounding
) -> QuantisedTensor:
    """The sums of a convolution as integers of the output."""
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    if x.values.dtype == np.int16:
        rounding = mbqm64
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        product = float(s_x * s_w[k]) if x.values.dtype == np.uint8 else float(s_x) * float(s_w[k])
        m, e = multiplier(product / float(s_y))
        y[n, k, p, q] = clipped(rounding(int(total[n, k, p, q]), m, e) + z_y, to, act)
    return QuantisedTensor(y, to)


def _sum(
    x: QuantisedTensor, y: QuantisedTensor, sign: int, to: Quantisation, act: str, rounding: Rounding
) -> QuantisedTensor:
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), y.quantisation.single(), to.single()
    bits = 15 if x.values.dtype == np.int16 else 20
    twice = 2 * float(max(s_1, s_2))
    (m_1, e_1), (m_2, e_2) = multiplier(float(s_1) / twice), multiplier(float(s_2) / twice)
    ratio = twice / (2**bits * float(s_y))
    if sign > 0 and ratio >= 1:
        raise RequestError(f"add: an output scale of {s_y} is too small for inputs of {s_1} and {s_2}: kernels abort")
    m, e = multiplier(ratio)
    left, right = np.broadcast_arrays(x.values, y.values)
    z = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        a = rounding((int(left[index]) - z_1) << bits, m_1, e_1)
        b = rounding((int(right[index]) - z_2) << bits, m_2, e_2)
        z[index] = clipped(rounding(a + sign * b, m, e) + z_y, to, act)
    return QuantisedTensor(z, to)
