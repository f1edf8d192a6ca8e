"""Which channels of a graph are the same ones: what must be shrunk together so that the graph stays one.

A *width* is a number of channels with every tensor that has these channels: a convolution makes them, batch norm,
activations, depthwise convolutions and pools keep them, an addition ties those of its two inputs. Found in the graph
itself, so that networks that no table describes have widths too. Nothing is asked of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from refnet.graph import SOURCE, Graph, Node
from refnet.ops import OPS
from refnet.readings.shapes import Shape, shapes

__all__ = ["KINDS", "ChannelWidth", "channel_widths", "shrunk"]

KINDS = ("expansion", "bottleneck", "stem", "head")  # that a proposal may shrink

_MAKERS = ("conv2d", "pointwise_conv2d")
_FIXED = ("grouped_conv2d", "concat")  # whose channels have places


class ChannelWidth(NamedTuple):
    """Channels that are the same ones.

    Attributes
    ----------
    name : of the convolution that first makes them
    kind : 'expansion' (a depthwise convolution filters them), 'bottleneck' (nothing bends them, or a shortcut carries
        them on), 'stem' (made of the image), 'head' (others), 'squeeze' (of a squeeze-and-excite, which follows the
        channels that it gates), 'fixed' (the image's, the classes, and what no rule shrinks)
    channels : how many
    tensors : that have them
    makers : convolutions that make them, in order
    gates : of a squeeze: the name of the width that it gates
    """

    name: str
    kind: str
    channels: int
    tensors: frozenset[str]
    makers: tuple[str, ...]
    gates: str = ""


def channel_widths(graph: Graph) -> list[ChannelWidth]:
    """The widths of a graph, in the order in which they are first made; without what is the image's alone.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> for width in channel_widths(build("torchvision/mobilenet_v3_small"))[:4]:
    ...     print(width.name, width.kind, width.channels, len(width.makers))
    stem.conv stem 16 2
    block1.se.reduce squeeze 8 1
    block1.project bottleneck 16 1
    block2.expand expansion 72 1
    """
    sizes = shapes(graph)
    ties = _Ties()
    for node in graph.nodes:
        _tie(node, sizes, ties)
    for name in (SOURCE, *graph.outputs):
        ties.fix(name)
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes:
        groups.setdefault(ties.root(node.name), []).append(node)
    names = {root: _named(nodes) for root, nodes in groups.items()}
    squeezes = ((squeeze, gated) for squeeze, gated in _squeezes(graph, ties) if not ties.is_fixed(squeeze))
    gates = {squeeze: names[gated] for squeeze, gated in squeezes if gated in names}
    return [
        ChannelWidth(
            names[root],
            _kind(root, nodes, graph, ties, gates),
            sizes[nodes[0].name][0],
            frozenset(node.name for node in nodes),
            tuple(node.name for node in nodes if node.op in _MAKERS),
            gates.get(root, ""),
        )
        for root, nodes in groups.items()
    ]


def shrunk(graph: Graph, channels: Mapping[str, int]) -> Graph:
    """The graph with other numbers of channels, by the names of widths; squeezes keep their share of what they gate.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> smaller = shrunk(build("torchvision/mobilenet_v3_small"), {"block5.expand": 120})
    >>> smaller["block5.se.reduce"].params["w"], smaller["block5.project"].params["w"]
    ((32, 120), (40, 120))
    """
    widths = channel_widths(graph)
    wanted = {width.name: channels.get(width.name, width.channels) for width in widths}
    by_name = {width.name: width for width in widths}
    for width in widths:
        if width.gates and width.name not in channels:
            share = wanted[width.gates] / by_name[width.gates].channels
            wanted[width.name] = max(1, round(width.channels * share))
    count = {tensor: wanted[width.name] for width in widths for tensor in width.tensors}
    nodes = [replace(node, params=_params(node, count)) for node in graph.nodes]
    recipe = replace(graph.recipe, model="", width=1.0)
    return Graph(recipe, tuple(nodes), graph.returns)


class _Ties:
    """Sets of tensors that have the same channels, and which of these sets stay as they are."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}
        self._fixed: set[str] = set()

    def root(self, name: str) -> str:
        while (above := self.above.get(name, name)) != name:
            name = above
        return name

    def tie(self, one: str, other: str) -> None:
        self.above[self.root(one)] = self.root(other)

    def fix(self, name: str) -> None:
        self._fixed.add(name)

    def is_fixed(self, root: str) -> bool:
        return any(self.root(name) == root for name in self._fixed)


def _tie(node: Node, sizes: Mapping[str, Shape], ties: _Ties) -> None:
    """What a node does to the channels that it reads."""
    first, own = sizes[node.inputs[0]], sizes[node.name]
    if node.op in _MAKERS:
        return
    if node.op in _FIXED or (node.op == "flatten" and first[1:] != (1,) * len(first[1:])):
        for name in (*node.inputs, node.name):
            ties.fix(name)
        return
    for name in node.inputs:
        if sizes[name][0] == own[0]:  # a gate may have one number for all channels
            ties.tie(node.name, name)
        else:
            ties.fix(name)
    if any(shape != (own[0],) for slot, shape in node.params.items() if slot == "alpha"):
        ties.fix(node.name)


def _named(nodes: list[Node]) -> str:
    return next((node.name for node in nodes if node.op in _MAKERS), nodes[0].name)


def _squeezes(graph: Graph, ties: _Ties) -> list[tuple[str, str]]:
    """(squeeze, what it gates), by their roots: the gate of a `scale` is made of the first."""
    found = []
    for scale in graph.nodes:
        if scale.op != "scale":
            continue
        node = graph.by_name.get(scale.inputs[1])
        while node is not None and OPS[node.op].kind in ("activation", "gate", "norm", "arithmetic"):
            node = graph.by_name.get(node.inputs[0])
        if node is not None and node.op == "pointwise_conv2d":
            squeeze, gated = ties.root(node.inputs[0]), ties.root(scale.name)
            if squeeze != gated:
                found.append((squeeze, gated))
    return found


def _kind(root: str, nodes: list[Node], graph: Graph, ties: _Ties, gates: Mapping[str, str]) -> str:
    ops = {node.op for node in nodes}
    if ties.is_fixed(root) or not ops & set(_MAKERS):
        return "fixed"
    if root in gates:
        return "squeeze"
    makers = [node for node in nodes if node.op in _MAKERS]
    if "add" in ops or not any(OPS[op].kind == "activation" for op in ops):
        return "bottleneck"
    if any(ties.root(node.inputs[0]) == ties.root(SOURCE) for node in makers):
        return "stem"
    return "expansion" if "depthwise_conv2d" in ops else "head"


def _params(node: Node, count: Mapping[str, int]) -> dict[str, Shape]:
    """The shapes of a node's arrays at other numbers of channels; `count` has none of the image."""
    if node.name not in count:
        return dict(node.params)
    C, found = count[node.name], {}
    for slot, shape in node.params.items():
        if slot == "w" and node.op in _MAKERS:
            found[slot] = (C, count.get(node.inputs[0], shape[1]), *shape[2:])
        elif node.op == "grouped_conv2d":
            found[slot] = shape
        else:
            found[slot] = (C, *shape[1:]) if slot != "alpha" or len(shape) == 1 else shape
    return found
