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

import math
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.lib.stride_tricks import as_strided

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import wrap32
from refnet.readings.integer.quantisation import Array, QuantisedTensor, refuse_misfits

__all__ = ["Finish", "bordered", "channels_last", "conv2d", "depthwise_conv2d", "pointwise_conv2d", "tiled", "windows"]

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
    refuse_misfits(x, w, b, 4)
    K, C, R, S = w.values.shape
    filters = _filters(x, w, w.values.transpose(0, 2, 3, 1), b, pairs)
    view = windows(bordered(x, pad), (R, S), stride, dilation)  # (N, P, Q, R, S, C)
    N, P, Q = view.shape[:3]
    y = np.empty((N, P, Q, K), dtype)
    rows = _rows(P, Q * max(K, R * S * C))
    matrix, total = filters.room(rows, Q)
    for n, p, T in _strips(N, P, rows):
        matrix[:T, :, :-1].reshape(T, Q, R, S, C)[...] = view[n, p : p + T]
        filters.multiply(matrix[:T], total[:T])
        _finished(total[:T], filters, finish, y[n, p : p + T])
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
    refuse_misfits(x, w, b, 2)
    K, C = w.values.shape
    filters = _filters(x, w, w.values, b, pairs)
    image = channels_last(x.values)
    N, H, W, _ = image.shape
    y = np.empty((N, H, W, K), dtype)
    rows = _rows(H, W * max(K, C))
    matrix, total = filters.room(rows, W)
    for n, h, T in _strips(N, H, rows):
        matrix[:T, :, :-1] = image[n, h : h + T]
        filters.multiply(matrix[:T], total[:T])
        _finished(total[:T], filters, finish, y[n, h : h + T])
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
    """As `loops.sums.depthwise_conv2d`; `finish` and `dtype` as for `conv2d`."""
    refuse_misfits(x, w, b, 3)
    K, R, S = w.values.shape
    filters = _filters(x, w, w.values, b, pairs)
    image = bordered(x, pad)
    if image.shape[3] < K:
        image = image.repeat(K // image.shape[3], axis=3)
    N, H, W, _ = image.shape
    sh, reach = stride[0], (R - 1) * dilation[0] + 1
    P, Q = _output_size((H, W), (R, S), stride, dilation)
    y = np.empty((N, P, Q, K), dtype)
    rows = _rows(P, Q * K)
    total = np.empty((rows, Q, K), filters.dtype)
    add_up = (_Paired if pairs else _Columns)(filters.w.T.reshape(R, S, K), (rows, Q), W, stride, dilation)
    constant = tiled(filters.b, Q).reshape(Q, K)
    for n, p, T in _strips(N, P, rows):
        add_up(image[n, p * sh : (p + T - 1) * sh + reach], total[:T])
        total[:T] += constant
        _finished(total[:T], filters, finish, y[n, p : p + T])
    return y.transpose(0, 3, 1, 2)


class _Columns:
    """Sums of windows, each channel by itself: columns of one remainder by the stride are laid side by side.

    Then what a tap reads of a row is one run of memory, and `einsum` multiplies and adds runs in one pass.
    """

    def __init__(self, taps: Array, size: Pair, W: int, stride: Pair, dilation: Pair) -> None:
        (T, Q), (sh, sw), (dh, dw), (R, S, K) = size, stride, dilation, taps.shape
        apart = sw // math.gcd(sw, dw)  # from one tap to the next on the same columns
        wide = np.empty((R, S, Q, K), taps.dtype)
        wide[...] = taps[:, :, None]
        self.parts: list[tuple[slice, Array, Any, Any]] = []
        for s in range(min(S, apart)):
            first, phase = divmod(s * dw, sw)
            columns = np.empty(((T - 1) * sh + (R - 1) * dh + 1, len(range(phase, W, sw)), K), taps.dtype)
            some = wide[:, s::apart].reshape(R, -1, Q * K)
            height, width, item = columns.strides
            strides = (sh * height, dh * height, apart * dw // sw * width, item)
            view = as_strided(columns[0, first:], (T, *some.shape), strides, writeable=False)
            self.parts.append((slice(phase, None, sw), columns, view, some))

    def __call__(self, part: Array, total: Array) -> None:
        """Of rows (.., W, K) of integers the sums, into (T, Q, K)."""
        sums = total.reshape(len(total), -1)
        for index, (phase, columns, view, taps) in enumerate(self.parts):
            columns[: len(part)] = part[:, phase]
            if index == 0:
                np.einsum("prsn,rsn->pn", view[: len(sums)], taps, out=sums)
            else:
                sums += np.einsum("prsn,rsn->pn", view[: len(sums)], taps)


class _Paired:
    """Sums of windows, each channel by itself, two taps at a time, which saturate at int16."""

    def __init__(self, taps: Array, size: Pair, W: int, stride: Pair, dilation: Pair) -> None:
        self.taps, self.stride, self.dilation = taps, stride, dilation

    def __call__(self, part: Array, total: Array) -> None:
        """Of rows (.., W, K) of integers the sums, into (T, Q, K)."""
        view = windows(part[None], self.taps.shape[:2], self.stride, self.dilation)[0]  # (T, Q, R, S, K)
        places = list(np.ndindex(self.taps.shape[:2]))
        total[...] = 0
        for first in range(0, len(places), 2):
            pair = sum(view[:, :, r, s] * self.taps[r, s] for r, s in places[first : first + 2])
            total += np.clip(pair, -(2**15), 2**15 - 1)


class _Filters:
    """Weights and constants of a convolution in the shortest format that adds up exactly.

    Attributes
    ----------
    dtype : the format
    w : (K, L) weights less their zero points, taps in the order in which they are added up
    b : (K,) the bias less what the zero point of x contributes
    matrix : (K, L + 1), both
    wraps : whether a sum may leave int32 where registers hold that
    risky : (pair, filter) indices of pairs of taps whose sum may leave int16, where sums are made in pairs
    """

    def __init__(self, x: QuantisedTensor, w: QuantisedTensor, taps: Array, b: Array | None, pairs: bool) -> None:
        _, z_x = x.quantisation.single()
        K, length = len(taps), taps.size // len(taps)
        _, z_w = w.quantisation.channels(K)
        if pairs and (z_w.any() or x.values.dtype != np.uint8 or w.values.dtype != np.int8):
            raise RequestError("sums in pairs: they are known of uint8 by int8 only, zero points of weights 0")
        matrix = np.empty((K, length + 1), np.float32 if length * 255 < 2**24 else np.float64)
        weights = matrix[:, :-1]
        weights.reshape(taps.shape)[...] = taps
        if z_w.any():
            weights -= z_w[:, None].astype(matrix.dtype)
        constant = -z_x * (weights @ np.ones(length, matrix.dtype)).astype(np.int64)
        if b is not None:
            constant += b.astype(np.int64)
        most = max(-x.quantisation.low, x.quantisation.high)
        largest = 255 if z_w.any() or w.values.dtype == np.uint8 else 128
        bound = length * largest * most + float(np.abs(constant.astype(np.float64)).max())
        if bound >= 2**24:  # as much as that only if every weight is the largest
            bounds = np.abs(weights).sum(axis=1).astype(np.float64) * most + np.abs(constant.astype(np.float64))
            bound = float(bounds.max())
        self.dtype: Any = np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64
        self.wraps = bound >= 2**31 and x.values.dtype != np.int16
        matrix[:, -1] = 0
        self.matrix = matrix.astype(self.dtype, copy=False)
        self.w, self.b = self.matrix[:, :-1], constant.astype(self.dtype)
        self.matrix[:, -1] = self.b
        self.risky = _risky(self.w, x.quantisation) if pairs else []

    def room(self, rows: int, Q: int) -> tuple[Array, Array]:
        """Memory for activations, (rows, Q, L + 1), whose last column is of ones, and for their sums, (rows, Q, K)."""
        K, width = self.matrix.shape
        matrix = np.empty((rows, Q, width), self.dtype)
        matrix[:, :, -1] = 1
        return matrix, np.empty((rows, Q, K), self.dtype)

    def multiply(self, matrix: Array, total: Array) -> None:
        """Sums of rows of activations; see `room`."""
        flat, sums = matrix.reshape(-1, matrix.shape[2]), total.reshape(-1, total.shape[2])
        np.matmul(flat, self.matrix.T, out=sums)
        for first, some in self.risky:  # what saturates is put right pair by pair
            pair = flat[:, first : first + 2] @ self.w[some, first : first + 2].T
            sums[:, some] += np.clip(pair, -(2**15), 2**15 - 1) - pair


# By weights, while they live: what they were, what else the filters are made of, and the filters. A network that is run
# again does not prepare them again, which took a sixth of a run of V2 at 224 x 224; they are four times as large.
_prepared: WeakKeyDictionary[QuantisedTensor, tuple[Array, Any, _Filters]] = WeakKeyDictionary()


def _filters(x: QuantisedTensor, w: QuantisedTensor, taps: Array, b: Array | None, pairs: bool) -> _Filters:
    """The filters of a convolution, prepared once while its weights and all else stay as they are."""
    q, bias = x.quantisation, None if b is None else (b.dtype.str, b.tobytes())
    key = (
        taps.shape,
        bias,
        pairs,
        x.values.dtype.str,
        q.low,
        q.high,
        q.single()[1],
        w.quantisation.zero_point.tobytes(),
    )
    known = _prepared.get(w)
    if known is not None and known[1] == key and np.array_equal(known[0], w.values):
        return known[2]
    filters = _Filters(x, w, taps, b, pairs)
    _prepared[w] = w.values.copy(), key, filters
    return filters


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


def _rows(P: int, size: int) -> int:
    """How many rows of an image stay in the cache; `size` is that of a row."""
    return max(1, min(P, _STRIP // size))


def _strips(N: int, P: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """(image, first row, rows) of the parts of some images."""
    for n in range(N):
        for p in range(0, P, rows):
            yield n, p, min(rows, P - p)


def _finished(total: Array, filters: _Filters, finish: Finish | None, out: Array) -> None:
    """Sums as the runtime's registers hold them, into what is made of them."""
    if filters.wraps:
        total = wrap32(total.astype(np.int64))
    if finish is None:
        out[...] = total
    else:
        finish(total, out)


def _output_size(size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pair:
    """How many places a kernel has on a map with its border."""
    P, Q = ((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True))
    if P < 1 or Q < 1:
        raise RequestError(f"a kernel of {kernel} on a map of {size}, pads included: it does not fit in")
    return P, Q


def tiled(vector: Array, Q: int) -> Array:
    """A vector Q times over."""
    rows = np.empty((Q, len(vector)), vector.dtype)
    rows[...] = vector
    return rows.reshape(-1)


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
    P, Q = _output_size((H, W), kernel, stride, dilation)
    n, h, v, c = x.strides
    strides = (n, h * stride[0], v * stride[1], h * dilation[0], v * dilation[1], c)
    return as_strided(x, (N, P, Q, *kernel, C), strides, writeable=False)
