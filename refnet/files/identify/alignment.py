"""Two networks side by side: which node of the one is which of the other.

A MobileNet is a chain in all but the reads of its shortcuts and gates, so its order of execution is the only one, and
aligning two networks is aligning two sequences (Needleman and Wunsch, J. Mol. Biol. 48(3), 1970).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from refnet.graph import Graph, Node
from refnet.networks.rewrite import norms
from refnet.ops import CONVOLUTIONS

__all__ = ["ACTIVATIONS", "Layer", "Pairs", "align", "layers", "moved", "room"]

ACTIVATIONS = ("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "swish")

_NEVER = 99.0
_OF_CONVOLUTION, _OF_FLATTEN, _OF_OTHERS = 1.5, 0.1, 1.0  # what it costs that one side lacks a node


class Layer(NamedTuple):
    """A node and, if it is a convolution, the batch norm that could be folded into it."""

    node: Node
    norm: Node | None

    @property
    def output(self) -> str:
        """The tensor that the layers after it read."""
        return self.node.name if self.norm is None else self.norm.name


_Token = tuple[str, tuple[int, ...], tuple[object, ...]]  # operation, shape of the weights, attributes
Pairs = list[tuple[Layer | None, Layer | None]]


def layers(graph: Graph) -> list[Layer]:
    """The nodes of a graph, each batch norm with its convolution."""
    found = norms(graph)
    inside = {norm.name for norm in found.values()}
    return [Layer(node, found.get(node.name)) for node in graph.nodes if node.name not in inside]


def align(known: Sequence[Layer], file: Sequence[Layer]) -> Pairs:
    """Pair the layers of two networks in their order, at the least cost.

    Returns
    -------
    pairs : (known, file), None where the other has no such layer
    """
    a, b = [_token(layer.node) for layer in known], [_token(layer.node) for layer in file]
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = _middle(a[start : len(a) - end], b[start : len(b) - end])
    pairs: Pairs = list(zip(known[:start], file[:start], strict=True))
    pairs += [(None if i is None else known[start + i], None if j is None else file[start + j]) for i, j in middle]
    return pairs + list(zip(known[len(a) - end :], file[len(b) - end :], strict=True))


def room(name: str) -> str:
    """The layer or block that a node stands in: 'block3'."""
    return name.partition(".")[0]


def moved(pairs: Pairs) -> dict[str, Node]:
    """Nodes that have no counterpart only because the other network has theirs elsewhere in the same block.

    Returns
    -------
    moved : the file's name of the node -> the known node
    """
    missing = [ours.node for ours, theirs in pairs if ours and theirs is None and not ours.node.params]
    found: dict[str, Node] = {}
    here = ""
    for ours, theirs in pairs:
        if ours is not None:
            here = room(ours.node.name)
        elif theirs is not None:
            same = [node for node in missing if node.op == theirs.node.op and room(node.name) == here]
            if same:
                found[theirs.node.name] = same[0]
                missing.remove(same[0])
    return found


def _middle(a: Sequence[_Token], b: Sequence[_Token]) -> list[tuple[int | None, int | None]]:
    """Indices into two sequences of tokens, paired at the least cost."""
    lacks_a, lacks_b = [_absence(token) for token in a], [_absence(token) for token in b]
    costs = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a)):
        costs[i + 1][0] = costs[i][0] + lacks_a[i]
    for j in range(len(b)):
        costs[0][j + 1] = costs[0][j] + lacks_b[j]
    for i, one in enumerate(a):
        above, row, lacks = costs[i], costs[i + 1], lacks_a[i]
        for j, other in enumerate(b):
            row[j + 1] = min(above[j] + _distance(one, other), above[j + 1] + lacks, row[j] + lacks_b[j])
    pairs: list[tuple[int | None, int | None]] = []
    i, j = len(a), len(b)
    while i or j:
        here = costs[i][j]
        if i and j and here == costs[i - 1][j - 1] + _distance(a[i - 1], b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and here == costs[i - 1][j] + lacks_a[i - 1]:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]


def _token(node: Node) -> _Token:
    """What alignment looks at: nothing that only folding or the size of the image changes."""
    attrs = {key: value for key, value in node.attrs.items() if key in ("stride", "dilation", "slope", "offset")}
    pool = node.op.endswith("pool2d")
    return node.op, node.params.get("w", ()), () if pool else tuple(attrs.items())


def _absence(token: _Token) -> float:
    if token[0] in CONVOLUTIONS:
        return _OF_CONVOLUTION
    return _OF_FLATTEN if token[0] == "flatten" else _OF_OTHERS


@lru_cache(maxsize=65536)
def _distance(one: _Token, other: _Token) -> float:
    """How unlike two nodes are; more than both their absences if they cannot be the same."""
    if one == other:
        return 0.0
    (op, shape, attrs), (other_op, other_shape, other_attrs) = one, other
    if op != other_op:
        alike = op in ACTIVATIONS and other_op in ACTIVATIONS
        return 0.7 if alike else _NEVER
    # Channels of the output and the kernel; channels of the input are the business of the layer that makes them.
    out, kernel = shape[:1] != other_shape[:1], shape[-2:] != other_shape[-2:] and op != "pointwise_conv2d"
    inner = shape[1:2] != other_shape[1:2] and op != "depthwise_conv2d"
    return 0.6 * out + 0.6 * kernel + 0.2 * inner + 0.3 * (attrs != other_attrs)
