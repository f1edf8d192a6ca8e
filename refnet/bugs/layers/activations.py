"""Bugs of activations and gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refnet.bugs.language.changes import Change, with_factor, with_op, without
from refnet.bugs.language.segments import Segment
from refnet.graph import Node
from refnet.ops import ACTIVATIONS, GATES

ACTS = ("relu", "relu6", "hard_swish")  # of layers, in all networks
_HARD = {"slope": 1 / 6, "offset": 0.5}


def hsigmoid_slope(segment: Segment) -> Iterator[Change]:
    """0.2 x + 0.5 for x / 6 + 0.5.

    Source: https://github.com/tensorflow/models/issues/9303
    """
    yield from _gate(segment, "hard_sigmoid", slope=0.2, offset=0.5)


def hsigmoid_half(segment: Segment) -> Iterator[Change]:
    """(x + 1) / 2 for x / 6 + 0.5.

    Source: https://github.com/open-mmlab/mmpretrain/issues/193
    """
    yield from _gate(segment, "hard_sigmoid", slope=0.5, offset=0.5)


def hsigmoid_beta0(segment: Segment) -> Iterator[Change]:
    """the hard sigmoid's offset dropped.

    Source: https://github.com/OAID/Tengine/issues/1122
    """
    yield from _gate(segment, "hard_sigmoid", slope=1 / 6, offset=0.0)


def gate_sigmoid(segment: Segment) -> Iterator[Change]:
    """true for hard sigmoid, or the reverse."""
    for node in _gates(segment):
        if node.op == "sigmoid":
            yield Change(node.name, "hard", nodes=with_op(node, "hard_sigmoid", **_HARD))
        else:
            yield Change(node.name, "true", nodes=with_op(node, "sigmoid"))


def gate_hswish(segment: Segment) -> Iterator[Change]:
    """hard swish as the gate."""
    yield from _gate(segment, "hard_swish")


def gate_bare(segment: Segment) -> Iterator[Change]:
    """a gate without its curve.

    Squeeze-and-excite multiplies by what its last layer makes; or by its hard sigmoid, not cut off at 0 and 1.
    """
    for node in _gates(segment):
        if node.op in GATES:
            yield Change(node.name, "none", nodes=without(node))
            if node.op == "hard_sigmoid":
                yield Change(node.name, "uncut", nodes=with_op(node, "affine", **node.attrs))


def hswish_swish(segment: Segment) -> Iterator[Change]:
    """true for hard swish."""
    for node in segment.nodes("hard_swish"):
        yield Change(node.name, nodes=with_op(node, "swish"))


def hswish_nodiv(segment: Segment) -> Iterator[Change]:
    """hard swish without the sixth, or with a rounded one."""
    for node in segment.nodes("hard_swish"):
        for form, factor in (("none", 6.0), ("0.1667", 6 * 0.1667), ("0.16667", 6 * 0.16667)):
            yield Change(node.name, form, nodes={node.name: with_factor(node, factor)})


def hswish_divisor(segment: Segment) -> Iterator[Change]:
    """another divisor in hard swish.

    x relu6(x + 3) shifted by three bits instead of divided by 6; or divided by what the port's numbers show.
    """
    for node in segment.nodes("hard_swish"):
        for found in dict.fromkeys((8.0, *_shown(segment, node))):
            nodes = {node.name: with_factor(node, 6 / found)}
            yield Change(node.name, f"{found:g}", {"found": found}, nodes=nodes)


def _shown(segment: Segment, node: Node) -> Iterator[float]:
    """By what a hard swish at a segment's end divides, in three figures, where that is not 6."""
    target, y = segment.candidate, segment.result if segment.end == node.name else None
    if target is None or y is None or y.shape != target.shape or not np.isfinite(target).all():
        return
    product, square = float((target * y).sum()), float((y * y).sum())
    if product > 0 and square > 0:
        found = float(f"{6 * square / product:.3g}")
        if found not in (1.0, 6.0):
            yield found


def relu6_relu(segment: Segment) -> Iterator[Change]:
    """ReLU for ReLU6, or the reverse.

    Source: https://github.com/tonylins/pytorch-mobilenet-v2/issues/10
    """
    for node in plain_activations(segment, "relu", "relu6"):
        yield exchanged(node, "relu" if node.op == "relu6" else "relu6")


def act_swap(segment: Segment) -> Iterator[Change]:
    """ReLU for hard swish, or the reverse."""
    for node in plain_activations(segment, *ACTS):
        for other in ("relu", "relu6") if node.op == "hard_swish" else ("hard_swish",):
            yield exchanged(node, other)


def act_missing(segment: Segment) -> Iterator[Change]:
    """an activation left out."""
    for node in plain_activations(segment, *ACTIVATIONS):
        yield Change(node.name, nodes=without(node))


def act_on_linear(segment: Segment) -> Iterator[Change]:
    """an activation on the linear bottleneck.

    Where it is made, or where it is read.

    Source: https://github.com/tensorflow/tensorflow/issues/50835
    """
    acts, linear = acts_by_use(segment), segment.parts.linear
    for node in segment.graph.nodes:
        if node.op != "add" and node.name in linear:
            for act in acts:
                plain = replace(node, name=f"{node.name}.linear")
                acted = Node(node.name, act, (plain.name,))
                yield Change(node.name, f"{act} made", {"act": act}, nodes={node.name: (plain, acted)})
    for node in segment.nodes("pointwise_conv2d"):
        if node.inputs[0] in linear and node.inputs[0] in segment.given:
            for act in acts:
                first = Node(f"{node.name}.acted", act, node.inputs)
                reader = replace(node, inputs=(first.name,))
                yield Change(node.name, f"{act} read", {"act": act}, nodes={node.name: (first, reader)})


def acts_by_use(segment: Segment) -> list[str]:
    """What may stand where no activation should, that first which the network has most: what few numbers tell apart."""
    used = Counter(node.op for node in segment.whole.nodes)
    return sorted(ACTS, key=lambda act: -used[act])


def exchanged(node: Node, other: str) -> Change:
    """Another activation in a node's place."""
    return Change(node.name, other, {"found": other, "known": node.op}, nodes=with_op(node, other))


def plain_activations(segment: Segment, *ops: str) -> Iterator[Node]:
    """The activations of a segment that are no gates."""
    return (node for node in segment.nodes(*ops) if node.name not in segment.parts.gates)


def _gates(segment: Segment) -> Iterator[Node]:
    """The nodes that squeeze-and-excite multiplies by."""
    return (node for node in segment.graph.nodes if node.name in segment.parts.gates)


def _gate(segment: Segment, op: str, **attrs: float) -> Iterator[Change]:
    for node in _gates(segment):
        if (node.op, dict(node.attrs)) != (op, attrs):
            yield Change(node.name, nodes=with_op(node, op, **attrs))
