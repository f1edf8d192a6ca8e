"""TensorFlow Lite's operations that move integers and compute nothing, as scalar loops; and where the largest lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["arg_max", "batch_to_space", "depth_to_space", "resize_nearest", "space_to_batch", "strided_slice", "tile"]


def space_to_batch(x: QuantisedTensor, *, block: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """An image with a border of z_out, cut into as many images as a block has points.

    y[(a * bw + b) * N + n, c, p, q] = padded x[n, c, p * bh + a, q * bw + b]. reference/space_to_batch_nd.h.
    """
    N, C, H, W = x.values.shape
    (bh, bw), ((top, bottom), (left, right)) = block, pad
    P, Q = (H + top + bottom) // bh, (W + left + right) // bw
    y = np.full((bh * bw * N, C, P, Q), to.single()[1], to.dtype)
    for image, c, p, q in np.ndindex(y.shape):
        place, n = divmod(image, N)
        h, v = p * bh + place // bw - top, q * bw + place % bw - left
        if 0 <= h < H and 0 <= v < W:
            y[image, c, p, q] = x.values[n, c, h, v]
    return QuantisedTensor(y, to)


def batch_to_space(x: QuantisedTensor, *, block: Pair, crop: Pad, to: Quantisation) -> QuantisedTensor:
    """The reverse of `space_to_batch`; what is cropped is left out. reference/batch_to_space_nd.h."""
    images, C, P, Q = x.values.shape
    (bh, bw), ((top, bottom), (left, right)) = block, crop
    N = images // (bh * bw)
    y = np.zeros((N, C, P * bh - top - bottom, Q * bw - left - right), to.dtype)
    for n, c, h, v in np.ndindex(y.shape):
        (p, a), (q, b) = divmod(h + top, bh), divmod(v + left, bw)
        y[n, c, h, v] = x.values[(a * bw + b) * N + n, c, p, q]
    return QuantisedTensor(y, to)


def depth_to_space(x: QuantisedTensor, *, block: int, to: Quantisation) -> QuantisedTensor:
    """y[n, c, h, v] = x[n, ((h % b) * b + v % b) * C + c, h // b, v // b], C the channels of y."""
    N, D, H, W = x.values.shape
    C = D // block**2
    y = np.zeros((N, C, H * block, W * block), to.dtype)
    for n, c, h, v in np.ndindex(y.shape):
        y[n, c, h, v] = x.values[n, ((h % block) * block + v % block) * C + c, h // block, v // block]
    return QuantisedTensor(y, to)


def tile(x: QuantisedTensor, *, times: Sequence[int], to: Quantisation) -> QuantisedTensor:
    """The tensor again and again along its channels, height and width: `times` of each."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, C * times[0], H * times[1], W * times[2]), to.dtype)
    for n, c, h, v in np.ndindex(y.shape):
        y[n, c, h, v] = x.values[n, c % C, h % H, v % W]
    return QuantisedTensor(y, to)


def strided_slice(
    x: QuantisedTensor, *, begin: Sequence[int], end: Sequence[int], step: Sequence[int], to: Quantisation
) -> QuantisedTensor:
    """Every step-th of the channels, rows and columns from `begin` up to `end`; parts of SPLIT, too."""
    sides = [range(*each) for each in zip(begin, end, step, strict=True)]
    y = np.zeros((len(x.values), *map(len, sides)), to.dtype)
    for n, c, h, v in np.ndindex(y.shape):
        y[n, c, h, v] = x.values[n, sides[0][c], sides[1][h], sides[2][v]]
    return QuantisedTensor(y, to)


def resize_nearest(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool, to: Quantisation
) -> QuantisedTensor:
    """One pixel for each: at most the last, k = f32(f32(p + o) * r), o = 1/2 with `half_pixel`, else 0.

    Rounded away from zero with `align_corners`, whose ratio r is f32((n - 1) / (outputs - 1)); else rounded down, and
    r = f32(n / outputs). reference/resize_nearest_neighbor.h.
    """
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *size), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        h = _nearest(p, H, size[0], align_corners, half_pixel)
        y[n, c, p, q] = x.values[n, c, h, _nearest(q, W, size[1], align_corners, half_pixel)]
    return QuantisedTensor(y, to)


def _nearest(p: int, n: int, outputs: int, align_corners: bool, half_pixel: bool) -> int:
    ratio = np.float32(n) / np.float32(outputs)
    if align_corners and outputs > 1:
        ratio = np.float32(n - 1) / np.float32(outputs - 1)
    place = (np.float32(p) + np.float32(0.5 if half_pixel else 0)) * ratio
    return min(int(round_away(place)) if align_corners else math.floor(place), n - 1)


def arg_max(x: QuantisedTensor, *, dtype: str = "int64") -> Array:
    """Which channel is the largest, the first of several: (N, 1, H, W) of int32 or int64. reference/arg_min_max.h."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, 1, H, W), dtype)
    for n, h, v in np.ndindex(N, H, W):
        y[n, 0, h, v] = max(range(C), key=lambda c: (int(x.values[n, c, h, v]), -c))
    return y
