"""TensorFlow's operations in refnet's: one function for each.

Reads the graphs of frozen files, SavedModels and TensorFlow.js, with the operations that converters fuse. Dilation,
which TensorFlow 1 writes as a convolution between two rearrangements of the map, becomes a dilated convolution again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, Operation
from refnet.files.importers.blocks import BlockedMap, cut_into_blocks, joined_blocks
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value, decimal
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.masks import above, product_of, select
from refnet.files.importers.operations import Rule, begin, follow
from refnet.files.importers.shared_rules import limited, named, negative, prelu, summed
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

_ACTIVATIONS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_Act = Callable[[GraphBuilder, str, Map], Map]


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
            if isinstance(x, BlockedMap):
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


def _conv2d(builder: GraphBuilder, op: Operation, x: Map | BlockedMap, w: Const, *rest: Const) -> Any:
    channels = w.array.shape[2]
    C = x.x.side("C") if isinstance(x, BlockedMap) else x.side("C")
    group = C // channels if channels and C % channels == 0 else 1
    filters = w._replace(array=w.array.transpose(3, 2, 0, 1))  # (R, S, C, K) -> (K, C, R, S)
    return _convolution(builder, op, x, filters, rest, group)


def _depthwise(builder: GraphBuilder, op: Operation, x: Map | BlockedMap, w: Const, *rest: Const) -> Any:
    R, S, C, multiplier = w.array.shape
    filters = w.array.transpose(2, 3, 0, 1).reshape(C * multiplier, 1, R, S)  # (R, S, C, M) -> (C M, 1, R, S)
    return _convolution(builder, op, x, w._replace(array=filters), rest, C)


def _convolution(
    builder: GraphBuilder, op: Operation, x: Map | BlockedMap, w: Const, rest: tuple[Const, ...], group: int
) -> Any:
    refuse_channels_first(op)
    kernel, stride = _pair(w.array.shape[2:]), height_width(op, "strides")
    dilation = height_width(op, "dilations") if "dilations" in op.attrs else (1, 1)
    if isinstance(x, BlockedMap):
        source, block = x.x, x.block

        def make(name: str, pad: Pad) -> Map:
            return builder.convolution(name, source, w, None, stride=(1, 1), pad=pad, dilation=block, group=group)

        dense = stride == dilation == (1, 1) and op.attrs["padding"] == "VALID"
        return x.filtered(make, plain=dense and not op.attrs.get("fused_ops") and not rest)
    pad = pad_in_numbers(builder, op, of_images(x), kernel, stride, dilation)
    b, activation = _fused(op, rest)
    return _activated(
        builder,
        op,
        activation,
        lambda name: builder.convolution(name, x, w, b, stride=stride, pad=pad, dilation=dilation, group=group),
    )


def _fused(op: Operation, rest: tuple[Const, ...]) -> tuple[Const | None, _Act | None]:
    """The bias and the activation that an operation has fused with it."""
    fused = tuple(op.attrs.get("fused_ops", ()))
    biased, act = fused[:1] == ("BiasAdd",), fused[-1] if fused and fused[-1] != "BiasAdd" else ""
    known = act in ("", "LeakyRelu", "Prelu") or act in _ACTIVATIONS
    if not known or len(fused) > biased + bool(act) or len(rest) != biased + (act == "Prelu"):
        what = ", ".join(map(str, fused)) or "nothing"
        acts = ", ".join((*_ACTIVATIONS, "LeakyRelu", "Prelu"))
        raise FormatError(f"fused with {shown(what)} of {len(rest)} arrays: only with BiasAdd, {acts}")
    b = rest[0] if biased else None
    match act:
        case "":
            return b, None
        case "LeakyRelu":
            slope = float(np.float32(op.attrs.get("leakyrelu_alpha", 0.2)))
            return b, lambda builder, name, x: builder.leaky_relu(name, x, slope)
        case "Prelu":
            return b, lambda builder, name, x: builder.prelu(name, x, rest[-1])
    return b, lambda builder, name, x: builder.add(name, _ACTIVATIONS[act], x)


def _activated(builder: GraphBuilder, op: Operation, act: _Act | None, make: Callable[[str], Map]) -> Map:
    name = op.outputs[0]
    return make(name) if act is None else act(builder, name, make(builder.inner(name)))


def _leaky_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.leaky_relu(op.outputs[0], x, float(np.float32(op.attrs.get("alpha", 0.2))))


def _space_to_batch(builder: GraphBuilder, op: Operation, x: Map, block: Const, pads: Const) -> Any:
    return cut_into_blocks(x, block, pads)


def _batch_to_space(builder: GraphBuilder, op: Operation, x: Any, block: Const, crops: Const) -> Map:
    return joined_blocks(op.outputs[0], x, block, crops)


def _matmul(builder: GraphBuilder, op: Operation, x: Map, w: Const, *rest: Const) -> Map:
    if op.attrs.get("transpose_a", False) or len(x.axes) != 2:
        raise FormatError(f"of a tensor of the axes {x.axes}, transposed or not: only of vectors")
    w = w if op.attrs.get("transpose_b", False) else w._replace(array=w.array.T)  # (C, K) -> (K, C)
    b, activation = _fused(op, rest)
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


def _arithmetic(op: str) -> Rule:
    return lambda builder, operation, x, y: builder.arithmetic(operation.outputs[0], op, x, y)


def _clip(builder: GraphBuilder, op: Operation, x: Map, low: Const, high: Const) -> Map:
    return builder.clip(op.outputs[0], x, float(low.array.item()), float(high.array.item()))


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if x.axes[-1] not in "CF":
        raise FormatError(f"over the last of {x.axes}: only over the channels")
    return builder.softmax(op.outputs[0], x)


def _pair(numbers: Any) -> Pair:
    height, width = numbers
    return int(height), int(width)


# The operations that take what others leave unfinished.
_OF_PARTS = ("BatchToSpaceND", "Conv2D", "DepthwiseConv2dNative", "Identity")
_OF_TENSORS: Mapping[str, Callable[..., Any]] = {
    **SHAPES,
    "Add": _arithmetic("add"),
    "AddN": summed,
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
    "Greater": above,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "Maximum": limited(largest=True),
    "Minimum": limited(largest=False),
    "Mul": product_of(_arithmetic("mul")),
    "Neg": negative,
    "Prelu": prelu,
    "RealDiv": _arithmetic("div"),
    "Relu": named("relu"),
    "Relu6": named("relu6"),
    "Select": select,
    "SelectV2": select,
    "Sigmoid": named("sigmoid"),
    "Softmax": _softmax,
    "SpaceToBatchND": _space_to_batch,
    "Sub": _arithmetic("sub"),
    "Tanh": named("tanh"),
    "_FusedConv2D": _conv2d,
    "_FusedDepthwiseConv2dNative": _depthwise,
    "_FusedMatMul": _matmul,
}
