"""The rules of `loops.fbgemm`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.finishes import by_float, by_table, elementwise, looked_up
from refnet.readings.integer.fast.onnxruntime import dequantize, flatten, max_pool2d
from refnet.readings.integer.fast.sums import Finish, Pad, Pair
from refnet.readings.integer.fast.torch_ranges import limits
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
    pairs: bool = False,
) -> QuantisedTensor:
    """As `loops.fbgemm.conv2d`."""
    y = sums.conv2d(
        x, w, None, stride=stride, pad=pad, dilation=dilation, pairs=pairs, finish=_finish(x, w, b, to, act),
        dtype=to.dtype,
    )  # fmt: skip
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
    """As `loops.fbgemm.depthwise_conv2d`."""
    y = sums.depthwise_conv2d(
        x, w, None, stride=stride, pad=pad, dilation=dilation, pairs=True, finish=_finish(x, w, b, to, act),
        dtype=to.dtype,
    )  # fmt: skip
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, act: str = "", pairs: bool = False
) -> QuantisedTensor:
    """As `loops.fbgemm.pointwise_conv2d`."""
    finish = _finish(x, w, b, to, act)
    return QuantisedTensor(sums.pointwise_conv2d(x, w, None, pairs=pairs, finish=finish, dtype=to.dtype), to)


fully_connected = pointwise_conv2d


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.fbgemm.add`."""
    s, z = to.single()
    total = np.rint((_reals(x) + _reals(y)) * (np.float32(1) / s)).astype(np.float64) + z
    return QuantisedTensor(np.clip(total, *limits(to, act)).astype(to.dtype), to)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "") -> QuantisedTensor:
    """As `loops.fbgemm.scale`."""
    (s_a, z_a), (s_b, z_b) = x.quantisation.single(), gate.quantisation.single()
    product = np.subtract(x.values, z_a, dtype=np.float32, casting="unsafe")
    product = product * np.subtract(gate.values, z_b, dtype=np.float32, casting="unsafe")
    factor = s_a * s_b * (np.float32(1) / to.single()[0])
    return QuantisedTensor(elementwise(product, by_float(np.array([factor]), to, limits(to, act)), to.dtype), to)


def relu(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.fbgemm.relu`."""
    return QuantisedTensor(np.maximum(x.values, x.values.dtype.type(x.quantisation.single()[1])), to)


def hard_swish(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.fbgemm.hard_swish`."""
    s, z = to.single()

    def formula(values: Array) -> Array:
        v = _real(values, x.quantisation)
        y = v * np.clip(v + np.float32(3), 0, 6) / np.float32(6) * (np.float32(1) / s)
        return np.rint(y).astype(np.int64) + z

    return by_table(x, formula, to)


def hard_sigmoid(x: QuantisedTensor, *, slope: float = 1 / 6, offset: float = 0.5, to: Quantisation) -> QuantisedTensor:
    """As `loops.fbgemm.hard_sigmoid`."""
    if to.scale != 1 / 256 or to.zero_point or abs(slope * 6 - 1) > 1e-6 or offset != 0.5:
        raise RequestError("hard_sigmoid: PyTorch has slope 1/6, offset 1/2, and an output of scale 1/256 from 0 on")

    def formula(values: Array) -> Array:
        gate = np.clip(_real(values, x.quantisation) + np.float32(3), 0, 6) / np.float32(6)
        return np.rint(gate * np.float32(256)).astype(np.int64)

    return by_table(x, formula, to)


def avg_pool2d(
    x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation, channels_last: bool = True
) -> QuantisedTensor:
    """As `loops.fbgemm.avg_pool2d`."""
    if tuple(kernel) != x.values.shape[2:] or np.any(pad):
        raise RequestError("avg_pool2d: PyTorch's rule is known of pools over whole maps only")
    H, W = (np.float32(side) for side in kernel)
    z = x.quantisation.single()[1]
    total = x.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    if channels_last:
        y = (total - z * kernel[0] * kernel[1]).astype(np.float32) * (1 / (H * W)) + np.float32(z)
    else:
        y = total.astype(np.float32) * (1 / H / W)
    return QuantisedTensor(np.clip(np.rint(y), to.low, to.high).astype(to.dtype), to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.fbgemm.quantize`: the product of two float32 is exact in float64."""
    s, z = to.single()
    inverse = np.float64(np.float32(1) / s)
    with np.errstate(over="ignore"):
        y = np.rint((x.astype(np.float32).astype(np.float64) * inverse + z).astype(np.float32))
    return QuantisedTensor(np.clip(np.where(np.isnan(y), to.low, y), to.low, to.high).astype(to.dtype), to)


def _real(values: Array, q: Quantisation) -> Array:
    """fma(s, q, f32(-z * s)), float32."""
    s, z = q.single()
    return (values * np.float64(s) + np.float64(np.float32(-z) * s)).astype(np.float32)


def _reals(x: QuantisedTensor) -> Array:
    """Of every integer of a tensor."""
    return looked_up(x, lambda values: _real(values, x.quantisation))


def _finish(x: QuantisedTensor, w: QuantisedTensor, b: Array | None, to: Quantisation, act: str) -> Finish:
    step = w.quantisation.channels(len(w.values))[0] * x.quantisation.single()[0]
    bias = None if b is None else b.astype(np.float32) / step
    return by_float(step / to.single()[0], to, limits(to, act), bias)
