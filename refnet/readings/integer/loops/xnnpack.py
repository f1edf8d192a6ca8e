"""XNNPACK on x86, which TensorFlow Lite's interpreter hands most nodes to by default, as scalar loops.

Sums are rescaled in float32. Nodes that the delegate refuses run in `tflite_optimised` (or the reference kernels):
what is not here is the same there. Sources: XNNPACK, src/qs8-gemm/ and neighbours, their parameters in
src/microparams-init.c; 32-bit NEON and plain C add 12582912.0 and read the mantissa, which is the same rint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from refnet.readings.integer.fixedpoint import rescale
from refnet.readings.integer.loops import sums, tflite_optimised
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.tflite import (
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
from refnet.readings.integer.loops.tflite_maps import reduced
from refnet.readings.integer.loops.tflite_ranges import clipped
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
    """clip(rint(f32(f32(sum[k]) * f32(f32(s_x * s_w[k]) / s_y))) + z_y), int8 and uint8.

    Parameters as for `tflite.conv2d`.
    """
    total = sums.conv2d(x, _weights(x, w), b, stride=stride, pad=pad, dilation=dilation)
    return _rescaled(total, x, w, to, act)


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
    """As `conv2d`, each channel by itself."""
    total = sums.depthwise_conv2d(x, _weights(x, w), b, stride=stride, pad=pad, dilation=dilation)
    return _rescaled(total, x, w, to, act)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1."""
    return _rescaled(sums.pointwise_conv2d(x, _weights(x, w), b), x, w, to, act)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `conv2d` on a 1x1 map."""
    return _rescaled(sums.pointwise_conv2d(x, _weights(x, w), b), x, w, to, act)


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """Integer multipliers of 20 bits: clip(((m1 * (a - z1) + m2 * (b - z2) + 2^(sh - 1)) >> sh) + z_o).

    r1 = f32(s1 / s_o), r2 = f32(s2 / s_o); sh = 20 - floor(log2(max(r1, r2))); m = rint(r * 2^sh).
    """
    return _sum(x, y, +1, to, act)


def sub(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `add`, with m1 * (a - z1) - m2 * (b - z2)."""
    return _sum(x, y, -1, to, act)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """clip(rint(f32(f32((a - z1) * (b - z2)) * f32(f32(s1 * s2) / s_o))) + z_o); shapes broadcast."""
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), gate.quantisation.single(), to.single()
    factor = s_1 * s_2 / s_y
    left, right = np.broadcast_arrays(x.values, gate.values)
    y = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        product = (int(left[index]) - z_1) * (int(right[index]) - z_2)
        y[index] = clipped(int(rescale(product, factor)) + z_y, to, act)
    return QuantisedTensor(y, to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """clip(rint(f32(x * f32(1 / s))) + z); infinities saturate, a NaN becomes the least integer."""
    s, z = to.single()
    inverse = np.float32(1) / s
    y = np.zeros(x.shape, to.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in np.ndindex(x.shape):
            nearest = float(np.rint(np.float32(x[index]) * inverse))
            y[index] = to.low if math.isnan(nearest) else min(max(nearest + z, to.low), to.high)
    return QuantisedTensor(y, to)


def requantize(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """Of one type, by a multiplier of 8 bits: clip(((q - z_i) * k + (z_o << 8) + 128) >> 8).

    k = rint(256 * f32(s_i / s_o)). Between int8 and uint8, and where f32(s_i / s_o) is not between 1/256 and 128, as
    `tflite_optimised.requantize`.
    """
    if x.quantisation.dtype != to.dtype or not 2**-8 <= x.quantisation.single()[0] / to.single()[0] <= 2**7:
        return tflite_optimised.requantize(x, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    k = int(np.rint(np.float32(256) * (s_x / s_y)))
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        y[index] = min(max(((int(x.values[index]) - z_x) * k + (z_y << 8) + 128) >> 8, to.low), to.high)
    return QuantisedTensor(y, to)


def leaky_relu(x: QuantisedTensor, *, slope: float, to: Quantisation) -> QuantisedTensor:
    """By multipliers of 8 bits: clip((((q - z_i) * k + 128) >> 8) + z_o).

    k = rint(256 * f32(s_i / s_o)) where q >= z_i, else rint(256 * f32(f32(s_i / s_o) * f32(slope))). Where a ratio is
    not between 1/256 and 128, that of negative numbers above -128 too, as `tflite_optimised.leaky_relu`.
    """
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    above = s_x / s_y
    below = above * np.float32(slope)
    if not (2**-8 <= above <= 2**7 and abs(below) >= 2**-8 and -(2**7) < below <= 2**7):
        return tflite_optimised.leaky_relu(x, slope=slope, to=to)
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = int(x.values[index]) - z_x
        k = int(np.rint(np.float32(256) * (above if v >= 0 else below)))
        y[index] = min(max(((v * k + 128) >> 8) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def mean(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """In float32: clip(rint(f32(f32(S * k) + f32(z_o - f32(f32(n * z_i) * k))))), k = f32(f32(s_i / s_o) * f32(1 / n)).

    S is the sum of n raw integers.
    """
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()

    def finished(total: int, n: int) -> int:
        k = s_x / s_y * (np.float32(1) / np.float32(n))
        offset = np.float32(z_y) - np.float32(n * z_x) * k
        return int(np.rint(np.float32(total) * k + offset))

    return reduced(x, axes, keepdims, to, finished)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """Weights of 11 bits, rint(2048 * fraction), first along rows, then between them.

    t = (q00 << 11) + (q01 - q00) * u of the upper row, b likewise of the lower one;
    ((t << 11) + (b - t) * v + 2^21) >> 22. A place is p * step, half_pixel: (p + 1/2) * step - 1/2, in float32, and is
    clipped to the image.
    """
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *size), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        pixels = x.values[n, c].astype(int).tolist()
        v, above, below = _between(p, H, size[0], align_corners, half_pixel)
        u, before, after = _between(q, W, size[1], align_corners, half_pixel)
        t = (pixels[above][before] << 11) + (pixels[above][after] - pixels[above][before]) * u
        b = (pixels[below][before] << 11) + (pixels[below][after] - pixels[below][before]) * u
        y[n, c, p, q] = ((t << 11) + (b - t) * v + 2**21) >> 22
    return QuantisedTensor(y, to)


def _between(p: int, size: int, outputs: int, align_corners: bool, half_pixel: bool) -> tuple[int, int, int]:
    """(fraction in 1/2048, index before, index after) of output p along an axis."""
    step = np.float32(size) / np.float32(outputs)
    if align_corners and outputs > 1:
        step = np.float32(size - 1) / np.float32(outputs - 1)
    half = np.float32(0.5)
    place = np.float32(p) * step
    if half_pixel and not align_corners:
        place = (np.float32(p) + half) * step - half
    place = min(max(place, np.float32(0)), np.float32(size - 1))
    before = int(place)
    return int(np.rint(np.float32(2048) * (place - np.float32(before)))), before, min(before + 1, size - 1)


def _weights(x: QuantisedTensor, w: QuantisedTensor) -> QuantisedTensor:
    return w if x.values.dtype == np.uint8 else w.symmetric()


def _rescaled(total: Array, x: QuantisedTensor, w: QuantisedTensor, to: Quantisation, act: str) -> QuantisedTensor:
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        y[n, k, p, q] = clipped(int(rescale(total[n, k, p, q], s_x * s_w[k] / s_y)) + z_y, to, act)
    return QuantisedTensor(y, to)


def _sum(x: QuantisedTensor, y: QuantisedTensor, sign: int, to: Quantisation, act: str) -> QuantisedTensor:
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), y.quantisation.single(), to.single()
    r_1, r_2 = float(s_1 / s_y), float(s_2 / s_y)
    shift = 20 - math.floor(math.log2(max(r_1, r_2)))
    m_1, m_2 = round(r_1 * 2**shift), round(r_2 * 2**shift)
    left, right = np.broadcast_arrays(x.values, y.values)
    z = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        total = m_1 * (int(left[index]) - z_1) + sign * m_2 * (int(right[index]) - z_2)
        z[index] = clipped(((total + (1 << (shift - 1))) >> shift) + z_y, to, act)
    return QuantisedTensor(z, to)
