"""onnxruntime's integer operators on x86 (QLinear*, QGemm, QuantizeLinear), as scalar loops.

All rescale in float32 and send ties to even, some after the zero point is added. A graph in QDQ form becomes these
operators when it is optimised ("extended", uint8); without, every operator between DequantizeLinear and QuantizeLinear
runs in float32, which is not for this module: `dequantize`, the float reading, `quantize`.

`pairs`: on processors without VNNI, sums of uint8 by int8 saturate in pairs (`sums.conv2d`); depthwise ones do not.
Sources: onnxruntime, core/mlas/lib (quantize, qlmul, qladd, qlgavgpool, qgemm), contrib_ops/cpu/quantization;
the ONNX specification of QLinearConv. FMA is written fma(a, b, c) = f32(a * b + c).
"""

from __future__ import annotations

import math

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import rescale
from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "avg_pool2d", "conv2d", "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "hard_sigmoid",
    "max_pool2d", "pad", "pointwise_conv2d", "quantize", "scale", "sigmoid",
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
    pairs: bool = False,
) -> QuantisedTensor:
    """QLinearConv: sat(rint(f32(f32(sum[k]) * f32(f32(s_x * s_w[k]) / s_y))) + z_y); pads are z_x.

    Parameters
    ----------
    x : (N, C, H, W); w : (K, C, R, S); b : (K,) int32 or None
    pairs : whether uint8 by int8 saturates in pairs
    """
    pairs = pairs and _saturates(x, w)
    total = sums.conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, pairs=pairs)
    return _rescaled(total, x, w, to)


def depthwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    to: Quantisation,
) -> QuantisedTensor:
    """As `conv2d`, each channel by itself; never saturates in pairs."""
    return _rescaled(sums.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation), x, w, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, pairs: bool = False
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1."""
    total = sums.pointwise_conv2d(x, w, b, pairs=pairs and _saturates(x, w))
    return _rescaled(total, x, w, to)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, pairs: bool = False
) -> QuantisedTensor:
    """QGemm with alpha 1: as `pointwise_conv2d` on a 1x1 map."""
    return pointwise_conv2d(x, w, b, to=to, pairs=pairs)


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """QLinearAdd with AVX2: sat(rint(fma(a, ra, fma(b, rb, F)))) of raw a and b; the zero points are in F.

    ra = f32(s_a / s_c), rb = f32(s_b / s_c), F = f32(z_c - fma(ra, z_a, f32(rb * z_b))). NEON has integer multipliers.
    """
    (s_a, z_a), (s_b, z_b), (s_c, z_c) = x.quantisation.single(), y.quantisation.single(), to.single()
    ra, rb = s_a / s_c, s_b / s_c
    offset = np.float32(z_c) - _fma(ra, z_a, rb * np.float32(z_b))
    left, right = np.broadcast_arrays(x.values, y.values)
    z = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        total = _fma(ra, int(left[index]), _fma(rb, int(right[index]), offset))
        z[index] = min(max(int(np.rint(total)), to.low), to.high)
    return QuantisedTensor(z, to)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """QLinearMul: sat(rint(f32(f32(p * f32(f32(s_a * s_b) / s_c)) + z_c))), p = (a - z_a) * (b - z_b).

    The zero point is added before rounding: ties go to an even output. Shapes broadcast.
    """
    (s_a, z_a), (s_b, z_b), (s_c, z_c) = x.quantisation.single(), gate.quantisation.single(), to.single()
    factor = s_a * s_b / s_c
    left, right = np.broadcast_arrays(x.values, gate.values)
    y = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        product = np.float32((int(left[index]) - z_a) * (int(right[index]) - z_b))
        y[index] = min(max(int(np.rint(product * factor + np.float32(z_c))), to.low), to.high)
    return QuantisedTensor(y, to)


def avg_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """QLinearGlobalAveragePool: sat(rint(f32(f32(S - n * z_x) * f32(s_x / f32(s_y * n)))) + z_y), n points a map.

    Raises
    ------
    RequestError
        when the kernel is not the map: other average pools run in float32.
    """
    N, C, H, W = x.values.shape
    if kernel != (H, W) or any(map(any, pad)):
        raise RequestError("avg_pool2d: onnxruntime pools integers over whole maps only")
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    factor = s_x / (s_y * np.float32(H * W))
    y = np.zeros((N, C, 1, 1), to.dtype)
    for n, c in np.ndindex(N, C):
        total = sum(int(x.values[n, c, h, v]) - z_x for h, v in np.ndindex(H, W))
        y[n, c, 0, 0] = min(max(int(rescale(total, factor)) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def max_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """The largest integer of each window inside the image."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, C, *sums.output_size((H, W), kernel, stride, pad)), to.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        y[n, c, p, q] = max(x.values[n, c, h, v] for h, v in sums.window((H, W), p, q, kernel, stride, pad))
    return QuantisedTensor(y, to)


def sigmoid(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """QLinearSigmoid, a table: sat(rint(f32(sigmoid(f32(s_x * (q - z_x))) / s_y)) + z_y), sigmoid in float32."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = float(s_x * np.float32(int(x.values[index]) - z_x))
        p = np.float32(1 / (1 + math.exp(-v)) if v > -700 else 0)
        y[index] = min(max(int(np.rint(p / s_y)) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def hard_sigmoid(x: QuantisedTensor, *, slope: float, offset: float, to: Quantisation) -> QuantisedTensor:
    """HardSigmoid in float32 between DequantizeLinear and QuantizeLinear: there is no integer operator.

    v = f32(s_x * (q - z_x)); sat(rint(f32(clip(f32(f32(slope * v) + offset), 0, 1) / s_y)) + z_y).
    """
    real = dequantize(x)
    for index in np.ndindex(real.shape):
        value = np.float32(slope) * real[index] + np.float32(offset)
        real[index] = min(max(value, np.float32(0)), np.float32(1))
    return quantize(real, to=to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """QuantizeLinear: sat(rint(f32(x / s)) + z), a division; infinities saturate, a NaN becomes the least integer."""
    s, z = to.single()
    y = np.zeros(x.shape, to.dtype)
    with np.errstate(over="ignore"):
        for index in np.ndindex(x.shape):
            nearest = float(np.rint(np.float32(x[index]) / s))
            y[index] = to.low if math.isnan(nearest) else min(max(nearest + z, to.low), to.high)
    return QuantisedTensor(y, to)


def dequantize(x: QuantisedTensor) -> Array:
    """DequantizeLinear: f32(f32(q - z) * s), float32; weights by the scale of each filter."""
    s, z = x.quantisation.channels(len(x.values))
    y = np.zeros(x.values.shape, np.float32)
    for index in np.ndindex(y.shape):
        k = index[0]
        y[index] = np.float32(int(x.values[index]) - int(z[k])) * s[k]
    return y


def pad(
    x: QuantisedTensor, *, pad: Pad, mode: str = "constant", value: float = 0.0, to: Quantisation
) -> QuantisedTensor:
    """A border of the zero point, the real number 0.

    Raises
    ------
    RequestError
        for another value or mode.
    """
    if mode != "constant" or value:
        raise RequestError(f"pad: mode {mode} with {value:g}: only borders of 0 are known in integers")
    N, C, H, W = x.values.shape
    (top, bottom), (left, right) = pad
    y = np.full((N, C, top + H + bottom, left + W + right), to.single()[1], to.dtype)
    for n, c, h, v in np.ndindex(x.values.shape):
        y[n, c, top + h, left + v] = x.values[n, c, h, v]
    return QuantisedTensor(y, to)


def flatten(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """The same integers, (N, C, H, W) as (N, C*H*W)."""
    N, C, H, W = x.values.shape
    y = np.zeros((N, C * H * W), to.dtype)
    for n, c, h, v in np.ndindex(x.values.shape):
        y[n, (c * H + h) * W + v] = x.values[n, c, h, v]
    return QuantisedTensor(y, to)


def _fma(a: np.float32, b: int, c: np.float32) -> np.float32:
    """f32(a * b + c), rounded once: the product of 24 bits by 9 is exact in float64."""
    return np.float32(float(a) * b + float(c))


def _saturates(x: QuantisedTensor, w: QuantisedTensor) -> bool:
    """The instruction that adds pairs up in 16 bits takes uint8 by int8."""
    return x.values.dtype == np.uint8 and w.values.dtype == np.int8


def _rescaled(total: Array, x: QuantisedTensor, w: QuantisedTensor, to: Quantisation) -> QuantisedTensor:
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        value = int(rescale(total[n, k, p, q], s_x * s_w[k] / s_y)) + z_y
        y[n, k, p, q] = min(max(value, to.low), to.high)
    return QuantisedTensor(y, to)
