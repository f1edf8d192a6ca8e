"""ONNX's operations in refnet's: one function for each.

Shapes, axes and paddings that the file leaves to be computed are computed here, for images of one size
(`onnx_constants`). Reads what PyTorch's two exporters and PaddlePaddle's make of MobileNets, from opset 7 on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value, decimal
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.masks import above, cast_of, product_of, select
from refnet.files.importers.onnx_constants import CONSTANTS, VIEWS
from refnet.files.importers.onnx_real import real_operations
from refnet.files.importers.onnx_resize import onnx_resize, onnx_upsample
from refnet.files.importers.operations import Rule, begin, follow
from refnet.files.importers.shared_rules import limited, named, negative, prelu, reduced, squeezed, summed

__all__ = ["MOVES", "constant_or", "import_onnx", "onnx_pads"]

_FUSED_CONV = "com.microsoft.FusedConv"
_CHANNELS_FIRST = ("Conv", _FUSED_CONV, "BatchNormalization", "MaxPool", "AveragePool", "GlobalAveragePool")


def import_onnx(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    contents = real_operations(contents)
    assert contents.structure is not None
    builder = begin(contents, size, _axes_of(contents.structure))
    arrays = {name: Const(array, name, contents.dtype(name)) for name, array in contents.arrays.items()}
    return follow(contents.structure, builder, arrays, _RULES)


def _axes_of(structure: Structure) -> str | None:
    """The axes of the input: a convolution's, unless a transposition comes first; None where neither is there."""
    for operation in structure.operations:
        if operation.op in _CHANNELS_FIRST:
            return "NCHW"
        if operation.op == "Transpose":
            return {(0, 3, 1, 2): "NHWC", (0, 2, 3, 1): "NCHW"}.get(tuple(operation.attrs.get("perm", ())))
        if operation.op == "Reshape" and operation.inputs[0] in structure.inputs:  # a transposition of one channel
            return None
    return None


def constant_or(op: str, rule: Rule | None) -> Rule:
    """A rule that computes when all that it is given is constant, and otherwise does as another says."""

    def either(builder: GraphBuilder, operation: Operation, *inputs: Value | None) -> Value:
        if any(x is not None and not isinstance(x, Const) for x in inputs):
            if rule is None:
                raise FormatError("of a tensor that is not constant: refnet has no such operation")
            return rule(builder, operation, *inputs)
        arrays = [x.array if isinstance(x, Const) else None for x in inputs]
        with np.errstate(all="ignore"):
            made = np.asarray(CONSTANTS[op](operation.attrs, *arrays))
        if not any(array is not None and np.may_share_memory(made, array) for array in arrays):
            builder.spend(made)
        first = inputs[0] if inputs else None
        if op in VIEWS and isinstance(first, Const) and made.dtype.kind == "f":
            return first._replace(array=made)
        return Const(made)

    return either


def _conv(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if w.array.ndim == 3:
        return _conv_along_points(builder, op, x, w, b)
    kernel = _pair(w.array.shape[2:])
    stride, dilation = _pair(op.attrs.get("strides", (1, 1))), _pair(op.attrs.get("dilations", (1, 1)))
    if op.attrs.get("kernel_shape", kernel) != kernel:
        raise FormatError(f"a kernel of {kernel}, said to be one of {op.attrs['kernel_shape']}")
    _channels_first(x)
    return builder.convolution(
        op.outputs[0], x, w, b,
        stride=stride, pad=onnx_pads(builder, op, x, kernel, stride, dilation), dilation=dilation,
        group=op.attrs.get("group", 1),
    )  # fmt: skip


def _conv_along_points(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None) -> Map:
    """A convolution of one dimension, (K, C, 1), over the channels of all points in a row: a pointwise one."""
    strides, pads = op.attrs.get("strides", (1,)), op.attrs.get("pads", (0, 0))
    if w.array.shape[2] != 1 or strides != (1,) or any(pads) or x.axes not in ("NCS", "NCH", "NCW"):
        raise FormatError(f"of one dimension, with a kernel of {w.array.shape[2]}, over axes {x.axes}")
    made = builder.convolution(
        op.outputs[0], x._replace(axes="NCHW"), w.reshaped((*w.array.shape, 1)), b,
        stride=(1, 1), pad=((0, 0), (0, 0)), dilation=(1, 1), group=op.attrs.get("group", 1),
    )  # fmt: skip
    return made._replace(axes=x.axes)


def onnx_pads(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    """The padding of a convolution or pool, in numbers."""
    match op.attrs.get("auto_pad", "NOTSET"):
        case "NOTSET":
            top, left, bottom, right = op.attrs.get("pads", (0, 0, 0, 0))
            if min(top, left, bottom, right) < 0:
                raise FormatError("a negative padding")
            return ((top, bottom), (left, right))
        case "VALID":
            return ((0, 0), (0, 0))
        case "SAME_UPPER" | "SAME_LOWER" as rule:
            return builder.same(x, kernel, stride, dilation, lower=rule == "SAME_LOWER")
    raise FormatError(f"auto_pad {op.attrs['auto_pad']!r}")


def _fused(op: str) -> Rule:
    """An operation with the activation that onnxruntime's optimiser puts into it."""

    def fused(builder: GraphBuilder, operation: Operation, *inputs: Any) -> Value:
        attrs = operation.attrs
        act, numbers = attrs.get("activation", ""), tuple(attrs.get("activation_params", ()))
        numbers = numbers or tuple(attrs[key] for key in ("activation_alpha", "activation_beta") if key in attrs)
        if act not in _FUSED_ACTS:
            raise FormatError(f"with the activation {act!r}")
        inner = operation._replace(outputs=(builder.inner(operation.outputs[0]),))
        behind = operation._replace(op=act, attrs=dict(zip(_FUSED_ACTS[act], numbers, strict=False)))
        return _OF_TENSORS[act](builder, behind, _OF_TENSORS[op](builder, inner, *inputs))  # type: ignore[no-any-return]

    return fused


def _gemm(builder: GraphBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if (
        op.attrs.get("transA", 0)
        or op.attrs.get("alpha", 1.0) != 1
        or (b is not None and op.attrs.get("beta", 1.0) != 1)
    ):
        raise FormatError("transposed, or with factors: only x W + b is read")
    if not op.attrs.get("transB", 0):
        w = w._replace(array=w.array.T)
    return builder.linear(op.outputs[0], _vector(x), w, b)


def _matmul(builder: GraphBuilder, op: Operation, x: Map, w: Const) -> Map:
    return builder.linear(op.outputs[0], x, w._replace(array=w.array.T), None)


def _batch_normalization(builder: GraphBuilder, op: Operation, x: Map, *params: Const) -> Map:
    if op.attrs.get("training_mode", 0) or not op.attrs.get("spatial", 1):
        raise FormatError("in training mode, or of each point by itself: only inference is read")
    slots = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    return builder.norm(
        op.outputs[0], x if x.axes == "NC" else _channels_first(x), slots, decimal(op.attrs.get("epsilon", 1e-5))
    )


def _clip(builder: GraphBuilder, op: Operation, x: Map, low: Const | None = None, high: Const | None = None) -> Map:
    lowest = op.attrs.get("min", -np.inf) if low is None or not low.array.size else low.array.item()
    highest = op.attrs.get("max", np.inf) if high is None or not high.array.size else high.array.item()
    return builder.clip(op.outputs[0], x, float(lowest), float(highest))


def _leaky_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.leaky_relu(op.outputs[0], x, decimal(op.attrs.get("alpha", 0.01)))


def _thresholded_relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.thresholded(op.outputs[0], x, decimal(op.attrs.get("alpha", 1.0)))


def _concat(builder: GraphBuilder, op: Operation, *xs: Value) -> Map:
    return builder.concat(op.outputs[0], xs, op.attrs["axis"])


def _hard_sigmoid(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    slope, offset = decimal(op.attrs.get("alpha", 0.2)), decimal(op.attrs.get("beta", 0.5))
    return builder.add(op.outputs[0], "hard_sigmoid", x, slope=slope, offset=offset)


def _arithmetic(op: str) -> Rule:
    return lambda builder, operation, x, y: builder.arithmetic(operation.outputs[0], op, x, y)


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    axis = op.attrs.get("axis", -1)
    if x.axes[axis] not in "CF":
        raise FormatError(f"over axis {axis} of {x.axes}: only over the channels")
    return builder.softmax(op.outputs[0], x)


def _global_pool(kind: str) -> Rule:
    def over(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        x = x if x.axes == "NCS" else _channels_first(x)
        return builder.mean(op.outputs[0], x, x.axes[2:], keep=True, op=kind)

    return over


def _reduced(how: str) -> Rule:
    def over(builder: GraphBuilder, op: Operation, x: Map, axes: Const | None = None) -> Map:
        places = op.attrs.get("axes") if axes is None else axes.array.ravel().tolist()
        if places is None:
            raise FormatError("over all axes: only over H and W")
        return reduced(builder, op.outputs[0], x, places, keep=bool(op.attrs.get("keepdims", 1)), how=how)

    return over


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        kernel, stride = _pair(op.attrs["kernel_shape"]), _pair(op.attrs.get("strides", (1, 1)))
        pad = onnx_pads(builder, op, _channels_first(x), kernel, stride, (1, 1))
        if tuple(op.attrs.get("dilations", (1, 1))) != (1, 1):
            raise FormatError("a dilated window")
        counted = kind == "avg_pool2d" and bool(op.attrs.get("count_include_pad", 0))
        rest = [(side + sum(ends) - k) % s for side, ends, k, s in zip(x.shape[1:], pad, kernel, stride, strict=True)]
        if op.attrs.get("ceil_mode", 0) and any(rest):
            raise FormatError("windows that reach beyond the padding (ceil_mode)")
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad, counted=counted)

    return pool


def _pad(
    builder: GraphBuilder,
    op: Operation,
    x: Map,
    pads: Const | None = None,
    value: Const | None = None,
    axes: Const | None = None,
) -> Map:
    ends = list(op.attrs["pads"]) if pads is None else [int(end) for end in pads.array.ravel()]
    letters = x.axes if axes is None else "".join(x.axes[place] for place in axes.array.ravel())
    if len(ends) != 2 * len(letters):
        raise FormatError(f"{len(ends)} paddings for {len(letters)} axes")
    around = {letter: (ends[place], ends[place + len(letters)]) for place, letter in enumerate(letters)}
    given = op.attrs.get("value", 0.0) if value is None else value.array.item()
    mode = op.attrs.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise FormatError(f"mode {mode!r}")
    return builder.pad(op.outputs[0], x, around, mode, float(given))


def _shape(builder: GraphBuilder, op: Operation, x: Map) -> Const:
    sizes = builder.vendor_shape(x)[op.attrs.get("start", 0) : op.attrs.get("end")]
    return Const(np.array(sizes, np.int64))


def _reshape(builder: GraphBuilder, op: Operation, x: Map, shape: Const) -> Map:
    old = builder.vendor_shape(x)
    copies = not op.attrs.get("allowzero", 0)
    return builder.reshape(x, [old[i] if size == 0 and copies else int(size) for i, size in enumerate(shape.array)])


def _flatten(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if op.attrs.get("axis", 1) not in (1, 1 - len(x.axes)):
        raise FormatError(f"from axis {op.attrs['axis']}: only from axis 1")
    return builder.reshape(x, (builder.batch, -1))


def _squeeze(builder: GraphBuilder, op: Operation, x: Map, axes: Const | None = None) -> Map:
    places = op.attrs.get("axes") if axes is None else axes.array.ravel().tolist()
    if places is None:
        raise FormatError("of every axis of length 1")
    return squeezed(builder, x, places)


def _unsqueeze(builder: GraphBuilder, op: Operation, x: Map, axes: Const | None = None) -> Map:
    sizes = np.zeros(builder.vendor_shape(x), np.bool_)
    return builder.reshape(x, CONSTANTS["Unsqueeze"](op.attrs, sizes, None if axes is None else axes.array).shape)


def _transpose(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.transpose(x, op.attrs.get("perm", range(len(x.axes))[::-1]))


def _as_is(builder: GraphBuilder, op: Operation, x: Map, *rest: Value | None) -> Map:
    training = rest[1] if len(rest) > 1 else None
    if isinstance(training, Const) and training.array.any():
        raise FormatError("in training mode: only inference is read")
    return x


def _cast(builder: GraphBuilder, op: Operation, x: Map, *like: Value) -> Map:
    if op.op == "Cast" and op.attrs["to"] not in (1, 10, 11, 16):
        raise FormatError("to another type than floating-point numbers")
    return x


def _cast_like(builder: GraphBuilder, op: Operation, x: Value, like: Value) -> Value:
    """A tensor is a float whatever it is like; a constant like a tensor becomes float32."""
    if isinstance(x, Map):
        return _cast(builder, op, x)
    return x._replace(array=x.array.astype(np.float32))


def _vector(x: Map) -> Map:
    if len(x.axes) != 2:
        raise FormatError(f"of a tensor of axes {x.axes}: only of vectors")
    return x


def _channels_first(x: Map) -> Map:
    if x.axes != "NCHW":
        raise FormatError(f"of a tensor of axes {x.axes}: only of NCHW")
    return x


def _pair(numbers: Any) -> Pair:
    height, width = numbers
    return int(height), int(width)


# By its activation what the numbers of a fused operation are.
_FUSED_ACTS: Mapping[str, tuple[str, ...]] = {
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
}
_OF_TENSORS: Mapping[str, Callable[..., Any]] = {
    "Add": _arithmetic("add"),
    "AveragePool": _pool("avg_pool2d"),
    "BatchNormalization": _batch_normalization,
    "Cast": cast_of(_cast),
    "CastLike": _cast_like,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _arithmetic("div"),
    "Dropout": _as_is,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("avg_pool2d"),
    "GlobalMaxPool": _global_pool("max_pool2d"),
    "Greater": above,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": named("hard_swish"),
    "Identity": _as_is,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "Max": limited(largest=True),
    "MaxPool": _pool("max_pool2d"),
    "Min": limited(largest=False),
    "Mul": product_of(_arithmetic("mul")),
    "Neg": negative,
    "PRelu": prelu,
    "Pad": _pad,
    "ReduceMax": _reduced("max_pool2d"),
    "ReduceMean": _reduced("avg_pool2d"),
    "ReduceSum": _reduced("sum"),
    "Relu": named("relu"),
    "Reshape": _reshape,
    "Resize": onnx_resize,
    "Shape": _shape,
    "Sigmoid": named("sigmoid"),
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Sub": _arithmetic("sub"),
    "Sum": summed,
    "Swish": named("swish"),
    "Tanh": named("tanh"),
    "ThresholdedRelu": _thresholded_relu,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": onnx_upsample,
    "Where": select,
    _FUSED_CONV: _fused("Conv"),
    "com.microsoft.FusedGemm": _fused("Gemm"),
}
_RULES: Mapping[str, Rule] = {
    **_OF_TENSORS,
    **{op: constant_or(op, _OF_TENSORS.get(op)) for op in CONSTANTS},
}
# Of these the operations that say where numbers lie, or compute constants: they make no other numbers.
MOVES: Mapping[str, Rule] = {
    **{op: constant_or(op, None) for op in CONSTANTS},
    **{
        op: constant_or(op, _OF_TENSORS[op]) if op in CONSTANTS else _OF_TENSORS[op]
        for op in ("Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze")
    },
}
