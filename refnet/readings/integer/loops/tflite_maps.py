"""TensorFlow Lite's reference kernels of pools, means, borders and sizes, as scalar loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.loops.sums import Pad, Pair, output_size, window
from refnet.readings.integer.loops.tflite_ranges import clipped
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "avg_pool2d",
    "between_float",
    "concatenation",
    "flatten",
    "max_pool2d",
    "mean",
    "mean_2_12",
    "pad",
    "reduce_max",
    "reduced",
    "resize_bilinear",
]


def avg_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """Mean of the raw integers S of a window over the n that lie inside the image; zero points play no part.

    uint8 : clip((S + n // 2) // n)
    int8, int16 : clip(trunc((S + n // 2) / n)) where S > 0, else clip(trunc((S - n // 2) / n))

    // and trunc are C's division. Scales of input and output must be equal, which no release build checks.

    Parameters
    ----------
    x : (N, C, H, W); kernel, stride : (height, width); pad : ((top, bottom), (left, right))

    Notes
    -----
    reference/pooling.h, reference/integer_ops/pooling.h.
    """
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *output_size((H, W), kernel, stride, pad)), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        points = [int(x.values[n, c, h, v]) for h, v in window((H, W), p, q, kernel, stride, pad)]
        total, count = sum(points), len(points)
        if x.values.dtype == np.uint8 or total > 0:
            value = (total + count // 2) // count
        else:
            value = -((-(total - count // 2)) // count)
        y[n, c, p, q] = clipped(value, to, act)
    return QuantisedTensor(y, to)


def max_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """The largest integer of each window inside the image, clipped. Parameters and sources as of `avg_pool2d`."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *output_size((H, W), kernel, stride, pad)), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        value = max(int(x.values[n, c, h, v]) for h, v in window((H, W), p, q, kernel, stride, pad))
        y[n, c, p, q] = clipped(value, to, act)
    return QuantisedTensor(y, to)


def mean(
    x: QuantisedTensor,
    *,
    axes: Sequence[int],
    keepdims: bool = True,
    dropped: bool = False,
    to: Quantisation,
    rounding: Callable[[Any, Any, Any], Any] = mbqm,
) -> QuantisedTensor:
    """MEAN over axes of n numbers in all: the division is part of the multiplier.

    (m, e) = Q(double(s_in) / double(s_out)); h = min(floor(log2 n), 32, 31 + e); m' = (m << h) // n, e' = e - h;
    clip(MBQM(S - z_in * n, (m', e')) + z_out), S the sum of the raw integers.

    `dropped` says that the file's tensor goes without the axes, though the graph's keeps them: to the optimised kernels
    that is a difference.

    TensorFlow 2.13 and later, every LiteRT, tflite-micro: reference/reduce.h, QuantizedMeanOrSum.
    """
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()

    def finished(total: int, n: int) -> int:
        m, e = multiplier(float(s_x) / float(s_y))
        h = min(n.bit_length() - 1, 32, 31 + e)
        return int(rounding(total - z_x * n, (m << h) // n, e - h)) + z_y

    return reduced(x, axes, keepdims, to, finished)


def mean_2_12(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """MEAN until TensorFlow 2.12: of integers where nothing is rescaled, else in float32.

    Equal scales and zero points : trunc(S / n), C's division of the raw sum, not rounded
    else : k = f32(s_in / s_out), o = f32(f32(-z_in) * k);
        clip(round_away(f32(f32(f32(f32(S) / f32(n)) * k) + o)) + z_out)
    """
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()

    def finished(total: int, n: int) -> int:
        if s_x == s_y and z_x == z_y:
            return -(-total // n) if total < 0 else total // n
        k = s_x / s_y
        offset = np.float32(-z_x) * k
        return int(round_away(np.float32(total) / np.float32(n) * k + offset)) + z_y

    return reduced(x, axes, keepdims, to, finished)


def reduce_max(x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, to: Quantisation) -> QuantisedTensor:
    """The largest integer over axes; scale and zero point stay what they are."""
    over = sorted({axis % x.values.ndim for axis in axes})
    y = np.full([1 if axis in over else side for axis, side in enumerate(x.values.shape)], to.low, to.dtype)
    for index in np.ndindex(x.values.shape):
        place = tuple(0 if axis in over else i for axis, i in enumerate(index))
        y[place] = max(y[place], x.values[index])
    return QuantisedTensor(y if keepdims else y.squeeze(tuple(over)), to)


def pad(
    x: QuantisedTensor,
    *,
    pad: Pad,
    channels: Pair = (0, 0),
    mode: str = "constant",
    value: float = 0.0,
    to: Quantisation,
) -> QuantisedTensor:
    """A border of z_out around an image; of round_away(f32(value / s_out)) + z_out in PADV2; MIRROR_PAD copies.

    Parameters and modes as for `readings.loops.pad`; 'symmetric' repeats the edge where 'reflect' does not. `channels`
    of the border stand before and behind the image's.
    """
    s, z = to.single()
    N, C, H, W = x.values.shape
    (top, bottom), (left, right) = pad
    border = min(max(int(round_away(np.float32(value) / s)) + z, to.low), to.high)
    y = np.zeros((N, C + sum(channels), top + H + bottom, left + W + right), to.dtype)
    for n, k, p, q in np.ndindex(y.shape):
        c, h, v = k - channels[0], p - top, q - left
        if mode == "edge":
            h, v = min(max(h, 0), H - 1), min(max(v, 0), W - 1)
        elif mode == "reflect":
            h, v = (H - 1 - abs(H - 1 - abs(h))), (W - 1 - abs(W - 1 - abs(v)))
        elif mode == "symmetric":
            h, v = (min(max(i, -1 - i), 2 * side - 1 - i) for i, side in ((h, H), (v, W)))
        inside = 0 <= c < C and 0 <= h < H and 0 <= v < W
        y[n, k, p, q] = x.values[n, c, h, v] if inside else border
    return QuantisedTensor(y, to)


def flatten(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """The same integers, (N, C, H, W) as (N, C*H*W): a copy."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, C * H * W), to.dtype)
    for n, c, h, v in np.ndindex(x.values.shape):
        y[n, (c * H + h) * W + v] = x.values[n, c, h, v]
    return QuantisedTensor(y, to)


def concatenation(*xs: QuantisedTensor, axis: int = 1, to: Quantisation) -> QuantisedTensor:
    """Tensors one after the other along an axis.

    int8, int16 : a copy; scales and zero points must be equal
    uint8 : where they are not, clip(round_away(f32(f32(q * k) + f32(f32(-z_i) * k))) + z_out),
        k = f32(s_i * f32(1 / s_out))

    Notes
    -----
    kernels/concatenation.cc, reference/concatenation.h.
    """
    s_y, z_y = to.single()
    parts = []
    for x in xs:
        s, z = x.quantisation.single()
        part = x.values.copy()
        if (s, z) != (s_y, z_y):
            if x.values.dtype != np.uint8:
                raise RequestError("concatenation: int8 tensors of another scale or zero point than the output's")
            k = s * (np.float32(1) / s_y)
            offset = np.float32(-z) * k
            for index in np.ndindex(part.shape):
                whole = int(round_away(np.float32(part[index]) * k + offset)) + z_y
                part[index] = min(max(whole, to.low), to.high)
        parts.append(part)
    return QuantisedTensor(np.concatenate(parts, axis), to)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """Linear interpolation between four pixels; `_between_q10` and `between_float` say which.

    int8, int16 : weights in 1/1024, the sum of four products in int64, trunc((sum +- 2^19) / 2^20)
    uint8 : weights in float32, products and sum left to right in float32, + 1/2, truncated

    Parameters
    ----------
    size : (P, Q) of the output
    align_corners : the corners' centres stay where they are
    half_pixel : else, whether pixels are squares (their centres at 1/2) or points (TensorFlow 1)

    Notes
    -----
    reference/resize_bilinear.h.
    """
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *size), to.dtype)
    one = np.float32(1)
    for n, c, p, q in np.ndindex(y.shape):
        pixels = x.values[n, c]
        if x.values.dtype == np.uint8:
            h, above, below = between_float(p, H, size[0], align_corners, half_pixel)
            v, before, after = between_float(q, W, size[1], align_corners, half_pixel)
            real = np.float32(pixels[above, before]) * (one - h) * (one - v)
            real = real + np.float32(pixels[below, before]) * h * (one - v)
            real = real + np.float32(pixels[above, after]) * (one - h) * v
            real = real + np.float32(pixels[below, after]) * h * v
            y[n, c, p, q] = int(real + np.float32(0.5))
        else:
            t, above, below = _between_q10(p, H, size[0], align_corners, half_pixel)
            u, before, after = _between_q10(q, W, size[1], align_corners, half_pixel)
            total = int(pixels[above, before]) * (1024 - t) * (1024 - u) + int(pixels[below, before]) * t * (1024 - u)
            total += int(pixels[above, after]) * (1024 - t) * u + int(pixels[below, after]) * t * u
            total += 2**19 if total > 0 else -(2**19)
            y[n, c, p, q] = total >> 20 if total >= 0 else -(-total >> 20)
    return QuantisedTensor(y, to)


def _between_q10(p: int, size: int, outputs: int, align_corners: bool, half_pixel: bool) -> tuple[int, int, int]:
    """(fraction in 1/1024, index before, index after) of output p along an axis.

    step = (1024 * size + outputs // 2) // outputs, but with align_corners one less of each: size - 1, outputs - 1;
    t = p * step, with half_pixel + step // 2 - 512; before = max(trunc(t / 1024), 0),
    after = min(trunc((t + 1023) / 1024), size - 1). The fraction t - 1024 * before may be negative, or belong to a
    pixel that is cut off: it counts as it is.
    """
    step = (1024 * size + outputs // 2) // outputs
    if align_corners and outputs > 1:
        step = (1024 * (size - 1) + (outputs - 1) // 2) // (outputs - 1)
    t = p * step + (step // 2 - 512 if half_pixel and not align_corners else 0)
    before = max(int(t / 1024), 0)  # exact: t has less than 53 bits
    return t - 1024 * before, before, min(int((t + 1023) / 1024), size - 1)


def between_float(
    p: int, size: int, outputs: int, align_corners: bool, half_pixel: bool
) -> tuple[np.float32, int, int]:
    """(fraction, index before, index after) of output p along an axis, in float32."""
    step = np.float32(size) / np.float32(outputs)
    if align_corners and outputs > 1:
        step = np.float32(size - 1) / np.float32(outputs - 1)
    half = np.float32(0.5)
    t = np.float32(p) * step
    if half_pixel and not align_corners:
        t = (np.float32(p) + half) * step - half
    before = max(math.floor(t), 0)
    return t - np.float32(before), before, min(math.ceil(t), size - 1)


def reduced(
    x: QuantisedTensor, axes: Sequence[int], keepdims: bool, to: Quantisation, finished: Callable[[int, int], int]
) -> QuantisedTensor:
    """Sums of the raw integers over axes, each finished as a runtime does it."""
    shape = x.values.shape
    over = sorted({axis % len(shape) for axis in axes})
    y = np.zeros([1 if axis in over else side for axis, side in enumerate(shape)], to.dtype)
    for index in np.ndindex(y.shape):
        points = product(*(range(shape[a]) if a in over else (index[a],) for a in range(len(shape))))
        total = sum(int(x.values[point]) for point in points)
        value = finished(total, math.prod(shape[a] for a in over))
        y[index] = min(max(value, to.low), to.high)
    return QuantisedTensor(y if keepdims else y.squeeze(tuple(over)), to)
