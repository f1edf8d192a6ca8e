"""The rules of `loops.tflite`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.finishes import Rounding, by_multiplier, elementwise, looked_up
from refnet.readings.integer.fast.sums import Finish, Pad, Pair
from refnet.readings.integer.fast.tflite_activations import (
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
from refnet.readings.integer.fast.tflite_curves import hard_swish, sigmoid, softmax
from refnet.readings.integer.fast.tflite_maps import (
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
from refnet.readings.integer.fast.tflite_moves import (
    arg_max,
    batch_to_space,
    depth_to_space,
    resize_nearest,
    space_to_batch,
    strided_slice,
    tile,
)
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import mbqm, mbqm64, multiplier, round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "arg_max", "avg_pool2d", "batch_to_space", "concatenation", "conv2d", "depth_to_space",
    "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "fully_connected_2_19", "hard_swish",
    "leaky_relu", "max_pool2d", "maximum", "mean", "mean_2_12", "minimum", "pad", "pointwise_conv2d", "prelu",
    "quantize", "reduce_max", "relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "requantize",
    "resize_bilinear", "resize_nearest", "scale", "sigmoid", "softmax", "space_to_batch", "strided_slice", "sub",
    "tanh", "tile",
]  # fmt: skip


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
    """As `loops.tflite.conv2d`."""
    finish, w = _finish(x, w, to, act, rounding), _weights(x, w)
    y = sums.conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


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
    """As `loops.tflite.depthwise_conv2d`."""
    finish, w = _finish(x, w, to, act, rounding), _weights(x, w)
    y = sums.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """As `loops.tflite.pointwise_conv2d`."""
    finish = _finish(x, w, to, act, rounding)
    return QuantisedTensor(sums.pointwise_conv2d(x, _weights(x, w), b, finish=finish, dtype=to.dtype), to)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.tflite.fully_connected`."""
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    factors = np.float64(s_x) * s_w.astype(np.float64) / np.float64(s_y)
    total = sums.pointwise_conv2d(x, _linear_weights(w), b).astype(np.float64)
    y = round_away(total * factors[:, None, None]) + z_y
    return QuantisedTensor(np.clip(y, *activation_range(to, act)).astype(to.dtype), to)


def fully_connected_2_19(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    to: Quantisation,
    act: str = "",
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """As `loops.tflite.fully_connected_2_19`."""
    s_w, _ = w.quantisation.channels(len(w.values))
    short = w.quantisation.axis is None
    finish = by_multiplier(_ratios(x, s_w, to, short), rounding, to, activation_range(to, act))
    return QuantisedTensor(sums.pointwise_conv2d(x, _linear_weights(w), b, finish=finish, dtype=to.dtype), to)


def add(
    x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """As `loops.tflite.add`."""
    return _sum(x, y, 1, to, act, rounding)


def sub(
    x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """As `loops.tflite.sub`."""
    return _sum(x, y, -1, to, act, rounding)


def scale(
    x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """As `loops.tflite.scale`."""
    (s_1, z_1), (s_2, z_2) = x.quantisation.single(), gate.quantisation.single()
    ratio = np.array([s_1 * s_2 / to.single()[0]], np.float64)
    kind = np.float32 if x.values.itemsize == 1 else np.float64  # products of 8 bits are below 2^17, of 16 below 2^33
    product = np.subtract(x.values, z_1, dtype=kind, casting="unsafe")
    product = product * np.subtract(gate.values, z_2, dtype=kind, casting="unsafe")
    finish = by_multiplier(ratio, rounding, to, activation_range(to, act))
    return QuantisedTensor(elementwise(product, finish, to.dtype), to)


def requantize(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite.requantize`."""
    ratio = np.float64(x.quantisation.single()[0]) / np.float64(to.single()[0])
    return rescaled(x, to, ratio, (to.low, to.high), rounding)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite.quantize`."""
    s, z = to.single()
    with np.errstate(over="ignore", invalid="ignore"):
        y = round_away(x.astype(np.float32) / s)
        y = np.where(np.abs(y) < 2**31, y, np.float32(-(2**31)))  # a NaN is not below either
    return QuantisedTensor(np.clip(y.astype(np.int64) + z, to.low, to.high).astype(to.dtype), to)


def dequantize(x: QuantisedTensor) -> Array:
    """As `loops.tflite.dequantize`."""
    q = x.quantisation
    if q.axis is None:
        return q.scale * np.subtract(x.values, q.zero_point, dtype=np.float32, casting="unsafe")
    s, z = (each.reshape(-1, *(1,) * (x.values.ndim - 1)) for each in q.channels(len(x.values)))
    return s * (x.values - z).astype(np.float32)


def _weights(x: QuantisedTensor, w: QuantisedTensor) -> QuantisedTensor:
    """Only uint8 kernels know zero points of weights."""
    return w if x.values.dtype == np.uint8 else w.symmetric()


def _linear_weights(w: QuantisedTensor) -> QuantisedTensor:
    """Kernels by channel know no zero points of weights."""
    return w.symmetric() if w.quantisation.axis is not None else w


def _ratios(x: QuantisedTensor, s_w: Array, to: Quantisation, short: bool) -> Array:
    """s_x * s_w / s_y in float64; the product in float32 where `short`."""
    s_x, s_y = x.quantisation.single()[0], np.float64(to.single()[0])
    product = (s_w * s_x).astype(np.float64) if short else s_w.astype(np.float64) * np.float64(s_x)
    return product / s_y


def _finish(x: QuantisedTensor, w: QuantisedTensor, to: Quantisation, act: str, rounding: Rounding) -> Finish:
    s_w, _ = w.quantisation.channels(len(w.values))
    ratios = _ratios(x, s_w, to, x.values.dtype == np.uint8)
    rule = mbqm64 if x.values.dtype == np.int16 else rounding
    return by_multiplier(ratios, rule, to, activation_range(to, act))


def _sum(
    x: QuantisedTensor, y: QuantisedTensor, sign: int, to: Quantisation, act: str, rounding: Rounding
) -> QuantisedTensor:
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), y.quantisation.single()
    up = 20 if x.values.itemsize == 1 else 15
    twice = 2 * float(max(s_x, s_y))
    last = twice / (2.0**up * float(to.single()[0]))
    if last >= 1 and sign > 0:
        raise RequestError(
            f"add: an output scale of {to.scale} is too small for inputs of {s_x} and {s_y}: kernels abort"
        )

    def side(tensor: QuantisedTensor, s: Any, z: int) -> Array:
        """At the common scale: float64 whole numbers below 2^30."""
        m, e = multiplier(float(s) / twice)
        return looked_up(tensor, lambda values: rounding((values - z) << up, m, e).astype(np.float64))

    total = side(x, s_x, z_x) + sign * side(y, s_y, z_y)
    finish = by_multiplier(np.array([last]), rounding, to, activation_range(to, act))
    return QuantisedTensor(elementwise(total, finish, to.dtype), to)
