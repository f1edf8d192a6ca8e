"""The rules of `loops.qnnpack`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.fbgemm import (
    dequantize,
    flatten,
    hard_sigmoid,
    hard_swish,
    max_pool2d,
    quantize,
    relu,
    scale,
)
from refnet.readings.integer.fast.finishes import by_float
from refnet.readings.integer.fast.sums import Finish, Pad, Pair
from refnet.readings.integer.fast.torch_ranges import limits
from refnet.readings.integer.fixedpoint import rdp
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
    """As `loops.qnnpack.conv2d`."""
    finish, whole = _finish(x, w, b, to, act)
    y = sums.conv2d(x, w, whole, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
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
    """As `loops.qnnpack.depthwise_conv2d`."""
    finish, whole = _finish(x, w, b, to, act)
    y = sums.depthwise_conv2d(x, w, whole, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = ""
) -> QuantisedTensor:
    """As `loops.qnnpack.pointwise_conv2d`."""
    finish, whole = _finish(x, w, b, to, act)
    return QuantisedTensor(sums.pointwise_conv2d(x, w, whole, finish=finish, dtype=to.dtype), to)


fully_connected = pointwise_conv2d


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.qnnpack.add`."""
    (s_a, z_a), (s_b, z_b), (s_y, z_y) = x.quantisation.single(), y.quantisation.single(), to.single()
    ratios = np.array([s_a / s_y, s_b / s_y], np.float64)
    shift = 22 - int(np.frexp(ratios.max())[1])
    ma, mb = np.rint(np.ldexp(ratios, shift)).astype(np.int64)
    total = ma * (x.values.astype(np.int64) - z_a) + mb * (y.values.astype(np.int64) - z_b)
    return QuantisedTensor(np.clip(rdp(total, shift) + z_y, *limits(to, act)).astype(to.dtype), to)


def avg_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """As `loops.qnnpack.avg_pool2d`."""
    if tuple(kernel) != x.values.shape[2:] or np.any(pad):
        raise RequestError("avg_pool2d: PyTorch's rule is known of pools over whole maps only")
    s, z = x.quantisation.single()
    n = kernel[0] * kernel[1]
    total = (x.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64) - n * z).astype(np.float32)
    y = np.rint(total * (s / (np.float32(n) * s))) + z
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def _finish(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, to: Quantisation, act: str
) -> tuple[Finish, Array | None]:
    """What rescales the sums, and the bias in whole steps of them."""
    step = w.quantisation.channels(len(w.values))[0] * x.quantisation.single()[0]
    whole = None if b is None else np.rint(b.astype(np.float32) / step).astype(np.int64)
    return by_float(step / to.single()[0], to, limits(to, act)), whole
