"""Functions of `keras.ops`, called where a layer might stand, in refnet's operations: Keras 3 has a class for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import GraphBuilder, Map
from refnet.files.importers.keras_layers import PLAIN_LAYERS, arguments_of, channels_last_of, reshaping, resizing
from refnet.files.importers.operations import Rule
from refnet.files.importers.shared_rules import limited, reduced, squeezed, unsqueezed

__all__ = ["FUNCTIONS"]

_PAD_MODES = ("constant", "reflect", "symmetric")


def _reduced(how: str) -> Rule:
    def rule(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        if op.attrs.get("axis") is None:
            raise FormatError("over all axes, that of images too")
        return reduced(builder, op.outputs[0], x, _places(op), keep=bool(op.attrs.get("keepdims", False)), how=how)

    return rule


def _places(op: Operation) -> list[int]:
    """Its axes, of which one number may stand for one."""
    return [int(place) for place in np.ravel(op.attrs["axis"])]


def _clip(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.clip(op.outputs[0], x, float(op.attrs["x_min"]), float(op.attrs["x_max"]))


def _limited(*, largest: bool) -> Rule:
    """The larger, or the lesser, of a tensor and a number; a layer of this name takes tensors."""
    return lambda builder, op, *xs: limited(largest)(builder, op, *arguments_of(op, *xs)[:2])


def _pad(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    widths = op.attrs["pad_width"]
    if np.ndim(widths) != 2 or len(widths) != len(x.axes):
        raise FormatError("with a width for all axes: only with a pair for each")
    mode = op.attrs.get("mode", "constant")
    if mode not in _PAD_MODES:
        raise FormatError(f"the mode {shown(mode)}")
    value: Any = op.attrs.get("keywords", {}).get("constant_values", 0.0)
    pads = {letter: (int(low), int(high)) for letter, (low, high) in zip(x.axes, widths, strict=True)}
    return builder.pad(op.outputs[0], x, pads, mode, float(np.ravel(value)[0]))


def _leaky_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.leaky_relu(op.outputs[0], x, float(np.float32(op.attrs.get("negative_slope", 0.2))))


def _resize(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    channels_last_of(op, x)
    height, width = op.attrs["size"]
    attrs = {**op.attrs, "height": int(height), "width": int(width)}
    return resizing(builder, op._replace(attrs=attrs), x)


def _expand_dims(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return unsqueezed(builder, x, _places(op))


def _squeeze(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs.get("axis") is None:
        raise FormatError("of every axis of length 1")
    return squeezed(builder, x, _places(op))


def _reshape(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if "newshape" not in op.attrs:  # a layer, whose shape is that of one image
        return reshaping(builder, op, x)
    shape = [int(side) for side in op.attrs["newshape"]]
    return builder.reshape(x, [builder.batch if side == -1 and not place else side for place, side in enumerate(shape)])


def _transpose(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.transpose(x, [int(place) for place in op.attrs["axes"]])


FUNCTIONS: Mapping[str, Rule] = {
    "AveragePool": PLAIN_LAYERS["AveragePooling2D"],
    "Cast": PLAIN_LAYERS["Identity"],
    "Clip": _clip,
    "ExpandDims": _expand_dims,
    "LeakyRelu": _leaky_relu,
    "Max": _reduced("max_pool2d"),
    "MaxPool": PLAIN_LAYERS["MaxPooling2D"],
    "Maximum": _limited(largest=True),
    "Mean": _reduced("avg_pool2d"),
    "Minimum": _limited(largest=False),
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Squeeze": _squeeze,
    "Sum": _reduced("sum"),
    "Transpose": _transpose,
}
