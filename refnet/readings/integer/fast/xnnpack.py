"""The rules of `loops.xnnpack`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refnet.readings.integer.fast import sums, tflite_optimised
from refnet.readings.integer.fast.finishes import by_float, by_table, elementwise
from refnet.readings.integer.fast.sums import Finish, Pad, Pair
from refnet.readings.integer.fast.tflite import (
    arg_max,
    avg_pool2d,
    batch_to_space,
    concatenation,
    depth_to_space,
    dequantize,
    flatten,
    hard_swish,
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
    sigmoid,
    softmax,
    space_to_batch,
    strided_slice,
    tanh,
    tile,
)
from refnet.readings.integer.fast.tflite_maps import reduced
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "arg_max", "avg_pool2d", "batch_to_space", "concatenation", "conv2d", "depth_to_space",
    "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "hard_swish", "leaky_relu", "max_pool2d",
    "maximum", "mean", "minimum", "pad", "pointwise_conv2d", "prelu", "quantize", "reduce_max", "relu", "relu6",
    "relu_0_to_1", "relu_n1_to_1", "requantize", "resize_bilinear", "resize_nearest", "scale", "sigmoid", "softmax",
    "space_to_batch", "strided_slice", "sub", "tanh", "tile",
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
) -> QuantisedTensor:
    """As `loops.xnnpack.conv2d`."""
    finish, w = _finish(x, w, to, act), _weights(x, w)
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
) -> QuantisedTensor:
    """As `loops.xnnpack.depthwise_conv2d`."""
    finish, w = _finish(x, w, to, act), _weights(x, w)
    y = sums.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.xnnpack.pointwise_conv2d`."""
    finish = _finish(x, w, to, act)
    return QuantisedTensor(sums.pointwise_conv2d(x, _weights(x, w), b, finish=finish, dtype=to.dtype), to)


fully_connected = pointwise_conv2d


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.xnnpack.add`."""
    return _sum(x, y, 1, to, act)


def sub(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.xnnpack.sub`."""
    return _sum(x, y, -1, to, act)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.xnnpack.scale`."""
    (s_1, z_1), (s_2, z_2) = x.quantisation.single(), gate.quantisation.single()
    product = np.subtract(x.values, z_1, dtype=np.float32, casting="unsafe")
    product = product * np.subtract(gate.values, z_2, dtype=np.float32, casting="unsafe")
    finish = by_float(np.array([s_1 * s_2 / to.single()[0]]), to, activation_range(to, act))
    return QuantisedTensor(elementwise(product, finish, to.dtype), to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.xnnpack.quantize`."""
    s, z = to.single()
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.rint(x.astype(np.float32) * (np.float32(1) / s)).astype(np.float64) + z
    return QuantisedTensor(np.clip(np.where(np.isnan(y), to.low, y), to.low, to.high).astype(to.dtype), to)


def requantize(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.xnnpack.requantize`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    if to.dtype != x.quantisation.dtype or not 1 / 256 <= s_x / s_y <= 128:
        return tflite_optimised.requantize(x, to=to)
    k = round(float(256 * (s_x / s_y)))
    return by_table(x, lambda q: ((q - z_x) * k + z_y * 256 + 128) >> 8, to)


def leaky_relu(x: QuantisedTensor, *, slope: float, to: Quantisation) -> QuantisedTensor:
    """As `loops.xnnpack.leaky_relu`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    ratios = s_x / s_y * np.array([1, slope], np.float32)
    if not (np.abs(ratios).min() >= 1 / 256 and ratios[1] > -128 and ratios.max() <= 128):
        return tflite_optimised.leaky_relu(x, slope=slope, to=to)
    above, below = np.rint(256 * ratios).astype(np.int64)
    return by_table(x, lambda q: (((q - z_x) * np.where(q >= z_x, above, below) + 128) >> 8) + z_y, to)


def mean(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """As `loops.xnnpack.mean`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    total, n = reduced(x, axes, keepdims)
    k = s_x / s_y * (np.float32(1) / np.float32(n))
    y = np.rint(total.astype(np.float32) * k + (np.float32(z_y) - np.float32(z_x * n) * k))
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """As `loops.xnnpack.resize_bilinear`: columns first, then rows."""
    image = x.values.transpose(0, 2, 3, 1).astype(np.int64)
    half = half_pixel and not align_corners
    u, before, after = _places(image.shape[2], size[1], align_corners, half)
    v, above, below = _places(image.shape[1], size[0], align_corners, half)
    left, right = image[:, :, before], image[:, :, after]
    rows = (left << 11) + (right - left) * u[:, None]
    upper, lower = rows[:, above], rows[:, below]
    y = ((upper << 11) + (lower - upper) * v[:, None, None] + 2**21) >> 22
    return QuantisedTensor(y.astype(to.dtype).transpose(0, 3, 1, 2), to)


def _places(size: int, outputs: int, align_corners: bool, half: bool) -> tuple[Array, Array, Array]:
    """(fractions in 1/2048, indices before, indices after) along an axis."""
    inner, outer = (size - 1, outputs - 1) if align_corners and outputs > 1 else (size, outputs)
    shift = np.float32(0.5 if half else 0)
    place = (np.arange(outputs, dtype=np.float32) + shift) * (np.float32(inner) / np.float32(outer)) - shift
    place = place.clip(0, size - 1)
    before = place.astype(np.intp)
    part = np.rint((place - before.astype(np.float32)) * 2048).astype(np.int64)
    return part, before, np.minimum(before + 1, size - 1)


def _weights(x: QuantisedTensor, w: QuantisedTensor) -> QuantisedTensor:
    """Only uint8 kernels know zero points of weights."""
    return w if x.values.dtype == np.uint8 else w.symmetric()


def _finish(x: QuantisedTensor, w: QuantisedTensor, to: Quantisation, act: str) -> Finish:
    s_w, _ = w.quantisation.channels(len(w.values))
    return by_float(s_w * x.quantisation.single()[0] / to.single()[0], to, activation_range(to, act))


def _sum(x: QuantisedTensor, y: QuantisedTensor, sign: int, to: Quantisation, act: str) -> QuantisedTensor:
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), y.quantisation.single(), to.single()
    ratios = np.array([s_1 / s_y, s_2 / s_y], np.float64)
    shift = 21 - int(np.frexp(ratios.max())[1])
    m_1, m_2 = np.rint(np.ldexp(ratios, shift)).astype(np.int64)
    total = m_1 * (x.values.astype(np.int64) - z_1) + sign * m_2 * (y.values.astype(np.int64) - z_2)
    made = ((total + (1 << (shift - 1))) >> shift) + z_y
    return QuantisedTensor(np.clip(made, *activation_range(to, act)).astype(to.dtype), to)
