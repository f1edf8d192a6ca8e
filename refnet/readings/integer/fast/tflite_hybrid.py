"""The rules of `loops.tflite_hybrid`, over whole arrays: same names, same signatures, same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.sums import Pad, Pair
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "pointwise_conv2d"]

_LIMITS = {"": (None, None), "relu": (0, None), "relu6": (0, 6), "relu_n1_to_1": (-1, 1)}


def conv2d(
    x: Array,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    act: str = "",
) -> Array:
    """As `loops.tflite_hybrid.conv2d`."""
    places: dict[str, Any] = {"stride": stride, "pad": pad, "dilation": dilation}
    each = bool((w.quantisation.scale != w.quantisation.scale.flat[0]).any())
    return _summed(x, w, b, act, lambda q: sums.conv2d(q, w.symmetric(), None, **places), each, each)


def depthwise_conv2d(
    x: Array,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    act: str = "",
) -> Array:
    """As `loops.tflite_hybrid.depthwise_conv2d`."""
    if w.quantisation.axis is None:
        raise RequestError("depthwise_conv2d: dynamic-range kernels need a scale for each filter")
    places: dict[str, Any] = {"stride": stride, "pad": pad, "dilation": dilation}
    return _summed(x, w, b, act, lambda q: sums.depthwise_conv2d(q, w.symmetric(), None, **places), True, False)


def pointwise_conv2d(x: Array, w: QuantisedTensor, b: Array | None, *, act: str = "") -> Array:
    """As `loops.tflite_hybrid.pointwise_conv2d`."""
    each = bool((w.quantisation.scale != w.quantisation.scale.flat[0]).any())
    return _summed(x, w, b, act, lambda q: sums.pointwise_conv2d(q, w.symmetric(), None), each, each)


def fully_connected(
    x: Array, w: QuantisedTensor, b: Array | None, *, act: str = "", asymmetric_inputs: bool = False
) -> Array:
    """As `loops.tflite_hybrid.fully_connected`."""
    return _summed(x, w, b, act, lambda q: sums.pointwise_conv2d(q, w.symmetric(), None), asymmetric_inputs, False)


def _summed(
    x: Array,
    w: QuantisedTensor,
    b: Array | None,
    act: str,
    add_up: Callable[[QuantisedTensor], Array],
    asymmetric: bool,
    one_by_one: bool,
) -> Array:
    """Each image quantised, added up and made real: by the weights' scale and then its own, or by both at once."""
    if act not in _LIMITS:
        raise RequestError(f"no kernel fuses the activation {act!r}: relu, relu6 and relu_n1_to_1 are")
    low, high = _LIMITS[act]
    scales = w.quantisation.channels(len(w.values))[0][:, None, None]
    made = []
    for image in x.astype(np.float32):
        q = _asymmetric(image) if asymmetric else _symmetric(image)
        total = add_up(q).astype(np.float32)
        y = total * scales * q.quantisation.scale if one_by_one else total * (scales * q.quantisation.scale)
        y = y if b is None else y + b.astype(np.float32)[:, None, None]
        made.append(y if low is None else np.clip(y, low, high))
    return np.concatenate(made)


def _symmetric(image: Array) -> QuantisedTensor:
    most = np.abs(image).max()
    if most == 0:
        return QuantisedTensor(np.zeros((1, *image.shape), np.int8), Quantisation(1.0, 0, None, "int8"))
    y = round_away(image * (np.float32(127) / most)).clip(-127, 127)
    return QuantisedTensor(y[None].astype(np.int8), Quantisation(most / np.float32(127), 0, None, "int8"))


def _asymmetric(image: Array) -> QuantisedTensor:
    least, most = np.minimum(image.min(), np.float32(0)), np.maximum(image.max(), np.float32(0))
    if least == most:
        return QuantisedTensor(np.zeros((1, *image.shape), np.int8), Quantisation(1.0, 0, None, "int8"))
    s = (most - least) / np.float32(255)
    below, above = least / s, most / s
    z = np.float32(-128) - below if 128 - below < 127 + above else np.float32(127) - above
    zero = int(round_away(z).clip(-128, 127))
    y = (round_away(image * (np.float32(1) / s)) + zero).clip(-128, 127)
    return QuantisedTensor(y[None].astype(np.int8), Quantisation(s, zero, None, "int8"))
