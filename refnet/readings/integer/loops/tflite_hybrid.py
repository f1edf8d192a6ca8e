"""TensorFlow Lite's dynamic-range kernels (BUILTIN_REF), as scalar loops: float maps, int8 weights, integer sums.

Each image is quantised when it comes in, by its own least and largest number, and what is added up is made real again
at once. Inputs, biases and outputs are float32 arrays; `act` clips real numbers. LiteRT 2.3.0 on x86. Sources:
kernels/conv.cc, depthwise_conv.cc, fully_connected.cc (EvalHybrid, EvalHybridPerChannel) and
kernels/internal/optimized/neon_tensor_utils.cc (SymmetricQuantizeFloats, AsymmetricQuantizeFloats).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.loops import sums
from refnet.readings.integer.loops.sums import Pad, Pair
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "pointwise_conv2d"]


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
    """Integer sums of a quantised image, made real again.

    filters of one scale : the image symmetric; f32(f32(sum * f32(s_x * s_w)) + b[k])
    filters of several scales : the image asymmetric; f32(f32(f32(sum * s_w[k]) * s_x) + b[k])

    Which it is, the numbers say: a scale for each filter, all of them equal, is one scale.

    Parameters
    ----------
    x : (N, C, H, W) float32; w : (K, C, R, S) int8; b : (K,) float32 or None
    stride, dilation : (height, width); pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, K, P, Q) float32
    """
    by_filter = len(set(w.quantisation.scale.flat)) > 1
    made = []
    for image in x:
        q = asymmetric(image) if by_filter else symmetric(image)
        total = sums.conv2d(q, w.symmetric(), None, stride=stride, pad=pad, dilation=dilation)
        made.append(_real(total, q, w, b, act, one_by_one=by_filter))
    return np.concatenate(made)


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
    """The image asymmetric; f32(f32(sum * f32(s_x * s_w[k])) + b[k]). w is (K, R, S) with a scale for each filter.

    Raises
    ------
    RequestError
        for weights with one scale: the runtime refuses.
    """
    if w.quantisation.axis is None:
        raise RequestError("depthwise_conv2d: dynamic-range kernels need a scale for each filter")
    made = []
    for image in x:
        q = asymmetric(image)
        total = sums.depthwise_conv2d(q, w.symmetric(), None, stride=stride, pad=pad, dilation=dilation)
        made.append(_real(total, q, w, b, act))
    return np.concatenate(made)


def pointwise_conv2d(x: Array, w: QuantisedTensor, b: Array | None, *, act: str = "") -> Array:
    """As `conv2d` with a kernel of 1x1: w is (K, C)."""
    by_filter = len(set(w.quantisation.scale.flat)) > 1
    made = []
    for image in x:
        q = asymmetric(image) if by_filter else symmetric(image)
        made.append(_real(sums.pointwise_conv2d(q, w.symmetric(), None), q, w, b, act, one_by_one=by_filter))
    return np.concatenate(made)


def fully_connected(
    x: Array, w: QuantisedTensor, b: Array | None, *, act: str = "", asymmetric_inputs: bool = False
) -> Array:
    """f32(f32(sum * f32(s_x * s_w[k])) + b[k]) of each row; x is (N, C, 1, 1).

    Parameters
    ----------
    asymmetric_inputs : the option asymmetric_quantize_inputs of the operation; else rows are symmetric
    """
    made = []
    for row in x:
        q = asymmetric(row) if asymmetric_inputs else symmetric(row)
        made.append(_real(sums.pointwise_conv2d(q, w.symmetric(), None), q, w, b, act))
    return np.concatenate(made)


def symmetric(image: Array) -> QuantisedTensor:
    """An image (C, H, W) as int8 without zero point, (1, C, H, W).

    q = clip(round_away(f32(v * f32(127 / most)))) to -127 .. 127; the scale is f32(most / 127), most the largest
    magnitude. Of nothing but zeros it is 1.
    """
    most = np.float32(max(abs(float(v)) for v in image.flat))
    if most == 0:
        return QuantisedTensor(np.zeros((1, *image.shape), np.int8), Quantisation(1.0, 0, None, "int8"))
    q = Quantisation(most / np.float32(127), 0, None, "int8")
    inverse = np.float32(127) / most
    y = np.zeros((1, *image.shape), np.int8)
    for c, h, v in np.ndindex(image.shape):
        y[0, c, h, v] = min(max(int(round_away(np.float32(image[c, h, v]) * inverse)), -127), 127)
    return QuantisedTensor(y, q)


def asymmetric(image: Array) -> QuantisedTensor:
    """An image (C, H, W) as int8 with a zero point, (1, C, H, W).

    q = clip(z + round_away(f32(v * f32(1 / s)))), s = f32(f32(most - least) / 255), where least and most take in 0.
    z is -128 - f32(least / s) where 128 + |least / s| is below 127 + |most / s|, else 127 - f32(most / s), clipped and
    rounded away. Of nothing but zeros s is 1 and z 0.
    """
    least = np.float32(min(0.0, *(float(v) for v in image.flat)))
    most = np.float32(max(0.0, *(float(v) for v in image.flat)))
    if least == most:
        return QuantisedTensor(np.zeros((1, *image.shape), np.int8), Quantisation(1.0, 0, None, "int8"))
    s = (most - least) / np.float32(255)
    z = np.float32(127) - most / s
    if np.float32(128) + abs(least / s) < np.float32(127) + abs(most / s):
        z = np.float32(-128) - least / s
    q = Quantisation(s, int(min(max(round_away(z), -128), 127)), None, "int8")
    inverse = np.float32(1) / s
    y = np.zeros((1, *image.shape), np.int8)
    for c, h, v in np.ndindex(image.shape):
        whole = int(q.zero_point) + int(round_away(np.float32(image[c, h, v]) * inverse))
        y[0, c, h, v] = min(max(whole, -128), 127)
    return QuantisedTensor(y, q)


def _real(
    total: Array, x: QuantisedTensor, w: QuantisedTensor, b: Array | None, act: str, one_by_one: bool = False
) -> Array:
    """Sums as real numbers; `one_by_one` multiplies by the weights' scale first and then by the image's."""
    ranges = {"": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6), "relu_n1_to_1": (-1, 1)}
    if act not in ranges:
        raise RequestError(f"no kernel fuses the activation {act!r}: relu, relu6 and relu_n1_to_1 are")
    low, high = ranges[act]
    s_x, _ = x.quantisation.single()
    s_w, _ = w.quantisation.channels(len(w.values))
    y = np.zeros(total.shape, np.float32)
    for n, k, p, q in np.ndindex(total.shape):
        added = np.float32(total[n, k, p, q])
        value: Any = added * s_w[k] * s_x if one_by_one else added * (s_w[k] * s_x)
        value = value if b is None else value + np.float32(b[k])
        y[n, k, p, q] = min(max(value, low), high)
    return y
