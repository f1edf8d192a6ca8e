"""The rules of `loops.tflite_optimised`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from refnet.readings.integer.fast import tflite
from refnet.readings.integer.fast.sums import Pad, Pair
from refnet.readings.integer.fast.tflite import (
    add,
    avg_pool2d,
    concatenation,
    flatten,
    hard_swish,
    max_pool2d,
    pad,
    relu,
    relu6,
    scale,
    sigmoid,
    softmax,
    sub,
)
from refnet.readings.integer.fast.tflite_maps import corners_float
from refnet.readings.integer.fixedpoint import mbqm, mbqm_half_up, multiplier, round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "avg_pool2d", "concatenation", "conv2d", "depthwise_conv2d", "dequantize", "flatten", "fully_connected",
    "hard_swish", "max_pool2d", "mean", "pad", "pointwise_conv2d", "quantize", "relu", "relu6", "requantize",
    "resize_bilinear", "scale", "sigmoid", "softmax", "sub",
]  # fmt: skip

conv2d = partial(tflite.conv2d, rounding=mbqm_half_up)
pointwise_conv2d = partial(tflite.pointwise_conv2d, rounding=mbqm_half_up)
fully_connected = partial(tflite.fully_connected_2_19, rounding=mbqm_half_up)
requantize = partial(tflite.requantize, rounding=mbqm_half_up)


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
) -> QuantisedTensor:
    """As `loops.tflite_optimised.depthwise_conv2d`."""
    rule = {"uint8": mbqm}.get(x.values.dtype.name, mbqm_half_up)
    return tflite.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, to=to, act=act, rounding=rule)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_optimised.quantize`."""
    s, z = to.single()
    y = np.rint(x.astype(np.float32) * (np.float32(1) / s)).astype(np.float64) + z
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def dequantize(x: QuantisedTensor) -> Array:
    """As `loops.tflite_optimised.dequantize`."""
    s, z = x.quantisation.single()
    return x.values.astype(np.float32) * s + np.float32(-z) * s


def mean(x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_optimised.mean`."""
    if not keepdims or x.values.ndim != 4 or {axis % 4 for axis in axes} != {2, 3}:
        return tflite.mean(x, axes=axes, keepdims=keepdims, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    n = np.float32(x.values.shape[2] * x.values.shape[3])
    m, e = multiplier(float(s_x / (n * s_y)))
    total = x.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    y = mbqm_half_up(total, m, e) + z_y - int(round_away(s_x * np.float32(z_x) / s_y))
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_optimised.resize_bilinear`."""
    if x.values.dtype != np.uint8:
        return tflite.resize_bilinear(x, size=size, align_corners=align_corners, half_pixel=half_pixel, to=to)
    (q00, q01, q10, q11), h, v = corners_float(x, size, align_corners, half_pixel)
    far_h, far_v = 1 - h, 1 - v
    y = q00 * (far_h * far_v) + q01 * (far_h * v) + q10 * (h * far_v) + q11 * (h * v)
    return QuantisedTensor((y + np.float32(0.5)).astype(np.uint8).transpose(0, 3, 1, 2), to)
