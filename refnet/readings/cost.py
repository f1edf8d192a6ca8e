"""What a graph costs: the shape of every tensor, its parameters, its multiply-adds and its memory.

A rule takes shapes where `fast` takes arrays and returns (shape of the output, multiply-adds), for one image.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from refnet.graph import OPS, SOURCE, Graph, Node, walk

Shape = tuple[int, ...]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

__all__ = ["Cost", "cost", "shape_after", "shapes"]


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


class _Made(NamedTuple):
    shape: Shape
    macs: int = 0


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
    params = {name: _Made(shape) for name, shape in graph.params().items()}
    rows = []
    for node, made in walk(graph, sys.modules[__name__], params, {SOURCE: _Made(graph.input_shape)}):
        sizes = {slot: math.prod(shape) for slot, shape in node.params.items()}
        statistics = sizes.get("mean", 0) + sizes.get("var", 0)
        total = sum(sizes.values())
        rows.append(Cost(node, made.shape, total, total - statistics, made.macs))
    return rows


def shapes(graph: Graph) -> dict[str, Shape]:
    """Shape of every tensor without the batch axis, the input's first."""
    return {SOURCE: graph.input_shape, **{row.node.name: row.shape for row in cost(graph)}}


def shape_after(node: Node, *shapes: Shape) -> Shape:
    """Shape of what one node makes of tensors of these shapes, all without the batch axis."""
    arrays = [_Made(node.params[slot]) if slot in node.params else None for slot in OPS[node.op].params]
    made: _Made = globals()[node.op](*map(_Made, shapes), *arrays, **node.attrs)
    return made.shape


def conv2d(x: _Made, w: _Made, b: _Made | None, *, stride: Pair, pad: Pad, dilation: Pair) -> _Made:
    K, C, R, S = w.shape
    shape = (K, *_placed(x.shape, (R, S), stride, pad, dilation))
    return _Made(shape, math.prod(shape) * C * R * S)


def depthwise_conv2d(x: _Made, w: _Made, b: _Made | None, *, stride: Pair, pad: Pad, dilation: Pair) -> _Made:
    C, R, S = w.shape
    shape = (C, *_placed(x.shape, (R, S), stride, pad, dilation))
    return _Made(shape, math.prod(shape) * R * S)


def pointwise_conv2d(x: _Made, w: _Made, b: _Made | None) -> _Made:
    shape = (w.shape[0], *x.shape[1:])
    return _Made(shape, math.prod(shape) * w.shape[1])


def pad(x: _Made, *, pad: Pad, mode: str, value: float) -> _Made:
    return _Made((x.shape[0], x.shape[1] + sum(pad[0]), x.shape[2] + sum(pad[1])))


def avg_pool2d(x: _Made, *, kernel: Pair, stride: Pair, pad: Pad) -> _Made:
    return _Made((x.shape[0], *_placed(x.shape, kernel, stride, pad, (1, 1))))


max_pool2d = avg_pool2d


def flatten(x: _Made) -> _Made:
    return _Made((math.prod(x.shape),))


def resize_bilinear(x: _Made, *, size: Pair, align_corners: bool) -> _Made:
    return _Made((x.shape[0], *size))


def _same(x: _Made, *others: Any, **attrs: Any) -> _Made:
    return _Made(x.shape)


batch_norm = affine = relu = relu6 = hard_sigmoid = hard_swish = sigmoid = swish = _same
scale = add = softmax = _same


def _placed(shape: Shape, kernel: Pair, stride: Pair, pad: Pad, dilation: Pair) -> Pair:
    """How many places a kernel has on a map, (P, Q)."""
    P, Q = (
        (shape[1 + axis] + sum(pad[axis]) - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
        for axis in (0, 1)
    )
    return P, Q
