"""PyTorch's quantised operators with the engine fbgemm, as scalar loops. Activations are uint8.

Biases are real: they are added to the sums in float32. `pairs`: on processors without VNNI, sums of uint8 by int8
saturate in pairs (`sums.conv2d`); depthwise ones do on every x86. Activations of 7 bits (PyTorch's reduce_range)
cannot. The engine x86 is the same without VNNI; with it, `onednn` says what differs.
`act` is '' or 'relu', which clips at the zero point. Source: pytorch, aten/src/ATen/native/quantized/cpu/ and FBGEMM.
PyTorch 2.13; it deprecates these dtypes. fma(a, b, c) = f32(a * b + c).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.onnxruntime import dequantize, flatten, max_pool2d
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.torch_ranges import clipped
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "avg_pool2d", "conv2d", "depthwise_conv2d", "dequantize", "flatten", "fully_connected",
    "hard_sigmoid", "hard_swish", "max_pool2d", "pointwise_conv2d", "quantize", "relu", "scale",
]  # fmt: skip


def conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    to: Quantisation,
    act: str = "",
    pairs: bool = False,
) -> QuantisedTensor:
    """aw = f32(s_x * s_w[k]); clip(rint(f32(f32(f32(sum[k]) + f32(b[k] / aw)) * f32(aw / s_y))) + z_y).

    Parameters
    ----------
    x : (N, C, H, W); w : (K, C, R, S); b : (K,) float32 or None
    """
    total = sums.conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation, pairs=pairs)
    return _rescaled(total, x, w, b, to, act)


def depthwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    to: Quantisation,
    act: str = "",
) -> QuantisedTensor:
    """As `conv2d`, each channel by itself; pairs of taps, row by row, always saturate."""
    total = sums.depthwise_conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation, pairs=True)
    return _rescaled(total, x, w, b, to, act)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = "", pairs: bool = False
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1."""
    return _rescaled(sums.pointwise_conv2d(x, w, None, pairs=pairs), x, w, b, to, act)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = "", pairs: bool = False
) -> QuantisedTensor:
    """quantized.linear: as `pointwise_conv2d` on a 1x1 map."""
    return pointwise_conv2d(x, w, b, to=to, act=act, pairs=pairs)


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """Real numbers added: each side fma(s, q, f32(-z * s)); c their sum; clip(rint(f32(c * f32(1 / s_o))) + z_o)."""
    s_y, z_y = to.single()
    inverse = np.float32(1) / s_y
    left, right = np.broadcast_arrays(_reals(x), _reals(y))
    z = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        value = int(np.rint((left[index] + right[index]) * inverse)) + z_y
        z[index] = clipped(value, to, act)
    return QuantisedTensor(z, to)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """quantized.mul: clip(rint(f32(f32(p) * f32(f32(s_a * s_b) * f32(1 / s_o)))) + z_o), p = (a - z_a) * (b - z_b)."""
    (s_a, z_a), (s_b, z_b), (s_y, z_y) = x.quantisation.single(), gate.quantisation.single(), to.single()
    factor = s_a * s_b * (np.float32(1) / s_y)
    left, right = np.broadcast_arrays(x.values, gate.values)
    y = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        product = np.float32((int(left[index]) - z_a) * (int(right[index]) - z_b))
        y[index] = clipped(int(np.rint(product * factor)) + z_y, to, act)
    return QuantisedTensor(y, to)


def relu(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """max(q, z): nothing is rescaled."""
    z = x.quantisation.single()[1]
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        y[index] = max(int(x.values[index]), z)
    return QuantisedTensor(y, to)


def hard_swish(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """v as in `add`; clip(rint(f32(f32(f32(v * clip(f32(v + 3), 0, 6)) / 6) * f32(1 / s_o))) + z_o)."""
    s_y, z_y = to.single()
    inverse = np.float32(1) / s_y
    three, six = np.float32(3), np.float32(6)
    real = _reals(x)
    y = np.zeros(real.shape, to.dtype)
    for index in np.ndindex(real.shape):
        v = real[index]
        value = v * min(max(v + three, np.float32(0)), six) / six
        y[index] = clipped(int(np.rint(value * inverse)) + z_y, to, "")
    return QuantisedTensor(y, to)


def hard_sigmoid(x: QuantisedTensor, *, slope: float = 1 / 6, offset: float = 0.5, to: Quantisation) -> QuantisedTensor:
    """v as in `add`; rint(clip(f32(v + 3), 0, 6) / 6 * 256), at most 255. The output is of scale 1/256, zero point 0.

    Raises
    ------
    RequestError
        for another output, slope or offset: PyTorch has only this one.
    """
    s, z = to.single()
    if (float(s), z) != (1 / 256, 0) or not math.isclose(slope, 1 / 6, rel_tol=1e-6) or offset != 0.5:
        raise RequestError("hard_sigmoid: PyTorch has slope 1/6, offset 1/2, and an output of scale 1/256 from 0 on")
    three, six = np.float32(3), np.float32(6)
    real = _reals(x)
    y = np.zeros(real.shape, to.dtype)
    for index in np.ndindex(real.shape):
        above: Any = min(max(real[index] + three, np.float32(0)), six)
        y[index] = min(int(np.rint(above / six * np.float32(256))), 255)
    return QuantisedTensor(y, to)


def avg_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, channels_last: bool = True
) -> QuantisedTensor:
    """adaptive_avg_pool2d to 1x1, whose output keeps scale and zero point; S sums n raw integers of a map.

    channels last in memory : clip(rint(f32(f32(f32(S - n * z) * f32(1 / n)) + z)))
    channels first : clip(rint(f32(f32(S) * f32(f32(1 / H) / W))))

    Raises
    ------
    RequestError
        when the kernel is not the map.
    """
    N, C, H, W = x.values.shape
    if kernel != (H, W) or any(map(any, pad)):
        raise RequestError("avg_pool2d: PyTorch's rule is known of pools over whole maps only")
    _, z = x.quantisation.single()
    y = np.zeros((N, C, 1, 1), to.dtype)
    for n, c in np.ndindex(N, C):
        total = sum(int(x.values[n, c, h, v]) for h, v in np.ndindex(H, W))
        if channels_last:
            value = np.float32(total - H * W * z) * (np.float32(1) / np.float32(H * W)) + np.float32(z)
        else:
            value = np.float32(total) * (np.float32(1) / np.float32(H) / np.float32(W))
        y[n, c, 0, 0] = clipped(int(np.rint(value)), to, "")
    return QuantisedTensor(y, to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """quantize_per_tensor: sat(rint(fma(x, f32(1 / s), z))): ties go to an even output; a NaN becomes 0."""
    s, z = to.single()
    inverse = np.float32(1) / s
    y = np.zeros(x.shape, to.dtype)
    with np.errstate(over="ignore"):
        for index in np.ndindex(x.shape):
            nearest = float(np.rint(np.float32(float(np.float32(x[index])) * float(inverse) + z)))
            y[index] = to.low if math.isnan(nearest) else min(max(nearest, to.low), to.high)
    return QuantisedTensor(y, to)


def _reals(x: QuantisedTensor) -> Array:
    """fma(s, q, f32(-z * s)) of every integer: not what `dequantize` makes of it."""
    s, z = x.quantisation.single()
    offset = np.float32(-z) * s
    y = np.zeros(x.values.shape, np.float32)
    for index in np.ndindex(y.shape):
        y[index] = np.float32(float(s) * int(x.values[index]) + float(offset))
    return y


def _rescaled(
    total: Array, x: QuantisedTensor, w: QuantisedTensor, b: Array | None, to: Quantisation, act: str
) -> QuantisedTensor:
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        step = s_x * s_w[k]
        bias = np.float32(0 if b is None else b[k]) / step
        value = int(np.rint((np.float32(total[n, k, p, q]) + bias) * (step / s_y))) + z_y
        y[n, k, p, q] = clipped(value, to, act)
    return QuantisedTensor(y, to)
