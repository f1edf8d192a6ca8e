"""What a network's outputs are: probabilities of classes, logits, numbers of their own, maps."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.network.quantised import AnyNetwork, QuantisedNetwork
from refnet.ops import GATES
from refnet.readings import fast

__all__ = ["Answer", "answers"]

Array = npt.NDArray[Any]
Kind = Literal["classes", "logits", "independent", "number", "vector", "map", "mask"]

_SEE_THROUGH = ("flatten", "dequantize", "quantize", "requantize")  # the same numbers, as somebody else needs them
_GATES = (*GATES, "logistic")
_LINEAR = ("pointwise_conv2d", "fully_connected", "fully_connected_2_19")


class Answer(NamedTuple):
    """One output of a network.

    Attributes
    ----------
    name : its node's
    kind : 'classes' (probabilities from a softmax), 'logits' (of a linear layer; a softmax makes probabilities of
        them), 'independent' (numbers between 0 and 1, each a probability of its own), 'number' (a single one of a
        linear layer), 'vector' (features), 'map', 'mask' (a map of the image's size: numbers of every class for each
        pixel)
    values : (N, K), or (N, C, H, W) of a map or mask; as the network makes them
    """

    name: str
    kind: Kind
    values: Array

    @property
    def probabilities(self) -> Array | None:
        """(N, K), where the kind has any."""
        if self.kind == "logits":
            return np.asarray(fast.softmax(self.values))
        return self.values if self.kind in ("classes", "independent") else None


def answers(net: AnyNetwork, x: Array) -> list[Answer]:
    """Run a network; say what each of its outputs is.

    Parameters
    ----------
    x : (N, C, H, W) array, as the network takes it
    """
    made = net(x)
    graph = net.twin[0] if isinstance(net, QuantisedNetwork) and net.twin is not None else net.graph
    found = made if isinstance(made, dict) else {net.graph.output: made}
    return [_answer(name, np.asarray(y), _maker(graph, name), x.shape[2:]) for name, y in found.items()]


def _maker(graph: Graph, name: str) -> Node | None:
    """The node that makes a tensor's numbers."""
    node = graph.by_name.get(name)
    if node is None and len(graph.outputs) == 1:  # a network of integers and its twin call their ends otherwise
        node = graph[graph.output]
    while node is not None and node.op in _SEE_THROUGH:
        node = graph.by_name.get(node.inputs[0])
    return node


def _answer(name: str, y: Array, maker: Node | None, size: tuple[int, ...]) -> Answer:
    if y.ndim == 4 and y.shape[2:] != (1, 1):
        return Answer(name, "mask" if y.shape[1] > 1 and y.shape[2:] == size else "map", y)
    y = y.reshape(len(y), -1)
    op = "" if maker is None else maker.op
    kind: Kind = "vector"
    if op == "softmax":
        kind = "classes"
    elif op in _GATES:
        kind = "independent"
    elif op in _LINEAR:
        kind = "number" if y.shape[1] == 1 else "logits"
    return Answer(name, kind, y)
