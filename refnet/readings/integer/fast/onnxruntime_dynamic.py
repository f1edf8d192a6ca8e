"""The rules of `loops.onnxruntime_dynamic`, over whole arrays: same names, same signatures, same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.sums import Pad, Pair
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "pointwise_conv2d"]


def conv2d(x: Array, w: QuantisedTensor, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """As `loops.onnxruntime_dynamic.conv2d`."""
    q = _quantised(x)
    return _real(sums.conv2d(q, w, None, stride=stride, pad=pad, dilation=dilation), q, w, b)


def depthwise_conv2d(
    x: Array, w: QuantisedTensor, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)
) -> Array:
    """As `conv2d`, each channel by itself: w is (K, R, S)."""
    q = _quantised(x)
    return _real(sums.depthwise_conv2d(q, w, None, stride=stride, pad=pad, dilation=dilation), q, w, b)


def pointwise_conv2d(x: Array, w: QuantisedTensor, b: Array | None) -> Array:
    """As `conv2d` with a kernel of 1x1: w is (K, C). Linear layers too: x is (N, C, 1, 1)."""
    q = _quantised(x)
    return _real(sums.pointwise_conv2d(q, w, None), q, w, b)


fully_connected = pointwise_conv2d


def _quantised(x: Array) -> QuantisedTensor:
    least, most = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    scale = (most - least) / np.float32(255)
    if scale == 0:
        return QuantisedTensor(np.zeros(x.shape, np.uint8), Quantisation(1.0, 0, None, "uint8"))
    zero = int(np.clip(np.rint(-least / scale), 0, 255))
    y = np.clip(np.rint(x / scale) + np.float32(zero), 0, 255).astype(np.uint8)
    return QuantisedTensor(y, Quantisation(scale, zero, None, "uint8"))


def _real(total: Array, q: QuantisedTensor, w: QuantisedTensor, b: Array | None) -> Array:
    factor: Any = w.quantisation.channels(len(w.values))[0] * q.quantisation.single()[0]
    y = total.astype(np.float32) * factor[:, None, None]
    return y if b is None else y + b.astype(np.float32)[:, None, None]
