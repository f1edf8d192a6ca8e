"""Run an ONNX file's own arrays in float64: the model rewritten in doubles, in ONNX' reference evaluator.

Attributes of ONNX are float32, so a hard sigmoid's slope of 1/6 cannot be said in one exactly. It is written out here
as multiply, add and clip with constants in float64: the number that the float32 is the nearest to. So is the hard
sigmoid inside a hard swish.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["meant", "run"]

Array = npt.NDArray[Any]


def run(path: Path, x: Array) -> Array:
    """The first output in float64, of batches as large as the file takes."""
    model = onnx.load(path)
    evaluator = ReferenceEvaluator(_doubled(model))
    name = next(value.name for value in model.graph.input)
    return np.asarray(evaluator.run(None, {name: x.astype(np.float64)})[0])


def meant(value: float) -> float:
    """1/6 for the float32 nearest to it, the shortest decimal for any other.

    Examples
    --------
    >>> meant(float(np.float32(0.001))), meant(float(np.float32(1 / 6))) == 1 / 6
    (0.001, True)
    """
    return 1 / 6 if np.float32(value) == np.float32(1 / 6) else float(str(np.float32(value)))


def _doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_double(tensor))
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    nodes = [part for node in graph.node for part in _rewritten(node)]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _double(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def _rewritten(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    attrs = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "HardSigmoid":
        return _hard_sigmoid(node, **{name: meant(attribute.f) for name, attribute in attrs.items()})
    if node.op_type == "HardSwish":  # which the package expands with 1/6 in float32
        (x,), (y,) = node.input, node.output
        gate = helper.make_node("HardSigmoid", [x], [f"{y}/gate"])
        return [*_hard_sigmoid(gate, 1 / 6, 0.5), helper.make_node("Mul", [x, f"{y}/gate"], [y])]
    if node.op_type == "Cast" and attrs["to"].i == TensorProto.FLOAT:
        attrs["to"].i = TensorProto.DOUBLE
    if node.op_type == "Constant" and "value" in attrs and attrs["value"].t.data_type == TensorProto.FLOAT:
        attrs["value"].t.CopyFrom(_double(attrs["value"].t))
    return [node]


def _hard_sigmoid(node: onnx.NodeProto, alpha: float = 0.2, beta: float = 0.5) -> list[onnx.NodeProto]:
    (x,), (y,) = node.input, node.output
    numbers = {"alpha": alpha, "beta": beta, "zero": 0.0, "one": 1.0}
    constants = [
        helper.make_node("Constant", [], [f"{y}/{name}"], value=numpy_helper.from_array(np.float64(number)))
        for name, number in numbers.items()
    ]
    return [
        *constants,
        helper.make_node("Mul", [x, f"{y}/alpha"], [f"{y}/scaled"]),
        helper.make_node("Add", [f"{y}/scaled", f"{y}/beta"], [f"{y}/moved"]),
        helper.make_node("Clip", [f"{y}/moved", f"{y}/zero", f"{y}/one"], [y]),
    ]
