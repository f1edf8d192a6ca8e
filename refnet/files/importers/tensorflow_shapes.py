"""TensorFlow's operations on the shapes of maps, and pools, in refnet's; and what windows have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value
from refnet.files.importers.masks import cast_of
from refnet.files.importers.operations import Rule
from refnet.files.importers.repeats import closing, opening, repeated
from refnet.files.importers.shared_rules import reduced, squeezed, unsqueezed

__all__ = ["SHAPES", "height_width", "of_images", "pad_in_numbers", "refuse_channels_first"]


def _reduced(builder: GraphBuilder, op: Operation, x: Map, axes: Const) -> Map:
    how = {"Sum": "sum", "Max": "max_pool2d"}.get(op.op, "avg_pool2d")
    return reduced(builder, op.outputs[0], x, axes.array.ravel(), keep=bool(op.attrs.get("keep_dims", False)), how=how)


def _pool(kind: str) -> Rule:
    def rule(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        refuse_channels_first(op)
        kernel, stride = height_width(op, "ksize"), height_width(op, "strides")
        pad = pad_in_numbers(builder, op, of_images(x), kernel, stride, (1, 1))
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad)

    return rule


def _pad(builder: GraphBuilder, op: Operation, x: Map, pads: Const, value: Const | None = None) -> Map:
    around = {letter: _pair(ends) for letter, ends in zip(x.axes, pads.array, strict=True)}
    mode = {"REFLECT": "reflect", None: "constant"}.get(op.attrs.get("mode"))
    if mode is None:
        raise FormatError(f"mode {shown(op.attrs['mode'])}")
    return builder.pad(op.outputs[0], x, around, mode, 0.0 if value is None else float(value.array.item()))


def _resize(builder: GraphBuilder, op: Operation, x: Map, size: Const) -> Map:
    corners, centres = bool(op.attrs.get("align_corners")), bool(op.attrs.get("half_pixel_centers"))
    mode = "nearest" if op.op == "ResizeNearestNeighbor" else "linear"
    return builder.resize(op.outputs[0], of_images(x), _pair(size.array), mode=mode, corners=corners, centres=centres)


def _concat(builder: GraphBuilder, op: Operation, *parts: Value) -> Map:
    *xs, axis = parts
    if not isinstance(axis, Const):
        raise FormatError("along an axis that is computed")
    return builder.concat(op.outputs[0], xs, int(axis.array.item()))


def _reshape(builder: GraphBuilder, op: Operation, x: Map, shape: Const) -> Map:
    return builder.reshape(x, [int(size) for size in shape.array.ravel()])


def _squeeze(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if not (places := op.attrs.get("squeeze_dims", ())):
        raise FormatError("of every axis of length 1")
    return squeezed(builder, x, places)


def _expand_dims(builder: GraphBuilder, op: Operation, x: Map, axis: Const) -> Map:
    return unsqueezed(builder, x, [int(axis.array.item())])


def _transpose(builder: GraphBuilder, op: Operation, x: Map, order: Const) -> Map:
    return builder.transpose(x, [int(place) for place in order.array.ravel()])


def _shape(builder: GraphBuilder, op: Operation, x: Map) -> Const:
    return Const(np.array(builder.vendor_shape(x), np.int32))


def _as_is(builder: GraphBuilder, op: Operation, x: Value, *rest: Value) -> Value:
    return x


def _all_as_they_are(builder: GraphBuilder, op: Operation, *xs: Value) -> Any:
    """What TensorFlow puts around functions whose gradient is written by hand, such as swish."""
    return list(xs)


def _cast(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs.get("DstT") not in (1, 2, "DT_FLOAT", "DT_DOUBLE"):
        raise FormatError("to another type than floating-point numbers")
    return x


def of_images(x: Map) -> Map:
    """The map, if its axes are NHWC."""
    if x.axes != "NHWC":
        raise FormatError(f"of a tensor of axes {x.axes}: only of NHWC")
    return x


def refuse_channels_first(op: Operation) -> None:
    """Refuse an operation whose data_format is another than NHWC."""
    if op.attrs.get("data_format", "NHWC") != "NHWC":
        raise FormatError("channels first: only channels last is read")


def height_width(op: Operation, key: str) -> Pair:
    """Height and width of a list for all four axes."""
    before, height, width, after = op.attrs[key]
    if (before, after) != (1, 1):
        raise FormatError(f"{key} over images or channels")
    return int(height), int(width)


def pad_in_numbers(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    """The padding of a convolution or pool, in numbers."""
    match op.attrs["padding"]:
        case "SAME":
            return builder.same(x, kernel, stride, dilation)
        case "VALID":
            return ((0, 0), (0, 0))
        case "EXPLICIT":
            before, after, top, bottom, left, right, first, last = op.attrs["explicit_paddings"]
            if any((before, after, first, last)) or min(top, bottom, left, right) < 0:
                raise FormatError("pads images or channels, or by less than nothing")
            return ((top, bottom), (left, right))
    raise FormatError(f"the padding {shown(op.attrs['padding'])}")


def _pair(numbers: Any) -> Pair:
    height, width = numbers
    return int(height), int(width)


SHAPES: Mapping[str, Callable[..., Any]] = {
    "AvgPool": _pool("avg_pool2d"),
    "Cast": cast_of(_cast),
    "ConcatV2": _concat,
    "ExpandDims": opening(_expand_dims),
    "Identity": _as_is,
    "IdentityN": _all_as_they_are,
    "Max": _reduced,
    "MaxPool": _pool("max_pool2d"),
    "Mean": _reduced,
    "MirrorPad": _pad,
    "Pad": _pad,
    "PadV2": _pad,
    "PlaceholderWithDefault": _as_is,
    "ReadVariableOp": _as_is,
    "Reshape": closing(_reshape),
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "Shape": _shape,
    "Snapshot": _as_is,
    "Squeeze": _squeeze,
    "StopGradient": _as_is,
    "Sum": _reduced,
    "Tile": repeated,
    "Transpose": _transpose,
}
