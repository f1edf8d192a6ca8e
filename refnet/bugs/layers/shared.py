"""Bugs of what a port has written once for layers of two kinds: a function or a flag that both are made with.

They are made at all of their places at once; at one place they are bugs with other names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from refnet.bugs.language.changes import Change, with_op
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.activations import ACTS, plain_activations
from refnet.graph import Node

# Slope and offset of the line that is cut off at 0 and 1; None of a true sigmoid.
_SIGMOIDS: Mapping[str, tuple[float, float] | None] = {"fifth": (0.2, 0.5), "half": (0.5, 0.5), "true": None}


def hsigmoid_shared(segment: Segment) -> Iterator[Change]:
    """one hard sigmoid, of gates and of hard swish, that is another function.

    Source: https://github.com/tensorflow/models/issues/9303
    """
    gates = [node for node in segment.nodes("hard_sigmoid") if node.name in segment.parts.gates]
    swishes = list(segment.nodes("hard_swish"))
    for form, line in _SIGMOIDS.items() if gates and swishes else ():
        for node in gates:
            yield Change(node.name, form, nodes={node.name: (_sigmoid(node.name, node, line),)})
        for node in swishes:
            gate = _sigmoid(f"{node.name}.gate", node, line)
            product = Node(node.name, "scale", (*node.inputs, gate.name))
            yield Change(node.name, form, nodes={node.name: (gate, product)})


def _sigmoid(name: str, node: Node, line: tuple[float, float] | None) -> Node:
    """A sigmoid of what a node reads: a hard one of a slope and an offset, or a true one."""
    if line is None:
        return Node(name, "sigmoid", node.inputs)
    return Node(name, "hard_sigmoid", node.inputs, {}, dict(zip(("slope", "offset"), line, strict=True)))


def act_exchanged(segment: Segment) -> Iterator[Change]:
    """ReLU for hard swish, and hard swish for ReLU.

    In all blocks, or in all layers: a flag is read the wrong way round.
    """
    acts = _acts(segment)
    inner = [node for node in acts if segment.parts.block_of(node.name)]
    for form, nodes in (("blocks", inner), ("all", acts)):
        if len({node.op == "hard_swish" for node in nodes}) == 2 and (form == "blocks" or nodes != inner):
            for node in nodes:
                other = "relu" if node.op == "hard_swish" else "hard_swish"
                yield Change(node.name, form, nodes=with_op(node, other))


def act_throughout(segment: Segment) -> Iterator[Change]:
    """swish for every activation.

    Networks that came later have it in all layers.

    Source: https://arxiv.org/abs/1905.11946
    """
    for node in _acts(segment):
        yield Change(node.name, nodes=with_op(node, "swish"))


def _acts(segment: Segment) -> list[Node]:
    """The activations of layers, but for those inside squeeze-and-excite."""
    acts = plain_activations(segment, *ACTS)
    return [node for node in acts if _part(segment, node) != "squeeze"]


def _part(segment: Segment, node: Node) -> str:
    unit = segment.parts.unit(node.name)
    return "" if unit is None else segment.parts.part_of(unit.conv.name)
