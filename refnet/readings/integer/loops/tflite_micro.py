"""tflite-micro's reference kernels for int8, as scalar loops; CMSIS-NN's agree where it has any.

As TensorFlow Lite's, but for what stands here: a product's multiplier in float64, the logistic function in fixed point,
RELU6 without rescaling, FULLY_CONNECTED by integers. There are no convolutions of uint8. Sources: tflite-micro,
tensorflow/lite/micro/kernels/; CMSIS-NN, Include/arm_nnsupportfunctions.h (arm_nn_requantize).
"""

from __future__ import annotations

import numpy as np

from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.loops.tflite import (
    Rounding,
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
from refnet.readings.integer.loops.tflite import fully_connected_2_19 as fully_connected
from refnet.readings.integer.loops.tflite_curves import sigmoid_fixed as sigmoid
from refnet.readings.integer.loops.tflite_ranges import clipped
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
    """MUL: clip(MBQM((a - z_1) * (b - z_2), Q(M)) + z_out), M = double(s_1) * double(s_2) / double(s_out).

    Shapes broadcast as in NumPy. tflite-micro, kernels/mul_common.cc.
    """
    (s_1, z_1), (s_2, z_2), (s_y, z_y) = x.quantisation.single(), gate.quantisation.single(), to.single()
    m, e = multiplier(float(s_1) * float(s_2) / float(s_y))
    left, right = np.broadcast_arrays(x.values, gate.values)
    y = np.zeros(left.shape, to.dtype)
    for index in np.ndindex(left.shape):
        product = (int(left[index]) - z_1) * (int(right[index]) - z_2)
        y[index] = clipped(rounding(product, m, e) + z_y, to, act)
    return QuantisedTensor(y, to)


def relu6(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """min(max(q, z), z + round_away(f32(6 / s))) by scale and zero point of the input: nothing is rescaled.

    tflite-micro, kernels/activations.cc.
    """
    s, z = x.quantisation.single()
    six = min(int(round_away(np.float32(6) / s)) + z, x.quantisation.high)
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        y[index] = min(max(int(x.values[index]), z), six)
    return QuantisedTensor(y, to)
