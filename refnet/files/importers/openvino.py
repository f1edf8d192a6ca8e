"""OpenVINO's layers in refnet's operations: one function for each type of layer.

Attributes are texts, as the file has them. Weights of float16, which a Convert widens, become float32; integers with a
Convert, an offset and a factor become the float32 that they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value, decimal
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.operations import Rule, begin, follow
from refnet.files.importers.shared_rules import reduced, squeezed, unsqueezed

__all__ = ["import_openvino"]

_NONE: Pad = ((0, 0), (0, 0))
_LARGEST = 1 << 26  # numbers in a constant that is computed: weights that integers stand for
_COMPUTED: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Divide": np.divide,
    "Multiply": np.multiply,
    "Subtract": np.subtract,
}


def import_openvino(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    assert contents.structure is not None
    builder = begin(contents, size)
    arrays = {name: Const(array, name, str(array.dtype)) for name, array in contents.arrays.items()}
    return follow(contents.structure, builder, arrays, _RULES)


def _convolution(builder: GraphBuilder, op: Operation, x: Map, w: Const) -> Map:
    return _convolved(builder, op, x, w, 1)


def _group_convolution(builder: GraphBuilder, op: Operation, x: Map, w: Const) -> Map:
    group, K, *rest = w.array.shape  # (G, K / G, C / G, R, S)
    return _convolved(builder, op, x, w._replace(array=w.array.reshape(group * K, *rest)), group)


def _convolved(builder: GraphBuilder, op: Operation, x: Map, w: Const, group: int) -> Map:
    kernel, stride, dilation = (
        _pair(w.array.shape[2:]),
        _pair(_numbers(op, "strides")),
        _pair(_numbers(op, "dilations")),
    )
    pad = _pad_of(builder, op, _image(x), kernel, stride, dilation)
    return builder.convolution(
        op.outputs[0], x, w, None, stride=stride, pad=pad, dilation=dilation, group=group
    )  # fmt: skip


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    match op.attrs.get("auto_pad", "explicit"):
        case "explicit" | "notset":
            (top, left), (bottom, right) = _numbers(op, "pads_begin"), _numbers(op, "pads_end")
            if min(top, left, bottom, right) < 0:
                raise FormatError("a negative padding")
            return ((top, bottom), (left, right))
        case "valid":
            return _NONE
        case "same_upper" | "same_lower" as rule:
            return builder.same(x, kernel, stride, dilation, lower=rule == "same_lower")
    raise FormatError(f"auto_pad {shown(op.attrs['auto_pad'])}")


def _arithmetic(kind: str) -> Rule:
    def arithmetic(builder: GraphBuilder, op: Operation, x: Value, y: Value) -> Value:
        if isinstance(x, Const) and isinstance(y, Const):
            return _computed(builder, op, x, y)
        return builder.arithmetic(op.outputs[0], kind, x, y)

    return arithmetic


def _computed(builder: GraphBuilder, op: Operation, x: Const, y: Const) -> Const:
    """Of constants, in float32: integers less an offset, times a factor."""
    shape = np.broadcast_shapes(x.array.shape, y.array.shape)
    if np.prod(shape, dtype=np.float64) > _LARGEST:
        raise FormatError("makes more numbers than weights have")
    with np.errstate(all="ignore"):
        made = np.asarray(_COMPUTED[op.op](x.array.astype(np.float32), y.array.astype(np.float32)))
    builder.spend(made)
    return (x if x.array.size >= y.array.size else y)._replace(array=made)


def _matmul(builder: GraphBuilder, op: Operation, x: Map, w: Const) -> Map:
    if _flag(op, "transpose_a") or x.axes != "NC":
        raise FormatError(f"of a tensor of the axes {x.axes}, transposed or not: only of vectors")
    return builder.linear(op.outputs[0], x, w if _flag(op, "transpose_b") else w._replace(array=w.array.T), None)


def _batch_norm(builder: GraphBuilder, op: Operation, x: Map, *params: Const) -> Map:
    slots = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    return builder.norm(op.outputs[0], _image(x), slots, decimal(_real(op, "epsilon")))


def _named(op: str) -> Rule:
    return lambda builder, operation, x: builder.add(operation.outputs[0], op, x)


def _clamp(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.clip(op.outputs[0], x, _real(op, "min"), _real(op, "max"))


def _hard_sigmoid(builder: GraphBuilder, op: Operation, x: Map, slope: Const, offset: Const) -> Map:
    a, b = (decimal(each.array.item()) for each in (slope, offset))
    return builder.add(op.outputs[0], "hard_sigmoid", x, slope=a, offset=b)


def _sixth(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.add(op.outputs[0], "hard_sigmoid", x, slope=1 / 6, offset=0.5)


def _swish(builder: GraphBuilder, op: Operation, x: Map, beta: Const | None = None) -> Map:
    if beta is not None and beta.array.item() != 1:
        raise FormatError(f"with a factor of {beta.array.item():g}")
    return builder.add(op.outputs[0], "swish", x)


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    (axis,) = _numbers(op, "axis")
    if x.axes[axis] != "C":
        raise FormatError(f"over axis {axis} of {x.axes}: only over the channels")
    return builder.softmax(op.outputs[0], x)


def _reduced(builder: GraphBuilder, op: Operation, x: Map, axes: Const) -> Map:
    how = "sum" if op.op == "ReduceSum" else "avg_pool2d"
    return reduced(builder, op.outputs[0], x, axes.array.ravel(), keep=_flag(op, "keep_dims"), how=how)


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        kernel, stride = _pair(_numbers(op, "kernel")), _pair(_numbers(op, "strides"))
        pad = _pad_of(builder, op, _image(x), kernel, stride, (1, 1))
        if "dilations" in op.attrs and _numbers(op, "dilations") != (1, 1):
            raise FormatError("a dilated window")
        counted = kind == "avg_pool2d" and not _flag(op, "exclude-pad")
        rest = [(side + sum(ends) - k) % s for side, ends, k, s in zip(x.shape[1:], pad, kernel, stride, strict=True)]
        if op.attrs.get("rounding_type", "floor") != "floor" and any(rest):
            raise FormatError("windows that reach beyond the padding (rounding_type)")
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad, counted=counted)

    return pool


def _pad(builder: GraphBuilder, op: Operation, x: Map, before: Const, after: Const, value: Const | None = None) -> Map:
    ends = zip(x.axes, before.array.ravel(), after.array.ravel(), strict=True)
    around = {letter: (int(a), int(b)) for letter, a, b in ends}
    mode = op.attrs.get("pad_mode")
    if mode not in ("constant", "reflect", "edge"):
        raise FormatError(f"mode {shown(mode)}")
    return builder.pad(op.outputs[0], x, around, mode, 0.0 if value is None else float(value.array.item()))


def _interpolate(builder: GraphBuilder, op: Operation, x: Map, sizes: Const, scales: Const, axes: Const) -> Map:
    how = op.attrs.get("coordinate_transformation_mode", "half_pixel")
    known = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
    if op.attrs.get("mode") not in ("linear", "linear_onnx") or how not in known or _flag(op, "antialias"):
        raise FormatError(f"{shown(op.attrs.get('mode'))} by {shown(how)}: only linear, half_pixel or align_corners")
    if "".join(_image(x).axes[place] for place in axes.array.ravel()) != "HW":
        raise FormatError("of other axes than height and width")
    by_size = op.attrs.get("shape_calculation_mode") == "sizes"
    target = sizes.array if by_size else [int(s * side) for s, side in zip(scales.array, x.shape[1:], strict=True)]
    return builder.resize(op.outputs[0], x, _pair(target), corners=known[how], centres=not known[how])


def _reshape(builder: GraphBuilder, op: Operation, x: Value, shape: Const) -> Value:
    if isinstance(x, Const):
        return x._replace(array=x.array.reshape([int(size) for size in shape.array.ravel()]))
    old, copies = builder.vendor_shape(x), _flag(op, "special_zero")
    sizes = [int(size) for size in shape.array.ravel()]
    return builder.reshape(x, [old[i] if size == 0 and copies else size for i, size in enumerate(sizes)])


def _squeeze(builder: GraphBuilder, op: Operation, x: Value, axes: Const) -> Value:
    if isinstance(x, Const):
        return x._replace(array=np.squeeze(x.array, tuple(axes.array.ravel().tolist())))
    return squeezed(builder, x, axes.array.ravel().tolist())


def _unsqueeze(builder: GraphBuilder, op: Operation, x: Value, axes: Const) -> Value:
    places = tuple(axes.array.ravel().tolist())
    if isinstance(x, Const):
        return x._replace(array=np.expand_dims(x.array, places))
    return unsqueezed(builder, x, places)


def _transpose(builder: GraphBuilder, op: Operation, x: Value, order: Const) -> Value:
    places = [int(place) for place in order.array.ravel()]
    if isinstance(x, Const):
        return x._replace(array=x.array.transpose(places))
    return builder.transpose(x, places)


def _convert(builder: GraphBuilder, op: Operation, x: Value) -> Value:
    kind = op.attrs.get("destination_type")
    if kind not in ("f16", "f32", "f64"):
        raise FormatError(f"to {shown(kind)}: only to floating-point numbers")
    if isinstance(x, Map) or x.array.dtype.kind == "f":
        return x
    wide = x._replace(array=x.array.astype(np.float32))
    builder.spend(wide.array)
    return wide


def _image(x: Map) -> Map:
    if x.axes != "NCHW":
        raise FormatError(f"of a tensor of axes {x.axes}: only of NCHW")
    return x


def _numbers(op: Operation, key: str) -> tuple[int, ...]:
    return tuple(int(word) for word in str(op.attrs[key])[:200].split(","))


def _real(op: Operation, key: str) -> float:
    return float(str(op.attrs[key])[:60])


def _flag(op: Operation, key: str) -> bool:
    return str(op.attrs.get(key, "false")).lower() in ("true", "1")


def _pair(numbers: Any) -> Pair:
    height, width = numbers
    return int(height), int(width)


_RULES: Mapping[str, Rule] = {
    "Add": _arithmetic("add"),
    "AvgPool": _pool("avg_pool2d"),
    "BatchNormInference": _batch_norm,
    "Clamp": _clamp,
    "Convert": _convert,
    "Convolution": _convolution,
    "Divide": _arithmetic("div"),
    "GroupConvolution": _group_convolution,
    "HSigmoid": _sixth,
    "HSwish": _named("hard_swish"),
    "HardSigmoid": _hard_sigmoid,
    "Interpolate": _interpolate,
    "MatMul": _matmul,
    "MaxPool": _pool("max_pool2d"),
    "Multiply": _arithmetic("mul"),
    "Pad": _pad,
    "ReLU": _named("relu"),
    "ReduceMean": _reduced,
    "ReduceSum": _reduced,
    "Reshape": _reshape,
    "Sigmoid": _named("sigmoid"),
    "SoftMax": _softmax,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Subtract": _arithmetic("sub"),
    "Swish": _swish,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
