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
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.operations import Rule, begin, follow

__all__ = ["LAYOUTS", "import_tflite", "of_channels_last"]

_CLAMPED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
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
    Sums and products of what cannot be negative need none.
    """

    def from_zero(tensor: str) -> bool:
        if tensor in arrays and tensor in structure.scales:
            return bool((arrays[tensor] >= structure.scales[tensor].zero_points.min()).all())
        return _implied(structure, tensor) != "NONE"

    def clamped(op: Operation) -> Operation:
        fused = op.attrs.get("fused_activation_function")
        implied = _implied(structure, op.outputs[0]) if op.outputs else "NONE"
        stronger = {("NONE", "RELU"), ("NONE", "RELU6"), ("RELU", "RELU6")}
        joined = op.op in ("ADD", "MUL") and all(map(from_zero, op.inputs))
        if op.op not in _CLAMPED or (fused, implied) not in stronger or (joined and implied == "RELU"):
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
    activation = {"RELU": "relu", "RELU6": "relu6"}.get(fused)
    if activation is None:
        raise FormatError(f"fused with {fused}: only with RELU and RELU6")
    return builder.add(name, activation, make(builder.inner(name)))


def _conv_2d(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    filters = w._replace(array=w.array.transpose(0, 3, 1, 2))  # (K, R, S, C) -> (K, C, R, S)
    channels = filters.array.shape[1]
    group = x.side("C") // channels if channels and x.side("C") % channels == 0 else 1
    return _convolution(builder, op, x, filters, b, group)


def _depthwise_conv_2d(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if len(w.array) != 1:
        raise FormatError(f"filters of shape {w.array.shape}")
    return _convolution(builder, op, x, w._replace(array=w.array.transpose(3, 0, 1, 2)), b, x.side("C"))


def _convolution(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None, group: int) -> Map:
    of_channels_last(x)
    kernel, stride = w.array.shape[2:], (op.attrs["stride_h"], op.attrs["stride_w"])
    dilation = (op.attrs["dilation_h_factor"], op.attrs["dilation_w_factor"])
    pad = _pad_of(builder, op, x, (kernel[0], kernel[1]), stride, dilation)
    return _activated(
        builder,
        op,
        lambda name: builder.convolution(name, x, w, b, stride=stride, pad=pad, dilation=dilation, group=group),
    )


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    return builder.same(x, kernel, stride, dilation) if op.attrs["padding"] == "SAME" else ((0, 0), (0, 0))


def _fully_connected(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if op.attrs["weights_format"]:
        raise FormatError("with shuffled weights")
    x = x if op.attrs["keep_num_dims"] else x._replace(axes="NC")
    return _activated(builder, op, lambda name: builder.linear(name, x, w, b))


def _arithmetic(kind: str) -> Rule:
    def arithmetic(builder: GraphBuilder, op: Operation, x: Value, y: Value) -> Map:
        return _activated(builder, op, lambda name: builder.arithmetic(name, kind, x, y))

    return arithmetic


def _named(op: str) -> Rule:
    return lambda builder, operation, x: builder.add(operation.outputs[0], op, x)


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs["beta"] != 1 or x.axes[-1] != "C":
        raise FormatError(f"with the factor {op.attrs['beta']:g}, over the last of {x.axes}: only 1, over the channels")
    return builder.softmax(op.outputs[0], x)


def _mean(builder: GraphBuilder, op: Operation, x: Map, axes: Const) -> Map:
    letters = "".join(x.axes[place] for place in axes.array.ravel())
    return builder.mean(op.outputs[0], x, letters, keep=op.attrs["keep_dims"])


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
    return builder.pad(op.outputs[0], x, around, "constant", 0.0 if value is None else float(value.array.item()))


def _resize_bilinear(builder: GraphBuilder, op: Operation, x: Map, size: Const) -> Map:
    corners, centres = op.attrs["align_corners"], op.attrs["half_pixel_centers"]
    if corners == centres:
        raise FormatError("by neither or both of align_corners and half_pixel_centers: only by one of them")
    height, width = (int(side) for side in size.array)
    return builder.resize(op.outputs[0], of_channels_last(x), (height, width), align_corners=corners)


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
    "PACK": _pack,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
}

_RULES: Mapping[str, Rule] = {
    **LAYOUTS,
    "ADD": _arithmetic("add"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": _as_is,
    "DIV": _arithmetic("div"),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _named("hard_swish"),
    "LOGISTIC": _named("sigmoid"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _mean,
    "MUL": _arithmetic("mul"),
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _as_is,
    "RELU": _named("relu"),
    "RELU6": _named("relu6"),
    "RESIZE_BILINEAR": _resize_bilinear,
    "SOFTMAX": _softmax,
    "SUB": _arithmetic("sub"),
}
