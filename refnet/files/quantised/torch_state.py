"""PyTorch's quantised torchvision networks, from their state dict: the known network in the integers of the file.

A state dict has weights, real biases, and the scale and zero point of what each quantised module makes; which module
reads which is for the known network to say. Of eager mode, fused as torchvision fuses: a convolution with its batch
norm and ReLU, hard swish by itself, `skip_add` and `skip_mul`, an input that is quantised and an output that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.checkpoint import Checkpoint
from refnet.files.containers.structure import Contents
from refnet.files.importers.integers import made, weighed
from refnet.graph import SOURCE, Graph, Node, Unit
from refnet.readings.integer.quantisation import Quantisation

__all__ = ["torch_integers"]

_RELUS = ("relu", "relu6")  # torchvision's quantisable networks have ReLU where the others have ReLU6
_GATE = (1 / 256, 0)  # what PyTorch's hard sigmoid makes, always


def torch_integers(contents: Contents, found: Checkpoint) -> tuple[Graph, dict[str, Any], dict[str, Quantisation], str]:
    """A quantised state dict as a graph of integers, its params, its quantisations, and whose kernels it is for.

    Raises
    ------
    FormatError
        if it is of another network than torchvision's, or a scale is missing.
    """
    if found.scheme != "torchvision" or not found.folded:
        raise FormatError("quantised tensors of another network than torchvision's: only those are read")
    work = _TorchReader(contents, found)
    for unit in found.graph.units(keep=found.graph.outputs):
        work.unit(unit)
    several = any(len(scale.scales) > 1 for _, scale in contents.integers.values())
    last = found.graph.output
    work.nodes.append(Node("output", "dequantize", (last,)))
    graph = Graph(found.graph.recipe, (Node("quant", "quantize", (SOURCE,)), *work.nodes))
    return graph, work.params, work.quantised, "fbgemm" if several else "qnnpack"


class _TorchReader:
    """Goes through the known network's units with the file's modules."""

    def __init__(self, contents: Contents, found: Checkpoint) -> None:
        self.contents, self.found = contents, found
        self.nodes: list[Node] = []
        self.params: dict[str, Any] = {}
        self.quantised = {"quant": self._made("quant")}
        self.paths: dict[str, str] = {}  # of the module that makes a node's tensor

    def _made(self, path: str) -> Quantisation:
        if path not in self.contents.steps:
            raise FormatError(f"{path}.scale is missing: a quantised network says it of every module")
        scale, zero_point = self.contents.steps[path]
        return made(path, scale, zero_point, None, "uint8")

    def unit(self, unit: Unit) -> None:
        """A convolution with its ReLU, or any other node."""
        fused = unit.act if unit.act is not None and unit.act.op in _RELUS else None
        for node in unit.nodes:
            if f"{node.name}.w" in self.found.keys:
                self._convolution(node, fused)
            elif node is not fused:
                self._other(node)

    def _put(self, name: str, node: Node, to: Quantisation, params: Mapping[str, Any], **attrs: Any) -> None:
        shapes = {slot: getattr(value, "values", value).shape for slot, value in params.items()}
        inputs = tuple("quant" if each == SOURCE else each for each in node.inputs)
        self.nodes.append(Node(name, node.op, inputs, shapes, attrs))
        self.params |= {f"{name}.{slot}": value for slot, value in params.items()}
        self.quantised[name] = to

    def _convolution(self, node: Node, act: Node | None) -> None:
        key = self.found.keys[f"{node.name}.w"]
        path, name = key.removesuffix(".weight"), node.name if act is None else act.name
        values, scale = self.contents.integers[key]
        w = weighed(key, np.ascontiguousarray(values.reshape(node.params["w"])), scale, 0)
        params: dict[str, Any] = {"w": w}
        if "b" in node.params:
            params["b"] = self.found.params[f"{node.name}.b"]
        self.paths[name] = path
        self._put(name, node, self._made(path), params, **node.attrs, act="" if act is None else "relu")

    def _other(self, node: Node) -> None:
        before = node.inputs[0]
        match node.op:
            case "hard_swish":
                head, _, last = self.paths[before].rpartition(".")
                behind = [f"{head}.{int(last) + step}" for step in (2, 1)]
                to = self._made(
                    next(
                        (path for path in behind if path in self.contents.steps and path != self.paths[before]),
                        behind[0],
                    )
                )
                self._put(node.name, node, to, {})
            case "hard_sigmoid":
                self.paths[node.name] = self.paths[before].rpartition(".")[0]
                self._put(node.name, node, made(node.name, _GATE[0], _GATE[1], None, "uint8"), {})
            case "scale":
                self._put(node.name, node, self._made(f"{self.paths[node.inputs[1]]}.skip_mul"), {})
            case "add":
                project = self.paths[next(each for each in reversed(node.inputs) if each in self.paths)]
                block = ".".join(project.split(".")[:2])
                self._put(node.name, node, self._made(f"{block}.skip_add"), {})
            case "avg_pool2d" | "flatten" | "max_pool2d" | "pad":
                self._put(node.name, node, self.quantised["quant" if before == SOURCE else before], {}, **node.attrs)
            case _:
                raise FormatError(f"{node.name}: {node.op} of integers is not read from PyTorch's files")
