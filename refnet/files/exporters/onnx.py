"""A network as an ONNX model of opset 17, for any batch.

Every node of the graph is a tensor of the model under its own name, so that a port can be asked for it; what an
operation is written out as is called 'node/part'. Parameters are initialisers under their own names, 'node.slot'.
The numbers of ONNX's attributes are float32: in a model of float32 they are rounded as the arithmetic is. In one of
float64 what needs such a number is written out in constants, and an eps is added to the variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph
from refnet.ops import OPS
from refnet.readings.shapes import shapes

__all__ = ["OPSET", "export_onnx", "initialisers"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

OPSET, _IR = 17, 8


def export_onnx(graph: Graph, params: Mapping[str, Array]) -> Any:
    """The graph as an onnx.ModelProto.

    Parameters
    ----------
    graph : any, folded or not; each of its outputs is one of the model's
    params : float32 or float64, the precision of the model; float16 is stored and computed with in float32

    Raises
    ------
    RequestError
        if the onnx package is not installed.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError:
        raise RequestError("writing ONNX needs onnx: pip install 'refnet[tools]'") from None
    from refnet import __version__  # here, for the package's own first lines import half the house

    rules = _Rules(graph, params)
    for node in graph.nodes:
        rules.made = node.name
        arrays = [params[f"{node.name}.{slot}"] if slot in node.params else None for slot in OPS[node.op].params]
        getattr(rules, node.op)(*node.inputs, *arrays, **node.attrs)
    kind = TensorProto.DOUBLE if rules.dtype == np.float64 else TensorProto.FLOAT
    source, *ends = (
        helper.make_tensor_value_info(name, kind, ["N", *rules.sizes[name]]) for name in (SOURCE, *graph.outputs)
    )
    made = helper.make_graph(rules.nodes, graph.recipe.model or "network", [source], ends, rules.initialisers)
    return helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR,
        producer_name="refnet",
        producer_version=__version__,
    )


def initialisers(model: Any) -> dict[str, Array]:
    """The arrays of a model by name, its constants included."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


class _Rules:
    """Appends ONNX nodes: a reading whose rules are given names of tensors, and the arrays of params."""

    def __init__(self, graph: Graph, params: Mapping[str, Array]) -> None:
        self.dtype = np.result_type(np.float32, *(array.dtype for array in params.values()))
        self.taken = {node.name for node in graph.nodes}
        self.sizes = shapes(graph)
        self.made = ""  # the node at work
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []

    def node(self, op: str, *inputs: str, part: str = "", **attrs: Any) -> str:
        """Append a node; it makes the tensor of the graph's node at work, or a part on the way to it."""
        from onnx import helper

        name = f"{self.made}/{part}" if part else self.made
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attrs))
        return name

    def constant(self, part: str, value: Any, dtype: npt.DTypeLike | None = None) -> str:
        return self._initialiser(f"{self.made}/{part}", np.asarray(value, dtype or self.dtype))

    def param(self, slot: str, array: Array) -> str:
        name = f"{self.made}.{slot}"
        while name in self.taken:  # by a node of this name
            name += "/"
        self._initialiser(name, array)
        if array.dtype != np.float16:
            return name
        from onnx import TensorProto

        return self.node("Cast", name, part=slot, to=TensorProto.FLOAT)

    def _initialiser(self, name: str, array: Array) -> str:
        from onnx import numpy_helper

        self.initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    # -------------------------------------------------------------------------------------------------- convolutions

    def filtered(self, x: str, w: Array, b: Array | None, stride: Pair, pad: Pad, dilation: Pair, group: int) -> None:
        inputs = [x, self.param("w", w), *([] if b is None else [self.param("b", b)])]
        geometry: dict[str, Any] = {
            "strides": stride,
            "pads": _pads(pad),
            "dilations": dilation,
            "kernel_shape": w.shape[2:],
        }
        self.node("Conv", *inputs, group=group, **geometry)

    def conv2d(self, x: str, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair) -> None:
        self.filtered(x, w, b, stride, pad, dilation, 1)

    def depthwise_conv2d(self, x: str, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair) -> None:
        self.filtered(x, w[:, None], b, stride, pad, dilation, len(w))

    def grouped_conv2d(
        self, x: str, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair, groups: int
    ) -> None:
        self.filtered(x, w, b, stride, pad, dilation, groups)

    def pointwise_conv2d(self, x: str, w: Array, b: Array | None) -> None:
        self.filtered(x, w[:, :, None, None], b, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)

    def batch_norm(self, x: str, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> None:
        if self.dtype == np.float64:
            var, eps = var + eps, 0.0
        arrays = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        self.node("BatchNormalization", x, *(self.param(slot, a) for slot, a in arrays.items()), epsilon=eps)

    # ------------------------------------------------------------------------------------------------- elementwise

    def affine(self, x: str, *, slope: float, offset: float, part: str = "") -> str:
        scaled = self.node("Mul", x, self.constant("slope", slope), part="scaled")
        return self.node("Add", scaled, self.constant("offset", offset), part=part)

    def relu(self, x: str) -> None:
        self.node("Relu", x)

    def relu6(self, x: str) -> None:
        self.node("Clip", x, self.constant("low", 0), self.constant("high", 6))

    def leaky_relu(self, x: str, *, slope: float) -> None:
        if self.dtype == np.float32:
            self.node("LeakyRelu", x, alpha=slope)
        else:
            self.node("PRelu", x, self.constant("slope", [slope]))

    def prelu(self, x: str, alpha: Array) -> None:
        around = (1,) * (len(self.sizes[x]) - 1)  # of a map, a slope a channel stands above height and width
        self.node("PRelu", x, self.param("alpha", alpha.reshape(-1, *around) if alpha.ndim == 1 else alpha))

    def thresholded_relu(self, x: str, *, threshold: float) -> None:
        if self.dtype == np.float32:
            self.node("ThresholdedRelu", x, alpha=threshold)
        else:
            mask = self.node("Greater", x, self.constant("threshold", threshold), part="mask")
            self.node("Where", mask, x, self.constant("zero", 0))

    def clip(self, x: str, *, low: float, high: float) -> None:
        self.node("Clip", x, self.constant("low", low), self.constant("high", high))

    def tanh(self, x: str) -> None:
        self.node("Tanh", x)

    def hard_sigmoid(self, x: str, *, slope: float, offset: float, part: str = "") -> str:
        if self.dtype == np.float32:
            return self.node("HardSigmoid", x, alpha=slope, beta=offset, part=part)
        line = self.affine(x, slope=slope, offset=offset, part="line")
        return self.node("Clip", line, self.constant("low", 0), self.constant("high", 1), part=part)

    def hard_swish(self, x: str) -> None:
        if self.dtype == np.float32:
            self.node("HardSwish", x)
        else:
            self.node("Mul", x, self.hard_sigmoid(x, slope=1 / 6, offset=0.5, part="gate"))

    def sigmoid(self, x: str) -> None:
        self.node("Sigmoid", x)

    def swish(self, x: str) -> None:
        self.node("Mul", x, self.node("Sigmoid", x, part="gate"))

    def softmax(self, x: str) -> None:
        self.node("Softmax", x, axis=1)

    def scale(self, x: str, gate: str) -> None:
        self.node("Mul", x, gate)

    def add(self, x: str, y: str) -> None:
        self.node("Add", x, y)

    def concat(self, *xs: str) -> None:
        self.node("Concat", *xs, axis=1)

    # ------------------------------------------------------------------------------------------------ pools, layouts

    def avg_pool2d(self, x: str, *, kernel: Pair, stride: Pair, pad: Pad) -> None:
        self.node("AveragePool", x, kernel_shape=kernel, strides=stride, pads=_pads(pad), count_include_pad=0)

    def max_pool2d(self, x: str, *, kernel: Pair, stride: Pair, pad: Pad) -> None:
        self.node("MaxPool", x, kernel_shape=kernel, strides=stride, pads=_pads(pad))

    def pad(self, x: str, *, pad: Pad, mode: str, value: float) -> None:
        if mode == "symmetric":
            raise RequestError("a border that mirrors the edge too: ONNX has none")
        (top, bottom), (left, right) = pad
        pads = self.constant("pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
        self.node("Pad", x, pads, self.constant("value", value), mode=mode)

    def flatten(self, x: str) -> None:
        self.node("Flatten", x)

    def resize_bilinear(self, x: str, *, size: Pair, align_corners: bool) -> None:
        self.resized(x, size, "linear", "align_corners" if align_corners else "half_pixel")

    def resize_legacy(self, x: str, *, size: Pair) -> None:
        self.resized(x, size, "linear", "asymmetric")

    def resize_nearest(self, x: str, *, size: Pair, align_corners: bool, half_pixel: bool) -> None:
        # ONNX places pixels by their corners: the one whose area holds a centre c is round_prefer_ceil(c - 1/2).
        if align_corners:
            self.resized(x, size, "nearest", "align_corners", nearest_mode="round_prefer_ceil")
        elif half_pixel:
            self.resized(x, size, "nearest", "half_pixel", nearest_mode="round_prefer_ceil")
        else:
            self.resized(x, size, "nearest", "asymmetric", nearest_mode="floor")

    def resized(self, x: str, size: Pair, mode: str, how: str, **attrs: str) -> None:
        outer = self.node("Shape", x, start=0, end=2, part="outer")
        sizes = self.node("Concat", outer, self.constant("size", size, np.int64), axis=0, part="sizes")
        self.node("Resize", x, "", "", sizes, mode=mode, coordinate_transformation_mode=how, **attrs)


def _pads(pad: Pad) -> list[int]:
    """ONNX's order: all beginnings, then all ends."""
    return [pad[0][0], pad[1][0], pad[0][1], pad[1][1]]
