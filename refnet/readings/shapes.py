"""The shape of every tensor, for one image: a reading that takes shapes where `fast` takes arrays.

Here a graph is found to be consistent: filters that fit their maps, vectors as long as there are channels, terms of
one shape, maps of at least one point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from refnet.errors import GraphError
from refnet.graph import SOURCE, Graph, Node, check
from refnet.ops import OPS

__all__ = ["follow_shapes", "shape_after", "shapes", "well_formed"]

Shape = tuple[int, ...]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_STEP = 32  # a stride or dilation that any map may have: of 1x1 only the first place counts


def shapes(graph: Graph) -> dict[str, Shape]:
    """Shape of every tensor without the batch axis, the input's first.

    Raises
    ------
    GraphError
        naming the node whose inputs and parameters do not fit each other, or that makes a map without points.
    """
    found: dict[str, Shape] = {SOURCE: graph.input_shape}
    for node in graph.nodes:
        found[node.name] = shape = shape_after(node, *(found[name] for name in node.inputs))
        if min(shape) < 1:
            raise GraphError(f"{node.name}: nothing is left of the map: its shape would be {shape}")
    return found


def follow_shapes(nodes: Iterable[Node], found: dict[str, Shape]) -> None:
    """Add the shape of what each of some nodes makes to those that are known.

    Raises
    ------
    GraphError
        as `shape_after`; those of the nodes before are added.
    """
    for node in nodes:
        found[node.name] = shape_after(node, *(found[name] for name in node.inputs))


def shape_after(node: Node, *shapes: Shape) -> Shape:
    """Shape of what one node makes of tensors of these shapes, all without the batch axis.

    Raises
    ------
    GraphError
        naming the node, if they do not fit it.
    """
    params = [node.params.get(slot) for slot in OPS[node.op].params]
    try:
        made: Shape = globals()[node.op](*shapes, *params, **node.attrs)
    except GraphError as error:
        raise GraphError(f"{node.name}: {error}") from None
    return made


def well_formed(graph: Graph) -> Graph:
    """Refuse a graph that breaks the rules of `graph.check`, or whose shapes do not agree; return it otherwise.

    Raises
    ------
    GraphError
        naming the node.
    """
    shapes(check(graph))
    return graph


def conv2d(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, pad: Pad, dilation: Pair) -> Shape:
    _map(x)
    K, C, R, S = _of_rank(w, 4)
    _channels(x, C, "filters")
    _vectors(K, b)
    return (K, *_placed(x, (R, S), stride, pad, dilation))


def depthwise_conv2d(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, pad: Pad, dilation: Pair) -> Shape:
    _map(x)
    C, R, S = _of_rank(w, 3)
    _channels(x, C, "filters")
    _vectors(C, b)
    return (C, *_placed(x, (R, S), stride, pad, dilation))


def grouped_conv2d(
    x: Shape, w: Shape, b: Shape | None, *, stride: Pair, pad: Pad, dilation: Pair, groups: int
) -> Shape:
    _map(x)
    K, C, R, S = _of_rank(w, 4)
    if K % groups:
        raise GraphError(f"{K} filters in {groups} groups")
    _channels(x, C * groups, "filters")
    _vectors(K, b)
    return (K, *_placed(x, (R, S), stride, pad, dilation))


def pointwise_conv2d(x: Shape, w: Shape, b: Shape | None) -> Shape:
    K, C = _of_rank(w, 2)
    _channels(x, C, "filters")
    _vectors(K, b)
    return (K, *_map(x)[1:])


def prelu(x: Shape, alpha: Shape) -> Shape:
    if alpha not in ((x[0],), x):
        raise GraphError(f"slopes of shape {alpha} for a map of {x}: take one for each channel, or for each point")
    return x


def batch_norm(x: Shape, *vectors: Shape, eps: float) -> Shape:
    _vectors(_map(x)[0], *vectors)
    return x


def pad(x: Shape, *, pad: Pad, mode: str, value: float) -> Shape:
    if mode == "reflect" and any(max(ends) >= side for ends, side in zip(pad, _map(x)[1:], strict=True)):
        raise GraphError(f"reflects {pad} points of a map of {x[1:]}")
    return (_map(x)[0], x[1] + sum(pad[0]), x[2] + sum(pad[1]))


def avg_pool2d(x: Shape, *, kernel: Pair, stride: Pair, pad: Pad) -> Shape:
    P, Q = _placed(_map(x), kernel, stride, pad, (1, 1))
    for side, places, k, s, (before, _) in zip(x[1:], (P, Q), kernel, stride, pad, strict=True):
        if before >= k or (places - 1) * s - before >= side:
            raise GraphError(f"a window of {kernel} lies in the padding {pad}, outside a map of {x[1:]}")
    return (x[0], P, Q)


max_pool2d = avg_pool2d


def scale(x: Shape, gate: Shape) -> Shape:
    if gate not in ((_map(x)[0], 1, 1), x):
        raise GraphError(f"a gate of shape {gate} for a map of {x}: take one for each channel or point")
    return x


def add(x: Shape, y: Shape) -> Shape:
    if x != y:
        raise GraphError(f"adds tensors of the shapes {x} and {y}")
    return x


def concat(*xs: Shape) -> Shape:
    first = xs[0]
    if any(x[1:] != first[1:] for x in xs):
        raise GraphError(f"joins tensors of the shapes {', '.join(map(str, xs))}")
    return (sum(x[0] for x in xs), *first[1:])


def flatten(x: Shape) -> Shape:
    return (math.prod(x),)


def resize_bilinear(x: Shape, *, size: Pair, align_corners: bool) -> Shape:
    return (_map(x)[0], *size)


def resize_legacy(x: Shape, *, size: Pair) -> Shape:
    return (_map(x)[0], *size)


def resize_nearest(x: Shape, *, size: Pair, align_corners: bool, half_pixel: bool) -> Shape:
    if align_corners and half_pixel:
        raise GraphError("aligns both corners and centres")
    return (_map(x)[0], *size)


def _same(x: Shape, **attrs: Any) -> Shape:
    return x


affine = relu = relu6 = leaky_relu = thresholded_relu = clip = tanh = hard_sigmoid = hard_swish = sigmoid = swish = (
    softmax
) = _same


def _map(x: Shape) -> Shape:
    return _of_rank(x, 3, "a tensor")


def _of_rank(shape: Shape, rank: int, what: str = "filters") -> Shape:
    if len(shape) != rank:
        raise GraphError(f"{what} of shape {shape}: take {rank} axes")
    return shape


def _channels(x: Shape, C: int, what: str) -> None:
    if x[0] != C:
        raise GraphError(f"{what} of {C} channels for a map of {x[0]}")


def _vectors(K: int, *vectors: Shape | None) -> None:
    for vector in vectors:
        if vector is not None and vector != (K,):
            raise GraphError(f"a parameter of shape {vector} for {K} channels")


def _placed(shape: Shape, kernel: Pair, stride: Pair, pad: Pad, dilation: Pair) -> Pair:
    """How many places a kernel has on a map, (P, Q). A step that leads beyond the map is none of a network's."""
    for what, steps in (("stride", stride), ("dilation", dilation)):
        for step, side, ends in zip(steps, shape[1:], pad, strict=True):
            if step > max(_STEP, side + sum(ends)):
                raise GraphError(f"a {what} of {steps} on a map of {shape[1:]}")
    P, Q = (
        (shape[1 + axis] + sum(pad[axis]) - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
        for axis in (0, 1)
    )
    return P, Q
