"""Bugs of the LR-ASPP head: what its gate pools, which earlier map it reads, how large its maps are made, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from refnet.bugs.language.changes import Change, with_attrs
from refnet.bugs.language.segments import Segment, from_elsewhere
from refnet.bugs.layers.shaping import resulting
from refnet.graph import Node, is_global
from refnet.ops import GATES, RESIZES

_KERNEL, _STRIDE = (49, 49), (16, 20)  # of the paper's pool, which is meant for
_MAP = (64, 128)  # the map of Cityscapes' images


def lraspp_pool(segment: Segment) -> Iterator[Change]:
    """a fixed pool in the gate of LR-ASPP where the reference pools globally, or the reverse.

    The paper's pool of 49 x 49 points; on a smaller map one of as large a share of it.

    Source: https://github.com/Tramac/Lightweight-Segmentation/issues/10
    """
    for coarse in segment.parts.coarse:
        pool, image = coarse.pool, segment.sizes[coarse.pool.inputs[0]]
        if pool.name not in segment.graph:
            continue
        if not is_global(pool, image):
            yield from _pooled(segment, pool, coarse.scale, "global", image[1:], (1, 1))
            continue
        sides = list(zip(image[1:], _KERNEL, _STRIDE, _MAP, strict=True))
        if all(side > kernel for side, kernel, _, _ in sides):
            yield from _pooled(segment, pool, coarse.scale, "fixed", _KERNEL, _STRIDE)
        kernel = tuple(-(-side * k // whole) for side, k, _, whole in sides)
        stride = tuple(-(-side * s // whole) for side, _, s, whole in sides)
        if kernel != image[1:]:
            yield from _pooled(segment, pool, coarse.scale, "share", kernel, stride)


def lraspp_gate(segment: Segment) -> Iterator[Change]:
    """another function in the gate of LR-ASPP.

    A softmax over the channels, a sigmoid of a sigmoid or a tanh; or it is multiplied by twice.
    """
    for coarse in segment.parts.coarse:
        scale = coarse.scale
        gate = segment.graph.by_name.get(scale.inputs[1])
        if gate is not None and gate.op in GATES:
            once = replace(gate, name=f"{gate.name}.once")
            yield Change(gate.name, "twice", nodes={gate.name: (once, replace(gate, inputs=(once.name,)))})
            for op in ("softmax", "tanh"):
                yield Change(gate.name, op, nodes={gate.name: (Node(gate.name, op, gate.inputs),)})
        if scale.name in segment.graph:
            again = Node(f"{scale.name}.again", "scale", scale.inputs)
            squared = (again, replace(scale, inputs=(again.name, scale.inputs[1])))
            yield Change(scale.name, "squared", nodes={scale.name: squared})


def _pooled(
    segment: Segment, pool: Node, scale: Node, form: str, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> Iterator[Change]:
    """The gate made of another pool, and enlarged to the map that it scales if it has become one."""
    _, *sides = segment.sizes[pool.inputs[0]]
    counts = tuple((side - k) // s + 1 for side, k, s in zip(sides, kernel, stride, strict=True))
    nodes, moved = with_attrs(pool, kernel=kernel, stride=stride), {pool.name}
    for node in segment.graph.nodes:
        if not moved & set(node.inputs):
            continue
        if node.name == scale.name and counts != (1, 1):
            size = segment.sizes[scale.inputs[0]][1:]
            attrs = {"size": size, "align_corners": False}
            wide = Node(f"{node.name}.gate", "resize_bilinear", (scale.inputs[1],), {}, attrs)
            nodes |= {node.name: (wide, replace(node, inputs=(node.inputs[0], wide.name)))}
        elif segment.sizes[node.name][1:] == segment.sizes[pool.name][1:]:
            moved.add(node.name)
    shape = (segment.batch, segment.sizes[segment.end][0], *counts) if segment.end in moved else None
    if segment.end not in moved or counts != segment.sizes[segment.end][1:]:
        yield Change(pool.name, form, {"windows": kernel, "steps": stride}, nodes=nodes, shape=shape)


def lraspp_branch(segment: Segment) -> Iterator[Change]:
    """the fine branch of LR-ASPP taken from another block.

    Source: https://github.com/open-mmlab/mmsegmentation/issues/480
    """
    for join in segment.parts.joins:
        (source,) = join.low.inputs
        if join.low.name not in segment.graph:
            continue
        for other in segment.parts.twins(source):
            if other in segment.graph or segment.available:
                made, given = ((), {}) if other in segment.graph else from_elsewhere(segment, other)
                nodes = {join.low.name: (*made, replace(join.low, inputs=(other,)))}
                yield Change(join.low.name, other, {"found": other, "known": source}, nodes=nodes, given=given)


def resize_size(segment: Segment) -> Iterator[Change]:
    """a map that is not enlarged, or to another size.

    Masks are often left as small as they are made, or as a half of the image.
    """
    for node in segment.nodes(*RESIZES):
        known, y = node.attrs["size"], segment.candidate
        sizes = {"out": segment.sizes.get(node.inputs[0], ())[1:]}
        if y is not None and y.ndim == 4 and node.name == segment.end:
            sizes["other"] = y.shape[2:]
        for form, size in sizes.items():
            if len(size) == 2 and size != known and (form == "out" or size != sizes["out"]):
                other = replace(node, attrs={**node.attrs, "size": size})  # to its own size it changes nothing
                made = resulting(segment, other)
                if made is not None:
                    nodes = {**made[0], node.name: (other,)}
                    yield Change(node.name, form, {"found": size, "known": known}, nodes=nodes, shape=made[1])


def lraspp_order(segment: Segment) -> Iterator[Change]:
    """the classifiers of LR-ASPP on the other side of an enlargement.

    It shows as a shape: a convolution of 1 x 1 points and an enlargement make the same in either order.

    Source: https://github.com/Tramac/mobilenetv3-segmentation/issues/1
    """
    for join in segment.parts.joins:
        channels, *sides = segment.sizes[join.add.name]
        for form, size in (("after", join.last.attrs["size"]), ("before", segment.sizes[join.first.inputs[0]][1:])):
            if segment.end == join.high.name and tuple(sides) != size:
                facts = {"found": size, "known": tuple(sides)}
                yield Change(join.high.name, form, facts, shape=(segment.batch, channels, *size))
