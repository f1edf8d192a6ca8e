"""onnxruntime's dynamic quantisation, as scalar loops: float maps, integer weights, integer sums.

The whole batch is quantised to uint8 by its least and largest number (DynamicQuantizeLinear), added up (ConvInteger,
MatMulInteger) and made real again at once. onnxruntime 1.32 on x86 with VNNI; ONNX's own definition of the operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "pointwise_conv2d"]


def conv2d(x: Array, w: QuantisedTensor, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """f32(f32(f32(sum) * f32(s_x * s_w[k])) + b[k]), of integers of all of x.

    s_x = f32((max - min) / 255), 0 among min and max; z_x = rint(-min / s_x); q = clip(rint(f32(x / s_x)) + z_x).

    Parameters
    ----------
    x : (N, C, H, W) float32; w : (K, C, R, S) int8 or uint8, zero points count; b : (K,) float32 or None
    stride, dilation : (height, width); pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, K, P, Q) float32
    """
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
    least, most = min(np.float32(0), *x.ravel()), max(np.float32(0), *x.ravel())
    scale = np.float32(np.float32(most - least) / np.float32(255))
    if scale == 0:
        return QuantisedTensor(np.zeros(x.shape, np.uint8), Quantisation(1.0, 0, None, "uint8"))
    zero = min(max(int(np.rint(np.float32(-least) / scale)), 0), 255)
    y = np.zeros(x.shape, np.uint8)
    for index in np.ndindex(x.shape):
        y[index] = min(max(int(np.rint(np.float32(x[index]) / scale)) + zero, 0), 255)
    return QuantisedTensor(y, Quantisation(scale, zero, None, "uint8"))


def _real(total: Array, q: QuantisedTensor, w: QuantisedTensor, b: Array | None) -> Array:
    scales: Any = w.quantisation.channels(len(w.values))[0]
    y = np.zeros(total.shape, np.float32)
    for index in np.ndindex(y.shape):
        k = index[1]
        y[index] = np.float32(int(total[index])) * np.float32(scales[k] * q.quantisation.single()[0])
        if b is not None:
            y[index] += np.float32(b[k])
    return y
