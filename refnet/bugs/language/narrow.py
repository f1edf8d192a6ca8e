"""The part of a segment that makes the first channels of its result: less to run where a few of them tell enough."""

from __future__ import annotations

from dataclasses import replace

from refnet.bugs.language.segments import Segment
from refnet.graph import Node
from refnet.ops import OPS

__all__ = ["first_channels"]

_FILTERS = ("conv2d", "pointwise_conv2d")  # a channel of the result is made of all channels that are read
# A channel of the result is made of the same channel of what is read.
_BY_CHANNEL = ("depthwise_conv2d", "batch_norm", "affine", "pad", "avg_pool2d", "max_pool2d", "add", "scale")
_BY_ELEMENT = ("activation", "gate")


def first_channels(segment: Segment, count: int) -> Segment | None:
    """A segment whose result is the first `count` channels of the segment's own.

    None where one of its operations mixes channels in another way, or something is read both whole and in part.

    Parameters
    ----------
    count : less than the channels of the result
    """
    if segment.view is not None:
        return None
    parted, whole, first = {segment.end}, set[str](), set[str]()  # tensors, and params, of which those are enough
    for node in reversed(segment.graph.nodes):
        if node.name not in parted:
            whole.update(node.inputs)
        elif node.op in _FILTERS:
            whole.update(node.inputs)
            first.update(_names(node))
        elif node.op in _BY_CHANNEL or (OPS[node.op].kind in _BY_ELEMENT and not node.params):
            parted.update(node.inputs)
            first.update(_names(node))
        else:
            return None
    if parted & whole:
        return None
    part = {name: (slice(count),) for name in first} | {name: (slice(None), slice(count)) for name in parted}
    params = {name: segment.params[name][part.get(name, ())] for name in segment.graph.params()}
    given = {name: y[part.get(name, ())] for name, y in segment.given.items()}
    known = params.keys() | given.keys()
    slack = {name: y[part.get(name, ())] for name, y in segment.slack.items() if name in known}
    return replace(segment, params=params, given=given, slack=slack)


def _names(node: Node) -> tuple[str, ...]:
    return tuple(f"{node.name}.{slot}" for slot in node.params)
