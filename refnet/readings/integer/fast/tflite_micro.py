"""The rules of `loops.tflite_micro`, over whole arrays: same names, same signatures, same integers."""

from __future__ import annotations

import numpy as np

from refnet.readings.integer.fast.finishes import Rounding, by_multiplier, by_table, elementwise
from refnet.readings.integer.fast.tflite import (
    add,
    arg_max,
    avg_pool2d,
    batch_to_space,
    concatenation,
    conv2d,
    depth_to_space,
    depthwise_conv2d,
    dequantize,
    flatten,
    hard_swish,
    leaky_relu,
    max_pool2d,
    maximum,
    mean,
    minimum,
    pad,
    pointwise_conv2d,
    prelu,
    quantize,
    reduce_max,
    relu,
    requantize,
    resize_bilinear,
    resize_nearest,
    softmax,
    space_to_batch,
    strided_slice,
    sub,
    tile,
)
from refnet.readings.integer.fast.tflite import fully_connected_2_19 as fully_connected
from refnet.readings.integer.fast.tflite_curves import sigmoid_fixed as sigmoid
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import mbqm
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "add", "arg_max", "avg_pool2d", "batch_to_space", "concatenation", "conv2d", "depth_to_space",
    "depthwise_conv2d", "dequantize", "flatten", "fully_connected", "hard_swish", "leaky_relu", "max_pool2d",
    "maximum", "mean", "minimum", "pad", "pointwise_conv2d", "prelu", "quantize", "reduce_max", "relu", "relu6",
    "requantize", "resize_bilinear", "resize_nearest", "scale", "sigmoid", "softmax", "space_to_batch",
    "strided_slice", "sub", "tile",
]  # fmt: skip


def scale(
    x: QuantisedTensor, gate: QuantisedTensor, *, to: Quantisation, act: str = "", rounding: Rounding = mbqm
) -> QuantisedTensor:
    """As `loops.tflite_micro.scale`."""
    (s_1, z_1), (s_2, z_2) = x.quantisation.single(), gate.quantisation.single()
    ratio = np.array([np.float64(s_1) * np.float64(s_2) / np.float64(to.single()[0])])
    product = (x.values.astype(np.float64) - z_1) * (gate.values.astype(np.float64) - z_2)
    finish = by_multiplier(ratio, rounding, to, activation_range(to, act))
    return QuantisedTensor(elementwise(product, finish, to.dtype), to)


def relu6(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_micro.relu6`."""
    low, high = activation_range(x.quantisation, "relu6")
    return by_table(x, lambda values: values.clip(low, high), to)
