"""ONNX's operations on integers in the rules of `readings.integer`: one function for each.

A file of QDQ is read as onnxruntime's optimiser makes it (`onnx_quantised`). What stays in floats between integers,
such as a HardSigmoid of the QOperator format, is run in floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, IntegerScale, Operation
from refnet.files.importers.builder import Const, Map, Pair, Value
from refnet.files.importers.integers import ImportedIntegers, IntegerBuilder, made, weighed
from refnet.files.importers.onnx import MOVES, constant_or, onnx_pads
from refnet.files.importers.onnx_constants import CONSTANTS
from refnet.files.importers.onnx_quantised import (
    DYNAMIC_CONV,
    DYNAMIC_MATMUL,
    HARD_SIGMOID,
    MICROSOFT,
    along_axis,
    integer_operations,
    quantised_constant,
)
from refnet.files.importers.operations import Rule, image_source, translated
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["import_onnx_integers"]

_ORDERED = ("sub", "div")
_INTEGERS = (np.dtype("int8"), np.dtype("uint8"), np.dtype("int16"))


def import_onnx_integers(contents: Contents, size: Pair | None) -> ImportedIntegers:
    """A quantised file as the graph of integers that it is.

    Raises
    ------
    FormatError, RequestError
        as `importers.import_graph`.
    """
    assert contents.structure is not None
    structure = integer_operations(contents.structure, contents.arrays)
    builder = IntegerBuilder(image_source(contents, size), structure)
    arrays = {name: Const(array, name, str(array.dtype)) for name, array in contents.arrays.items()}
    return builder.finished(translated(structure, builder, arrays, _RULES))


def _of(tensor: str, scale: Const, zero: Const | None) -> Quantisation:
    """What a scale and a zero point say of a tensor of activations."""
    dtype = np.dtype("uint8") if zero is None else zero.array.dtype
    if dtype not in _INTEGERS or scale.array.size != 1:
        raise FormatError(f"integers of {dtype} with {scale.array.size} scales: activations have one, of 8 or 16 bits")
    point = 0 if zero is None else int(zero.array.item())
    return made(tensor, scale.array.reshape(()), point, None, str(dtype))


def _weights(w: Const, scale: Const, zero: Const, array: Any) -> QuantisedTensor:
    """Weights in the layout of `array`, filters first."""
    scales = scale.array.reshape(-1).astype(np.float32)
    zeros = np.broadcast_to(zero.array.reshape(-1).astype(np.int64), scales.shape)
    return weighed(w.key, array, IntegerScale(scales, np.array(zeros), 0), 0)


def _read(builder: IntegerBuilder, x: Map, scale: Const, zero: Const) -> Map:
    """A tensor that is read, if its reader says of its integers what its maker said."""
    said, known = _of("", scale, zero), builder.quantised.get(x.node)
    if known is None or (said.single(), said.dtype) != (known.single(), known.dtype):
        raise FormatError(f"reads {shown(x.node)} with another scale or zero point than it was made with")
    return x


def _bias(b: Const | None, count: int) -> Any:
    if b is None:
        return None
    if b.array.size != count or b.array.dtype.kind not in "iu":
        raise FormatError(f"a bias of {b.array.size} numbers of {b.array.dtype} for {count} channels")
    return b.array.reshape(count)


def _window(builder: IntegerBuilder, op: Operation, x: Map, kernel: Pair) -> tuple[dict[str, Any], Pair]:
    stride, dilation = (tuple(map(int, op.attrs.get(key, (1, 1)))) for key in ("strides", "dilations"))
    if x.axes != "NCHW" or min(*stride, *dilation, *kernel) < 1 or op.attrs.get("ceil_mode", 0):
        raise FormatError(f"of axes {x.axes}, stride {stride}, dilation {dilation}, or rounded up")
    pad = onnx_pads(builder, op, x, kernel, (stride[0], stride[1]), (dilation[0], dilation[1]))
    out = [
        (side + sum(ends) - (k - 1) * d - 1) // s + 1
        for side, ends, k, s, d in zip(x.shape[1:], pad, kernel, stride, dilation, strict=True)
    ]
    return {"stride": stride, "pad": pad, "dilation": dilation}, (out[0], out[1])


def _conv(builder: IntegerBuilder, op: Operation, x: Map, *rest: Const) -> Map:
    x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = rest
    to = _of(op.outputs[0], y_scale, y_zero)
    weights = _weights(w, w_scale, w_zero, w.array)
    return _convolved(
        builder, op, _read(builder, x, x_scale, x_zero), weights, _bias(bias[0] if bias else None, len(w.array)), to
    )


def _convolved(builder: IntegerBuilder, op: Operation, x: Map, w: Any, b: Any, to: Quantisation | None) -> Map:
    """A convolution of integers or of floats."""
    values = w.values if isinstance(w, QuantisedTensor) else w
    K, C, R, S = values.shape
    window, size = _window(builder, op, x, (R, S))
    group, name = int(op.attrs.get("group", 1)), op.outputs[0]

    def shaped(shape: tuple[int, ...]) -> Any:
        return (
            QuantisedTensor(values.reshape(shape), w.quantisation)
            if isinstance(w, QuantisedTensor)
            else values.reshape(shape)
        )

    if group == 1 and x.side("C") == C:
        if (R, S) == window["stride"] == (1, 1) and not any(map(any, window["pad"])):
            params = {"w": shaped((K, C)), "b": b}
            return builder.put(name, "pointwise_conv2d", x, shape=(K, *size), params=params, to=to)
        return builder.put(name, "conv2d", x, shape=(K, *size), params={"w": w, "b": b}, to=to, **window)
    if group != x.side("C") or C != 1:
        raise FormatError(f"{group} groups of {x.side('C')} channels to {K}: only dense and depthwise ones are read")
    params = {"w": shaped((K, R, S)), "b": b}
    return builder.put(name, "depthwise_conv2d", x, shape=(K, *size), params=params, to=to, **window)


def _real_conv(builder: IntegerBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    return _convolved(builder, op, x, w.array, None if b is None else b.array, None)


def _linear(builder: IntegerBuilder, op: Operation, x: Map, w: Any, b: Any, to: Quantisation | None) -> Map:
    K, C = w.values.shape if isinstance(w, QuantisedTensor) else w.shape
    if x.axes != "NC" or x.shape != (C, 1, 1):
        raise FormatError(f"a linear layer of {C} inputs on a map of {x.shape}")
    return builder.put(op.outputs[0], "fully_connected", x, shape=(K, 1, 1), params={"w": w, "b": b}, to=to)


def _gemm(builder: IntegerBuilder, op: Operation, x: Map, *rest: Const | None) -> Map:
    x_scale, x_zero, w, w_scale, w_zero, b, y_scale, y_zero = (*rest, None, None, None)[:8]
    if op.attrs.get("transA", 0) or op.attrs.get("alpha", 1.0) != 1 or None in (x_scale, x_zero, w, w_scale, w_zero):
        raise FormatError("transposed, or with factors: only x W + b is read")
    if y_scale is None or y_zero is None:
        raise FormatError("that makes floats: only one that makes integers is read")
    array = np.ascontiguousarray(w.array if op.attrs.get("transB", 0) else w.array.T)  # type: ignore[union-attr]
    weights = _weights(w, w_scale, w_zero, array)  # type: ignore[arg-type]
    to = _of(op.outputs[0], y_scale, y_zero)
    return _linear(builder, op, _read(builder, x, x_scale, x_zero), weights, _bias(b, len(array)), to)  # type: ignore[arg-type]


def _matmul(builder: IntegerBuilder, op: Operation, x: Map, *rest: Const) -> Map:
    x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = rest
    weights = _weights(w, w_scale, w_zero, np.ascontiguousarray(w.array.T))
    return _linear(builder, op, _read(builder, x, x_scale, x_zero), weights, None, _of(op.outputs[0], y_scale, y_zero))


def _real_gemm(builder: IntegerBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if op.attrs.get("transA", 0) or op.attrs.get("alpha", 1.0) != 1 or op.attrs.get("beta", 1.0) != 1:
        raise FormatError("transposed, or with factors: only x W + b is read")
    array = w.array if op.attrs.get("transB", 0) else np.ascontiguousarray(w.array.T)
    return _linear(builder, op, x, array, None if b is None else b.array, None)


def _dynamic(
    builder: IntegerBuilder, op: Operation, x: Map, w: Const, scale: Const, zero: Const | None, b: Const | None
) -> Map:
    """A convolution or linear layer of floats whose weights are integers; its kernels quantise what it reads."""
    linear = op.op == DYNAMIC_MATMUL
    array = np.ascontiguousarray(w.array.T) if linear else w.array
    zero = zero if zero is not None else Const(np.zeros(1, w.array.dtype))
    bias = None if b is None else b.array.reshape(-1).astype(np.float32)
    weights = _weights(w, scale, zero, array)
    return _linear(builder, op, x, weights, bias, None) if linear else _convolved(builder, op, x, weights, bias, None)


def _join(rule: str) -> Rule:
    def join(
        builder: IntegerBuilder, op: Operation, a: Value, a_scale: Const, a_zero: Const,
        b: Value, b_scale: Const, b_zero: Const, c_scale: Const, c_zero: Const,
    ) -> Map:  # fmt: skip
        if isinstance(a, Const):  # which of two is the first is all the same
            (a, a_scale, a_zero), (b, b_scale, b_zero) = (b, b_scale, b_zero), (a, a_scale, a_zero)
        if not isinstance(a, Map):
            raise FormatError("of constants only")
        to = _of(op.outputs[0], c_scale, c_zero)
        x = _read(builder, a, a_scale, a_zero)
        if isinstance(b, Map):
            y = _read(builder, b, b_scale, b_zero)
            return builder.put(op.outputs[0], rule, x, y, shape=np.broadcast_shapes(x.shape, y.shape), to=to)
        array = b.array.reshape((1,) * (1 + len(x.shape) - b.array.ndim) + b.array.shape)
        constant = QuantisedTensor(array, _of(b.key, b_scale, b_zero))
        shape = np.broadcast_shapes(x.shape, array.shape[1:])
        return builder.put(op.outputs[0], rule, x, shape=shape, params={"y": constant}, to=to)

    return join


def _real_join(rule: str) -> Rule:
    def join(builder: IntegerBuilder, op: Operation, x: Value, y: Value) -> Map:
        if isinstance(x, Const) and rule not in _ORDERED:
            x, y = y, x
        if not isinstance(x, Map):
            raise FormatError("of a constant and a tensor, in this order" if rule in _ORDERED else "of constants only")
        if any(isinstance(each, Map) and each.node in builder.quantised for each in (x, y)):
            raise FormatError("of integers without a scale of their own")
        if isinstance(y, Map):
            return builder.put(op.outputs[0], rule, x, y, shape=np.broadcast_shapes(x.shape, y.shape))
        array = y.array.reshape((1,) * (1 + len(x.shape) - y.array.ndim) + y.array.shape)
        return builder.put(op.outputs[0], rule, x, shape=x.shape, params={"y": array.astype(np.float32)})

    return join


def _global_pool(builder: IntegerBuilder, op: Operation, x: Map, *rest: Const) -> Map:
    if op.attrs.get("channels_last", 0) or x.axes != "NCHW":
        raise FormatError("with channels last")
    window: dict[str, Any] = {"kernel": x.shape[1:], "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    to = None
    if rest:
        x_scale, x_zero, y_scale, y_zero = rest
        x, to = _read(builder, x, x_scale, x_zero), _of(op.outputs[0], y_scale, y_zero)
    return builder.put(op.outputs[0], "avg_pool2d", x, shape=(x.side("C"), 1, 1), to=to, **window)


def _reduced_mean(builder: IntegerBuilder, op: Operation, x: Map, axes: Const | None = None) -> Map:
    """The mean of floats over height, width or both."""
    places = op.attrs.get("axes", ()) if axes is None else axes.array.ravel().tolist()
    letters = "".join(x.axes[place] for place in places)
    if not letters or not set(letters) <= {"H", "W"} or x.node in builder.quantised:
        raise FormatError(f"over {', '.join(letters)}: only of floats, over H and W")
    C, H, W = x.shape
    kernel = (H if "H" in letters else 1, W if "W" in letters else 1)
    window: dict[str, Any] = {"kernel": kernel, "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    shape = (C, H // kernel[0], W // kernel[1])
    made = builder.put(op.outputs[0], "avg_pool2d", x, shape=shape, **window)
    keep = op.attrs.get("keepdims", 1)
    return made if keep else made._replace(axes="".join(each for each in x.axes if each not in letters))


def _pool(rule: str) -> Rule:
    def pool(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
        kernel = tuple(map(int, op.attrs["kernel_shape"]))
        window, size = _window(builder, op, x, (kernel[0], kernel[1]))
        del window["dilation"]
        to = builder.quantised.get(x.node)
        if rule == "avg_pool2d" and (to is not None or (any(window["pad"]) and op.attrs.get("count_include_pad", 0))):
            raise FormatError("of integers without a scale of its own, or that counts its padding")
        return builder.put(op.outputs[0], rule, x, shape=(x.side("C"), *size), to=to, kernel=kernel, **window)

    return pool


def _average_pool(
    builder: IntegerBuilder, op: Operation, x: Map, x_scale: Const, x_zero: Const, y_scale: Const, y_zero: Const
) -> Map:
    """Of integers: onnxruntime makes them real, pools these and makes integers of the result."""
    if op.attrs.get("channels_last", 0):
        raise FormatError("with channels last")
    name = op.outputs[0]
    real = builder.put(f"{name}.real", "dequantize", _read(builder, x, x_scale, x_zero), shape=x.shape)
    pooled = _pool("avg_pool2d")(builder, op._replace(outputs=(f"{name}.pooled",)), real)
    assert isinstance(pooled, Map)
    return builder.put(name, "quantize", pooled, shape=pooled.shape, to=_of(name, y_scale, y_zero))


def _hard_swish(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    """As onnxruntime runs it, x times a hard sigmoid."""
    if x.node in builder.quantised:
        raise FormatError("of integers without a scale of its own")
    name = op.outputs[0]
    line: dict[str, Any] = {"slope": 1 / 6, "offset": 0.5}
    gate = builder.put(f"{name}.gate", "hard_sigmoid", x, shape=x.shape, **line)
    return builder.put(name, "scale", x, gate, shape=x.shape)


def _sigmoid(
    builder: IntegerBuilder, op: Operation, x: Map, x_scale: Const, x_zero: Const, y_scale: Const, y_zero: Const
) -> Map:
    x, to = _read(builder, x, x_scale, x_zero), _of(op.outputs[0], y_scale, y_zero)
    if op.op != HARD_SIGMOID:
        return builder.put(op.outputs[0], "sigmoid", x, shape=x.shape, to=to)
    return builder.put(op.outputs[0], "hard_sigmoid", x, shape=x.shape, to=to, **_line(op))


def _line(op: Operation) -> dict[str, Any]:
    return {"slope": float(op.attrs.get("alpha", 0.2)), "offset": float(op.attrs.get("beta", 0.5))}


def _real_hard_sigmoid(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    return builder.put(op.outputs[0], "hard_sigmoid", x, shape=x.shape, **_line(op))


def _clip(builder: IntegerBuilder, op: Operation, x: Map, low: Const | None = None, high: Const | None = None) -> Map:
    lowest = op.attrs.get("min", -np.inf) if low is None else low.array.item()
    highest = op.attrs.get("max", np.inf) if high is None else high.array.item()
    rule = {(0, 6): "relu6", (0, np.inf): "relu"}.get((lowest, highest))
    if rule is None or x.node in builder.quantised:
        raise FormatError(f"clips to between {lowest:g} and {highest:g}: of floats to 0 and 6, or 0 and infinity")
    return builder.put(op.outputs[0], rule, x, shape=x.shape)


def _elementwise(rule: str) -> Rule:
    def elementwise(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
        if x.node in builder.quantised:
            raise FormatError("of integers without a scale of its own")
        return builder.put(op.outputs[0], rule, x, shape=x.shape)

    return elementwise


def _softmax(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    x = builder.flat(x) if x.axes == "NC" and len(x.shape) == 3 else x
    return builder.put(op.outputs[0], "softmax", x, shape=x.shape, beta=1.0)


def _quantize(builder: IntegerBuilder, op: Operation, x: Value, scale: Const, zero: Const | None = None) -> Value:
    if isinstance(x, Const):
        array = quantised_constant(op.attrs, x.array, scale.array, None if zero is None else zero.array)
        builder.spend(array)
        return Const(array, x.key, str(array.dtype))
    return builder.put(op.outputs[0], "quantize", x, shape=x.shape, to=_of(op.outputs[0], scale, zero))


def _dequantize(builder: IntegerBuilder, op: Operation, x: Value, scale: Const, zero: Const | None = None) -> Value:
    if isinstance(x, Map):
        zero = zero if zero is not None else Const(np.zeros((), np.uint8))
        return builder.put(op.outputs[0], "dequantize", _read(builder, x, scale, zero), shape=x.shape)
    along = along_axis(x.array.shape, scale.array.shape, int(op.attrs.get("axis", 1)))
    z = np.zeros_like(scale.array) if zero is None else zero.array.astype(np.float32)
    array = (x.array.astype(np.float32) - z.reshape(along)) * scale.array.reshape(along)
    builder.spend(array)
    return Const(array, x.key, x.stored)


_OF_TENSORS: Mapping[str, Rule] = {
    "Add": _real_join("add"),
    "AveragePool": _pool("avg_pool2d"),
    "Clip": _clip,
    "Conv": _real_conv,
    "DequantizeLinear": _dequantize,
    "Div": _real_join("div"),
    DYNAMIC_CONV: _dynamic,
    DYNAMIC_MATMUL: _dynamic,
    "Gemm": _real_gemm,
    "GlobalAveragePool": _global_pool,
    "HardSigmoid": _real_hard_sigmoid,
    "HardSwish": _hard_swish,
    "Max": _real_join("maximum"),
    "MaxPool": _pool("max_pool2d"),
    "Min": _real_join("minimum"),
    "Mul": _real_join("scale"),
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    HARD_SIGMOID: _sigmoid,
    "QuantizeLinear": _quantize,
    "ReduceMean": _reduced_mean,
    "Relu": _elementwise("relu"),
    "Sigmoid": _elementwise("sigmoid"),
    "Softmax": _softmax,
    "Sub": _real_join("sub"),
    f"{MICROSOFT}DequantizeLinear": _dequantize,
    f"{MICROSOFT}QGemm": _gemm,
    f"{MICROSOFT}QLinearAdd": _join("add"),
    f"{MICROSOFT}QLinearAveragePool": _average_pool,
    f"{MICROSOFT}QLinearGlobalAveragePool": _global_pool,
    f"{MICROSOFT}QLinearMul": _join("scale"),
    f"{MICROSOFT}QLinearSigmoid": _sigmoid,
    f"{MICROSOFT}QuantizeLinear": _quantize,
}
_RULES: Mapping[str, Rule] = {
    **MOVES,
    **{op: constant_or(op, rule) if op in CONSTANTS else rule for op, rule in _OF_TENSORS.items()},
}
