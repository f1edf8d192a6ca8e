"""The rules of `loops.tflite_moves`, over whole arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refnet.readings.integer.fast.sums import Pad, Pair
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["arg_max", "batch_to_space", "depth_to_space", "resize_nearest", "space_to_batch", "strided_slice", "tile"]


def space_to_batch(x: QuantisedTensor, *, block: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_moves.space_to_batch`."""
    (bh, bw), edges = block, ((0, 0), (0, 0), *pad)
    image = np.pad(x.values, edges, constant_values=to.single()[1])
    N, C, H, W = image.shape
    blocks = image.reshape(N, C, H // bh, bh, W // bw, bw).transpose(3, 5, 0, 1, 2, 4)
    return QuantisedTensor(np.ascontiguousarray(blocks).reshape(-1, C, H // bh, W // bw), to)


def batch_to_space(x: QuantisedTensor, *, block: Pair, crop: Pad, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_moves.batch_to_space`."""
    (bh, bw), ((top, bottom), (left, right)) = block, crop
    _, C, P, Q = x.values.shape
    image = x.values.reshape(bh, bw, -1, C, P, Q).transpose(2, 3, 4, 0, 5, 1).reshape(-1, C, P * bh, Q * bw)
    return QuantisedTensor(np.ascontiguousarray(image[:, :, top : P * bh - bottom, left : Q * bw - right]), to)


def depth_to_space(x: QuantisedTensor, *, block: int, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_moves.depth_to_space`."""
    N, _, H, W = x.values.shape
    y = x.values.reshape(N, block, block, -1, H, W).transpose(0, 3, 4, 1, 5, 2)
    return QuantisedTensor(y.reshape(N, -1, H * block, W * block), to)


def tile(x: QuantisedTensor, *, times: Sequence[int], to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_moves.tile`."""
    return QuantisedTensor(np.tile(x.values, (1, *times)), to)


def strided_slice(
    x: QuantisedTensor, *, begin: Sequence[int], end: Sequence[int], step: Sequence[int], to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_moves.strided_slice`."""
    part = x.values[(slice(None), *map(slice, begin, end, step))]
    return QuantisedTensor(np.ascontiguousarray(part), to)


def resize_nearest(
    x: QuantisedTensor, *, size: Pair, align_corners: bool, half_pixel: bool, to: Quantisation
) -> QuantisedTensor:
    """As `loops.tflite_moves.resize_nearest`."""
    rows, columns = (
        _nearest(n, outputs, align_corners, half_pixel) for n, outputs in zip(x.values.shape[2:], size, strict=True)
    )
    return QuantisedTensor(np.ascontiguousarray(x.values[:, :, rows][:, :, :, columns]), to)


def _nearest(n: int, outputs: int, align_corners: bool, half_pixel: bool) -> Array:
    inner, outer = (n - 1, outputs - 1) if align_corners and outputs > 1 else (n, outputs)
    places = np.arange(outputs, dtype=np.float32) + np.float32(0.5 if half_pixel else 0)
    places *= np.float32(inner) / np.float32(outer)
    whole = round_away(places) if align_corners else np.floor(places)
    return np.minimum(whole.astype(np.intp), n - 1)


def arg_max(x: QuantisedTensor, *, dtype: str = "int64") -> Array:
    """As `loops.tflite_moves.arg_max`."""
    return x.values.argmax(axis=1, keepdims=True).astype(dtype)
