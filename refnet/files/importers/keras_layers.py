"""Keras' layers without weights in refnet's operations: pools, borders, other sizes; and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value
from refnet.files.importers.operations import Rule

__all__ = ["PLAIN_LAYERS", "arguments_of", "channels_last_of", "keras_pad", "pair_of", "reshaping", "resizing"]


def keras_pad(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    """The padding of a convolution or pool, in numbers."""
    match op.attrs.get("padding", "valid"):
        case "same":
            return builder.same(x, kernel, stride, dilation)
        case "valid":
            return ((0, 0), (0, 0))
    raise FormatError(f"the padding {shown(op.attrs['padding'])}")


def channels_last_of(op: Operation, x: Map) -> None:
    """Refuse a layer, or a tensor, whose channels do not lie last."""
    if op.attrs.get("data_format") not in (None, "channels_last") or x.axes != "NHWC":
        raise FormatError("channels first, or a tensor without height and width: only channels last is read")


def arguments_of(op: Operation, *inputs: Map) -> list[Value]:
    """What an operation is called on, in order: maps, and numbers."""
    arguments, maps = op.attrs.get("arguments", [None] * len(inputs)), iter(inputs)
    return [next(maps) if value is None else Const(np.array(value, np.float64)) for value in arguments]


def pair_of(numbers: Any) -> Pair:
    """Height and width, of which one number may stand for both."""
    height, width = (numbers, numbers) if isinstance(numbers, int) else numbers
    return int(height), int(width)


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        channels_last_of(op, x)
        kernel = pair_of(op.attrs.get("pool_size", 2))
        given = op.attrs.get("strides")
        stride = kernel if given is None else pair_of(given)
        pad = keras_pad(builder, op, x, kernel, stride, (1, 1))
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad)

    return pool


def _global_pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        channels_last_of(op, x)
        return builder.mean(op.outputs[0], x, "HW", keep=bool(op.attrs.get("keepdims", False)), op=kind)

    return pool


def _zero_padding(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    channels_last_of(op, x)
    padding = op.attrs["padding"]
    sides = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = ((side, side) if isinstance(side, int) else side for side in sides)
    return builder.pad(op.outputs[0], x, {"H": (top, bottom), "W": (left, right)}, "constant", 0.0)


def _up_sampling(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    channels_last_of(op, x)
    height, width = pair_of(op.attrs.get("size", 2))
    return _sized(builder, op, x, (height * x.side("H"), width * x.side("W")), op.attrs.get("interpolation", "nearest"))


def resizing(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    """Another size, of which refnet has what stretches a map."""
    channels_last_of(op, x)
    if any(op.attrs.get(key) for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias")):
        raise FormatError("that crops, pads or smooths: only one that stretches")
    return _sized(builder, op, x, (op.attrs["height"], op.attrs["width"]), op.attrs.get("interpolation", "bilinear"))


def _sized(builder: GraphBuilder, op: Operation, x: Map, size: Pair, how: str) -> Map:
    mode = {"nearest": "nearest", "bilinear": "linear"}.get(how)
    if mode is None:
        raise FormatError(f"the interpolation {shown(how)}")
    return builder.resize(op.outputs[0], x, size, mode=mode, corners=False, centres=True)


def _rescaling(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    # The layer casts its numbers to float32, whatever the precision of the network.
    slope, offset = (np.float32(op.attrs.get(key, value)) for key, value in (("scale", 1.0), ("offset", 0.0)))
    if slope.ndim == offset.ndim == 0:
        return builder.affine(op.outputs[0], x, float(slope), float(offset))
    C = x.side("C")
    scaled = builder.arithmetic(builder.inner(op.outputs[0]), "mul", x, Const(np.broadcast_to(slope, (C,))))
    return builder.arithmetic(op.outputs[0], "add", scaled, Const(np.broadcast_to(offset, (C,))))


def _leaky_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    # TensorFlow's operation has its slope in float32, whatever the precision of the network.
    slope = np.float32(op.attrs.get("negative_slope", op.attrs.get("alpha", 0.3)))
    return builder.leaky_relu(op.outputs[0], x, float(slope))


def _thresholded_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.thresholded(op.outputs[0], x, float(op.attrs.get("theta", 1.0)))


def _relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    slope, most = float(np.float32(op.attrs.get("negative_slope") or 0)), op.attrs.get("max_value")
    name, threshold = op.outputs[0], float(op.attrs.get("threshold") or 0)
    if threshold:
        return _relu_from(builder, name, x, threshold, slope, most)
    if not slope:
        return builder.clip(name, x, 0.0, np.inf if most is None else float(most))
    leaky = builder.leaky_relu(name if most is None else builder.inner(name), x, slope)
    return leaky if most is None else builder.clip(name, leaky, -np.inf, float(most))


def _relu_from(builder: GraphBuilder, name: str, x: Map, threshold: float, slope: float, most: Any) -> Map:
    """x above a threshold, no more than `most`, and slope (x - threshold) below it, as Keras adds them up."""
    inner = builder.inner(name)
    made = builder.thresholded(name if most is None and not slope else f"{inner}.above", x, threshold)
    if most is not None:
        made = builder.clip(f"{inner}.cut" if slope else name, made, 0.0, float(most))
    if not slope:
        return made
    below = builder.add(f"{inner}.below", "relu", builder.affine(f"{inner}.mirrored", x, -1.0, threshold))
    return builder.arithmetic(name, "add", made, builder.affine(f"{inner}.sloped", below, -slope, 0.0))


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    axis = op.attrs.get("axis", -1)
    (place,) = axis if isinstance(axis, tuple) else (axis,)
    if x.axes[place] not in "CF":
        raise FormatError(f"over axis {place} of {x.axes}: only over the channels")
    return builder.softmax(op.outputs[0], x)


def _concatenate(builder: GraphBuilder, op: Operation, *xs: Value) -> Map:
    return builder.concat(op.outputs[0], xs, op.attrs.get("axis", -1))


def _average(builder: GraphBuilder, op: Operation, *xs: Map) -> Map:
    total = xs[0]
    for place, x in enumerate(xs[1:], 1):
        total = builder.arithmetic(f"{op.outputs[0]}.sum{place}", "add", total, x)
    return builder.affine(op.outputs[0], total, 1 / len(xs), 0.0)


def reshaping(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    """Another shape of each image."""
    return builder.reshape(x, (builder.batch, *op.attrs["target_shape"]))


def _flatten(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs.get("data_format") not in (None, "channels_last"):
        raise FormatError("channels first: only channels last is read")
    return builder.reshape(x, (builder.batch, -1))


def _permute(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.transpose(x, (0, *op.attrs["dims"]))


def _as_is(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return x


_TRAINING = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "SpatialDropout2D",
)  # in inference they hand on what they are given

PLAIN_LAYERS: Mapping[str, Rule] = {
    **dict.fromkeys((*_TRAINING, "Identity"), _as_is),
    "Average": _average,
    "AveragePooling2D": _pool("avg_pool2d"),
    "Concatenate": _concatenate,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_pool("avg_pool2d"),
    "GlobalMaxPooling2D": _global_pool("max_pool2d"),
    "LeakyReLU": _leaky_relu,
    "MaxPooling2D": _pool("max_pool2d"),
    "Permute": _permute,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": reshaping,
    "Resizing": resizing,
    "Softmax": _softmax,
    "ThresholdedReLU": _thresholded_relu,
    "UpSampling2D": _up_sampling,
    "ZeroPadding2D": _zero_padding,
}
