"""Keras' layers in refnet's operations: one function for each class of layer.

Reads the configurations of Keras 3 and of TF-Keras 2, which lists activations written out by hand as TFOpLambda layers.
A configuration is data: nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, Value
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.operations import Rule, begin, follow

__all__ = ["import_keras"]


class _KerasModel:
    """The rules for one model: they need its arrays, and which Keras wrote it."""

    def __init__(self, contents: Contents) -> None:
        assert contents.structure is not None
        self.contents, self.arrays = contents, contents.arrays
        self.is_keras2 = " 2." in f" {contents.structure.producer}"

    def array(self, op: Operation, variable: str) -> Const:
        """A variable of a layer."""
        key = f"{op.name}/{variable}"
        if key not in self.arrays:
            raise FormatError(f"its {variable} is missing from the file")
        return Const(self.arrays[key], key, self.contents.dtype(key))

    def bias(self, op: Operation) -> Const | None:
        return self.array(op, "bias") if op.attrs.get("use_bias", True) else None

    # ------------------------------------------------------------------------------------------- layers with weights

    def conv2d(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        w = self.array(op, "kernel")
        w = w._replace(array=w.array.transpose(3, 2, 0, 1))  # (R, S, C, K) -> (K, C, R, S)
        return self._convolution(builder, op, x, w, op.attrs.get("groups", 1))

    def depthwise(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        if op.attrs.get("depth_multiplier", 1) != 1:
            raise FormatError("more than one filter for a channel")
        w = self.array(op, "depthwise_kernel" if f"{op.name}/depthwise_kernel" in self.arrays else "kernel")
        w = w._replace(array=w.array.transpose(2, 3, 0, 1))  # (R, S, C, 1) -> (C, 1, R, S)
        return self._convolution(builder, op, x, w, x.side("C"))

    def _convolution(self, builder: GraphBuilder, op: Operation, x: Map, w: Const, group: int) -> Map:
        _channels_last(op, x)
        kernel = _pair(w.array.shape[2:])
        stride, dilation = _pair(op.attrs.get("strides", 1)), _pair(op.attrs.get("dilation_rate", 1))
        pad, b = _pad_of(builder, op, x, kernel, stride, dilation), self.bias(op)
        return self._activated(
            builder,
            op,
            lambda name: builder.convolution(name, x, w, b, stride=stride, pad=pad, dilation=dilation, group=group),
        )

    def dense(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        w = self.array(op, "kernel")
        w = w._replace(array=w.array.T)  # (C, K) -> (K, C)
        return self._activated(builder, op, lambda name: builder.linear(name, x, w, self.bias(op)))

    def batch_normalization(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        axis = op.attrs.get("axis", -1)
        (place,) = axis if isinstance(axis, tuple) else (axis,)
        if x.axes[place] != "C":
            raise FormatError(f"over axis {place} of {x.axes}: only over the channels")
        ones, zeros = (Const(np.full(x.side("C"), value, np.float32)) for value in (1, 0))
        params = {
            "gamma": self.array(op, "gamma") if op.attrs.get("scale", True) else ones,
            "beta": self.array(op, "beta") if op.attrs.get("center", True) else zeros,
            "mean": self.array(op, "moving_mean"),
            "var": self.array(op, "moving_variance"),
        }
        return builder.norm(op.outputs[0], x, params, float(op.attrs.get("epsilon", 1e-3)))

    # ------------------------------------------------------------------------------------------------- activations

    def _activated(self, builder: GraphBuilder, op: Operation, make: Any) -> Map:
        """What `make(name)` makes, then the layer's own activation; the layer's name goes to the last."""
        activation = _function(op.attrs.get("activation"))
        if activation == "linear":
            made: Map = make(op.outputs[0])
            return made
        return self._activation(builder, op.outputs[0], make(builder.inner(op.outputs[0])), activation)

    def activation(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        return self._activation(builder, op.outputs[0], x, _function(op.attrs.get("activation")))

    def _activation(self, builder: GraphBuilder, name: str, x: Map, activation: str) -> Map:
        match activation:
            case "linear":
                return x
            case "softmax":
                return builder.softmax(name, x)
            case "relu" | "relu6" | "sigmoid":
                return builder.add(name, activation, x)
            case "silu" | "swish":
                return builder.add(name, "swish", x)
            case "hard_silu" | "hard_swish":
                return builder.add(name, "hard_swish", x)
            case "hard_sigmoid":
                slope = 0.2 if self.is_keras2 else 1 / 6  # Keras 3 changed it
                return builder.add(name, "hard_sigmoid", x, slope=slope, offset=0.5)
        raise FormatError(f"the activation {shown(activation)}")

    def relu(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        if op.attrs.get("negative_slope") or op.attrs.get("threshold"):
            raise FormatError("with a negative slope or a threshold")
        most = op.attrs.get("max_value")
        return builder.clip(op.outputs[0], x, 0.0, np.inf if most is None else float(most))

    def softmax(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        axis = op.attrs.get("axis", -1)
        if x.axes[axis] != "C":
            raise FormatError(f"over axis {axis} of {x.axes}: only over the channels")
        return builder.softmax(op.outputs[0], x)

    # -------------------------------------------------------------------------------------- arithmetic, written out

    def lambda_operation(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        """A function of TensorFlow's in the place of a layer."""
        function = str(op.attrs.get("function"))
        kinds = {"__operators__.add": "add", "math.add": "add", "math.multiply": "mul", "__operators__.mul": "mul"}
        kinds |= {"math.subtract": "sub", "math.truediv": "div", "math.divide": "div"}
        if function in kinds:
            return self._arithmetic(builder, op, kinds[function], *inputs)
        activations = {"nn.relu": "relu", "nn.relu6": "relu6", "math.sigmoid": "sigmoid", "nn.sigmoid": "sigmoid"}
        activations |= {"nn.softmax": "softmax", "nn.silu": "silu", "nn.swish": "silu", "identity": "linear"}
        if function in activations and len(inputs) == 1 and "arguments" not in op.attrs:
            return self._activation(builder, op.outputs[0], inputs[0], activations[function])
        raise FormatError(f"the function {shown(function)}")

    def _arithmetic(self, builder: GraphBuilder, op: Operation, kind: str, *inputs: Map) -> Map:
        """Of two maps, or of a map and a number."""
        arguments: list[Any] = list(op.attrs.get("arguments", [None] * len(inputs)))
        maps = iter(inputs)
        values: list[Value] = [
            next(maps) if value is None else Const(np.array(value, np.float64)) for value in arguments
        ]
        made = builder.arithmetic(op.outputs[0], kind, values[0], values[1])
        for place, value in enumerate(values[2:], 2):  # Keras' Add and Multiply take any number of tensors
            made = builder.arithmetic(f"{op.outputs[0]}.{place}", kind, made, value)
        return made

    def add(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        return self._arithmetic(builder, op, "add", *inputs)

    def multiply(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        return self._arithmetic(builder, op, "mul", *inputs)

    def subtract(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        return self._arithmetic(builder, op, "sub", *inputs)

    def divide(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        return self._arithmetic(builder, op, "div", *inputs)

    def rules(self) -> Mapping[str, Rule]:
        return {
            "Activation": self.activation,
            "Add": self.add,
            "AveragePooling2D": _pool("avg_pool2d"),
            "BatchNormalization": self.batch_normalization,
            "Conv2D": self.conv2d,
            "Dense": self.dense,
            "DepthwiseConv2D": self.depthwise,
            "Divide": self.divide,
            "Dropout": _as_is,
            "Flatten": _flatten,
            "GlobalAveragePooling2D": _global_average_pooling,
            "MaxPooling2D": _pool("max_pool2d"),
            "Multiply": self.multiply,
            "ReLU": self.relu,
            "Rescaling": _rescaling,
            "Reshape": _reshape,
            "Softmax": self.softmax,
            "SpatialDropout2D": _as_is,
            "Subtract": self.subtract,
            "SyncBatchNormalization": self.batch_normalization,
            "TFOpLambda": self.lambda_operation,
            "TrueDivide": self.divide,
            "ZeroPadding2D": _zero_padding,
        }


def import_keras(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    assert contents.structure is not None
    builder = begin(contents, size, "NHWC")
    return follow(contents.structure, builder, {}, _KerasModel(contents).rules())


def _rescaling(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    # The layer casts both numbers to float32, whatever the precision of the network.
    slope, offset = (float(np.float32(op.attrs.get(key, value))) for key, value in (("scale", 1.0), ("offset", 0.0)))
    return builder.affine(op.outputs[0], x, slope, offset)


def _zero_padding(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    _channels_last(op, x)
    padding = op.attrs["padding"]
    sides = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = ((side, side) if isinstance(side, int) else side for side in sides)
    return builder.pad(op.outputs[0], x, {"H": (top, bottom), "W": (left, right)}, "constant", 0.0)


def _pool(kind: str) -> Rule:
    def pool(builder: GraphBuilder, op: Operation, x: Map) -> Map:
        _channels_last(op, x)
        kernel = _pair(op.attrs.get("pool_size", 2))
        given = op.attrs.get("strides")
        stride = kernel if given is None else _pair(given)
        pad = _pad_of(builder, op, x, kernel, stride, (1, 1))
        return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad)

    return pool


def _global_average_pooling(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    _channels_last(op, x)
    return builder.mean(op.outputs[0], x, "HW", keep=bool(op.attrs.get("keepdims", False)))


def _reshape(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.reshape(x, (builder.batch, *op.attrs["target_shape"]))


def _flatten(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.reshape(x, (builder.batch, -1))


def _as_is(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return x


def _function(activation: Any) -> str:
    """The name of an activation: a text, or the configuration of a function or layer."""
    if activation is None:
        return "linear"
    if isinstance(activation, dict):
        config = activation.get("config")
        activation = config if isinstance(config, str) else activation.get("class_name")
    return str(activation)


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    match op.attrs.get("padding", "valid"):
        case "same":
            return builder.same(x, kernel, stride, dilation)
        case "valid":
            return ((0, 0), (0, 0))
    raise FormatError(f"the padding {shown(op.attrs['padding'])}")


def _channels_last(op: Operation, x: Map) -> None:
    if op.attrs.get("data_format") not in (None, "channels_last") or x.axes != "NHWC":
        raise FormatError("channels first, or a tensor without height and width: only channels last is read")


def _pair(numbers: Any) -> Pair:
    height, width = (numbers, numbers) if isinstance(numbers, int) else numbers
    return int(height), int(width)
