"""TensorFlow Lite's operations in the rules of `readings.integer`: one function for each.

Of a file whose activations are integers, and of a dynamic-range one, whose weights alone are. Axes are refnet's: maps
(C, H, W), filters first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.importers.builder import Const, Map, Pair, Value
from refnet.files.importers.integers import ImportedIntegers, IntegerBuilder, made
from refnet.files.importers.operations import Rule, image_source, translated
from refnet.files.importers.tflite import LAYOUTS, of_channels_last
from refnet.files.importers.tflite_moves import MOVES, image_pads
from refnet.readings.integer.quantisation import QuantisedTensor

__all__ = ["import_tflite_integers", "is_quantised"]

_ACTS = {"NONE": "", "RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "relu_n1_to_1"}
_WEIGHED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INTEGERS = ("int8", "uint8", "int16")


def is_quantised(structure: Structure) -> bool:
    """Whether operations compute in integers: convolutions and linear layers of integer weights, or any other.

    What only becomes integers to become real numbers again is computed in floats.
    """
    dtypes = structure.dtypes

    def integer(op: Operation) -> bool:
        read = op.inputs[:2] if op.op in _WEIGHED else [name for name in op.inputs if name in structure.scales]
        made = [name for name in op.outputs if name in structure.scales] if op.op not in _WEIGHED else []
        known = {dtypes.get(name) for name in (*(read if op.op != "DEQUANTIZE" else ()), *made)}
        return bool(known.intersection(_INTEGERS)) and (op.op != "QUANTIZE" or dtypes.get(op.inputs[0]) in _INTEGERS)

    return any(map(integer, structure.operations))


def import_tflite_integers(contents: Contents, size: Pair | None) -> ImportedIntegers:
    """A quantised file as the graph of integers that it is.

    Raises
    ------
    FormatError, RequestError
        as `importers.import_graph`.
    """
    assert contents.structure is not None
    builder = IntegerBuilder(image_source(contents, size, "NHWC"), contents.structure)
    arrays = {name: Const(array, name, str(array.dtype)) for name, array in contents.arrays.items()}
    return builder.finished(translated(contents.structure, builder, arrays, _RULES))


def _act(op: Operation) -> dict[str, Any]:
    """The activation that an operation has fused, as an option of its rule."""
    fused = op.attrs["fused_activation_function"]
    if fused not in _ACTS:
        raise FormatError(f"fused with {fused}: only with {', '.join(list(_ACTS)[1:])}")
    return {"act": _ACTS[fused]}


def _weights(builder: IntegerBuilder, w: Const, array: Any, filters: int) -> Any:
    """Integers with their scales, or floats as they are; in the layout of `array`."""
    return builder.weights(w.key, array, filters) if w.array.dtype.kind in "iu" else array


def _bias(b: Const | None, count: int) -> Any:
    if b is None:
        return None
    if b.array.size != count:
        raise FormatError(f"a bias of {b.array.size} numbers for {count} channels")
    return b.array.reshape(count)


def _window(builder: IntegerBuilder, op: Operation, x: Map, kernel: Pair) -> tuple[dict[str, Any], Pair]:
    """Stride, pad and dilation of a window, and the size of the map that it makes."""
    stride = (int(op.attrs["stride_h"]), int(op.attrs["stride_w"]))
    dilation = (int(op.attrs.get("dilation_h_factor", 1)), int(op.attrs.get("dilation_w_factor", 1)))
    same = op.attrs["padding"] == "SAME"
    if min(*stride, *dilation, *kernel) < 1:
        raise FormatError(f"a size, stride or dilation of {min(*stride, *dilation, *kernel)}")
    pad = builder.same(x, kernel, stride, dilation) if same else ((0, 0), (0, 0))
    out = [
        (side + sum(ends) - (k - 1) * d - 1) // s + 1
        for side, ends, k, s, d in zip(x.shape[1:], pad, kernel, stride, dilation, strict=True)
    ]
    return {"stride": stride, "pad": pad, "dilation": dilation}, (out[0], out[1])


def _conv_2d(builder: IntegerBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    of_channels_last(x)
    K, R, S, C = w.array.shape
    window, size = _window(builder, op, x, (R, S))
    array = np.ascontiguousarray(w.array.transpose(0, 3, 1, 2))
    name = op.outputs[0]
    params: dict[str, Any] = {"b": _bias(b, K)}
    if x.side("C") == C:
        if (R, S) == window["stride"] == (1, 1):
            params = {"w": _weights(builder, w, array[:, :, 0, 0], 0), **params}
            return builder.put(name, "pointwise_conv2d", x, shape=(K, *size), params=params, **_act(op))
        params = {"w": _weights(builder, w, array, 0), **params}
        return builder.put(name, "conv2d", x, shape=(K, *size), params=params, **window, **_act(op))
    if (1, x.side("C")) != (C, K):
        raise FormatError(f"filters of {C} channels on a map of {x.side('C')}: only dense and depthwise ones are read")
    params = {"w": _weights(builder, w, array[:, 0], 0), **params}
    return builder.put(name, "depthwise_conv2d", x, shape=(K, *size), params=params, **window, **_act(op))


def _depthwise_conv_2d(builder: IntegerBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    of_channels_last(x)
    one, R, S, K = w.array.shape
    if one != 1 or K % x.side("C"):
        raise FormatError(f"filters of shape {w.array.shape} on a map of {x.side('C')} channels")
    window, size = _window(builder, op, x, (R, S))
    array = np.ascontiguousarray(w.array[0].transpose(2, 0, 1))
    params = {"w": _weights(builder, w, array, 3), "b": _bias(b, K)}
    return builder.put(op.outputs[0], "depthwise_conv2d", x, shape=(K, *size), params=params, **window, **_act(op))


def _fully_connected(builder: IntegerBuilder, op: Operation, x: Map, w: Const, b: Const | None = None) -> Map:
    if op.attrs["weights_format"]:
        raise FormatError("with shuffled weights")
    K, C = w.array.shape
    if (x.side("C"), x.side("H") * x.side("W")) != (C, 1):
        raise FormatError(f"a linear layer of {C} inputs on a map of {x.shape}: only channels are read")
    if len(x.shape) != 3:
        raise FormatError("a linear layer behind a softmax")
    x = x if op.attrs["keep_num_dims"] else x._replace(axes="NC")
    params = {"w": _weights(builder, w, w.array, 0), "b": _bias(b, K)}
    asymmetric: dict[str, Any] = {"asymmetric_inputs": True} if op.attrs["asymmetric_quantize_inputs"] else {}
    return builder.put(op.outputs[0], "fully_connected", x, shape=(K, 1, 1), params=params, **_act(op), **asymmetric)


def _join(rule: str) -> Rule:
    def join(builder: IntegerBuilder, op: Operation, x: Value, y: Value) -> Map:
        if isinstance(x, Const) and isinstance(y, Map) and rule != "sub":  # which of two is the first is all the same
            x, y = y, x
        if not isinstance(x, Map):
            raise FormatError("of a constant from which a tensor is taken")
        act = _act(op) if rule not in ("maximum", "minimum") else {}
        if isinstance(y, Map):
            if x.axes != y.axes:
                raise FormatError(f"joins tensors of the axes {x.axes} and {y.axes}")
            shape = np.broadcast_shapes(x.shape, y.shape)
            return builder.put(op.outputs[0], rule, x, y, shape=shape, **act)
        constant = _constant(builder, y, x)
        shape = np.broadcast_shapes(x.shape, np.shape(getattr(constant, "values", constant))[1:])
        return builder.put(op.outputs[0], rule, x, shape=shape, params={"y": constant}, **act)

    return join


def _constant(builder: IntegerBuilder, y: Const, x: Map) -> Any:
    """The other side of a sum or product, (1, C, H, W) or (1, C), as far as it has these sides."""
    if y.array.ndim > len(x.axes):
        raise FormatError(f"a constant of shape {y.array.shape} for the axes {x.axes}")
    array = y.array.reshape((1,) * (len(x.axes) - y.array.ndim) + y.array.shape)
    array = array.transpose([x.axes.index(letter) for letter in "NCHW" if letter in x.axes])
    array = array.reshape(array.shape + (1,) * (1 + len(x.shape) - array.ndim))
    if array.dtype.kind not in "iu":
        return array
    scale = builder.structure.scales.get(y.key)
    if scale is None or len(scale.scales) != 1:
        raise FormatError("a constant without a scale, or with several")
    return QuantisedTensor(array, made(y.key, scale.scales[0], scale.zero_points[0], None, str(array.dtype)))


def _pool(rule: str) -> Rule:
    def pool(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
        of_channels_last(x)
        kernel = (int(op.attrs["filter_height"]), int(op.attrs["filter_width"]))
        window, size = _window(builder, op, x, kernel)
        del window["dilation"]
        return builder.put(op.outputs[0], rule, x, shape=(x.side("C"), *size), kernel=kernel, **window, **_act(op))

    return pool


def _reduced(rule: str) -> Rule:
    def reduced(builder: IntegerBuilder, op: Operation, x: Map, axes: Const) -> Map:
        letters = {x.axes[int(place)] for place in axes.array.ravel()}
        if letters != {"H", "W"} or len(x.shape) != 3:
            raise FormatError(f"over {', '.join(sorted(letters))}: only over H and W")
        dropped: dict[str, Any] = {} if rule != "mean" or op.attrs["keep_dims"] else {"dropped": True}
        y = builder.put(op.outputs[0], rule, x, shape=(x.side("C"), 1, 1), axes=(2, 3), **dropped)
        return y if op.attrs["keep_dims"] else y._replace(axes=x.axes.replace("H", "").replace("W", ""))

    return reduced


def _pad(builder: IntegerBuilder, op: Operation, x: Map, pads: Const, value: Const | None = None) -> Map:
    options, shape = image_pads(x, pads)
    real = 0.0
    if value is not None:
        constant = _constant(builder, value, x)
        real = float(constant if not isinstance(constant, QuantisedTensor) else _reals(constant).item())
    return builder.put(op.outputs[0], "pad", x, shape=shape, **options, mode="constant", value=real)


def _reals(x: QuantisedTensor) -> Any:
    s, z = x.quantisation.single()
    return s * (x.values.astype(np.float32) - np.float32(z))


def _resize_bilinear(builder: IntegerBuilder, op: Operation, x: Map, size: Const) -> Map:
    height, width = (int(side) for side in size.array)
    ways = {"align_corners": op.attrs["align_corners"], "half_pixel": op.attrs["half_pixel_centers"]}
    shape = (of_channels_last(x).side("C"), height, width)
    return builder.put(op.outputs[0], "resize_bilinear", x, shape=shape, size=(height, width), **ways)


def _concatenation(builder: IntegerBuilder, op: Operation, *parts: Map) -> Map:
    first = parts[0]
    if first.axes[op.attrs["axis"]] != "C" or any(part.shape[1:] != first.shape[1:] for part in parts):
        raise FormatError(f"joins maps along {first.axes[op.attrs['axis']]}: only along the channels")
    shape = (sum(part.side("C") for part in parts), *first.shape[1:])
    return builder.put(op.outputs[0], "concatenation", *parts, shape=shape)


def _leaky_relu(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    return builder.put(op.outputs[0], "leaky_relu", x, shape=x.shape, slope=float(op.attrs["alpha"]))


def _prelu(builder: IntegerBuilder, op: Operation, x: Map, alpha: Const) -> Map:
    return builder.put(op.outputs[0], "prelu", x, shape=x.shape, params={"alpha": _constant(builder, alpha, x)})


def _elementwise(rule: str) -> Rule:
    return lambda builder, op, x: builder.put(op.outputs[0], rule, x, shape=x.shape)


def _softmax(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    if x.axes[-1] != "C":
        raise FormatError(f"over the last of {x.axes}: only over the channels")
    x = builder.flat(x) if x.axes == "NC" and len(x.shape) == 3 else x
    return builder.put(op.outputs[0], "softmax", x, shape=x.shape, beta=float(op.attrs["beta"]))


def _quantize(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    rule = "requantize" if x.node in builder.quantised else "quantize"
    return builder.put(op.outputs[0], rule, x, shape=x.shape)


def _dequantize(builder: IntegerBuilder, op: Operation, x: Value) -> Value:
    if isinstance(x, Map):
        return builder.put(op.outputs[0], "dequantize", x, shape=x.shape)
    array = x.array.astype(np.float32)
    if x.array.dtype.kind in "iu":
        scale = builder.structure.scales[x.key]
        along = [1] * array.ndim
        if len(scale.scales) > 1:
            along[scale.axis] = -1
        array = (array - scale.zero_points.astype(np.float32).reshape(along)) * scale.scales.reshape(along)
    builder.spend(array)
    return Const(array, x.key, x.stored)


def _moved(rule: Rule) -> Rule:
    """An operation that moves axes; its tensor has the integers of the one that it reads."""

    def moved(builder: IntegerBuilder, op: Operation, x: Value, *others: Const) -> Value:
        y = rule(builder, op, x, *others)
        if isinstance(x, Map) and isinstance(y, Map) and x.node in builder.quantised:
            before, after = builder.quantised[x.node], builder.quantisation(op.outputs[0])
            if after is None or (before.single(), before.dtype) != (after.single(), after.dtype):
                raise FormatError("whose integers stand for other numbers than those that it reads")
        return y

    return moved


_RULES: Mapping[str, Rule] = {
    **{op: _moved(rule) for op, rule in LAYOUTS.items()},
    **MOVES,
    "ADD": _join("add"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _elementwise("hard_swish"),
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _elementwise("sigmoid"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MAXIMUM": _join("maximum"),
    "MEAN": _reduced("mean"),
    "MINIMUM": _join("minimum"),
    "MUL": _join("scale"),
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "QUANTIZE": _quantize,
    "REDUCE_MAX": _reduced("reduce_max"),
    "RELU": _elementwise("relu"),
    "RELU6": _elementwise("relu6"),
    "RELU_0_TO_1": _elementwise("relu_0_to_1"),
    "RELU_N1_TO_1": _elementwise("relu_n1_to_1"),
    "RESIZE_BILINEAR": _resize_bilinear,
    "SOFTMAX": _softmax,
    "SUB": _join("sub"),
    "TANH": _elementwise("tanh"),
}
