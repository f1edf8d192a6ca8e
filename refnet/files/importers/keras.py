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
from refnet.files.importers.builder import Const, GraphBuilder, Map
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.keras_layers import PLAIN_LAYERS, arguments_of, channels_last_of, keras_pad, pair_of
from refnet.files.importers.keras_ops import FUNCTIONS
from refnet.files.importers.operations import Rule, begin, follow

__all__ = ["import_keras"]

_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "math.sigmoid": "sigmoid",
    "nn.sigmoid": "sigmoid",
    "nn.softmax": "softmax",
    "nn.silu": "silu",
    "nn.swish": "silu",
    "math.tanh": "tanh",
    "nn.tanh": "tanh",
}  # functions of TensorFlow
_OPERATIONS = {
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardSwish": "hard_silu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Swish": "silu",
    "Tanh": "tanh",
}  # and of Keras 3


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
        return self._convolution(builder, op, x, self._each_channel(op), x.side("C"))

    def _each_channel(self, op: Operation) -> Const:
        """The filters of each channel, one or several: (R, S, C, M) -> (C M, 1, R, S)."""
        w = self.array(op, "depthwise_kernel" if f"{op.name}/depthwise_kernel" in self.arrays else "kernel")
        R, S, C, multiplier = w.array.shape
        return w._replace(array=w.array.transpose(2, 3, 0, 1).reshape(C * multiplier, 1, R, S))

    def separable(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        """A depthwise convolution without bias, then a pointwise one."""
        filters = op._replace(attrs={**op.attrs, "use_bias": False, "activation": None})
        filters = filters._replace(outputs=(f"{op.outputs[0]}.depthwise",))
        y = self._convolution(builder, filters, x, self._each_channel(op), x.side("C"))
        w = self.array(op, "pointwise_kernel")
        w = w._replace(array=w.array.transpose(3, 2, 0, 1))
        plain: dict[str, Any] = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1), "group": 1}
        return self._activated(builder, op, lambda name: builder.convolution(name, y, w, self.bias(op), **plain))

    def _convolution(self, builder: GraphBuilder, op: Operation, x: Map, w: Const, group: int) -> Map:
        channels_last_of(op, x)
        kernel = pair_of(w.array.shape[2:])
        stride, dilation = pair_of(op.attrs.get("strides", 1)), pair_of(op.attrs.get("dilation_rate", 1))
        pad, b = keras_pad(builder, op, x, kernel, stride, dilation), self.bias(op)
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

    def normalization(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        """(x - mean) / sqrt(variance), with numbers of the data or of the configuration; or the reverse."""
        given = [op.attrs.get(key) for key in ("mean", "variance")]
        mean, var = (
            self.array(op, key) if value is None else Const(np.asarray(value, np.float32))
            for key, value in zip(("mean", "variance"), given, strict=True)
        )
        C = x.side("C")
        mean, var = (each._replace(array=np.broadcast_to(each.array.ravel(), (C,))) for each in (mean, var))
        if x.axes[-1] != "C" or op.attrs.get("axis", -1) not in (-1, (-1,), len(x.axes) - 1, (len(x.axes) - 1,), None):
            raise FormatError("over other axes than the channels")
        var = var._replace(array=np.maximum(var.array, np.float32(1e-14)))  # Keras' epsilon, 1e-7, is the least root
        ones, zeros = (Const(np.full(C, value, np.float32)) for value in (1, 0))
        params = {"gamma": ones, "beta": zeros, "mean": mean, "var": var}
        if op.attrs.get("invert", False):
            params = {"gamma": Const(np.sqrt(var.array)), "beta": mean, "mean": zeros, "var": ones}
        return builder.norm(op.outputs[0], x, params, 0.0)

    def prelu(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        return builder.prelu(op.outputs[0], x, self.array(op, "alpha"))

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
            case "relu" | "relu6" | "sigmoid" | "tanh":
                return builder.add(name, activation, x)
            case "silu" | "swish":
                return builder.add(name, "swish", x)
            case "hard_silu" | "hard_swish":
                return builder.add(name, "hard_swish", x)
            case "hard_sigmoid":
                slope = 0.2 if self.is_keras2 else 1 / 6  # Keras 3 changed it
                return builder.add(name, "hard_sigmoid", x, slope=slope, offset=0.5)
            case "leaky_relu":
                return builder.leaky_relu(name, x, float(np.float32(0.2)))
        raise FormatError(f"the activation {shown(activation)}")

    # -------------------------------------------------------------------------------------- arithmetic, written out

    def lambda_operation(self, builder: GraphBuilder, op: Operation, *inputs: Map) -> Map:
        """A function of TensorFlow's in the place of a layer."""
        function, given = str(op.attrs.get("function")), op.attrs.get("keywords", {})
        kinds = {"__operators__.add": "add", "math.add": "add", "math.multiply": "mul", "__operators__.mul": "mul"}
        kinds |= {"math.subtract": "sub", "math.truediv": "div", "math.divide": "div"}
        kinds |= {"__operators__.sub": "sub", "__operators__.truediv": "div"}
        if function in kinds:
            return self._arithmetic(builder, op, kinds[function], *inputs)
        plain = len(inputs) == 1 and "arguments" not in op.attrs
        if function in _ACTIVATIONS and plain:
            return self._activation(builder, op.outputs[0], inputs[0], _ACTIVATIONS[function])
        if function == "nn.leaky_relu" and plain:
            return builder.leaky_relu(op.outputs[0], inputs[0], float(np.float32(given.get("alpha", 0.2))))
        if function == "concat" and len(inputs) > 1:
            return builder.concat(op.outputs[0], inputs, int(given.get("axis", -1)))
        if function == "math.reduce_mean" and plain:
            letters = "".join(inputs[0].axes[place] for place in np.ravel(given["axis"]))
            return builder.mean(op.outputs[0], inputs[0], letters, keep=bool(given.get("keepdims", False)))
        if function in ("reshape", "cast", "identity") and plain:
            return builder.reshape(inputs[0], given["shape"]) if function == "reshape" else inputs[0]
        raise FormatError(f"the function {shown(function)}")

    def _arithmetic(self, builder: GraphBuilder, op: Operation, kind: str, *inputs: Map) -> Map:
        """Of two maps, or of a map and a number."""
        values = arguments_of(op, *inputs)
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

    def negative(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        return builder.affine(op.outputs[0], x, -1.0, 0.0)

    def operation(self, name: str) -> Rule:
        """An activation of Keras 3 called as a function."""
        return lambda builder, op, x: self._activation(builder, op.outputs[0], x, name)

    def rules(self) -> Mapping[str, Rule]:
        return {
            **PLAIN_LAYERS,
            **FUNCTIONS,
            **{kind: self.operation(name) for kind, name in _OPERATIONS.items()},
            "Activation": self.activation,
            "Add": self.add,
            "BatchNormalization": self.batch_normalization,
            "Conv2D": self.conv2d,
            "Dense": self.dense,
            "DepthwiseConv2D": self.depthwise,
            "Divide": self.divide,
            "Multiply": self.multiply,
            "Negative": self.negative,
            "Normalization": self.normalization,
            "PReLU": self.prelu,
            "SeparableConv2D": self.separable,
            "Subtract": self.subtract,
            "SyncBatchNormalization": self.batch_normalization,
            "TFOpLambda": self.lambda_operation,
            "TrueDivide": self.divide,
        }


def import_keras(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    assert contents.structure is not None
    builder = begin(contents, size, "NHWC")
    return follow(contents.structure, builder, {}, _KerasModel(contents).rules())


def _function(activation: Any) -> str:
    """The name of an activation: a text, or the configuration of a function or layer."""
    if activation is None:
        return "linear"
    if isinstance(activation, dict):
        config = activation.get("config")
        activation = config if isinstance(config, str) else activation.get("class_name")
    return str(activation)
