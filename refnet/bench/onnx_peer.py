"""A network as an ONNX model, for onnxruntime and for ONNX's own reference evaluator.

A reading of the graph whose rules append ONNX nodes; what flows along the edges is the names of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, evaluate
from refnet.readings.shapes import shapes

__all__ = ["model", "reference", "runtime"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_OPSET, _IR = 17, 8


def runtime(graph: Graph, params: Mapping[str, Array], threads: int) -> Callable[[Array], Callable[[], Array]]:
    """The model in onnxruntime, with all its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(
        model(graph, params).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: lambda: session.run(None, {SOURCE: x})[0]


def reference(graph: Graph, params: Mapping[str, Array], threads: int) -> Callable[[Array], Callable[[], Array]]:
    """The model in ONNX's reference evaluator, which is NumPy."""
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(model(graph, params))
    return lambda x: lambda: evaluator.run(None, {SOURCE: x})[0]


def model(graph: Graph, params: Mapping[str, Array]) -> Any:
    """The graph as an onnx.ModelProto, for any batch."""
    from onnx import TensorProto, helper

    rules = _Rules(graph, params)
    end = evaluate(graph, rules, {name: name for name in params}, {SOURCE: SOURCE})
    kind = TensorProto.FLOAT if rules.dtype == np.float32 else TensorProto.DOUBLE
    sizes = shapes(graph)
    made = helper.make_graph(
        rules.nodes,
        "refnet",
        [helper.make_tensor_value_info(SOURCE, kind, ["N", *graph.input_shape])],
        [helper.make_tensor_value_info(end, kind, ["N", *sizes[graph.output]])],
        rules.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


class _Rules:
    """Appends ONNX nodes and constants."""

    def __init__(self, graph: Graph, params: Mapping[str, Array]) -> None:
        self.params, self.sizes = params, shapes(graph)
        self.dtype = next(iter(params.values())).dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, op: str, *inputs: str, **attrs: Any) -> str:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attrs))
        return name

    def constant(self, value: Any, dtype: Any = None) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype or self.dtype), name))
        return name

    def filtered(self, x: str, w: Array, b: str | None, stride: Pair, pad: Pad, dilation: Pair, groups: int) -> str:
        inputs = [x, self.constant(w)] + ([] if b is None else [self.constant(self.params[b])])
        return self.node(
            "Conv", *inputs, strides=stride, pads=_pads(pad), dilations=dilation, group=groups, kernel_shape=w.shape[2:]
        )

    def conv2d(self, x: str, w: str, b: str | None, *, stride: Pair, pad: Pad, dilation: Pair) -> str:
        return self.filtered(x, self.params[w], b, stride, pad, dilation, 1)

    def depthwise_conv2d(self, x: str, w: str, b: str | None, *, stride: Pair, pad: Pad, dilation: Pair) -> str:
        return self.filtered(x, self.params[w][:, None], b, stride, pad, dilation, len(self.params[w]))

    def pointwise_conv2d(self, x: str, w: str, b: str | None) -> str:
        return self.filtered(x, self.params[w][:, :, None, None], b, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)

    def pad(self, x: str, *, pad: Pad, mode: str, value: float) -> str:
        (top, bottom), (left, right) = pad
        pads = self.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
        return self.node("Pad", x, pads, self.constant(value), mode=mode)

    def batch_norm(self, x: str, gamma: str, beta: str, mean: str, var: str, *, eps: float) -> str:
        arrays = [self.constant(self.params[name]) for name in (gamma, beta, mean, var)]
        return self.node("BatchNormalization", x, *arrays, epsilon=eps)

    def affine(self, x: str, *, slope: float, offset: float) -> str:
        return self.node("Add", self.node("Mul", x, self.constant(slope)), self.constant(offset))

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0), self.constant(6))

    def hard_sigmoid(self, x: str, *, slope: float, offset: float) -> str:
        return self.node("HardSigmoid", x, alpha=slope, beta=offset)

    def hard_swish(self, x: str) -> str:
        return self.node("HardSwish", x)

    def sigmoid(self, x: str) -> str:
        return self.node("Sigmoid", x)

    def swish(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def avg_pool2d(self, x: str, *, kernel: Pair, stride: Pair, pad: Pad) -> str:
        return self.node("AveragePool", x, kernel_shape=kernel, strides=stride, pads=_pads(pad), count_include_pad=0)

    def max_pool2d(self, x: str, *, kernel: Pair, stride: Pair, pad: Pad) -> str:
        return self.node("MaxPool", x, kernel_shape=kernel, strides=stride, pads=_pads(pad))

    def scale(self, x: str, gate: str) -> str:
        return self.node("Mul", x, gate)

    def add(self, x: str, y: str) -> str:
        return self.node("Add", x, y)

    def flatten(self, x: str) -> str:
        return self.node("Flatten", x)

    def resize_bilinear(self, x: str, *, size: Pair, align_corners: bool) -> str:
        corners = "align_corners" if align_corners else "half_pixel"
        sizes = self.node("Concat", self.node("Shape", x, start=0, end=2), self.constant(size, np.int64), axis=0)
        return self.node("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=corners)

    def softmax(self, x: str) -> str:
        return self.node("Softmax", x, axis=1)


def _pads(pad: Pad) -> list[int]:
    """ONNX's order: all beginnings, then all ends."""
    return [pad[0][0], pad[1][0], pad[0][1], pad[1][1]]
