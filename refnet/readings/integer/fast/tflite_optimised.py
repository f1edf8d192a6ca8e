"""The rules of `loops.tflite_optimised`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from refnet.readings.integer.fast import tflite
from refnet.readings.integer.fast.finishes import Rounding
from refnet.readings.integer.fast.sums import Pad, Pair
from refnet.readings.integer.fast.tflite import (
    add,
    arg_max,
    avg_pool2d,
    batch_to_space,
    concatenation,
    depth_to_space,
    flatten,
    hard_swish,
    leaky_relu,
    max_pool2d,
    maximum,
    minimum,
    pad,
    prelu,
    reduce_max,
    relu,
    relu6,
    relu_0_to_1,
    relu_n1_to_1,
    resize_nearest,
    scale,
    sigmoid,
    softmax,
    space_to_batch,
    strided_slice,
    sub,
    tanh,
    tile,
)
from refnet.readings.integer.fast.tflite_maps import corners_float
from refnet.readings.integer.fixedpoint import mbqm, mbqm_half_up, multiplier, round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "arg_max", "avg_pool2d", "batch_to_space", "concatenation", "conv2d", "depth_to_space",
    "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "hard_swish", "leaky_relu", "max_pool2d",
    "maximum", "mean", "minimum", "pad", "pointwise_conv2d", "prelu", "quantize", "reduce_max", "relu", "relu6",
    "relu_0_to_1", "relu_n1_to_1", "requantize", "resize_bilinear", "resize_nearest", "scale", "sigmoid", "softmax",
    "space_to_batch", "strided_slice", "sub", "tanh", "tile",
]  # fmt: skip

conv2d = partial(tflite.conv2d, rounding=mbqm_half_up)
pointwise_conv2d = partial(tflite.pointwise_conv2d, rounding=mbqm_half_up)
fully_connected = partial(tflite.fully_connected_2_19, rounding=mbqm_half_up)


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
    single = x.astype(np.float32)
    steps = _in_vectors(
        single,
        8,
        lambda part: np.rint(part * (np.float32(1) / s)).astype(np.float64),
        lambda part: round_away(part.astype(np.float64) / np.float64(s)),
    )
    return QuantisedTensor(np.clip(steps + z, to.low, to.high).astype(to.dtype), to)


def requantize(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_optimised.requantize`."""
    if x.values.dtype == np.int16:
        return tflite.requantize(x, to=to)

    def under(rounding: Rounding) -> Callable[[Array], Array]:
        return lambda part: tflite.requantize(QuantisedTensor(part, x.quantisation), to=to, rounding=rounding).values

    return QuantisedTensor(_in_vectors(x.values, 16, under(mbqm_half_up), under(mbqm)), to)


def dequantize(x: QuantisedTensor) -> Array:
    """As `loops.tflite_optimised.dequantize`."""
    s, z = x.quantisation.single()

    def whole(part: Array) -> Array:
        return part.astype(np.float32) * s + np.float32(-z) * s

    return _in_vectors(x.values, 8, whole, lambda part: tflite.dequantize(QuantisedTensor(part, x.quantisation)))


def _in_vectors(x: Array, size: int, whole: Callable[[Array], Array], rest: Callable[[Array], Array]) -> Array:
    """What one rule makes of whole vectors of an array in the order N, H, W, C, and another of what is left over."""
    image = np.moveaxis(x, 1, -1) if x.ndim > 1 else x
    flat = image.reshape(-1)
    full = flat.size // size * size
    y = np.concatenate([whole(flat[:full]), rest(flat[full:])]).reshape(image.shape)
    return np.ascontiguousarray(np.moveaxis(y, -1, 1)) if x.ndim > 1 else y


def mean(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_optimised.mean`."""
    whole_maps = keepdims and not dropped and x.values.ndim == 4 and {axis % 4 for axis in axes} == {2, 3}
    if not whole_maps or x.values.dtype == np.int16:
        return tflite.mean(x, axes=axes, keepdims=keepdims, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    n = np.float32(x.values.shape[2] * x.values.shape[3])
    m, e = multiplier(float(s_x / (n * s_y)))
    total = x.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    full = x.values.shape[1] // 16 * 16
    steps = np.concatenate([mbqm_half_up(total[:, :full], m, e), mbqm(total[:, full:], m, e)], axis=1)
    y = steps + z_y - int(round_away(s_x * np.float32(z_x) / s_y))
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
