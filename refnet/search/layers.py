"""A graph as the layers that `session` computes each in one go, under names that say all that their time depends on.

A layer is a dense or a pointwise convolution, a whole inverted residual, a pool, or a single other operation: what lies
inside never leaves the cache. Two layers of one name take the same time, wherever they stand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.rewrite import fold_graph
from refnet.ops import CONVOLUTIONS
from refnet.readings.cost import cost
from refnet.readings.shapes import Shape, shapes
from refnet.session.steps import Rename, nodes_of, sources, steps

__all__ = ["Layer", "alone", "bytes_moved", "layers", "multiply_adds"]

_FLOAT32 = 4


class Layer(NamedTuple):
    """Nodes that are computed in one go.

    Attributes
    ----------
    name : the shapes of what it reads, and its operations: '16x112x112: pointwise_conv2d 64, relu'
    nodes : in order, batch norm folded
    inputs : (name, shape) of the tensors that it reads
    macs : multiply-adds
    moved : bytes of the tensors that go in and out and of the weights, each once, in float32
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[tuple[str, Shape], ...]
    macs: int
    moved: int


def layers(graph: Graph) -> list[Layer]:
    """The layers of a graph, in order of execution; what only renames numbers is none.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> layers(build("torchvision/mobilenet_v2"))[1].name
    '32x112x112: depthwise_conv2d 32 3x3 pad 1,1,1,1 b, relu6, pointwise_conv2d 16 b'
    """
    folded = fold_graph(graph)
    sizes, costs = shapes(folded), {row.node.name: row for row in cost(folded)}
    found = []
    for step in steps(folded, sizes):
        if isinstance(step, Rename):
            continue
        inside = nodes_of(step)
        nodes = tuple(node for node in folded.nodes if node.name in inside)
        inputs = tuple((name, sizes[name]) for name in dict.fromkeys(sources(step)))
        rows = [costs[node.name] for node in nodes]
        moved = sum(math.prod(shape) for _, shape in inputs) + math.prod(sizes[step.end]) + sum(r.params for r in rows)
        name = f"{' & '.join(_sides(shape) for _, shape in inputs)}: {', '.join(map(_said, nodes))}"
        found.append(Layer(name, nodes, inputs, sum(row.macs for row in rows), _FLOAT32 * moved))
    return found


def multiply_adds(graph: Graph) -> int:
    """Of convolutions and linear layers, for one image: a model of latency that needs no machine."""
    return sum(row.macs for row in cost(graph))


def bytes_moved(graph: Graph, *, fused: bool = True) -> int:
    """Bytes that one image moves in float32, every tensor written once, and the weights: likewise without a machine.

    Parameters
    ----------
    fused : whether an activation is computed where its convolution is, so that only what comes out is a tensor
    """
    folded = fold_graph(graph)
    sizes = shapes(folded)
    kept = [unit.output for unit in folded.units()] if fused else [node.name for node in folded.nodes]
    weights = sum(row.params for row in cost(folded))
    return _FLOAT32 * (math.prod(folded.input_shape) + sum(math.prod(sizes[name]) for name in kept) + weights)


def alone(layer: Layer) -> Graph:
    """A graph that makes a layer's inputs of an image in as little time as may be, and then has the layer.

    The layer's nodes keep their names, so that its step can be told from those before.
    """
    (first, shape), *others = layer.inputs
    sides = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
    lead: list[Node] = []
    names = {first: SOURCE}
    if first != SOURCE:  # a session keeps maps channels last, but for the image
        lead.append(Node("lead", "prelu", (SOURCE,), {"alpha": (shape[0],)}))
        lead += [] if len(shape) == 3 else [Node("lead.flat", "flatten", ("lead",))]
        names[first] = lead[-1].name
    for index, (name, other) in enumerate(others):
        lead += _like(f"lead{index}", names[first], shape, other)
        names[name] = lead[-1].name
    nodes = [replace(node, inputs=tuple(names.get(each, each) for each in node.inputs)) for node in layer.nodes]
    if not any(node.params for node in (*lead, *nodes)):  # a session has params
        nodes.append(Node("behind", "prelu", (nodes[-1].name,), {"alpha": (shape[0],)}))
    return Graph(Recipe("", 1.0, sides, 1, shape[0]), (*lead, *nodes))


def _like(name: str, source: str, shape: Shape, wanted: Shape) -> list[Node]:
    """Nodes that make a map of another shape."""
    nodes = []
    if shape[1:] != wanted[1:]:
        size = {"size": wanted[1:], "align_corners": False}
        nodes.append(Node(f"{name}.size", "resize_bilinear", (source,), {}, size))
        source = nodes[-1].name
    nodes.append(Node(name, "pointwise_conv2d", (source,), {"w": (wanted[0], shape[0])}))
    return nodes


def _sides(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _said(node: Node) -> str:
    """An operation with all of it that decides how long it takes."""
    words = [node.op]
    if node.op in CONVOLUTIONS:
        w = node.params["w"]
        words += [str(w[0]), *([_sides(w[-2:])] if len(w) > 2 else [])]
    for key, value in node.attrs.items():
        if key in ("kernel", "size") or (key in ("stride", "dilation") and value != (1, 1)):
            words.append(f"{key} {_sides(value)}" if key != "kernel" else _sides(value))
        elif key == "pad" and any(map(any, value)):
            words.append(f"pad {','.join(str(side) for pair in value for side in pair)}")
        elif key in ("align_corners", "half_pixel", "mode", "groups"):
            words.append(f"{key} {value}")
    return " ".join([*words, *(["b"] if "b" in node.params else [])])
