"""The operations of `loops`, vectorised in NumPy: same names, same signatures, and nothing else in common.

Arrays are (N, C, H, W) to the caller, but what these functions return lies in memory channels last: then a
pointwise convolution is one matrix product, and a depthwise one reads runs of neighbouring channels. Nothing is
widened or narrowed: dtype in is dtype out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_STRIP = 1 << 17  # elements of the windows that `conv2d` lays out at once: they stay in the processor's cache


def conv2d(x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """As `loops.conv2d`: windows laid out as rows of a matrix, times the filters; a strip of the image at a time."""
    K, _, R, S = w.shape
    windows = _windows(_bordered(x, pad, 0), (R, S), stride, dilation)  # (N, P, Q, R, S, C)
    N, P, Q = windows.shape[:3]
    filters = w.transpose(2, 3, 1, 0).reshape(-1, K)  # (R*S*C, K)
    y = np.empty((N, P, Q, K), x.dtype)
    height = max(1, _STRIP // (Q * len(filters)))
    for n in range(N):
        for p in range(0, P, height):
            rows = windows[n, p : p + height].reshape(-1, len(filters))  # copies; (height*Q, R*S*C)
            y[n, p : p + height] = (rows @ filters).reshape(-1, Q, K)
    return _finished(y, b, (N, P, Q))


def depthwise_conv2d(x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """As `loops.depthwise_conv2d`: a sum over the window view, channels innermost."""
    windows = _windows(_bordered(x, pad, 0), w.shape[1:], stride, dilation)
    y = np.einsum("npqrsc,rsc->npqc", windows, np.ascontiguousarray(w.transpose(1, 2, 0)))
    return _finished(y, b, y.shape[:3])


def grouped_conv2d(
    x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1), groups: int
) -> Array:
    """As `loops.grouped_conv2d`: windows of all groups at once, a sum over each group's own."""
    K, C, R, S = w.shape
    windows = _windows(_bordered(x, pad, 0), (R, S), stride, dilation)  # (N, P, Q, R, S, G*C)
    N, P, Q = windows.shape[:3]
    filters = w.reshape(groups, K // groups, C, R, S)
    y = np.einsum("npqrsgc,gkcrs->npqgk", windows.reshape(N, P, Q, R, S, groups, C), filters)
    return _finished(np.ascontiguousarray(y.reshape(N, P, Q, K)), b, (N, P, Q))


def pointwise_conv2d(x: Array, w: Array, b: Array | None) -> Array:
    """As `loops.pointwise_conv2d`: one matrix product over all pixels."""
    N, C, H, W = x.shape
    y = _channels_last(x).reshape(-1, C) @ w.T
    return _finished(y, b, (N, H, W))


def pad(x: Array, *, pad: Pad, mode: str, value: float) -> Array:
    """As `loops.pad`."""
    if mode == "constant":
        return _bordered(x, pad, value).transpose(0, 3, 1, 2)
    return np.pad(_channels_last(x), ((0, 0), *pad, (0, 0)), mode=mode).transpose(0, 3, 1, 2)  # type: ignore[call-overload]


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Array:
    """As `loops.batch_norm`: one multiply and one add, their factors computed per channel beforehand."""
    factor = gamma / np.sqrt(var + eps)
    y = _channels_last(x) * factor
    y += beta - mean * factor
    return y.transpose(0, 3, 1, 2)


def affine(x: Array, *, slope: float, offset: float) -> Array:
    """As `loops.affine`."""
    y = x * slope
    y += offset
    return y


def relu(x: Array) -> Array:
    """As `loops.relu`."""
    y: Array = np.maximum(x, 0)
    return y


def relu6(x: Array) -> Array:
    """As `loops.relu6`."""
    y: Array = np.clip(x, 0, 6)  # in a part of the time that a maximum and a minimum take
    return y


def leaky_relu(x: Array, *, slope: float) -> Array:
    """As `loops.leaky_relu`."""
    return np.where(x >= 0, x, x * x.dtype.type(slope))


def prelu(x: Array, alpha: Array) -> Array:
    """As `loops.prelu`."""
    slopes = alpha.reshape(-1, *(1,) * (x.ndim - 2)) if alpha.ndim == 1 else alpha
    return np.where(x >= 0, x, x * slopes)


def thresholded_relu(x: Array, *, threshold: float) -> Array:
    """As `loops.thresholded_relu`."""
    number = x.dtype.type
    return np.where(x > number(threshold), x, number(0))


def clip(x: Array, *, low: float, high: float) -> Array:
    """As `loops.clip`."""
    number = x.dtype.type
    y: Array = np.clip(x, number(low), number(high))
    return y


def tanh(x: Array) -> Array:
    """As `loops.tanh`."""
    y: Array = np.tanh(x)
    return y


def hard_sigmoid(x: Array, *, slope: float, offset: float) -> Array:
    """As `loops.hard_sigmoid`."""
    y = x * slope
    y += offset
    return np.clip(y, 0, 1, out=y)


def hard_swish(x: Array) -> Array:
    """As `loops.hard_swish`."""
    y = x + 3
    np.clip(y, 0, 6, out=y)
    y *= x
    y *= 1 / 6
    return y


def sigmoid(x: Array) -> Array:
    """As `loops.sigmoid`."""
    y = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, y) / (1 + y)


def swish(x: Array) -> Array:
    """As `loops.swish`."""
    return x * sigmoid(x)


def avg_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """As `loops.avg_pool2d`; the count of each window is itself a product of two counts."""
    if kernel == x.shape[2:] and not np.any(pad):
        N, C, H, W = x.shape
        return (_channels_last(x).reshape(N, H * W, C).sum(axis=1) / x.dtype.type(H * W)).reshape(N, C, 1, 1)
    sums = _windows(_bordered(x, pad, 0), kernel, stride, (1, 1)).sum(axis=(3, 4))
    ones = _bordered(np.ones((1, 1, *x.shape[2:]), x.dtype), pad, 0)
    counts = _windows(ones, kernel, stride, (1, 1)).sum(axis=(3, 4))
    return (sums / counts).transpose(0, 3, 1, 2)


def max_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """As `loops.max_pool2d`."""
    windows = _windows(_bordered(x, pad, -np.inf), kernel, stride, (1, 1))
    return windows.max(axis=(3, 4)).transpose(0, 3, 1, 2)


def scale(x: Array, gate: Array) -> Array:
    """As `loops.scale`."""
    return x * gate


def add(x: Array, y: Array) -> Array:
    """As `loops.add`."""
    return x + y


def concat(*xs: Array) -> Array:
    """As `loops.concat`."""
    if xs[0].ndim < 4:
        return np.concatenate(xs, axis=1)
    return np.concatenate([x.transpose(0, 2, 3, 1) for x in xs], axis=3).transpose(0, 3, 1, 2)


def flatten(x: Array) -> Array:
    """As `loops.flatten`."""
    return x.reshape(len(x), -1)


def resize_bilinear(x: Array, *, size: Pair, align_corners: bool) -> Array:
    """As `loops.resize_bilinear`: rows first, then columns."""
    places = (_places(side, outputs, align_corners) for side, outputs in zip(x.shape[2:], size, strict=True))
    return _interpolated(x, *places)


def resize_legacy(x: Array, *, size: Pair) -> Array:
    """As `loops.resize_legacy`."""
    return _interpolated(
        x, *(np.arange(outputs) * (side / outputs) for side, outputs in zip(x.shape[2:], size, strict=True))
    )


def resize_nearest(x: Array, *, size: Pair, align_corners: bool, half_pixel: bool) -> Array:
    """As `loops.resize_nearest`."""
    y = _channels_last(x)
    for axis in (1, 2):
        side, outputs = y.shape[axis], size[axis - 1]
        place = np.arange(outputs, dtype=np.float32)
        if align_corners:
            place = np.floor(place * np.float32((side - 1) / max(outputs - 1, 1)) + np.float32(0.5))
        else:
            place = np.floor((place + np.float32(0.5 * half_pixel)) * np.float32(side / outputs))
        y = y.take(np.minimum(place.astype(np.intp), side - 1), axis)
    return y.transpose(0, 3, 1, 2)


def _interpolated(x: Array, *places: Array) -> Array:
    """Between the points of a map before and after each place, rows first; outside, the edge is repeated."""
    y = _channels_last(x)
    for axis, place in enumerate(places, 1):
        place = place.clip(0, y.shape[axis] - 1)
        low = place.astype(np.intp)
        high, part = np.minimum(low + 1, y.shape[axis] - 1), place - low
        weight = part.astype(x.dtype).reshape((-1, 1, 1) if axis == 1 else (-1, 1))
        y = y.take(low, axis) * (1 - weight) + y.take(high, axis) * weight
    return y.transpose(0, 3, 1, 2)


def softmax(x: Array) -> Array:
    """As `loops.softmax`."""
    y = np.exp(x - x.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
    return y


def _channels_last(x: Array) -> Array:
    """(N, C, H, W) -> contiguous (N, H, W, C); a view where memory already lies so."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _bordered(x: Array, pad: Pad, value: float) -> Array:
    """Channels last with a border of `value`: (N, top + H + bottom, left + W + right, C)."""
    (top, bottom), (left, right) = pad
    if not (top or bottom or left or right):
        return _channels_last(x)
    N, C, H, W = x.shape
    y = np.full((N, top + H + bottom, left + W + right, C), value, x.dtype)
    y[:, top : top + H, left : left + W] = x.transpose(0, 2, 3, 1)
    return y


def _windows(x: Array, kernel: tuple[int, ...], stride: Pair, dilation: Pair) -> Array:
    """View (N, H, W, C) as its windows, (N, P, Q, R, S, C), without copying."""
    N, H, W, C = x.shape
    P = (H - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    Q = (W - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    n, h, v, c = x.strides
    strides = (n, h * stride[0], v * stride[1], h * dilation[0], v * dilation[1], c)
    return as_strided(x, (N, P, Q, *kernel, C), strides, writeable=False)


def _finished(y: Array, b: Array | None, shape: tuple[int, ...]) -> Array:
    """Add the bias; (N*P*Q, K) or (N, P, Q, K) -> (N, K, P, Q), channels last in memory."""
    if b is not None:
        y += b
    return y.reshape(*shape, y.shape[-1]).transpose(0, 3, 1, 2)


def _places(size: int, outputs: int, align_corners: bool) -> Array:
    """Where along one axis every output pixel lies."""
    place = np.arange(outputs, dtype=np.float64)
    if align_corners:
        return place * ((size - 1) / max(outputs - 1, 1))
    return (place + 0.5) * (size / outputs) - 0.5
