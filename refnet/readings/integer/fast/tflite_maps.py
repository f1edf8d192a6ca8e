"""The rules of `loops.tflite_maps`, over whole arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast.finishes import Rounding, by_table
from refnet.readings.integer.fast.sums import Pad, Pair, bordered, channels_last, windows
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "avg_pool2d", "concatenation", "corners_float", "flatten", "max_pool2d", "mean", "mean_2_12", "pad", "reduce_max",
    "reduced", "resize_bilinear",
]  # fmt: skip

Places = tuple[Array, Array, Array]  # fractions, indices before, indices after
Corners = tuple[Array, Array, Array, Array]  # upper left, upper right, lower left, lower right


def avg_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.tflite_maps.avg_pool2d`."""
    total, count = _window_sums(x, kernel, stride, pad)
    if x.values.dtype == np.uint8:
        y = (total + count // 2) // count
    else:
        y = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return _stored(np.clip(y, *activation_range(to, act)), to)


def max_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.tflite_maps.max_pool2d`."""
    least = Quantisation(1.0, x.quantisation.low, None, x.values.dtype)  # what a border is of
    view = windows(bordered(QuantisedTensor(x.values, least), pad), kernel, stride)
    return _stored(np.clip(view.max(axis=(3, 4)).astype(np.int64), *activation_range(to, act)), to)


def mean(
    x: QuantisedTensor,
    *,
    axes: Sequence[int],
    keepdims: bool = True,
    dropped: bool = False,
    to: Quantisation,
    rounding: Rounding = mbqm,
) -> QuantisedTensor:
    """As `loops.tflite_maps.mean`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    total, n = reduced(x, axes, keepdims)
    m, e = multiplier(float(s_x) / float(s_y))
    up = min(int(math.log2(n)), 32, 31 + e)
    y = rounding(total - z_x * n, (m << up) // n, e - up) + z_y
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def mean_2_12(
    x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, dropped: bool = False, to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_maps.mean_2_12`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    total, n = reduced(x, axes, keepdims)
    if s_x == s_y and z_x == z_y:
        y = np.sign(total) * (np.abs(total) // n)
    else:
        ratio = s_x / s_y
        real = total.astype(np.float32) / np.float32(n) * ratio + np.float32(-z_x) * ratio
        y = round_away(real).astype(np.int64) + z_y
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def reduce_max(x: QuantisedTensor, *, axes: Sequence[int], keepdims: bool = True, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_maps.reduce_max`."""
    return QuantisedTensor(x.values.max(axis=tuple(axes), keepdims=keepdims), to)


def pad(
    x: QuantisedTensor,
    *,
    pad: Pad,
    channels: Pair = (0, 0),
    mode: str = "constant",
    value: float = 0.0,
    to: Quantisation,
) -> QuantisedTensor:
    """As `loops.tflite_maps.pad`."""
    s, z = to.single()
    if mode == "constant":
        border = int(np.clip(int(round_away(np.float32(value) / s)) + z, to.low, to.high))
        edges = Quantisation(s, border, None, to.dtype)
        y = bordered(QuantisedTensor(x.values, edges), pad)
        if any(channels):
            y = np.pad(y, ((0, 0), (0, 0), (0, 0), channels), constant_values=border)
    else:
        y = np.pad(channels_last(x.values), ((0, 0), *pad, (0, 0)), mode=mode)  # type: ignore[call-overload]
    return QuantisedTensor(y.transpose(0, 3, 1, 2), to)


def flatten(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_maps.flatten`."""
    return QuantisedTensor(x.values.reshape(len(x.values), -1), to)


def concatenation(*xs: QuantisedTensor, axis: int = 1, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_maps.concatenation`."""
    s_y, z_y = to.single()
    inverse = np.float32(1) / s_y

    def part(x: QuantisedTensor) -> Array:
        s, z = x.quantisation.single()
        if s == s_y and z == z_y:
            return x.values
        if x.values.dtype != np.uint8:
            raise RequestError("concatenation: int8 tensors of another scale or zero point than the output's")
        k = s * inverse
        moved = np.float32(-z) * k
        return by_table(x, lambda q: round_away(q.astype(np.float32) * k + moved).astype(np.int64) + z_y, to).values

    return QuantisedTensor(np.concatenate([part(x) for x in xs], axis), to)


def resize_bilinear(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool = True, to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_maps.resize_bilinear`."""
    if x.values.dtype == np.uint8:
        (q00, q01, q10, q11), h, v = corners_float(x, size, align_corners, half_pixel)
        y = q00 * (1 - h) * (1 - v) + q10 * h * (1 - v) + q01 * (1 - h) * v + q11 * h * v
        return _stored(np.trunc(y + np.float32(0.5)), to)
    places = [
        _places_q10(*side, align_corners, half_pixel and not align_corners)
        for side in zip(x.values.shape[2:], size, strict=True)
    ]
    (q00, q01, q10, q11), h, v = _corners(channels_last(x.values).astype(np.int64), *places)
    y = q00 * (1024 - h) * (1024 - v) + q10 * h * (1024 - v) + q01 * (1024 - h) * v + q11 * h * v
    return _stored(np.where(y > 0, (y + 2**19) >> 20, -((2**19 - y) >> 20)), to)


def corners_float(
    x: QuantisedTensor, size: Pair, align_corners: bool, half_pixel: bool
) -> tuple[Corners, Array, Array]:
    """The four pixels around each of the output's, and its fractions between rows and between columns, in float32."""
    half = half_pixel and not align_corners
    places = [_places_float(*side, align_corners, half) for side in zip(x.values.shape[2:], size, strict=True)]
    return _corners(channels_last(x.values).astype(np.float32), *places)


def _corners(image: Array, rows: Places, columns: Places) -> tuple[Corners, Array, Array]:
    (h, above, below), (v, before, after) = rows, columns
    upper, lower = image[:, above], image[:, below]
    corners = (upper[:, :, before], upper[:, :, after], lower[:, :, before], lower[:, :, after])
    return corners, h[:, None, None], v[:, None]  # fractions against (P, Q, C)


def _places_q10(size: int, outputs: int, align_corners: bool, half: bool) -> Places:
    """(fractions in 1/1024, indices before, indices after) along an axis, as `loops.tflite_maps` defines them."""
    inner, outer = (size - 1, outputs - 1) if align_corners and outputs > 1 else (size, outputs)
    step = (1024 * inner + outer // 2) // outer
    t = np.arange(outputs) * step + (step // 2 - 512 if half else 0)
    before = np.maximum(t, 0) >> 10
    after = np.minimum(np.maximum(t + 1023, 0) >> 10, size - 1)
    return t - (before << 10), before, after


def _places_float(size: int, outputs: int, align_corners: bool, half: bool) -> Places:
    """(fractions in float32, indices before, indices after) along an axis."""
    inner, outer = (size - 1, outputs - 1) if align_corners and outputs > 1 else (size, outputs)
    shift = np.float32(0.5 if half else 0)
    t = (np.arange(outputs, dtype=np.float32) + shift) * (np.float32(inner) / np.float32(outer)) - shift
    before = np.maximum(np.floor(t), np.float32(0))
    after = np.minimum(np.ceil(t).astype(np.intp), size - 1)
    return t - before, before.astype(np.intp), after


def _window_sums(x: QuantisedTensor, kernel: Pair, stride: Pair, pad: Pad) -> tuple[Array, Array]:
    """Sums of raw integers of windows, (N, P, Q, C), and how many points of each lie inside the image, (P, Q, 1)."""
    zeros = Quantisation(1.0, 0, None, x.values.dtype)
    view = windows(bordered(QuantisedTensor(x.values, zeros), pad), kernel, stride)
    ones = QuantisedTensor(np.ones((1, 1, *x.values.shape[2:]), x.values.dtype), zeros)
    counts = windows(bordered(ones, pad), kernel, stride).sum(axis=(3, 4), dtype=np.int64)[0]
    return view.sum(axis=(3, 4), dtype=np.int64), counts


def reduced(x: QuantisedTensor, axes: Sequence[int], keepdims: bool) -> tuple[Array, int]:
    """Sums of raw integers over axes, and of how many numbers each is."""
    over = tuple({axis % x.values.ndim for axis in axes})
    return x.values.sum(axis=over, keepdims=keepdims, dtype=np.int64), math.prod(x.values.shape[a] for a in over)


def _stored(y: Array, to: Quantisation) -> QuantisedTensor:
    """(N, H, W, C) whole numbers in range as (N, C, H, W) integers."""
    return QuantisedTensor(y.astype(to.dtype).transpose(0, 3, 1, 2), to)
