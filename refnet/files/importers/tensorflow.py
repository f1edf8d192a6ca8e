"""TensorFlow's operations in refnet's: one function for each.

Reads the graphs of frozen files, SavedModels and TensorFlow.js, with the operations that converters fuse. Dilation,
which TensorFlow 1 writes as a convolution between two rearrangements of the map, becomes a dilated convolution again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value, decimal
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.operations import Rule, begin, follow
from refnet.files.importers.tensorflow_constants import CONSTANTS, VIEWS
from refnet.files.importers.tensorflow_norms import Norms

__all__ = ["import_tensorflow"]

_ACTIVATIONS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid"}


class _Blocked(NamedTuple):
    """A map cut into blocks, so that a dense convolution of it is a dilated one of the map.

    Attributes
    ----------
    make : the convolution, given name and padding, once there is one
    """

    x: Map
    block: Pair
    pad: Pad
    make: Callable[[str, Pad], Map] | None = None


class _Capped(NamedTuple):
    """The lesser of a map and a number: half of a clip."""

    x: Map
    high: float


def import_tensorflow(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    assert contents.structure is not None
    builder = begin(contents, size, "NHWC")
    arrays = {name: Const(array, name, str(array.dtype)) for name, array in contents.arrays.items()}
    norms = Norms()
    rules: dict[str, Rule] = {
        **{op: rule if op in _OF_PARTS else _whole(rule) for op, rule in _OF_TENSORS.items()},
        **{op: _constant(op, _OF_TENSORS.get(op), norms) for op in CONSTANTS},
        "BiasAdd": _whole(_remembered("BiasAdd", _bias_add, norms)),
    }
    return follow(contents.structure, builder, arrays, rules)


def _whole(rule: Rule) -> Rule:
    """A rule that takes constants and maps, not parts of an operation that TensorFlow writes as several."""

    def checked(builder: GraphBuilder, operation: Operation, *inputs: Value) -> Value:
        for x in inputs:
            if isinstance(x, _Capped):
                raise FormatError("of the lesser of a tensor and a number: read only where a maximum makes it a clip")
            if isinstance(x, _Blocked):
                raise FormatError("of a map cut into blocks: only one plain convolution of it is read")
        return rule(builder, operation, *inputs)

    return checked


def _constant(op: str, rule: Rule | None, norms: Norms) -> Rule:
    """A rule that computes when all that it is given is constant, and otherwise does as another says."""
    rule = rule if rule is None or op in _OF_PARTS else _whole(_remembered(op, rule, norms))

    def either(builder: GraphBuilder, operation: Operation, *inputs: Value) -> Value:
        if not all(isinstance(x, Const) for x in inputs):
            if rule is None:
                raise FormatError("of a tensor that is not constant: refnet has no such operation")
            return rule(builder, operation, *inputs)
        arrays = [x.array for x in inputs if isinstance(x, Const)]
        with np.errstate(all="ignore"):
            made = np.asarray(CONSTANTS[op](operation.attrs, *arrays))
        builder.spend(made)
        norms.computed(op, [x for x in inputs if isinstance(x, Const)], made)
        if op in VIEWS and isinstance(inputs[0], Const) and made.dtype.kind == "f":
            return inputs[0]._replace(array=made)
        return Const(made)

    return either


def _remembered(op: str, rule: Rule, norms: Norms) -> Rule:
    """A rule for products and sums, of which some are the parts of a batch norm."""

    def remembering(builder: GraphBuilder, operation: Operation, *inputs: Value) -> Value:
        if len(inputs) == 2 and (norm := norms.added(builder, operation.outputs[0], op, *inputs)) is not None:
            return norm
        made = rule(builder, operation, *inputs)
        x, y = inputs[::-1] if len(inputs) == 2 and isinstance(inputs[0], Const) else (*inputs, None)[:2]
        if op == "Mul" and isinstance(x, Map) and isinstance(y, Const) and isinstance(made, Map):
            norms.multiplied(x, y, made)
        return made

    return remembering


# --------------------------------------------------------------------------------------------------------- convolutions


def _conv2d(builder: GraphBuilder, op: Operation, x: Map | _Blocked, w: Const, *rest: Const) -> Any:
    channels = w.array.shape[2]
    C = x.x.side("C") if isinstance(x, _Blocked) else x.side("C")
    group = C // channels if channels and C % channels == 0 else 1
    filters = w._replace(array=w.array.transpose(3, 2, 0, 1))  # (R, S, C, K) -> (K, C, R, S)
    return _convolution(builder, op, x, filters, rest, group)


def _depthwise(builder: GraphBuilder, op: Operation, x: Map | _Blocked, w: Const, *rest: Const) -> Any:
    R, S, C, multiplier = w.array.shape
    filters = w.array.transpose(2, 3, 0, 1).reshape(C * multiplier, 1, R, S)  # (R, S, C, M) -> (C M, 1, R, S)
    return _convolution(builder, op, x, w._replace(array=filters), rest, C)


def _convolution(
    builder: GraphBuilder, op: Operation, x: Map | _Blocked, w: Const, rest: tuple[Const, ...], group: int
) -> Any:
    _channels_last(op)
    kernel, stride = _pair(w.array.shape[2:]), _sides(op, "strides")
    dilation = _sides(op, "dilations") if "dilations" in op.attrs else (1, 1)
    fused = tuple(op.attrs.get("fused_ops", ()))
    if isinstance(x, _Blocked):
        if stride != (1, 1) or dilation != (1, 1) or op.attrs["padding"] != "VALID" or fused or rest:
            raise FormatError("with strides, padding or an activation, of a map in blocks: only a plain one is read")
        source, block = x.x, x.block

        def make(name: str, pad: Pad) -> Map:
            return builder.convolution(name, source, w, None, stride=(1, 1), pad=pad, dilation=block, group=group)

        return x._replace(make=make)
    pad = _pad_of(builder, op, _image(x), kernel, stride, dilation)
    b, activation = _fused(fused, rest)
    return _activated(
        builder,
        op,
        activation,
        lambda name: builder.convolution(name, x, w, b, stride=stride, pad=pad, dilation=dilation, group=group),
    )


def _fused(fused: tuple[Any, ...], rest: tuple[Const, ...]) -> tuple[Const | None, str]:
    """The bias and the activation that an operation has fused with it."""
    activation = ""
    if fused and fused[-1] in _ACTIVATIONS:
        activation, fused = _ACTIVATIONS[fused[-1]], fused[:-1]
    if fused not in ((), ("BiasAdd",)) or len(rest) != len(fused):
        what = ", ".join(map(str, fused)) or "nothing"
        raise FormatError(f"fused with {shown(what)} of {len(rest)} arrays: only with BiasAdd, Relu, Relu6, Sigmoid")
    return (rest[0] if rest else None), activation


def _activated(builder: GraphBuilder, op: Operation, activation: str, make: Callable[[str], Map]) -> Map:
    name = op.outputs[0]
    return builder.add(name, activation, make(builder.inner(name))) if activation else make(name)


def _space_to_batch(builder: GraphBuilder, op: Operation, x: Map, block: Const, pads: Const) -> Any:
    height, width = _pair(block.array.ravel())
    (top, bottom), (left, right) = (_pair(ends) for ends in pads.array)
    if min(height, width) < 1 or min(top, bottom, left, right) < 0:
        raise FormatError("blocks of no points, or a negative padding")
    return _Blocked(_image(x), (height, width), ((top, bottom), (left, right)))


def _batch_to_space(builder: GraphBuilder, op: Operation, x: Any, block: Const, crops: Const) -> Map:
    """The blocks put together again; what is cropped is padding that the convolution need not have had."""
    if not isinstance(x, _Blocked) or x.make is None or _pair(block.array.ravel()) != x.block:
        raise FormatError("of anything but one convolution of a map in such blocks")
    ends = zip(x.pad, crops.array, strict=True)
    pad = tuple((before - int(first), after - int(last)) for (before, after), (first, last) in ends)
    if min(map(min, pad)) < 0:
        raise FormatError("crops more than was padded")
    return x.make(op.outputs[0], (pad[0], pad[1]))


def _matmul(builder: GraphBuilder, op: Operation, x: Map, w: Const, *rest: Const) -> Map:
    if op.attrs.get("transpose_a", False) or x.axes != "NC":
        raise FormatError(f"of a tensor of the axes {x.axes}, transposed or not: only of vectors")
    w = w if op.attrs.get("transpose_b", False) else w._replace(array=w.array.T)  # (C, K) -> (K, C)
    b, activation = _fused(tuple(op.attrs.get("fused_ops", ())), rest)
    return _activated(builder, op, activation, lambda name: builder.linear(name, x, w, b))


def _bias_add(builder: GraphBuilder, op: Operation, x: Map, b: Const) -> Map:
    if op.attrs.get("data_format", "NHWC") != "NHWC" or b.array.shape != (x.side("C"),):
        raise FormatError(f"{b.array.size} numbers for {x.side('C')} channels, or channels first")
    return builder.arithmetic(op.outputs[0], "add", x, b)


def _batch_norm(builder: GraphBuilder, op: Operation, x: Map, *params: Const) -> Map:
    _channels_last(op)
    if op.attrs.get("is_training", True) is not False:
        raise FormatError("in training mode: only inference is read")
    slots = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    return builder.norm(op.outputs[0], _image(x), slots, decimal(op.attrs.get("epsilon", 1e-4)))


# ---------------------------------------------------------------------------------------------------------- activations


def _named(op: str) -> Rule:
    return lambda builder, operation, x: builder.add(operation.outputs[0], op, x)


def _arithmetic(op: str) -> Rule:
    return lambda builder, operation, x, y: builder.arithmetic(operation.outputs[0], op, x, y)


def _add_n(builder: GraphBuilder, op: Operation, x: Value, y: Value) -> Map:
    return builder.arithmetic(op.outputs[0], "add", x, y)


def _maximum(builder: GraphBuilder, op: Operation, x: Any, y: Any) -> Map:
    """The greater of a map, or of half a clip, and a number."""
    x, low = _with_number(x, y)
    if isinstance(x, _Capped):
        return builder.clip(op.outputs[0], x.x, low, x.high)
    return builder.clip(op.outputs[0], x, low, np.inf)


def _minimum(builder: GraphBuilder, op: Operation, x: Any, y: Any) -> Any:
    """The lesser of a map and a number: after a relu a clip, before a maximum half of one."""
    x, high = _with_number(x, y)
    node = next((node for node in reversed(builder.nodes) if node.name == x.node), None)
    if node is not None and node.op == "relu":
        (source,) = node.inputs
        return builder.clip(op.outputs[0], x._replace(node=source), 0.0, high)
    return _Capped(x, high)


def _with_number(x: Any, y: Any) -> tuple[Any, float]:
    x, y = (y, x) if isinstance(x, Const) else (x, y)
    if not isinstance(y, Const) or y.array.size != 1:
        raise FormatError("of two tensors, or a number for each channel: only of a tensor and a number")
    return x, float(y.array.item())


def _clip(builder: GraphBuilder, op: Operation, x: Map, low: Const, high: Const) -> Map:
    return builder.clip(op.outputs[0], x, float(low.array.item()), float(high.array.item()))


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if x.axes[-1] != "C":
        raise FormatError(f"over the last of {x.axes}: only over the channels")
    return builder.softmax(op.outputs[0], x)


# -------------------------------------------------------------------------------------------------------- pools, shapes


def _mean(builder: GraphBuilder, op: Operation, x: Map, axes: Const) -> Map:
    letters = "".join(x.axes[place] for place in axes.array.ravel())
    return builder.mean(op.outputs[0], x, letters, keep=bool(op.attrs.get("keep_dims", False)))


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        _channels_last(op)
        kernel, stride = _sides(op, "ksize"), _sides(op, "strides")
        pad = _pad_of(builder, op, _image(x), kernel, stride, (1, 1))
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad)

    return pool


def _pad(builder: GraphBuilder, op: Operation, x: Map, pads: Const, value: Const | None = None) -> Map:
    around = {letter: _pair(ends) for letter, ends in zip(x.axes, pads.array, strict=True)}
    mode = {"REFLECT": "reflect", None: "constant"}.get(op.attrs.get("mode"))
    if mode is None:
        raise FormatError(f"mode {shown(op.attrs['mode'])}")
    return builder.pad(op.outputs[0], x, around, mode, 0.0 if value is None else float(value.array.item()))


def _resize(builder: GraphBuilder, op: Operation, x: Map, size: Const) -> Map:
    corners, centres = bool(op.attrs.get("align_corners")), bool(op.attrs.get("half_pixel_centers"))
    if corners == centres:
        raise FormatError("by neither or both of align_corners and half_pixel_centers: only by one of them")
    return builder.resize(op.outputs[0], _image(x), _pair(size.array), align_corners=corners)


def _reshape(builder: GraphBuilder, op: Operation, x: Map, shape: Const) -> Map:
    return builder.reshape(x, [int(size) for size in shape.array.ravel()])


def _squeeze(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    old = builder.vendor_shape(x)
    gone = {place % len(old) for place in op.attrs.get("squeeze_dims", ())}
    if not gone:
        raise FormatError("of every axis of length 1")
    return builder.reshape(x, [side for place, side in enumerate(old) if place not in gone])


def _expand_dims(builder: GraphBuilder, op: Operation, x: Map, axis: Const) -> Map:
    return builder.reshape(x, np.expand_dims(np.zeros(builder.vendor_shape(x), np.bool_), int(axis.array.item())).shape)


def _transpose(builder: GraphBuilder, op: Operation, x: Map, order: Const) -> Map:
    return builder.transpose(x, [int(place) for place in order.array.ravel()])


def _shape(builder: GraphBuilder, op: Operation, x: Map) -> Const:
    return Const(np.array(builder.vendor_shape(x), np.int32))


def _as_is(builder: GraphBuilder, op: Operation, x: Value, *rest: Value) -> Value:
    return x


def _cast(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs.get("DstT") not in (1, 2, "DT_FLOAT", "DT_DOUBLE"):
        raise FormatError("to another type than floating-point numbers")
    return x


def _image(x: Map) -> Map:
    if x.axes != "NHWC":
        raise FormatError(f"of a tensor of axes {x.axes}: only of NHWC")
    return x


def _channels_last(op: Operation) -> None:
    if op.attrs.get("data_format", "NHWC") != "NHWC":
        raise FormatError("channels first: only channels last is read")


def _sides(op: Operation, key: str) -> Pair:
    """Height and width of a list for all four axes."""
    before, height, width, after = op.attrs[key]
    if (before, after) != (1, 1):
        raise FormatError(f"{key} over images or channels")
    return int(height), int(width)


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
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


# The operations that take what others leave unfinished.
_OF_PARTS = ("BatchToSpaceND", "Conv2D", "DepthwiseConv2dNative", "Identity", "Maximum")
_OF_TENSORS: Mapping[str, Callable[..., Any]] = {
    "Add": _arithmetic("add"),
    "AddN": _add_n,
    "AddV2": _arithmetic("add"),
    "AvgPool": _pool("avg_pool2d"),
    "BatchToSpaceND": _batch_to_space,
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "ClipByValue": _clip,
    "Conv2D": _conv2d,
    "DepthwiseConv2dNative": _depthwise,
    "ExpandDims": _expand_dims,
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "FusedDepthwiseConv2dNative": _depthwise,
    "Identity": _as_is,
    "MatMul": _matmul,
    "MaxPool": _pool("max_pool2d"),
    "Maximum": _maximum,
    "Mean": _mean,
    "Minimum": _minimum,
    "MirrorPad": _pad,
    "Mul": _arithmetic("mul"),
    "Pad": _pad,
    "PadV2": _pad,
    "PlaceholderWithDefault": _as_is,
    "ReadVariableOp": _as_is,
    "RealDiv": _arithmetic("div"),
    "Relu": _named("relu"),
    "Relu6": _named("relu6"),
    "Reshape": _reshape,
    "ResizeBilinear": _resize,
    "Shape": _shape,
    "Sigmoid": _named("sigmoid"),
    "Snapshot": _as_is,
    "Softmax": _softmax,
    "SpaceToBatchND": _space_to_batch,
    "Squeeze": _squeeze,
    "StopGradient": _as_is,
    "Sub": _arithmetic("sub"),
    "Transpose": _transpose,
    "_FusedConv2D": _conv2d,
    "_FusedDepthwiseConv2dNative": _depthwise,
    "_FusedMatMul": _matmul,
}
