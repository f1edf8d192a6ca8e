"""The rules of `loops.onnxruntime`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums, tflite
from refnet.readings.integer.fast.finishes import by_float, by_table
from refnet.readings.integer.fast.sums import Finish, Pad, Pair
from refnet.readings.integer.fast.tflite import flatten
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
    """As `loops.onnxruntime.conv2d`."""
    places = {"stride": stride, "pad": pad, "dilation": dilation}
    y = sums.conv2d(x, w, b, **places, pairs=pairs and _saturates(x, w), finish=_finish(x, w, to), dtype=to.dtype)  # type: ignore[arg-type]
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
) -> QuantisedTensor:
    """As `loops.onnxruntime.depthwise_conv2d`."""
    finish = _finish(x, w, to)
    y = sums.depthwise_conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, finish=finish, dtype=to.dtype)
    return QuantisedTensor(y, to)


def pointwise_conv2d(
    x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, to: Quantisation, pairs: bool = False
) -> QuantisedTensor:
    """As `loops.onnxruntime.pointwise_conv2d`."""
    finish = _finish(x, w, to)
    return QuantisedTensor(
        sums.pointwise_conv2d(x, w, b, pairs=pairs and _saturates(x, w), finish=finish, dtype=to.dtype), to
    )


fully_connected = pointwise_conv2d


def add(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.add`: in float64, where products are exact, each sum rounded to float32."""
    (s_a, z_a), (s_b, z_b), (s_c, z_c) = x.quantisation.single(), y.quantisation.single(), to.single()
    ra, rb = np.float64(s_a / s_c), np.float64(s_b / s_c)
    zero = np.float32(ra * z_a + np.float64(np.float32(rb * z_b)))
    offset = np.float64(np.float32(z_c) - zero)
    inner = (y.values * rb + offset).astype(np.float32)
    total = (x.values * ra + inner).astype(np.float32)
    return QuantisedTensor(np.clip(np.rint(total), to.low, to.high).astype(to.dtype), to)


def scale(x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.scale`."""
    (s_a, z_a), (s_b, z_b), (s_c, z_c) = x.quantisation.single(), gate.quantisation.single(), to.single()
    y = np.subtract(x.values, z_a, dtype=np.float32, casting="unsafe")
    y = y * np.subtract(gate.values, z_b, dtype=np.float32, casting="unsafe")
    y *= s_a * s_b / s_c
    y += np.float32(z_c)
    return QuantisedTensor(np.clip(np.rint(y), to.low, to.high).astype(to.dtype), to)


def avg_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.avg_pool2d`."""
    if tuple(kernel) != x.values.shape[2:] or np.any(pad):
        raise RequestError("avg_pool2d: onnxruntime pools integers over whole maps only")
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    n = kernel[0] * kernel[1]
    total = x.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64) - n * z_x
    y = np.rint(total.astype(np.float32) * (s_x / (s_y * np.float32(n)))) + z_y
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def max_pool2d(x: QuantisedTensor, *, kernel: Pair, stride: Pair, pad: Pad, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.max_pool2d`."""
    return tflite.max_pool2d(x, kernel=kernel, stride=stride, pad=pad, to=to)


def sigmoid(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.sigmoid`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()

    def formula(values: Array) -> Array:
        v = ((values - z_x).astype(np.float32) * s_x).astype(np.float64)
        with np.errstate(over="ignore"):
            p = (1 / (1 + np.exp(-v))).astype(np.float32)
        return np.rint(p / s_y).astype(np.int64) + z_y

    return by_table(x, formula, to)


def hard_sigmoid(x: QuantisedTensor, *, slope: float, offset: float, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.hard_sigmoid`."""
    y = dequantize(x) * np.float32(slope) + np.float32(offset)
    return quantize(y.clip(0, 1), to=to)


def quantize(x: Array, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.onnxruntime.quantize`."""
    s, z = to.single()
    with np.errstate(over="ignore"):
        y = np.rint(x.astype(np.float32) / s).astype(np.float64) + z
    return QuantisedTensor(np.clip(np.where(np.isnan(y), to.low, y), to.low, to.high).astype(to.dtype), to)


def dequantize(x: QuantisedTensor) -> Array:
    """As `loops.onnxruntime.dequantize`: the product of the reference kernels."""
    return tflite.dequantize(x)


def pad(
    x: QuantisedTensor, *, pad: Pad, mode: str = "constant", value: float = 0.0, to: Quantisation
) -> QuantisedTensor:
    """As `loops.onnxruntime.pad`."""
    if value or mode != "constant":
        raise RequestError(f"pad: mode {mode} with {value:g}: only borders of 0 are known in integers")
    return tflite.pad(x, pad=pad, to=to)


def _saturates(x: QuantisedTensor, w: QuantisedTensor) -> bool:
    return bool(x.quantisation.dtype == np.uint8 and w.quantisation.dtype == np.int8)


def _finish(x: QuantisedTensor, w: QuantisedTensor, to: Quantisation) -> Finish:
    s_w, _ = w.quantisation.channels(len(w.values))
    return by_float(s_w * x.quantisation.single()[0] / to.single()[0], to, (to.low, to.high))
