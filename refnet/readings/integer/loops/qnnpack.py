"""PyTorch's quantised operators with the engine qnnpack, as scalar loops. Activations are uint8.

Biases become integers; sums never saturate. What is not here is as with fbgemm. Source: pytorch,
aten/src/ATen/native/quantized/cpu/ (qconv, qadd) and its QNNPACK, requantization in float32 (x86, aarch64).
"""

from __future__ import annotations

import math

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import rdp, rescale
from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.fbgemm import (
    dequantize,
    flatten,
    hard_sigmoid,
    hard_swish,
    max_pool2d,
    quantize,
    relu,
    scale,
)
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.torch_ranges import clipped
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "add", "avg_pool2d", "conv2d", "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "hard_sigmoid",
    "hard_swish", "max_pool2d", "pointwise_conv2d", "quantize", "relu", "scale",
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
) -> QuantisedTensor:
    """aw = f32(s_x * s_w[k]); clip(rint(f32(f32(sum[k] + rint(f32(b[k] / aw))) * f32(aw / s_y))) + z_y).

    Parameters
    ----------
    x : (N, C, H, W); w : (K, C, R, S); b : (K,) float32 or None
    """
    total = sums.conv2d(x, w, _whole(x, w, b), stride=stride, pad=pad, dilation=dilation)
    return _rescaled(total, x, w, to, act)


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
    """As `conv2d`, each channel by itself."""
    total = sums.depthwise_conv2d(x, w, _whole(x, w, b), stride=stride, pad=pad, dilation=dilation)
    return _rescaled(total, x, w, to, act)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1."""
    return _rescaled(sums.pointwise_conv2d(x, w, _whole(x, w, b)), x, w, to, act)


def fully_connected(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """quantized.linear: as `pointwise_conv2d` on a 1x1 map."""
    return pointwise_conv2d(x, w, b, to=to, act=act)


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """Integer multipliers of 21 bits: clip(RDP(ma * (a - z_a) + mb * (b - z_b), sh) + z_o), ties away from zero.

    ra = f32(s_a / s_o), rb likewise; sh = 21 - floor(log2(max(ra, rb))); m = rint(r * 2^sh).
    """
    (s_a, z_a), (s_b, z_b), (s_y, z_y) = x.quantisation.single(), y.quantisation.single(), to.single()
    ra, rb = float(s_a / s_y), float(s_b / s_y)
    shift = 21 - math.floor(math.log2(max(ra, rb)))
    ma, mb = round(ra * 2**shift), round(rb * 2**shift)
    left, right = np.broadcast_arrays(x.values, y.values)
    z = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        total = ma * (int(left[index]) - z_a) + mb * (int(right[index]) - z_b)
        z[index] = clipped(rdp(total, shift) + z_y, to, act)
    return QuantisedTensor(z, to)


def avg_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """adaptive_avg_pool2d to 1x1, output of the input's scale and zero point, whatever lies how in memory.

    clip(rint(f32(f32(S - n * z) * f32(s / f32(n * s)))) + z), S the sum of n raw integers of a map.

    Raises
    ------
    RequestError
        when the kernel is not the map.
    """
    N, C, H, W = x.values.shape
    if kernel != (H, W) or any(map(any, pad)):
        raise RequestError("avg_pool2d: PyTorch's rule is known of pools over whole maps only")
    s, z = x.quantisation.single()
    factor = s / (np.float32(H * W) * s)
    y = np.zeros((N, C, 1, 1), to.dtype)
    for n, c in np.ndindex(N, C):
        total = sum(int(x.values[n, c, h, v]) - z for h, v in np.ndindex(H, W))
        y[n, c, 0, 0] = min(max(int(rescale(total, factor)) + z, to.low), to.high)
    return QuantisedTensor(y, to)


def _whole(x: QuantisedTensor, w: QuantisedTensor, b: Array | None) -> Array | None:
    """A real bias in steps of the sums: rint(f32(b / f32(s_x * s_w)))."""
    if b is None:
        return None
    s_x, _ = x.quantisation.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    return np.array([int(np.rint(np.float32(b[k]) / (s_x * s_w[k]))) for k in range(len(b))], np.int64)


def _rescaled(total: Array, x: QuantisedTensor, w: QuantisedTensor, to: Quantisation, act: str) -> QuantisedTensor:
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        y[n, k, p, q] = clipped(int(rescale(total[n, k, p, q], s_x * s_w[k] / s_y)) + z_y, to, act)
    return QuantisedTensor(y, to)
