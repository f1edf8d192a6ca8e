"""What PyTorch's engine x86 leaves to oneDNN on processors with VNNI, as scalar loops: convolutions of uint8.

Dense ones, and those of up to 100 groups; everything else is fbgemm's. PyTorch 2.13. Found by trying: no element of
1.1 million that were chosen to lie next to a tie differs of dense convolutions of 4, 8, 12 .. channels; 1x1 ones of
other numbers of channels, and depthwise ones, differ in 2 of 10,000 such, and in none of ordinary ones.
"""

from __future__ import annotations

import numpy as np

from refnet.readings.integer.loops import fbgemm, sums
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.loops.torch_ranges import clipped
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "pointwise_conv2d"]

_MOST_GROUPS = 100  # should_use_onednn_quant in aten/src/ATen/native/quantized/cpu/OnednnUtils.h


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
    """aw = f32(t(s_x) * s_w[k]); clip(rint(f32(f32(f32(f32(sum[k]) * aw) + b[k]) * f32(1 / t(s_y))) + z_y)).

    t(s) = f32(1 / f32(1 / s)): scales are handed on as their inverses.

    Parameters
    ----------
    x : (N, C, H, W); w : (K, C, R, S); b : (K,) float32 or None
    """
    return _rescaled(sums.conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation), x, w, b, to, act)


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
    """As `conv2d` up to 100 channels of x, as `fbgemm.depthwise_conv2d` beyond."""
    if x.values.shape[1] > _MOST_GROUPS:
        return fbgemm.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, to=to, act=act)
    return _rescaled(sums.depthwise_conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation), x, w, b, to, act)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `conv2d` with a kernel of 1x1."""
    return _rescaled(sums.pointwise_conv2d(x, w, None), x, w, b, to, act)


def _rescaled(
    total: Array, x: QuantisedTensor, w: QuantisedTensor, b: Array | None, to: Quantisation, act: str
) -> QuantisedTensor:
    (s_x, _), (s_y, z_y) = x.quantisation.single(), to.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    one = np.float32(1)
    x_again, y_again = one / (one / s_x), one / (one / s_y)
    y = np.zeros(total.shape, to.dtype)
    for n, k, p, q in np.ndindex(total.shape):
        real = np.float32(total[n, k, p, q]) * (x_again * s_w[k]) + np.float32(0 if b is None else b[k])
        y[n, k, p, q] = clipped(int(np.rint(real * (one / y_again) + np.float32(z_y))), to, act)
    return QuantisedTensor(y, to)
