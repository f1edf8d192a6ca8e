"""The rules of `loops.onednn`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

import numpy as np

from refnet.readings.integer.fast import fbgemm, sums
from refnet.readings.integer.fast.sums import Finish, Pad, Pair, tiled
from refnet.readings.integer.fast.torch_ranges import limits
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "pointwise_conv2d"]


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
    """As `loops.onednn.conv2d`."""
    finish = _finish(x, w, b, to, act)
    y = sums.conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


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
    """As `loops.onednn.depthwise_conv2d`."""
    if x.values.shape[1] >= 101:
        return fbgemm.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, to=to, act=act)
    finish = _finish(x, w, b, to, act)
    y = sums.depthwise_conv2d(x, w, None, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.onednn.pointwise_conv2d`."""
    finish = _finish(x, w, b, to, act)
    return QuantisedTensor(sums.pointwise_conv2d(x, w, None, finish=finish, dtype=to.dtype), to)


def _finish(x: QuantisedTensor, w: QuantisedTensor, b: Array | None, to: Quantisation, act: str) -> Finish:
    K = len(w.values)
    s_x, (s_y, z_y) = 1 / (1 / x.quantisation.single()[0]), to.single()
    step = w.quantisation.channels(K)[0] * s_x
    bias = np.zeros(K, np.float32) if b is None else b.astype(np.float32)
    inverse = 1 / (1 / (1 / s_y))
    low, high = limits(to, act)

    def finish(total: Array, out: Array) -> None:
        T, Q, _ = total.shape
        y = total.reshape(T, Q * K).astype(np.float32)
        y *= tiled(step, Q)
        y += tiled(bias, Q)
        y *= inverse
        y += np.float32(z_y)
        np.clip(np.rint(y, out=y), low, high, out=y)
        out.reshape(T, Q * K)[...] = y

    return finish
