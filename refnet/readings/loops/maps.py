"""Borders, pools, other sizes: where the points of a map are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings.loops.checks import output_size, refuse_if

__all__ = [
    "avg_pool2d",
    "concat",
    "flatten",
    "max_pool2d",
    "pad",
    "resize_bilinear",
    "resize_legacy",
    "resize_nearest",
]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def pad(x: Array, *, pad: Pad, mode: str, value: float) -> Array:
    """Put a border around an image.

    'constant' is of `value`, 'edge' repeats, 'reflect' mirrors without the edge and 'symmetric' with it,
    'wrap' goes on at the other side.

    Parameters
    ----------
    x : (N, C, H, W) array
    pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, C, top + H + bottom, left + W + right) array, dtype of x
    """
    N, C, H, W = x.shape
    (top, bottom), (left, right) = pad
    y = np.zeros((N, C, top + H + bottom, left + W + right), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        h, v = p - top, q - left
        if mode == "edge":
            h, v = min(max(h, 0), H - 1), min(max(v, 0), W - 1)
        elif mode == "reflect":
            h, v = _mirror(h, H), _mirror(v, W)
        elif mode == "symmetric":
            h, v = (min(i % (2 * side), 2 * side - 1 - i % (2 * side)) for i, side in ((h, H), (v, W)))
        elif mode == "wrap":
            h, v = h % H, v % W
        y[n, c, p, q] = x[n, c, h, v] if 0 <= h < H and 0 <= v < W else value
    return y


def avg_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """Average windows of each channel; points outside the image are left out of the sum and of the count.

    The global pool is the case in which the kernel is the map.

    Parameters
    ----------
    x : (N, C, H, W) array
    kernel, stride : (height, width)
    pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, C, P, Q) array, dtype of x
    """
    y = np.zeros((*x.shape[:2], *output_size(x, kernel, stride, pad, (1, 1))), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        total, count = x.dtype.type(0), 0
        for h, v in _window(x, p, q, kernel, stride, pad):
            total += x[n, c, h, v]
            count += 1
        y[n, c, p, q] = total / x.dtype.type(count)
    return y


def max_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """The largest value of each window of each channel; points outside the image are left out.

    Parameters and result as for `avg_pool2d`.
    """
    y = np.zeros((*x.shape[:2], *output_size(x, kernel, stride, pad, (1, 1))), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        y[n, c, p, q] = max(x[n, c, h, v] for h, v in _window(x, p, q, kernel, stride, pad))
    return y


def concat(*xs: Array) -> Array:
    """The channels of one map, or vector, behind those of another: (N, C, H, W), (N, D, H, W) -> (N, C + D, H, W)."""
    N, _, *sides = xs[0].shape
    refuse_if(any((x.shape[0], *x.shape[2:]) != (N, *sides) for x in xs), "maps of different sizes cannot be joined")
    y = np.zeros((N, sum(x.shape[1] for x in xs), *sides), xs[0].dtype)
    first = 0
    for x in xs:
        for n, c, *at in np.ndindex(x.shape):
            y[n, first + c, *at] = x[n, c, *at]
        first += x.shape[1]
    return y


def flatten(x: Array) -> Array:
    """Lay out (N, C, H, W) as (N, C*H*W), channels slowest."""
    N, C, H, W = x.shape
    y = np.zeros((N, C * H * W), x.dtype)
    for n, c, h, v in np.ndindex(x.shape):
        y[n, (c * H + h) * W + v] = x[n, c, h, v]
    return y


def resize_bilinear(x: Array, *, size: Pair, align_corners: bool) -> Array:
    """Enlarge or shrink each channel by linear interpolation between the four nearest pixels, without antialiasing.

    Output pixel p lies at h = (p + 1/2) * H / P - 1/2 of the input, or with `align_corners` at p * (H - 1) / (P - 1);
    outside the image the edge is repeated. x is (N, C, H, W), `size` is (P, Q), y is (N, C, P, Q), dtype of x.
    """

    def place(p: int, side: int, outputs: int) -> float:
        if align_corners:
            return p * (side - 1) / (outputs - 1) if outputs > 1 else 0.0
        return (p + 0.5) * side / outputs - 0.5

    return _interpolated(x, size, place)


def resize_legacy(x: Array, *, size: Pair) -> Array:
    """As `resize_bilinear`, with output pixel p at h = p * H / P, as TensorFlow 1 has it.

    Neither corners nor centres are aligned: an enlarged image moves towards the top left, and its last rows and columns
    repeat the edge.
    """
    return _interpolated(x, size, lambda p, side, outputs: p * side / outputs)


def resize_nearest(x: Array, *, size: Pair, align_corners: bool, half_pixel: bool) -> Array:
    """Enlarge or shrink each channel by taking the nearest pixel.

    Output pixel p is input pixel floor(p * H / P); with `half_pixel` floor((p + 1/2) * H / P), where the centres of
    pixels count; with `align_corners` p * (H - 1) / (P - 1), halves rounded up. The quotient and the product are
    float32, as TensorFlow and PyTorch have them: that decides which pixel a place on an edge falls to.

    Parameters and result as for `resize_bilinear`.
    """
    N, C, H, W = x.shape
    P, Q = size
    y = np.zeros((N, C, P, Q), x.dtype)
    rows = [_nearest(p, H, P, align_corners, half_pixel) for p in range(P)]
    columns = [_nearest(q, W, Q, align_corners, half_pixel) for q in range(Q)]
    for n, c, p, q in np.ndindex(y.shape):
        y[n, c, p, q] = x[n, c, rows[p], columns[q]]
    return y


def _nearest(p: int, size: int, outputs: int, align_corners: bool, half_pixel: bool) -> int:
    """The input pixel of output p along an axis."""
    num = np.float32
    if align_corners:
        place = num(p) * (num((size - 1) / (outputs - 1)) if outputs > 1 else num(0)) + num(0.5)
    else:
        place = (num(p) + num(0.5 if half_pixel else 0)) * num(size / outputs)
    return min(math.floor(place), size - 1)


def _interpolated(x: Array, size: Pair, place: Callable[[int, int, int], float]) -> Array:
    """Each output pixel between the four around where it lies."""
    N, C, H, W = x.shape
    P, Q = size
    num = x.dtype.type
    y = np.zeros((N, C, P, Q), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        h, above, below = _between(place(p, H, P), H)
        v, before, after = _between(place(q, W, Q), W)
        upper = x[n, c, above, before] * num(1 - v) + x[n, c, above, after] * num(v)
        lower = x[n, c, below, before] * num(1 - v) + x[n, c, below, after] * num(v)
        y[n, c, p, q] = upper * num(1 - h) + lower * num(h)
    return y


def _window(x: Array, p: int, q: int, kernel: Pair, stride: Pair, pad: Pad) -> list[Pair]:
    """The points of the image under the kernel at output (p, q)."""
    H, W = x.shape[2:]
    rows = range(p * stride[0] - pad[0][0], p * stride[0] - pad[0][0] + kernel[0])
    columns = range(q * stride[1] - pad[1][0], q * stride[1] - pad[1][0] + kernel[1])
    return [(h, v) for h in rows if 0 <= h < H for v in columns if 0 <= v < W]


def _mirror(index: int, size: int) -> int:
    """Reflect an index back into the image; the edge itself is not repeated."""
    if size == 1:
        return 0
    index = abs(index) % (2 * size - 2)
    return min(index, 2 * size - 2 - index)


def _between(place: float, size: int) -> tuple[float, int, int]:
    """(fraction, index before, index after) of a place along an axis; outside, the edge is repeated."""
    place = min(max(place, 0.0), size - 1.0)
    before = math.floor(place)
    return place - before, before, min(before + 1, size - 1)
