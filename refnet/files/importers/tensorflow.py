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
from refnet.files.importers.tensorflow_shapes import (
    SHAPES,
    height_width,
    of_images,
    pad_in_numbers,
    refuse_channels_first,
)

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
    arrays = {name: Const(array, name, contents.dtype(name)) for name, array in contents.arrays.items()}
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
    refuse_channels_first(op)
    kernel, stride = _pair(w.array.shape[2:]), height_width(op, "strides")
    dilation = height_width(op, "dilations") if "dilations" in op.attrs else (1, 1)
    fused = tuple(op.attrs.get("fused_ops", ()))
    if isinstance(x, _Blocked):
        if stride != (1, 1) or dilation != (1, 1) or op.attrs["padding"] != "VALID" or fused or rest:
            raise FormatError("with strides, padding or an activation, of a map in blocks: only a plain one is read")
        source, block = x.x, x.block

        def make(name: str, pad: Pad) -> Map:
            return builder.convolution(name, source, w, None, stride=(1, 1), pad=pad, dilation=block, group=group)

        return x._replace(make=make)
    pad = pad_in_numbers(builder, op, of_images(x), kernel, stride, dilation)
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
    return _Blocked(of_images(x), (height, width), ((top, bottom), (left, right)))


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
    refuse_channels_first(op)
    if op.attrs.get("is_training", True) is not False:
        raise FormatError("in training mode: only inference is read")
    slots = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    return builder.norm(op.outputs[0], of_images(x), slots, decimal(op.attrs.get("epsilon", 1e-4)))


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


def _pair(numbers: Any) -> Pair:
    height, width = numbers
    return int(height), int(width)


# The operations that take what others leave unfinished.
_OF_PARTS = ("BatchToSpaceND", "Conv2D", "DepthwiseConv2dNative", "Identity", "Maximum")
_OF_TENSORS: Mapping[str, Callable[..., Any]] = {
    **SHAPES,
    "Add": _arithmetic("add"),
    "AddN": _add_n,
    "AddV2": _arithmetic("add"),
    "BatchToSpaceND": _batch_to_space,
    "BiasAdd": _bias_add,
    "ClipByValue": _clip,
    "Conv2D": _conv2d,
    "DepthwiseConv2dNative": _depthwise,
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "FusedDepthwiseConv2dNative": _depthwise,
    "MatMul": _matmul,
    "Maximum": _maximum,
    "Minimum": _minimum,
    "Mul": _arithmetic("mul"),
    "RealDiv": _arithmetic("div"),
    "Relu": _named("relu"),
    "Relu6": _named("relu6"),
    "Sigmoid": _named("sigmoid"),
    "Softmax": _softmax,
    "SpaceToBatchND": _space_to_batch,
    "Sub": _arithmetic("sub"),
    "_FusedConv2D": _conv2d,
    "_FusedDepthwiseConv2dNative": _depthwise,
    "_FusedMatMul": _matmul,
}
