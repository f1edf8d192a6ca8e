"""Bugs that make maps of another size: strides, pads and dilations that a port does not have, or has besides.

Where the tensor that is judged has another size itself, the size tells the bug. Where a global pool lies between, the
numbers alone do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from refnet.bugs.language.changes import Change, identity, with_attrs
from refnet.bugs.language.parts import BlockNodes
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.padding import padded, windowed, windows
from refnet.bugs.layers.sampling import other_dilations
from refnet.errors import GraphError
from refnet.graph import Node, is_global
from refnet.ops import POOLS
from refnet.readings.shapes import shape_after

_Followed = tuple[dict[str, tuple[Node, ...]], tuple[int, ...] | None]

_NO_PAD = ((0, 0), (0, 0))
_UNIT = 3  # nodes: a convolution, its batch norm and its activation
_KERNELS = (2, 3, 5, 7)  # of pools that are not global
_FIXED = (7, 7)  # the kernel of the last pool at the papers' size of 224


def stride_changed(segment: Segment) -> Iterator[Change]:
    """a stride left out, or added.

    Source: https://github.com/marvis/pytorch-mobilenet/issues/10
    """
    for node in windowed(segment):
        own = node.attrs["stride"]
        for other in ((1, 1), (2, 2), (2, 1), (1, 2)):
            if other != own:
                facts = {"found": other, "known": own, "padded": ()}
                yield from _reshaped(segment, node, f"{own}>{other}", facts, stride=other)
                usual = _usual(segment, node, other) if node.attrs["dilation"] == (1, 1) else {}
                for pad, form in usual.items():
                    if pad != node.attrs["pad"]:
                        around = {**facts, "padded": pad}
                        yield from _reshaped(segment, node, f"{own}>{other} {form}", around, stride=other, pad=pad)
    if len(segment.graph) <= _UNIT:
        for node in segment.nodes("pointwise_conv2d"):
            if node.name in segment.sizes:  # and is not what another bug has put there
                yield from _subsampled(segment, node)


def _usual(segment: Segment, node: Node, stride: tuple[int, int]) -> dict[Any, str]:
    """How a convolution with a stride may be padded in the same network, by form.

    Evenly without one; with one by TensorFlow's rule, or as another layer with that stride and such a kernel is.
    """
    sides = node.params["w"][-2:]
    if stride == (1, 1):
        return {tuple((side // 2, side // 2) for side in sides): "even"}
    if stride != (2, 2):
        return {}
    pads = {padded(segment, replace(node, attrs={**node.attrs, "stride": stride}), "same"): "same"}
    for other in segment.whole.nodes:
        if other.op == node.op and other.attrs["stride"] == stride and other.params["w"][-2:] == sides:
            pads.setdefault(other.attrs["pad"], "alike")
    return pads


def _subsampled(segment: Segment, node: Node) -> Iterator[Change]:
    """A stride in a 1x1 convolution, which has none: every other row and column of what it reads."""
    channels, *sides = segment.sizes[node.name]
    kept = (channels, *(-(-side // 2) for side in sides))
    made = resulting(segment, node, own=kept) if segment.asks(node) and min(sides) > 1 else None
    if made is not None:
        pools, shape = made
        attrs = {"kernel": (1, 1), "stride": (2, 2), "pad": _NO_PAD}
        first = Node(f"{node.name}.kept", "avg_pool2d", node.inputs, {}, attrs)
        facts = {"found": (2, 2), "known": (1, 1), "padded": ()}
        nodes = {**pools, node.name: (first, replace(node, inputs=(first.name,)))}
        yield Change(node.name, "pointwise", facts, nodes=nodes, shape=shape, fed=True)


def stride_moved(segment: Segment) -> Iterator[Change]:
    """the stride of a stage in a later block.

    The first block of as many channels leaves the map as it is, and the next or the last halves it, without a shortcut.

    Source: https://github.com/shaoshengsong/MobileNetV3-SSD/issues/23
    """
    windowed = {node.name for node in segment.nodes("depthwise_conv2d")}  # but what another bug has put there
    blocks = [block for block in segment.parts.blocks if block.depthwise.name in windowed]
    for index, first in enumerate(blocks):
        if first.depthwise.attrs["stride"] != (1, 1):
            _, same = next(itertools.groupby(blocks[index:], key=lambda block: segment.sizes[block.exit][0]))
            stage = [*same]
            for form, later in {"next": stage[1:2], "last": stage[2:][-1:]}.items():
                for block in later:
                    yield from _restaged(segment, form, first, block)


def _restaged(segment: Segment, form: str, first: BlockNodes, later: BlockNodes) -> Iterator[Change]:
    """The stride of one block in another, whose sum with a shortcut is none then."""
    one, other = (segment.graph.by_name[block.depthwise.name] for block in (first, later))
    rows, columns = (side // 2 for side in one.params["w"][-2:])
    same = one.params["w"][-2:] == other.params["w"][-2:]
    kept = replace(one, attrs={**one.attrs, "stride": (1, 1), "pad": ((rows, rows), (columns, columns))})
    pad = one.attrs["pad"] if same else other.attrs["pad"]
    nodes = [kept, replace(other, attrs={**other.attrs, "stride": one.attrs["stride"], "pad": pad})]
    if later.add is not None and later.add.name in segment.graph:
        nodes.append(identity(later.add.name, later.exit, 4))
    made = resulting(segment, *nodes) if segment.asks(one) else None
    if made is not None:
        changed = made[0] | {node.name: (node,) for node in nodes}
        yield Change(one.name, form, {"layer": other.name}, nodes=changed, shape=made[1], fed=True)


def pad_amount(segment: Segment) -> Iterator[Change]:
    """more padding, or less.

    None at all ('valid'), or a point more or fewer along both axes; or those of rows and columns exchanged, or one of
    both left out; or its own and half a kernel besides, of a layer that pads once more. With a stride none at all and
    only behind may be the same, which is what TensorFlow pads on even maps: it is looked at first.

    Source: https://github.com/keras-team/keras/issues/9582
    """
    for node in windowed(segment):
        own, sides = node.attrs["pad"], segment.sizes[node.inputs[0]][1:]
        reach = max(side // 2 * step for side, step in zip(node.params["w"][-2:], node.attrs["dilation"], strict=True))
        alike = [(0, 0), (reach - 1, reach - 1), (reach + 1, reach + 1)]  # likelier than what is the same with a stride
        ways = [*alike, *itertools.product((reach, reach - 1, reach + 1), repeat=2), (0, reach), (reach, 0)]
        ways = ways if node.attrs["stride"] == (1, 1) else [(0, reach), *ways]
        for before, after in dict.fromkeys(ways):
            pad = ((before, after), (before, after))
            other = [sum(each) for each in pad] != [sum(each) for each in own]
            if other and min(before, after) >= 0 and max(before, after) < min(sides):
                form, facts = "valid" if pad == _NO_PAD else f"{before},{after}", {"found": pad, "known": own}
                yield from _reshaped(segment, node, form, facts, pad=pad)
                stays = segment.asks(node) and windows(segment, node, pad) == windows(segment, node, own)
                if stays:  # it may be written for all strides, whatever their maps
                    yield Change(node.name, form, facts, nodes=with_attrs(node, pad=pad), joint=True, fed=True)
        rows, columns = own
        axes = {"exchanged": (columns, rows), "rows": (rows, (0, 0)), "columns": ((0, 0), columns)}
        if rows != columns:  # else it is one of the ways above
            down, across = ((before + reach, after + reach) for before, after in own)
            axes |= {"twice": (down, across), "twice exchanged": (across, down)}
        for form, pad in axes.items():
            yield from _reshaped(segment, node, form, {"found": pad, "known": own}, pad=pad)


def dilation_alone(segment: Segment) -> Iterator[Change]:
    """a dilation without its padding, or the padding without it.

    Source: https://github.com/pytorch/vision/issues/7956
    """
    for node in segment.nodes("depthwise_conv2d"):
        if node.inputs[0] not in segment.sizes or node.params["w"][-1] == 1:
            continue
        for form, facts, step in other_dilations(node):
            yield from _reshaped(segment, node, form, facts, dilation=step)


def stride_dilated(segment: Segment) -> Iterator[Change]:
    """a dilation in a stride's place, or a stride in a dilation's.

    A network for dense prediction keeps its maps large: the stride is left out, and kernels are spread by it.

    Source: https://github.com/pytorch/vision/blob/main/torchvision/models/mobilenetv3.py
    """
    for node in windowed(segment):
        stride, now = node.attrs["stride"], node.attrs["dilation"]
        if (stride == (1, 1)) != (now == (1, 1)) and node.params["w"][-1] > 1:
            form = "undone" if stride == (1, 1) else ""
            facts = {"stride": max(stride, now), "dilation": max(stride, now)[0]}
            yield from _reshaped(segment, node, form, facts, **respread(node, now, stride).attrs)


def respread(node: Node, stride: tuple[int, int], step: tuple[int, int]) -> Node:
    """The same kernel at other strides, with its points so far apart, and padded as far as it reaches."""
    pad = tuple((each * (side // 2),) * 2 for each, side in zip(step, node.params["w"][-2:], strict=True))
    return replace(node, attrs={**node.attrs, "stride": stride, "dilation": step, "pad": pad})


def pool_fixed(segment: Segment) -> Iterator[Change]:
    """a pool of 7 x 7, or of another fixed size, in place of a global one.

    Source: https://github.com/tonylins/pytorch-mobilenet-v2/issues/6
    """
    for node in segment.nodes("avg_pool2d"):
        image = segment.sizes.get(node.inputs[0])
        if image is None or not is_global(node, image):
            continue
        if min(image[1:]) > max(_FIXED):
            for form, stride in (("once", (1, 1)), ("strided", _FIXED)):
                yield from _reshaped(segment, node, form, {}, kernel=_FIXED, stride=stride)
        for kernel in _kernels(segment, image[1:]):
            facts = {"found": kernel, "known": image[1:]}
            yield from _reshaped(segment, node, "kernel", facts, kernel=kernel, stride=(1, 1))


def pool_window(segment: Segment) -> Iterator[Change]:
    """a pool with another kernel, stride or padding, or of the other kind.

    The kernel is padded by half of it, or not at all, as layers of most libraries are if nothing is said.

    Source: https://github.com/keras-team/keras/issues/9582
    """
    for node in segment.nodes(*POOLS):
        image, own = (segment.sizes.get(name) for name in (node.inputs[0], node.name))
        if image is None or own is None or is_global(node, image) or not segment.asks(node):
            continue  # None: another bug has put it there
        for form, facts, attrs in _other_windows(node):
            made = replace(node, attrs={**node.attrs, **attrs})
            moved = resulting(segment, made)
            if moved is None and windows(segment, made, made.attrs["pad"]) != own[1:]:
                continue  # a later node does not go on with that
            pools, shape = moved or ({}, None)
            yield Change(node.name, form, facts, nodes={**pools, node.name: (made,)}, shape=shape, fed=True)
        other = "max_pool2d" if node.op == "avg_pool2d" else "avg_pool2d"
        yield Change(node.name, other, nodes={node.name: (replace(node, op=other),)})


def _other_windows(node: Node) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Other windows of a pool: a form, its facts, and attributes."""
    own = {name: node.attrs[name] for name in ("kernel", "stride", "pad")}
    for side in _KERNELS:
        half = ((side // 2,) * 2,) * 2
        for pad in dict.fromkeys((half, _NO_PAD, own["pad"])):
            if (side, side) != own["kernel"] and max(map(max, pad)) < side:
                facts = {"found": (side, side), "known": own["kernel"], "what": "kernel", "padding": pad}
                yield f"kernel {side} {pad}", facts, {"kernel": (side, side), "pad": pad}
    around = tuple((side // 2,) * 2 for side in own["kernel"])
    for pad in dict.fromkeys((_NO_PAD, around)):
        if any(one[0] != other[0] for one, other in zip(pad, own["pad"], strict=True)):  # else it is `pool_ceil`
            yield f"pad {pad}", {"what": "padding", "found": pad, "known": own["pad"], "padding": ()}, {"pad": pad}
    for stride in dict.fromkeys(((1, 1), (2, 2), own["kernel"])):
        if stride != own["stride"]:
            yield (
                f"stride {stride}",
                {"what": "stride", "found": stride, "known": own["stride"], "padding": ()},
                {"stride": stride},
            )


def _kernels(segment: Segment, image: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The kernels with which a pool of a map has as many windows as a candidate has results for one."""
    y = segment.candidate
    windows, rest = divmod(y.size, segment.batch * math.prod(segment.sizes[segment.end])) if y is not None else (1, 0)
    for height, width in itertools.product(*(range(1, side + 1) for side in image)) if windows > 1 and not rest else ():
        if (image[0] - height + 1) * (image[1] - width + 1) == windows and (height, width) != _FIXED:
            yield height, width


def _reshaped(
    segment: Segment, node: Node, form: str, facts: Mapping[str, object], **attrs: object
) -> Iterator[Change]:
    """A node with other attributes, if it makes a map of another size and the rest of the segment goes on with that."""
    if not segment.asks(node):
        return
    nodes = with_attrs(node, **attrs)
    (other,) = nodes[node.name]
    made = resulting(segment, other)
    if made is not None:
        pools, shape = made
        yield Change(node.name, form, facts, nodes={**pools, **nodes}, shape=shape, fed=True)


def resulting(segment: Segment, *others: Node, own: tuple[int, ...] = ()) -> _Followed | None:
    """What follows from other nodes: global pools of other maps, and the result's shape if that is another.

    None where they make maps of the same size, or where a later node does not go on with those that they make.

    Parameters
    ----------
    own : the shape that the first of them makes, if that is none of its own
    """
    (first, *more) = others
    if more:
        return _following(segment, others, own)
    try:
        shape = own or shape_after(first, *(segment.sizes[name] for name in first.inputs))
    except (GraphError, KeyError):
        return None
    if shape == segment.sizes.get(first.name):
        return None
    known, key = segment.followed, (first.name, shape)
    if key not in known:  # one of many nodes that make a map of this size
        known[key] = _following(segment, others, shape)
    found: _Followed | None = known[key]
    return found


def _following(segment: Segment, others: Sequence[Node], own: tuple[int, ...]) -> _Followed | None:
    """The same, worked out node by node."""
    moved: dict[str, tuple[int, ...]] = {}
    pools: dict[str, tuple[Node, ...]] = {}
    changed = {each.name: each for each in others}
    try:
        for known in segment.graph.nodes:
            node = changed.get(known.name, known)
            if known.name not in changed and moved.keys().isdisjoint(node.inputs):
                continue
            if node.inputs[0] in moved and is_global(node, segment.sizes.get(node.inputs[0], ())):
                node = replace(node, attrs={**node.attrs, "kernel": moved[node.inputs[0]][1:]})
                pools[node.name] = (node,)
            stated = own if node is others[0] else ()
            shape = stated or shape_after(node, *(moved.get(name) or segment.sizes[name] for name in node.inputs))
            if min(shape) < 1:
                return None
            if shape != segment.sizes.get(node.name):
                moved[node.name] = shape
    except (GraphError, KeyError):
        return None
    end = moved.get(segment.end, segment.sizes[segment.end])
    return (pools, None if end == segment.sizes[segment.end] else (segment.batch, *end)) if moved else None
