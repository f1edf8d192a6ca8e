"""Bugs of pooling, resizing and flattening."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, Variation
from refnet.graph import Node

Array = npt.NDArray[Any]
Pad = tuple[tuple[int, int], tuple[int, int]]

_POOLS = ("avg_pool2d", "max_pool2d")
_POINTWISE = ("pointwise_conv2d", "batch_norm", "affine", "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid")


def pool_count(segment: Segment) -> Iterator[Variation]:
    """An average that counts a border of padding."""
    for node in segment.nodes("avg_pool2d"):
        kernel, around = node.attrs["kernel"], ((1, 1), (1, 1))
        border = Node(f"{node.name}.border", "pad", node.inputs, {}, {"pad": around, "mode": "constant", "value": 0.0})
        wide = replace(node, inputs=(border.name,), attrs={**node.attrs, "kernel": (kernel[0] + 2, kernel[1] + 2)})
        words = "the average counts one row of padding on each side"
        yield Variation(node.name, words, segment.with_nodes(node, border, wide))


def pool_ceil(segment: Segment) -> Iterator[Variation]:
    """A window that begins inside the map and ends outside it: kept where it is dropped, and the reverse."""
    for node in segment.nodes(*_POOLS):
        if node.inputs[0] not in segment.sizes:
            continue
        sides, own = segment.sizes[node.inputs[0]][1:], node.attrs["pad"]
        axes = list(zip(sides, own, node.attrs["kernel"], node.attrs["stride"], strict=True))
        ceil, floor = _pads([_kept(*axis) for axis in axes]), _pads([_dropped(*axis) for axis in axes])
        for pad, words in ((ceil, "rounded up (ceil_mode), not down"), (floor, "rounded down, not up (ceil_mode)")):
            if pad == own:
                continue
            counts = tuple(_count(n, after, k, s) for (n, _, k, s), after in zip(axes, pad, strict=True))
            resized = _resized(segment, node, pad, counts)
            if resized is not None:
                yield Variation(node.name, f"the number of its windows is {words}: {counts}", *resized)


def _pads(pairs: list[tuple[int, int]]) -> Pad:
    rows, columns = pairs
    return rows, columns


def _count(n: int, pad: tuple[int, int], kernel: int, stride: int) -> int:
    """How many windows there are along an axis."""
    return (n + sum(pad) - kernel) // stride + 1


def _kept(n: int, pad: tuple[int, int], kernel: int, stride: int) -> tuple[int, int]:
    """The pad that lets in one more window, where that begins inside the map; as PyTorch's ceil_mode counts."""
    rest = (n + sum(pad) - kernel) % stride
    begins = _count(n, pad, kernel, stride) * stride
    return (pad[0], pad[1] + stride - rest) if rest and begins < n + pad[0] else pad


def _dropped(n: int, pad: tuple[int, int], kernel: int, stride: int) -> tuple[int, int]:
    """The pad without what is there for a last window only."""
    even = (pad[0], min(pad))
    return even if _count(n, even, kernel, stride) < _count(n, pad, kernel, stride) else pad


def _resized(
    segment: Segment, pool: Node, pad: Pad, counts: tuple[int, ...]
) -> tuple[Segment, tuple[int, ...] | None] | None:
    """The segment with a pool that makes a map of another size, and the shape that its end then has, if another.

    None where a later node cannot go on with such a map. A later global pool pools all of it.
    """
    changed, nodes = {pool.name}, []
    for node in segment.graph.nodes:
        if node.name == pool.name:
            node = replace(node, attrs={**node.attrs, "pad": pad})
        elif changed & set(node.inputs):
            if node.op == "avg_pool2d" and node.attrs["kernel"] == segment.sizes[node.inputs[0]][1:]:
                node = replace(node, attrs={**node.attrs, "kernel": counts})
            elif node.op in _POINTWISE:
                changed.add(node.name)
            else:
                return None
        nodes.append(node)
    moved = replace(segment, graph=replace(segment.graph, nodes=tuple(nodes)))
    channels = segment.sizes[segment.end][0]
    return moved, ((segment.batch, channels, *counts) if segment.end in changed else None)


def resize_corners(segment: Segment) -> Iterator[Variation]:
    """Corners aligned where they are not, and the reverse; or neither corners nor centres, as TensorFlow 1 has it."""
    for node in segment.nodes("resize_bilinear"):
        other = not node.attrs["align_corners"]
        words = f"align_corners is {other} instead of {not other}"
        yield Variation(node.name, words, segment.with_attrs(node, align_corners=other))
        words = "it is sampled asymmetrically: at p n / P, not at centres of pixels"
        yield Variation(node.name, words, _asymmetric(segment, node))


def _asymmetric(segment: Segment, node: Node) -> Segment:
    """Output p of P reads at p n / P.

    That is where aligned corners read for n + 1 inputs and P + 1 outputs; so a row and a column are added, and what
    they make is cut off again, by a kernel that looks at its first point only.
    """
    C, (P, Q) = segment.sizes[node.name][0], node.attrs["size"]
    wider = {"pad": ((0, 1), (0, 1)), "mode": "edge", "value": 0.0}
    border = Node(f"{node.name}.border", "pad", node.inputs, {}, wider)
    sampled = Node(
        f"{node.name}.sampled", "resize_bilinear", (border.name,), {}, {"size": (P + 1, Q + 1), "align_corners": True}
    )
    attrs = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
    cut = Node(node.name, "depthwise_conv2d", (sampled.name,), {"w": (C, 2, 2)}, attrs)
    first = np.zeros((C, 2, 2))
    first[:, 0, 0] = 1
    nodes = [made for each in segment.graph.nodes for made in ((border, sampled, cut) if each == node else (each,))]
    return replace(
        segment,
        graph=replace(segment.graph, nodes=tuple(nodes)),
        params={**segment.params, f"{node.name}.w": first},
    )


def flatten_order(segment: Segment) -> Iterator[Variation]:
    """A map flattened with its channels last; what follows inside the segment must not care for the order."""
    for index, node in enumerate(segment.graph.nodes):
        shape = segment.sizes.get(node.inputs[0], ())
        if node.op != "flatten" or len(shape) != 3 or shape[0] == 1 or shape[1] * shape[2] == 1:
            continue
        if all(later.op in ("softmax", *_POINTWISE[2:]) for later in segment.graph.nodes[index + 1 :]):
            words = "the map is flattened in NHWC order, not NCHW"
            yield Variation(node.name, words, segment.with_view(partial(_channels_last, shape=shape)))


def _channels_last(y: Array, shape: tuple[int, int, int]) -> Array:
    return y.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(y.shape)
