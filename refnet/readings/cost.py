"""What a graph costs: its parameters, its multiply-adds and its memory, for one image."""

from __future__ import annotations

import math
from typing import NamedTuple

from refnet.graph import Graph, Node
from refnet.ops import CONVOLUTIONS
from refnet.readings.shapes import Shape, shapes

__all__ = ["Cost", "cost"]


class Cost(NamedTuple):
    """Of one node, for one image: output shape without the batch axis, stored numbers, multiply-adds.

    `macs` counts convolutions and linear layers, batch norms, activations and pools not, as papers do;
    `trainable` leaves out the batch-norm statistics.
    """

    node: Node
    shape: Shape
    params: int
    trainable: int
    macs: int


def cost(graph: Graph) -> list[Cost]:
    """The cost of every node, in order.

    Notes
    -----
    The multiply-adds of MobileNet V1, sec. 3.1: kernel area x input channels (1 for depthwise) x output elements.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> sum(row.macs for row in cost(build("torchvision/mobilenet_v3_small")))
    56510400
    """
    sizes = shapes(graph)
    return [_of_node(node, sizes[node.name]) for node in graph.nodes]


def _of_node(node: Node, shape: Shape) -> Cost:
    stored = {slot: math.prod(size) for slot, size in node.params.items()}
    total, statistics = sum(stored.values()), stored.get("mean", 0) + stored.get("var", 0)
    # (K, C, R, S), (C, R, S) or (K, C): all axes but the first are those that one output element is summed over.
    macs = math.prod(shape) * math.prod(node.params["w"][1:]) if node.op in CONVOLUTIONS else 0
    return Cost(node, shape, total, total - statistics, macs)
