"""TensorFlow Lite's operations in refnet's: one function for each.

Weights of float16, whether a DEQUANTIZE stands before them or not, become float32; integers with a scale become the
float32 that they stand for. An integer model is thus read as the real network that it approximates, with the clamps
that the ranges of its tensors imply and without the rounding of its activations; `tflite_integers` reads the integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure
from refnet.files.importers.blocks import BlockedMap, cut_into_blocks, joined_blocks
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.masks import above, select
from refnet.files.importers.operations import Rule, answer_tensors, begin, follow
from refnet.files.importers.repeats import closing, opening, repeated
from refnet.files.importers.shared_rules import limited, named, negative, prelu, reduced, summed

__all__ = ["LAYOUTS", "import_tflite", "of_channels_last"]

_CLAMPED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
_PRODUCTS, _POOLS = ("FULLY_CONNECTED",), ("MEAN", "AVERAGE_POOL_2D")
_MOVES = ("RESHAPE", "SQUEEZE", "SOFTMAX", "QUANTIZE", "DEQUANTIZE")  # between what gives an answer and the answer
_LARGEST = 1 << 16  # numbers in a computed shape: a handful


def import_tflite(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    assert contents.structure is not None
    builder = begin(contents, size, "NHWC")
    scales = contents.structure.scales
    arrays = {name: _const(name, array, scales.get(name)) for name, array in contents.arrays.items()}
    return follow(_with_clamps(contents.structure, contents.arrays), builder, arrays, _RULES)


def _with_clamps(structure: Structure, arrays: Mapping[str, npt.NDArray[Any]]) -> Structure:
    """Activations that only the range of a tensor's integers implies, said as fused ones.

    Integers that begin at 0 cannot be negative: that is a RELU, and, where they end within half a step of 6, a RELU6.
    Sums and products of what cannot be negative need none. An answer has none: where no class was ever below zero its
    integers begin at 0 all the same.
    """
    ends = answer_tensors(structure, _PRODUCTS, _POOLS, _MOVES)

    def from_zero(tensor: str) -> bool:
        if tensor in arrays and tensor in structure.scales:
            return bool((arrays[tensor] >= structure.scales[tensor].zero_points.min()).all())
        return _implied(structure, tensor) != "NONE"

    def clamped(op: Operation) -> Operation:
        fused = op.attrs.get("fused_activation_function")
        implied = _implied(structure, op.outputs[0]) if op.outputs else "NONE"
        stronger = {("NONE", "RELU"), ("NONE", "RELU6"), ("RELU", "RELU6")}
        joined = op.op in ("ADD", "MUL") and all(map(from_zero, op.inputs))
        if (
            op.op not in _CLAMPED
            or ends.intersection(op.outputs)
            or (fused, implied) not in stronger
            or (joined and implied == "RELU")
        ):
            return op
        return op._replace(attrs={**op.attrs, "fused_activation_function": implied})

    return structure._replace(operations=tuple(map(clamped, structure.operations)))


def _implied(structure: Structure, tensor: str) -> str:
    scale, dtype = structure.scales.get(tensor), structure.dtypes.get(tensor)
    if scale is None or len(scale.scales) != 1 or dtype not in ("int8", "uint8"):
        return "NONE"
    limits, s, z = np.iinfo(dtype), float(scale.scales[0]), int(scale.zero_points[0])
    if z != limits.min:
        return "NONE"
    return "RELU6" if abs(s * 255 - 6) <= s / 2 else "RELU"


def _const(name: str, array: npt.NDArray[Any], scale: IntegerScale | None) -> Const:
    """A constant: integers with a scale as the numbers that they stand for."""
    stored = str(array.dtype)
    if scale is not None and array.dtype.kind in "iu":
        shape = [1] * array.ndim
        if len(scale.scales) > 1:
            shape[scale.axis] = -1
        steps = array.astype(np.float32) - scale.zero_points.astype(np.float32).reshape(shape)
        array = steps * scale.scales.reshape(shape)
    return Const(array, name, stored)


def _activated(builder: GraphBuilder, op: Operation, make: Any) -> Map:
    """What `make(name)` makes, then the activation that the operation has fused; the tensor's name goes to the last."""
    name, fused = op.outputs[0], op.attrs["fused_activation_function"]
    if fused == "NONE":
        made: Map = make(name)
        return made
    made = make(builder.inner(name))
    match fused:
        case "RELU" | "RELU6" | "TANH":
            return builder.add(name, fused.lower(), made)
        case "RELU_N1_TO_1":
            return builder.clip(name, made, -1.0, 1.0)
    raise FormatError(f"fused with {fused}: only with RELU, RELU6, RELU_N1_TO_1 and TANH")


def _conv_2d(builder: GraphBuilder, op: Operation, x: Any, w: Const, b: Const | None = None) -> Any:
    filters = w._replace(array=w.array.transpose(0, 3, 1, 2))  # (K, R, S, C) -> (K, C, R, S)
    channels, C = filters.array.shape[1], _source(x).side("C")
    group = C // channels if channels and C % channels == 0 else 1
    return _convolution(builder, op, x, filters, b, group)


def _depthwise_conv_2d(builder: GraphBuilder, op: Operation, x: Any, w: Const, b: Const | None = None) -> Any:
    if len(w.array) != 1:
        raise FormatError(f"filters of shape {w.array.shape}")
    return _convolution(builder, op, x, w._replace(array=w.array.transpose(3, 0, 1, 2)), b, _source(x).side("C"))


def _source(x: Any) -> Map:
    """The map that is filtered, as a whole or in blocks."""
    whole: Map = x.x if isinstance(x, BlockedMap) else x
    return whole


def _convolution(builder: GraphBuilder, op: Operation, x: Any, w: Const, b: Const | None, group: int) -> Any:
    if isinstance(x, BlockedMap):
        return _in_blocks(builder, op, x, w, b, group)
    of_channels_last(x)
    kernel, stride = w.array.shape[2:], (op.attrs["stride_h"], op.attrs["stride_w"])
    dilation = (op.attrs["dilation_h_factor"], op.attrs["dilation_w_factor"])
    pad = _pad_of(builder, op, x, (kernel[0], kernel[1]), stride, dilation)
    return _activated(
        builder,
        op,
        lambda name: builder.convolution(name, x, w, b, stride=stride, pad=pad, dilation=dilation, group=group),
    )


def _in_blocks(
    builder: GraphBuilder, op: Operation, x: BlockedMap, w: Const, b: Const | None, group: int
) -> BlockedMap:
    """A dilated convolution of the map that was cut into blocks; its bias and activation are the same on either."""
    ones = all(op.attrs[key] == 1 for key in ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor"))

    def make(name: str, pad: Pad) -> Map:
        whole: dict[str, Any] = {"stride": (1, 1), "pad": pad, "dilation": x.block, "group": group}
        return _activated(
            builder, op._replace(outputs=(name,)), lambda inner: builder.convolution(inner, x.x, w, b, **whole)
        )

    return x.filtered(make, plain=ones and op.attrs["padding"] == "VALID")


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    return builder.same(x, kernel, stride, dilation) if op.attrs["padding"] == "SAME" else ((0, 0), (0, 0))


def _fully_connected(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if op.attrs["weights_format"]:
        raise FormatError("with shuffled weights")
    if not op.attrs["keep_num_dims"]:  # all axes but the last of the weights' length are one
        x = builder.reshape(x, (-1, w.array.shape[1]))
    return _activated(builder, op, lambda name: builder.linear(name, x, w, b))


def _leaky_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.leaky_relu(op.outputs[0], x, float(op.attrs["alpha"]))


def _concatenation(builder: GraphBuilder, op: Operation, *xs: Value) -> Value:
    constants = [x.array for x in xs if isinstance(x, Const)]
    if len(constants) == len(xs):  # parts of a shape
        return _of_a_shape(np.concatenate(constants, op.attrs["axis"]))
    return _activated(builder, op, lambda name: builder.concat(name, xs, op.attrs["axis"]))


def _clipped(low: float, high: float) -> Rule:
    return lambda builder, op, x: builder.clip(op.outputs[0], x, low, high)


def _space_to_batch(builder: GraphBuilder, op: Operation, x: Map, block: Const, pads: Const) -> Any:
    return cut_into_blocks(x, block, pads)


def _batch_to_space(builder: GraphBuilder, op: Operation, x: Any, block: Const, crops: Const) -> Map:
    return joined_blocks(op.outputs[0], x, block, crops)


def _arithmetic(kind: str) -> Rule:
    def arithmetic(builder: GraphBuilder, op: Operation, x: Value, y: Value) -> Map:
        return _activated(builder, op, lambda name: builder.arithmetic(name, kind, x, y))

    return arithmetic


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs["beta"] != 1 or x.axes[-1] not in "CF":
        raise FormatError(f"with the factor {op.attrs['beta']:g}, over the last of {x.axes}: only 1, over the channels")
    return builder.softmax(op.outputs[0], x)


def _reduced(builder: GraphBuilder, op: Operation, x: Map, axes: Const) -> Map:
    how = {"SUM": "sum", "REDUCE_MAX": "max_pool2d"}.get(op.op, "avg_pool2d")
    return reduced(builder, op.outputs[0], x, axes.array.ravel(), keep=op.attrs["keep_dims"], how=how)


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        of_channels_last(x)
        kernel = (op.attrs["filter_height"], op.attrs["filter_width"])
        stride = (op.attrs["stride_h"], op.attrs["stride_w"])
        pad = _pad_of(builder, op, x, kernel, stride, (1, 1))
        return _activated(builder, op, lambda name: builder.pool(name, kind, x, kernel=kernel, stride=stride, pad=pad))

    return pool


def _pad(builder: GraphBuilder, op: Operation, x: Map, pads: Const, value: Const | None = None) -> Map:
    around = {letter: (int(a), int(b)) for letter, (a, b) in zip(x.axes, pads.array, strict=True)}
    mode = {None: "constant", 0: "reflect"}.get(op.attrs.get("mode"))  # of MIRROR_PAD; 1 repeats the edge, mirrored
    if mode is None:
        raise FormatError("mirrors the edge too")
    return builder.pad(op.outputs[0], x, around, mode, 0.0 if value is None else float(value.array.item()))


def _resize(builder: GraphBuilder, op: Operation, x: Map, size: Const) -> Map:
    how: dict[str, Any] = {"corners": op.attrs["align_corners"], "centres": op.attrs["half_pixel_centers"]}
    mode = "nearest" if op.op == "RESIZE_NEAREST_NEIGHBOR" else "linear"
    height, width = (int(side) for side in size.array)
    return builder.resize(op.outputs[0], of_channels_last(x), (height, width), mode=mode, **how)


def _reshape(builder: GraphBuilder, op: Operation, x: Value, shape: Const | None = None) -> Value:
    sizes = [int(size) for size in (op.attrs["new_shape"] if shape is None else shape.array.ravel())]
    if isinstance(x, Const):
        return x._replace(array=x.array.reshape(sizes))
    return builder.reshape(x, sizes)


def _squeeze(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    old = builder.vendor_shape(x)
    gone = {place % len(old) for place in op.attrs["squeeze_dims"]}
    if not gone:
        raise FormatError("of every axis of length 1")
    return builder.reshape(x, [side for place, side in enumerate(old) if place not in gone])


def _expand_dims(builder: GraphBuilder, op: Operation, x: Map, axis: Const) -> Map:
    return builder.reshape(x, np.expand_dims(np.zeros(builder.vendor_shape(x), np.bool_), int(axis.array.item())).shape)


def _transpose(builder: GraphBuilder, op: Operation, x: Value, order: Const) -> Value:
    places = [int(place) for place in order.array.ravel()]
    if isinstance(x, Const):
        return x._replace(array=x.array.transpose(places))
    return builder.transpose(x, places)


def _shape(builder: GraphBuilder, op: Operation, x: Map) -> Const:
    return Const(np.array(builder.vendor_shape(x), np.int32))


def _strided_slice(builder: GraphBuilder, op: Operation, x: Const, begin: Const, end: Const, step: Const) -> Const:
    """One stretch, or one element, of a shape."""
    masks = op.attrs
    if masks["ellipsis_mask"] or masks["new_axis_mask"] or x.array.ndim != 1:
        raise FormatError("of more than a stretch of a vector")
    first = None if masks["begin_mask"] else int(begin.array.item())
    last = None if masks["end_mask"] else int(end.array.item())
    part = x.array[first : last : int(step.array.item())]
    return Const(part[0] if masks["shrink_axis_mask"] else part)


def _gather(builder: GraphBuilder, op: Operation, x: Const, indices: Const) -> Const:
    """Elements of a shape."""
    return _of_a_shape(np.take(x.array.ravel(), indices.array))


def _product(builder: GraphBuilder, op: Operation, x: Const, axes: Const) -> Const:
    """The product of a part of a shape."""
    return _of_a_shape(x.array.prod(tuple(axes.array.ravel().tolist()), keepdims=bool(op.attrs["keep_dims"])))


def _of_a_shape(numbers: npt.NDArray[Any]) -> Const:
    if numbers.size > _LARGEST:
        raise FormatError("of more numbers than a shape has")
    return Const(numbers)


def _pack(builder: GraphBuilder, op: Operation, *parts: Const) -> Const:
    if sum(part.array.size for part in parts) > _LARGEST:
        raise FormatError("of more numbers than a shape has")
    return Const(np.stack([part.array for part in parts], axis=op.attrs["axis"]))


def _as_is(builder: GraphBuilder, op: Operation, x: Value) -> Value:
    """DEQUANTIZE of a constant: of float16, or of integers, which `_const` has turned to real numbers already."""
    if isinstance(x, Const) and x.array.dtype == np.float16:
        wide = x._replace(array=x.array.astype(np.float32))
        builder.spend(wide.array)
        return wide
    return x


def of_channels_last(x: Map) -> Map:
    """A map as TFLite has them, or a refusal."""
    if x.axes != "NHWC":
        raise FormatError(f"of a tensor of axes {x.axes}: only of NHWC")
    return x


# Operations that say where numbers lie, and make no others.
LAYOUTS: Mapping[str, Rule] = {
    "EXPAND_DIMS": _expand_dims,
    "GATHER": _gather,
    "PACK": _pack,
    "REDUCE_PROD": _product,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
}

_RULES: Mapping[str, Rule] = {
    **LAYOUTS,
    "EXPAND_DIMS": opening(_expand_dims),
    "RESHAPE": closing(_reshape),
    "TILE": repeated,
    "GREATER": above,
    "SELECT": select,
    "SELECT_V2": select,
    "ADD": _arithmetic("add"),
    "ADD_N": summed,
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": _as_is,
    "DIV": _arithmetic("div"),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": named("hard_swish"),
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": named("sigmoid"),
    "MAXIMUM": limited(largest=True),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _reduced,
    "MINIMUM": limited(largest=False),
    "MIRROR_PAD": _pad,
    "MUL": _arithmetic("mul"),
    "NEG": negative,
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": prelu,
    "QUANTIZE": _as_is,
    "RELU": named("relu"),
    "REDUCE_MAX": _reduced,
    "RELU6": named("relu6"),
    "RELU_0_TO_1": _clipped(0.0, 1.0),
    "RELU_N1_TO_1": _clipped(-1.0, 1.0),
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SUB": _arithmetic("sub"),
    "SUM": _reduced,
    "TANH": named("tanh"),
}
