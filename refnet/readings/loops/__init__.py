"""Every operation as nested scalar loops: the definition.

Made to be checked against the papers by reading. Padding is done by skipping points outside the image; sums run in
the order of the loops; float32 stays float32 at every step. Arrays whose axes or channels do not agree are refused by a
ValueError first. Far too slow for more than small images: `fast` has the same names and signatures, and the tests run
the one against the other.

Arrays are (N, C, H, W), filters (K, C, R, S), outputs (N, K, P, Q); indices are the same letters in lower case.
"""

from __future__ import annotations

from refnet.readings.loops.elementwise import (
    add,
    affine,
    batch_norm,
    clip,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    prelu,
    relu,
    relu6,
    scale,
    sigmoid,
    softmax,
    swish,
    tanh,
    thresholded_relu,
)
from refnet.readings.loops.filters import (
    conv2d,
    depthwise_conv2d,
    grouped_conv2d,
    pointwise_conv2d,
)
from refnet.readings.loops.maps import (
    avg_pool2d,
    concat,
    flatten,
    max_pool2d,
    pad,
    resize_bilinear,
    resize_legacy,
    resize_nearest,
)

__all__ = [
    "add",
    "affine",
    "avg_pool2d",
    "batch_norm",
    "clip",
    "concat",
    "conv2d",
    "depthwise_conv2d",
    "flatten",
    "grouped_conv2d",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "max_pool2d",
    "pad",
    "pointwise_conv2d",
    "prelu",
    "relu",
    "relu6",
    "resize_bilinear",
    "resize_legacy",
    "resize_nearest",
    "scale",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
    "thresholded_relu",
]
