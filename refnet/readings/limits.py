"""What a graph from a file may ask for: no tensor, and no work, that dwarfs the network's input.

A file may agree with itself and still make a reader work for hours: a pad of a million pixels costs a line, as does
another node that reads a map of 4,000 x 4,000. Knows graphs, no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from refnet.errors import GraphError
from refnet.graph import SOURCE, Graph, Node, check_order
from refnet.ops import ATTRIBUTES, CONVOLUTIONS, POOLS
from refnet.readings.shapes import shapes

__all__ = ["check_growth", "check_sizes"]

Shape = tuple[int, ...]

_NODES = 2000  # eight times those of the deepest network that can be built
# Numbers of one image, of a tensor, of all tensors, and products of all convolutions and pools: any network may have
# the first figure, and one of larger images so many times the numbers of an image. Of all networks that can be built
# the largest tensor is 12 times the image (a map of 150 classes at full size 50), all tensors come to 190 times it, and
# the products to 6,300 times it: see tests/readings/test_limits.py.
_IMAGE = 1 << 28
_IMAGE_OF_INTEGERS = 1 << 24  # which is run to know its shapes
_TENSOR = 1 << 22, 256
_TENSORS = 1 << 23, 1 << 11
_PRODUCTS = 1 << 30, 1 << 16
_GEOMETRY = {"stride", "dilation", "kernel", "size", "pad"}


def check_sizes(graph: Graph) -> Graph:
    """Refuse a graph that makes tensors, or work, out of all proportion to its input; return it otherwise.

    Parameters
    ----------
    graph : well formed

    Raises
    ------
    GraphError
        naming the node.
    """
    if len(graph) > _NODES:
        raise GraphError(f"the graph has {len(graph)} nodes, more than {_NODES}: no network of this family does")
    every = shapes(graph)
    given = math.prod(every[SOURCE])
    if given > _IMAGE:
        raise GraphError(f"one image has {given} numbers, more than refnet takes ({_IMAGE})")
    tensor, tensors, products = (max(least, ratio * given) for least, ratio in (_TENSOR, _TENSORS, _PRODUCTS))
    all_made = all_products = 0
    for node in graph.nodes:
        made = max(math.prod(every[node.name]), _on_the_way(node, every[node.inputs[0]]))
        all_made += made
        all_products += _products(node, every)
        if made > tensor:
            raise GraphError(f"{node.name}: makes {made} numbers of one image, out of all proportion to its input")
        if all_made > tensors:
            raise GraphError(f"{node.name}: the tensors up to it have {all_made} numbers, more than {tensors}")
        if all_products > products:
            raise GraphError(f"{node.name}: the nodes up to it take {all_products} multiplications for one image")
    return graph


def _on_the_way(node: Node, shape: Shape) -> int:
    """Elements of the largest array that an operation makes before its result: a border, or half a resize."""
    if "pad" in node.attrs:
        height, width = (n + sum(pad) for n, pad in zip(shape[1:], node.attrs["pad"], strict=True))
        return shape[0] * int(height * width)
    if "size" in node.attrs:
        height, width = (max(n, m) for n, m in zip(shape[1:], node.attrs["size"], strict=True))
        return shape[0] * int(height * width)
    return 0


def _products(node: Node, every: Mapping[str, Shape]) -> int:
    """Terms of all sums of a convolution or pool."""
    if node.op in CONVOLUTIONS:
        return math.prod(every[node.name]) * math.prod(node.params["w"][1:])
    return math.prod(every[node.name]) * math.prod(node.attrs["kernel"]) if node.op in POOLS else 0


def check_growth(graph: Graph) -> Graph:
    """The same of a graph of integers, whose operations are a runtime's: by what their attributes and weights tell.

    No map is taken to be smaller than it is: what is no window, border or size leaves it as large as it was.

    Raises
    ------
    GraphError
        naming the node; as `graph.check_order`, too.
    """
    if len(graph) > _NODES:
        raise GraphError(f"the graph has {len(graph)} nodes, more than {_NODES}: no network of this family does")
    every: dict[str, Shape] = {SOURCE: graph.input_shape}
    given = math.prod(graph.input_shape)
    if given > _IMAGE_OF_INTEGERS:
        raise GraphError(f"one image has {given} numbers, more than refnet takes ({_IMAGE_OF_INTEGERS})")
    tensor, tensors, products = (max(least, ratio * given) for least, ratio in (_TENSOR, _TENSORS, _PRODUCTS))
    all_made = all_products = 0
    for node in check_order(graph).nodes:
        before = [every[name] for name in node.inputs]
        every[node.name], largest = _grown(node, before)
        all_made += largest
        all_products += math.prod(every[node.name]) * math.prod(node.params.get("w", (1, 1))[1:])
        if largest > tensor:
            raise GraphError(f"{node.name}: makes {largest} numbers of one image, out of all proportion to its input")
        if all_made > tensors or all_products > products:
            raise GraphError(f"{node.name}: the nodes up to it make {all_made} numbers in {all_products} products")
    return graph


def _grown(node: Node, before: list[Shape]) -> tuple[Shape, int]:
    """At most the shape that a node makes of one image, and how many numbers it makes on the way."""
    attrs = node.attrs
    for key in _GEOMETRY & attrs.keys():
        if not ATTRIBUTES[key](attrs[key]):
            raise GraphError(f"{node.name}: {key} is {str(attrs[key])[:60]}: {node.op} does not run on that")
    if not before:
        raise GraphError(f"{node.name}: {node.op} reads nothing")
    channels = (sum if "axis" in attrs else max)(shape[0] for shape in before)
    height, width = (max((*shape[1:], 1, 1)[side] for shape in before) for side in (0, 1))
    if "pad" in attrs:
        height, width = (n + sum(pad) for n, pad in zip((height, width), attrs["pad"], strict=True))
    largest = channels * height * width
    height, width = (-(-n // by) for n, by in zip((height, width), attrs.get("stride", (1, 1)), strict=True))
    height, width = attrs.get("size", (1, 1) if "axes" in attrs else (height, width))
    if "w" in node.params:
        channels = node.params["w"][0]
    made = (channels, height, width)
    return made, max(largest, math.prod(made))
