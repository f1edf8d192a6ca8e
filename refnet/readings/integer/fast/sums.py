"""What a convolution adds up before it is rescaled: products of floating-point matrices, exact.

A sum of whole numbers in floating point is exact, in any order and with or without fused multiply-adds, when no partial
sum leaves the integers that the format holds. Every partial sum of filter k is at most

    bound[k] = max |x| * sum |w[k] - z_w[k]| + |b[k] - z_x * sum (w[k] - z_w[k])|,   x the raw integers,

so float32 serves below 2^24, float64 below 2^53, and int64 beyond, which no BLAS multiplies. MobileNets in 8 bits lie
in float32 but for a few wide layers. Sums of 2^31 or more wrap where the runtime's registers hold int32.

Raw integers are multiplied; what the zero points take off is one constant a filter. A strip of the image at a time is
added up and handed to `finish`, which makes integers of the output of it while it lies in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import wrap32
from refnet.readings.integer.quantisation import Array, QuantisedTensor

__all__ = ["Finish", "bordered", "channels_last", "conv2d", "depthwise_conv2d", "pointwise_conv2d", "windows"]

Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

# Takes sums, (T, Q, K) whole numbers in float32, float64 or int64, contiguous, and fills (T, Q, K) integers.
Finish = Callable[[Array, Array], None]

_STRIP = 1 << 16  # sums at a time


def conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    pairs: bool = False,
    finish: Finish | None = None,
    dtype: Any = np.int64,
) -> Array:
    """As `loops.sums.conv2d`; with `finish`, what that makes of the sums, as `dtype`. Channels last in memory."""
    K, C, R, S = w.values.shape
    filters = _Filters(x, w, w.values.transpose(0, 2, 3, 1), b, pairs)
    view = windows(bordered(x, pad), (R, S), stride, dilation)  # (N, P, Q, R, S, C)
    N, P, Q = view.shape[:3]
    y = np.empty((N, P, Q, K), dtype)
    for n, p, T in _strips(N, P, Q * max(K, R * S * C)):
        matrix = np.empty((T, Q, R * S * C + 1), filters.dtype)
        matrix[..., :-1].reshape(T, Q, R, S, C)[...] = view[n, p : p + T]
        _finished(filters.multiplied(matrix), filters, finish, y[n, p : p + T])
    return y.transpose(0, 3, 1, 2)


def pointwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    pairs: bool = False,
    finish: Finish | None = None,
    dtype: Any = np.int64,
) -> Array:
    """As `loops.sums.pointwise_conv2d`; `finish` and `dtype` as for `conv2d`."""
    K, C = w.values.shape
    filters = _Filters(x, w, w.values, b, pairs)
    image = channels_last(x.values)
    N, H, W, _ = image.shape
    y = np.empty((N, H, W, K), dtype)
    for n, h, T in _strips(N, H, W * max(K, C)):
        matrix = np.empty((T, W, C + 1), filters.dtype)
        matrix[..., :-1] = image[n, h : h + T]
        _finished(filters.multiplied(matrix), filters, finish, y[n, h : h + T])
    return y.transpose(0, 3, 1, 2)


def depthwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    pairs: bool = False,
    finish: Finish | None = None,
    dtype: Any = np.int64,
) -> Array:
    """As `loops.sums.depthwise_conv2d`; `finish` and `dtype` as for `conv2d`.

    Columns are split by what they leave when divided by the stride, so that every tap is one run of memory a row.
    """
    K, R, S = w.values.shape
    (sh, sw), (dh, dw) = stride, dilation
    filters = _Filters(x, w, w.values, b, pairs)
    image = bordered(x, pad)
    if image.shape[3] < K:
        image = image.repeat(K // image.shape[3], axis=3)
    N, H, W, _ = image.shape
    P, Q = (H - (R - 1) * dh - 1) // sh + 1, (W - (S - 1) * dw - 1) // sw + 1
    taps, constant = np.tile(filters.w.T, Q), np.tile(filters.b, Q)  # (R*S, Q*K), (Q*K,)
    places = [(r * dh, *divmod(s * dw, sw)) for r in range(R) for s in range(S)]
    y = np.empty((N, P, Q, K), dtype)
    for n, p, T in _strips(N, P, Q * K):
        block = image[n, p * sh : (p + T - 1) * sh + (R - 1) * dh + 1]
        phases = [block[:, phase::sw].astype(filters.dtype).reshape(len(block), -1) for phase in range(min(sw, W))]
        total, part, second = (np.empty((T, Q * K), filters.dtype) for _ in range(3))
        total[...] = constant
        for tap, (row, first, phase) in enumerate(places):
            read = phases[phase][row : row + (T - 1) * sh + 1 : sh, first * K : (first + Q) * K]
            if not (pairs and tap % 2):
                np.multiply(read, taps[tap], out=part)
                if pairs and tap + 1 < len(places):
                    continue
            else:
                np.multiply(read, taps[tap], out=second)
                part += second
                np.clip(part, -(2**15), 2**15 - 1, out=part)
            total += part
        _finished(total.reshape(T, Q, K), filters, finish, y[n, p : p + T])
    return y.transpose(0, 3, 1, 2)


class _Filters:
    """Weights and constants of a convolution in the shortest format that adds up exactly.

    Attributes
    ----------
    dtype : the format
    w : (K, L) weights less their zero points, taps in the order in which they are added up
    b : (K,) the bias less what the zero point of x contributes
    wraps : whether a sum may leave int32 where registers hold that
    risky : (pair, filter) indices of pairs of taps whose sum may leave int16, where sums are made in pairs
    """

    def __init__(self, x: QuantisedTensor, w: QuantisedTensor, taps: Array, b: Array | None, pairs: bool) -> None:
        _, z_x = x.quantisation.single()
        K = len(taps)
        _, z_w = w.quantisation.channels(K)
        length = taps.size // K
        weights = taps.reshape(K, length).astype(np.float32 if length * 255 < 2**24 else np.float64)
        if pairs and (z_w.any() or x.values.dtype != np.uint8 or w.values.dtype != np.int8):
            raise RequestError("sums in pairs: they are known of uint8 by int8 only, zero points of weights 0")
        if z_w.any():
            weights = weights - z_w[:, None].astype(weights.dtype)
        constant = -z_x * weights.sum(axis=1).astype(np.int64) + (0 if b is None else b.astype(np.int64))
        most = max(-x.quantisation.low, x.quantisation.high)
        bounds = np.abs(weights).sum(axis=1).astype(np.float64) * most + np.abs(constant.astype(np.float64))
        bound = bounds.max()
        self.dtype: Any = np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64
        self.wraps = bool(bound >= 2**31 and x.values.dtype != np.int16)
        self.w, self.b = weights.astype(self.dtype, copy=False), constant.astype(self.dtype)
        self.matrix = np.concatenate([self.w, self.b[:, None]], axis=1)
        self.risky = _risky(self.w, x.quantisation) if pairs else []

    def multiplied(self, matrix: Array) -> Array:
        """Sums of rows of activations, (T, Q, L + 1) with room for a last column of ones: (T, Q, K)."""
        T, Q, width = matrix.shape
        rows = matrix.reshape(T * Q, width)
        rows[:, -1] = 1
        total = rows @ self.matrix.T
        for first, some in self.risky:  # what saturates is put right pair by pair
            pair = rows[:, first : first + 2] @ self.w[some, first : first + 2].T
            total[:, some] += np.clip(pair, -(2**15), 2**15 - 1) - pair
        return total.reshape(T, Q, -1)


def _risky(w: Array, q: Any) -> list[tuple[int, Array]]:
    """Pairs of taps, by the first, and the filters whose two products may add up to more than int16 holds."""
    largest, least = np.maximum(w * q.low, w * q.high), np.minimum(w * q.low, w * q.high)
    found = []
    for first in range(0, w.shape[1] - 1, 2):
        pair = slice(first, first + 2)
        over = (largest[:, pair].sum(axis=1) > 2**15 - 1) | (least[:, pair].sum(axis=1) < -(2**15))
        if over.any():
            found.append((first, np.flatnonzero(over)))
    return found


def _strips(N: int, P: int, row: int) -> Iterator[tuple[int, int, int]]:
    """(image, first row, rows) of parts of some images that stay in the cache; `row` is the size of a row."""
    height = max(1, _STRIP // row)
    for n in range(N):
        for p in range(0, P, height):
            yield n, p, min(height, P - p)


def _finished(total: Array, filters: _Filters, finish: Finish | None, out: Array) -> None:
    """Sums as the runtime's registers hold them, into what is made of them."""
    if filters.wraps:
        total = wrap32(total.astype(np.int64))
    if finish is None:
        out[...] = total
    else:
        finish(total, out)


def channels_last(x: Array) -> Array:
    """(N, C, H, W) -> contiguous (N, H, W, C); a view where memory already lies so."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def bordered(x: QuantisedTensor, pad: Pad) -> Array:
    """Channels last with a border of the zero point: (N, top + H + bottom, left + W + right, C) integers."""
    (top, bottom), (left, right) = pad
    if not (top or bottom or left or right):
        return channels_last(x.values)
    N, C, H, W = x.values.shape
    y = np.full((N, top + H + bottom, left + W + right, C), x.quantisation.single()[1], x.values.dtype)
    y[:, top : top + H, left : left + W] = x.values.transpose(0, 2, 3, 1)
    return y


def windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Array:
    """View (N, H, W, C) as its windows, (N, P, Q, R, S, C), without copying."""
    N, H, W, C = x.shape
    P = (H - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    Q = (W - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    n, h, v, c = x.strides
    strides = (n, h * stride[0], v * stride[1], h * dilation[0], v * dilation[1], c)
    return as_strided(x, (N, P, Q, *kernel, C), strides, writeable=False)
