"""What a graph from a file may ask for: no array that dwarfs the network's input.

A manifest may agree with itself and still make a reader work for hours: a pad of a million pixels costs a line. Knows
graphs, no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from refnet.errors import GraphError
from refnet.graph import SOURCE, Graph, Node

__all__ = ["check_sizes"]

Shape = tuple[int, ...]

_MOST = 1 << 28  # numbers in one image: 9,000 x 9,000 pixels in colour
_LEAST = 1 << 24  # elements that any network may make of one image, and
_RATIO = 256  # times the input's: the widest that can be built makes 12, a map of 150 classes at full size 50


def check_sizes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Refuse a graph that makes arrays out of all proportion; `shapes` are of its tensors, without the batch axis.

    Raises
    ------
    GraphError
        naming the node.
    """
    given = math.prod(shapes[SOURCE])
    if given > _MOST:
        raise GraphError(f"one image has {given} numbers, more than refnet takes ({_MOST})")
    for node in graph.nodes:
        made = max(math.prod(shapes[node.name]), _on_the_way(node, shapes[node.inputs[0]]))
        if made > max(_LEAST, _RATIO * given):
            raise GraphError(f"{node.name}: makes {made} numbers of one image, out of all proportion to its input")


def _on_the_way(node: Node, shape: Shape) -> int:
    """Elements of the largest array that an operation makes before its result: a border, or half a resize."""
    if "pad" in node.attrs:
        height, width = (n + sum(pad) for n, pad in zip(shape[1:], node.attrs["pad"], strict=True))
        return shape[0] * int(height * width)
    if "size" in node.attrs:
        height, width = (max(n, m) for n, m in zip(shape[1:], node.attrs["size"], strict=True))
        return shape[0] * int(height * width)
    return 0
