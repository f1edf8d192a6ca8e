"""The same network for images of another size, whatever its nodes are.

Only two things follow the size: the kernel of a global pool, and a padding that its vendor computes from it. All else
stays: strides, kernels, and the nodes that the known network lacks. A padding that is not the vendor's is refused,
because nobody has said whether it follows the size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from refnet.errors import RequestError
from refnet.graph import Graph, Node
from refnet.networks.build import image_size
from refnet.networks.dialects import MODELS
from refnet.networks.plan import padding
from refnet.readings.shapes import shapes

__all__ = ["fitting_pads", "is_global", "resize"]

Pad = tuple[tuple[int, int], tuple[int, int]]
Shape = tuple[int, ...]

_FILTERS = ("conv2d", "depthwise_conv2d")


def resize(graph: Graph, size: tuple[int, int] | int) -> Graph:
    """Move a graph to images of another (height, width).

    Raises
    ------
    RequestError
        if the images are too small for it, or if it pads otherwise than its model does: names the node.
    """
    recipe = replace(graph.recipe, size=image_size(size, graph.recipe.size))
    if recipe == graph.recipe:
        return graph
    before = shapes(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        if "kernel" in node.attrs or node.op in _FILTERS:
            image = shapes(Graph(recipe, tuple(nodes)))[node.inputs[0]]
            node = replace(node, attrs=_attrs(graph, node, before[node.inputs[0]], image))
            if min(shapes(Graph(recipe, (*nodes, node)))[node.name]) < 1:
                height, width = recipe.size
                raise RequestError(
                    f"size {height},{width} is too small for {recipe.model}: nothing is left of {node.name}"
                )
        nodes.append(node)
    return Graph(recipe, tuple(nodes))


def _attrs(graph: Graph, node: Node, before: Shape, image: Shape) -> dict[str, Any]:
    """The attributes of a node that filters or pools, once its map is of another shape."""
    attrs = dict(node.attrs)
    if node.op == "avg_pool2d" and is_global(node, before):
        return attrs | {"kernel": image[1:]}
    if node.op not in _FILTERS or not any(map(any, attrs["pad"])):
        return attrs
    if attrs["pad"] != fitting_pads(graph, node, node, before)[0]:
        raise RequestError(
            f"{node.name} pads {attrs['pad']} at size {graph.recipe.size}, which is not how {graph.recipe.model} pads: "
            "whether that follows the size is unknown, so leave the size as it is"
        )
    return attrs | {"pad": fitting_pads(graph, node, node, image)[0]}


def is_global(node: Node, image: Shape) -> bool:
    """Whether a pool takes in a whole map, (C, H, W)."""
    return node.attrs["kernel"] == image[1:] and not any(map(any, node.attrs["pad"]))


def fitting_pads(known: Graph, ours: Node, theirs: Node, image: Shape) -> tuple[Pad, Pad]:
    """How the known network's vendor pads a map, (C, H, W): for the known node, and for another in its place."""
    dialect = MODELS[known.recipe.model].dialect
    rule = dialect.stem_pad if ours.name == "stem.conv" else dialect.pad

    def pads(node: Node) -> Pad:
        kernel, stride, dilation = node.params["w"][-2:], node.attrs["stride"], node.attrs["dilation"]
        rows, columns = (padding(rule, image[1 + i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
        return rows, columns

    return pads(ours), pads(theirs)
