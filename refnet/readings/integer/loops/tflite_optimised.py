"""TensorFlow Lite's optimised builtin kernels on x86 (BUILTIN_WITHOUT_DEFAULT_DELEGATES), as scalar loops.

Their code is written for NEON and translated: the second rounding of a multiplier sends ties up. What is not here is
as in the reference kernels. `quantize`, `dequantize`, `requantize` and `mean` work on vectors of 8 or 16 numbers, and
what does not fill the last vector, in the order N, H, W, C, goes by another rule. Not modelled: ADD and MUL narrow to
int16 by wrapping, where a sum or product is beyond 32767 steps of the output, and ADD sends ties of its inputs up; the
logistic function and tanh of int16 are others where the scale is a power of two.
Sources: tensorflow/lite/kernels/internal/optimized/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np

from refnet.readings.integer.fixedpoint import mbqm, mbqm_half_up, multiplier, round_away
from refnet.readings.integer.loops import tflite
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.tflite import (
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
from refnet.readings.integer.loops.tflite_maps import between_float
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
    """As `tflite.depthwise_conv2d`; ties of the second rounding go up but for uint8."""
    rounding = mbqm if x.values.dtype == np.uint8 else mbqm_half_up
    return tflite.depthwise_conv2d(
        x, w, b, stride=stride, pad=pad, dilation=dilation, to=to, act=act, rounding=rounding
    )


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """clip(rint(f32(x * f32(1 / s))) + z): a product in float32, ties to even.

    Behind the last 8 numbers clip(round_away(double(x) / double(s)) + z).
    """
    s, z = to.single()
    inverse = np.float32(1) / s
    y = np.zeros(x.shape, to.dtype)
    for index in np.ndindex(x.shape):
        steps = float(round_away(float(np.float32(x[index])) / float(s)))
        y[index] = min(max(steps + z, to.low), to.high)
    for index in _in_vectors(x.shape, 8):
        y[index] = min(max(float(np.rint(np.float32(x[index]) * inverse)) + z, to.low), to.high)
    return QuantisedTensor(y, to)


def requantize(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `tflite.requantize`, and ties of the second rounding go up, but behind the last 16 numbers and of int16."""
    y = tflite.requantize(x, to=to).values
    if x.values.dtype != np.int16:
        up = tflite.requantize(x, to=to, rounding=mbqm_half_up).values
        for index in _in_vectors(y.shape, 16):
            y[index] = up[index]
    return QuantisedTensor(y, to)


def dequantize(x: QuantisedTensor) -> Array:
    """f32(f32(s * q) + f32(-z * s)), float32; as `tflite` behind the last 8."""
    s, z = x.quantisation.single()
    y = tflite.dequantize(x)
    for index in _in_vectors(y.shape, 8):
        y[index] = s * np.float32(x.values[index]) + np.float32(-z) * s
    return y


def _in_vectors(shape: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    """The places of an array (N, C, ...) that fill vectors of a size, in the order N, ..., C."""
    last = (shape[0], *shape[2:], shape[1]) if len(shape) > 1 else shape
    full = math.prod(shape) // size * size
    for index in islice(np.ndindex(last), full):
        yield (index[0], index[-1], *index[1:-1]) if len(shape) > 1 else index


def mean(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """The mean of whole maps of 8 bits whose axes are kept; any other as in the reference kernels.

    clip(MBQM(S, Q(double(f32(s_in / f32(n * s_out))))) + z_out - round_away(f32(f32(z_in * s_in) / s_out))), S the sum
    of the raw integers of a map, ties of the second rounding up but for the channels behind the last 16.

    Parameters
    ----------
    x : (N, C, H, W); maps are its axes 2 and 3
    """
    if x.values.ndim != 4 or not keepdims or dropped or sorted(axis % 4 for axis in axes) != [2, 3]:
        return tflite.mean(x, axes=axes, keepdims=keepdims, to=to)
    if x.values.dtype == np.int16:
        return tflite.mean(x, axes=axes, keepdims=keepdims, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    N, C, H, W = x.values.shape
    m, e = multiplier(float(s_x / (np.float32(H * W) * s_y)))
    offset = z_y - int(round_away(np.float32(z_x) * s_x / s_y))
    y = np.zeros((N, C, 1, 1), to.dtype)
    for n, c in np.ndindex(N, C):
        total = sum(int(x.values[n, c, h, v]) for h, v in np.ndindex(H, W))
        rounding = mbqm_half_up if c < C // 16 * 16 else mbqm
        y[n, c, 0, 0] = min(max(rounding(total, m, e) + offset, to.low), to.high)
    return QuantisedTensor(y, to)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """uint8: four weights, products of two fractions in float32, then row by row; others as in the reference kernels.

    f32(q00 * w00 + q01 * w01 + q10 * w10 + q11 * w11) left to right, + 1/2, truncated; w01 = (1 - h) * v belongs to the
    upper row and the later column.
    """
    if x.values.dtype != np.uint8:
        return tflite.resize_bilinear(x, size=size, align_corners=align_corners, half_pixel=half_pixel, to=to)
    N, C, H, W = x.values.shape
    one = np.float32(1)
    y = np.zeros((N, C, *size), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        pixels = x.values[n, c].astype(np.float32)
        h, above, below = between_float(p, H, size[0], align_corners, half_pixel)
        v, before, after = between_float(q, W, size[1], align_corners, half_pixel)
        real = pixels[above, before] * ((one - h) * (one - v)) + pixels[above, after] * ((one - h) * v)
        real = real + pixels[below, before] * (h * (one - v)) + pixels[below, after] * (h * v)
        y[n, c, p, q] = int(real + np.float32(0.5))
    return QuantisedTensor(y, to)
