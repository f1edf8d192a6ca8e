"""Small networks of integers with random weights: every operation that wrong rules are injected into."""

from __future__ import annotations

import numpy as np

from refnet.graph import Graph, Node, Recipe
from refnet.network.quantised import QuantisedNetwork
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

SIZE = (9, 8)
WIDE = 4000  # rules of linear layers differ in one of some thousand elements


class Maker:
    """Nodes and their params, one after the other."""

    def __init__(self, dtype: str, zero_point: int, kernels: str) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes, self.params, self.kernels = [], {}, kernels
        self.quantised = {"input": Quantisation(0.04, zero_point, None, dtype)}

    def put(self, name, op, *inputs, scale, zero_point, params=None, **attrs):
        held = {slot: value for slot, value in (params or {}).items() if value is not None}
        shapes = {slot: getattr(value, "values", value).shape for slot, value in held.items()}
        self.nodes.append(Node(name, op, inputs, shapes, attrs))
        self.params |= {f"{name}.{slot}": value for slot, value in held.items()}
        dtype = self.quantised["input"].dtype
        self.quantised[name] = Quantisation(scale, zero_point, None, dtype)

    def weights(self, *shape, dtype="int8", zero_point=0, by_filter=True):
        limits = np.iinfo(dtype)
        values = self.rng.integers(limits.min + (dtype == "int8"), limits.max + 1, shape).astype(dtype)
        scales = self.rng.uniform(0.0005, 0.006, shape[0]).astype(np.float32) if by_filter else np.float32(0.003)
        zeros = np.full(shape[0], zero_point) if by_filter else np.array(zero_point)
        return QuantisedTensor(values, Quantisation(scales, zeros, 0 if by_filter else None, dtype))

    def bias(self, count):
        return self.rng.integers(-8000, 8000, count).astype(np.int32)

    def network(self) -> QuantisedNetwork:
        graph = Graph(Recipe("", 1.0, SIZE, classes=6), tuple(self.nodes))
        return QuantisedNetwork(graph, self.params, self.quantised, self.kernels)

    def images(self):
        q = self.quantised["input"]
        return self.rng.integers(q.low, q.high + 1, (2, 3, *SIZE)).astype(q.dtype)


def int8_network():
    """Weights by filter, and every operation of V3."""
    m = Maker("int8", -3, "tflite")
    window = {"stride": (2, 2), "pad": ((0, 1), (1, 1)), "dilation": (1, 1)}
    m.put("stem", "conv2d", "input", scale=0.024, zero_point=-128, act="relu6", **window,
          params={"w": m.weights(8, 3, 3, 3), "b": m.bias(8)})  # fmt: skip
    same = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
    m.put("depth", "depthwise_conv2d", "stem", scale=0.02, zero_point=5, act="relu", **same,
          params={"w": m.weights(8, 3, 3), "b": m.bias(8)})  # fmt: skip
    m.put("point", "pointwise_conv2d", "depth", scale=0.03, zero_point=-20, act="",
          params={"w": m.weights(8, 8), "b": m.bias(8)})  # fmt: skip
    m.put("swish", "hard_swish", "point", scale=0.021, zero_point=-110)
    m.put("sum", "add", "point", "swish", scale=0.06, zero_point=-40, act="")
    m.put("narrow", "add", "point", "swish", scale=0.02, zero_point=-40, act="")
    m.put("gate", "sigmoid", "sum", scale=1 / 256, zero_point=-128)
    m.put("scaled", "scale", "sum", "gate", scale=0.04, zero_point=-30, act="")
    m.put("window", "avg_pool2d", "scaled", scale=0.04, zero_point=-30, kernel=(2, 2), stride=(1, 1),
          pad=((0, 1), (0, 1)), act="")  # fmt: skip
    m.put("pool", "mean", "window", scale=0.04, zero_point=-30, axes=(2, 3))
    m.put("curve", "hard_swish", "input", scale=0.08, zero_point=-100)
    for name, count in (("wide", WIDE), ("logits", 6)):
        m.put(name, "fully_connected", "pool", scale=0.01, zero_point=4, act="",
              params={"w": m.weights(count, 8), "b": m.bias(count)})  # fmt: skip
    m.put("flat", "flatten", "logits", scale=0.01, zero_point=4)
    m.put("output", "softmax", "flat", scale=1 / 256, zero_point=-128, beta=1.0)
    return m.network(), m.images()


def uint8_network(kernels="tflite", weights="uint8", zero_point=120):
    """One scale a tensor; weights with a zero point, or of int8 as onnxruntime has them."""
    m = Maker("uint8", 128, kernels)
    act = {"act": "relu6"} if kernels == "tflite" else {}
    window = {"stride": (2, 2), "pad": ((0, 1), (0, 1)), "dilation": (1, 1)}
    held = {"dtype": weights, "zero_point": zero_point, "by_filter": False}
    m.put("stem", "conv2d", "input", scale=0.0235, zero_point=0, **act, **window,
          params={"w": m.weights(8, 3, 3, 3, **held), "b": m.bias(8)})  # fmt: skip
    m.put("point", "pointwise_conv2d", "stem", scale=0.03, zero_point=110, **({"act": ""} if act else {}),
          params={"w": m.weights(8, 8, **held), "b": m.bias(8)})  # fmt: skip
    return m.network(), m.images()


def quantising_network():
    """Real numbers that the network itself makes integers of, some beyond their range."""
    m = Maker("int8", -14, "onnxruntime")
    m.quantised.clear()
    m.nodes.append(Node("bytes", "quantize", ("input",)))
    m.quantised["bytes"] = m.quantised["stem"] = Quantisation(0.02, -14, None, "int8")
    window = {"stride": (2, 2), "pad": ((0, 1), (0, 1)), "dilation": (1, 1)}
    w = m.weights(8, 3, 3, 3, by_filter=False)
    m.nodes.append(Node("stem", "conv2d", ("bytes",), {"w": w.values.shape}, window))
    m.params["stem.w"] = w
    return m.network(), m.rng.normal(0, 1.2, (2, 3, *SIZE)).astype(np.float32)
