"""The exercises of blocks: V1's, the inverted residual, squeeze-and-excite."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, Node
from refnet.study.cases import Case, Draw, computed, reading_input

__all__ = ["of_inverted_residual", "of_inverted_residual_se", "of_squeeze_excite", "of_v1_block"]

Array = npt.NDArray[Any]

_STRIDES = ((2, 2), (1, 2), (2, 1))
_HARD = {"slope": 1 / 6, "offset": 0.5}


def of_v1_block(draw: Draw) -> Case:
    """Depthwise and pointwise convolutions, each with its batch norm and ReLU6."""
    C, size, attrs = draw.number(1, 3, 2), *_map(draw)
    K = C if draw.yes(0.4) else draw.number(1, 4, 3)
    eps = draw.eps()
    nodes = (
        *_depthwise(C, attrs, SOURCE, eps),
        Node("project", "pointwise_conv2d", ("depthwise.act",), {"w": (K, C)}),
        _norm("project", K, eps),
        Node("project.act", "relu6", ("project.bn",)),
    )
    return _block(draw, reading_input(C, size, *nodes), attrs, eps)


def of_inverted_residual(draw: Draw) -> Case:
    """Expansion, depthwise convolution, linear projection, and a shortcut where that is possible."""
    return _inverted_residual(draw, squeezed=False)


def of_inverted_residual_se(draw: Draw) -> Case:
    """The same with squeeze-and-excite before the projection."""
    return _inverted_residual(draw, squeezed=True)


def _inverted_residual(draw: Draw, squeezed: bool) -> Case:
    C, size, attrs = draw.number(1, 3, 2), *_map(draw)
    E = C * draw.number(2, 3, 2) if draw.yes(0.8) else C
    K = C if draw.yes(0.7) or draw.index % 5 == 4 else draw.number(1, 4, 3)
    eps, nodes, source = draw.eps(), list[Node](), SOURCE
    if E != C:
        nodes += [
            Node("expand", "pointwise_conv2d", (SOURCE,), {"w": (E, C)}),
            _norm("expand", E, eps),
            Node("expand.act", "relu6", ("expand.bn",)),
        ]
        source = "expand.act"
    nodes += _depthwise(E, attrs, source, eps)
    if squeezed:
        sides = zip(size, attrs["pad"], attrs["stride"], strict=True)
        map_size = tuple((side + sum(pad) - 3) // step + 1 for side, pad, step in sides)
        nodes += _squeezed("depthwise.act", E, draw.number(1, 3, 2), map_size, "se.")
    nodes += [
        Node("project", "pointwise_conv2d", (nodes[-1].name,), {"w": (K, E)}),
        _norm("project", K, eps),
    ]
    if attrs["stride"] == (1, 1) and K == C:
        nodes.append(Node("add", "add", (SOURCE, "project.bn")))
    return _block(draw, reading_input(C, size, *nodes), attrs, eps)


def of_squeeze_excite(draw: Draw) -> Case:
    """The mean of each channel, two linear layers, a hard sigmoid, and the channels times that."""
    C, S, N = draw.number(2, 6, 3), draw.number(1, 3, 2), draw.number(1, 2)
    size = (draw.number(1, 4, 2), draw.number(2, 5, 2))
    size = (size[0] + 1, size[1])
    x = draw.array(N, C, *size, scale=2.0)
    params = {"reduce.w": draw.array(S, C), "reduce.b": draw.array(S)}
    params |= {"expand.w": draw.array(C, S), "expand.b": draw.array(C)}
    x += 2 * draw.array(N, C, 1, 1)  # channels of other means, so that some hidden numbers are above 6
    params["expand.w"] /= 4  # and gates are between 0 and 1 all the same
    nodes = _squeezed(SOURCE, C, S, size)
    given = {"x": x, **{name.replace(".", "_"): array for name, array in params.items()}}
    return Case(given, {}, computed(reading_input(C, size, *nodes), params, x))


def _squeezed(source: str, C: int, S: int, size: tuple[int, ...], within: str = "") -> tuple[Node, ...]:
    """Pool, two linear layers with their activations, and the product."""
    pool = {"kernel": size, "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    return (
        Node(f"{within}pool", "avg_pool2d", (source,), {}, pool),
        Node(f"{within}reduce", "pointwise_conv2d", (f"{within}pool",), {"w": (S, C), "b": (S,)}),
        Node(f"{within}reduce.act", "relu", (f"{within}reduce",)),
        Node(f"{within}expand", "pointwise_conv2d", (f"{within}reduce.act",), {"w": (C, S), "b": (C,)}),
        Node(f"{within}gate", "hard_sigmoid", (f"{within}expand",), {}, _HARD),
        Node(f"{within}scale", "scale", (source, f"{within}gate")),
    )


def _map(draw: Draw) -> tuple[tuple[int, int], dict[str, Any]]:
    """The size of a map, and a kernel of three points over it; where it strides, with pads of other sides."""
    stride = (1, 1) if draw.yes(0.6) else (2, 2)
    size = (draw.number(4, 7, 4), draw.number(5, 8, 5))
    one = ((1, 1), (1, 1))
    pad = one
    if stride == (2, 2):
        stride = _STRIDES[draw.number(0, 2)]
        pad = (one, ((0, 1), (0, 1)), ((1, 0), (0, 1)))[draw.number(0, 2)]
    if draw.index % 5 == 4:  # as large a map as before, and no shortcut all the same
        stride, size, pad = (1, 2), (size[0], 1), one
    return size, {"stride": stride, "pad": pad, "dilation": (1, 1)}


def _depthwise(C: int, attrs: dict[str, Any], source: str, eps: float) -> tuple[Node, ...]:
    return (
        Node("depthwise", "depthwise_conv2d", (source,), {"w": (C, 3, 3)}, attrs),
        _norm("depthwise", C, eps),
        Node("depthwise.act", "relu6", ("depthwise.bn",)),
    )


def _norm(part: str, C: int, eps: float) -> Node:
    slots: dict[str, tuple[int, ...]] = dict.fromkeys(("gamma", "beta", "mean", "var"), (C,))
    return Node(f"{part}.bn", "batch_norm", (part,), slots, {"eps": eps})


def _block(draw: Draw, graph: Graph, attrs: dict[str, Any], eps: float) -> Case:
    """A block, with params that take its activations to both of their ends."""
    params: dict[str, Array] = {}
    for node in graph.nodes:
        for slot, shape in node.params.items():
            if slot == "var":
                array = draw.positive(*shape)
            elif slot == "gamma":
                array = (1 + np.abs(draw.array(*shape))).astype(draw.dtype)
            else:
                array = draw.array(*shape)
            params[f"{node.name}.{slot}"] = array
    x = draw.array(draw.number(1, 2, 1), graph.recipe.channels, *graph.recipe.size, scale=1.5)
    given = {"x": x, "params": dict(params)}
    return Case(given, {"stride": attrs["stride"], "pad": attrs["pad"], "eps": eps}, computed(graph, params, x))
