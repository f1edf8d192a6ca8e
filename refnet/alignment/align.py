"""Two graphs side by side: which unit of the one is which of the other.

A MobileNet is a chain in all but the reads of its shortcuts and gates, and of branches `in_reading_order` settles which
comes first: so aligning two graphs is aligning two sequences (Needleman and Wunsch, J. Mol. Biol. 48(3), 1970). What an
alignment costs is counted and not weighed: the properties of either graph that have no equal in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, Node, Unit
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES, POOLS, RESIZES, WINDOWED

__all__ = ["Pairs", "align", "cheapest", "in_reading_order"]

Counts = npt.NDArray[np.int64]
Pairs = list[tuple[Unit | None, Unit | None]]

_SLOTS = (
    "kind",
    "op",
    "channels",
    "filter",
    "stride",
    "dilation",
    "groups",
    "slope",
    "offset",
    "threshold",
    "low",
    "high",
)


# By operation, of which kind it is: two of a kind may be a pair.
_ALIKE = {**dict.fromkeys((*ACTIVATIONS, *GATES), "activation"), **dict.fromkeys(RESIZES, "resize")}


def align(one: Graph, other: Graph) -> Pairs:
    """Pair the units of two graphs in their order, whatever their nodes are called.

    Units are convolutions with their batch norm; activations are units of their own here, because a network may have
    them elsewhere. Two units may be a pair if their operation is the same, or if both are activations or gates,
    or both resizes. Each
    property that the two do not share counts twice, once for either; a unit without a counterpart counts all that it
    has. Of alignments that cost the same, one is taken whose convolutions read equal numbers of channels.

    Returns
    -------
    pairs : (one, other), None where the other has no such unit

    Notes
    -----
    Time and memory go with the product of the two lengths: about 0.1 us and 30 bytes for each pair of units, 0.1 s and
    30 MB for two graphs of a thousand.
    """
    units, others = _units(one), _units(other)
    inner, other_inner = _inner(units), _inner(others)
    slots, other_slots = _encoded(*([_properties(unit.conv) for unit in each] for each in (units, others)))
    if np.array_equal(slots, other_slots) and np.array_equal(inner, other_inner):
        return list(zip(units, others, strict=True))  # which costs nothing, and pairs all
    has, other_has = slots > 0, other_slots > 0
    costs = np.zeros((len(units), len(others)), np.int64)
    for slot in range(len(_SLOTS)):
        apart = slots[:, None, slot] != other_slots[None, :, slot]
        costs += apart * (has[:, None, slot] + other_has[None, :, slot].astype(np.int64))
    missing, extra = has.sum(axis=1), other_has.sum(axis=1)
    # A second count decides among equals; no sum of it reaches a first one.
    first = len(units) + len(others) + 1
    costs = first * costs + (inner[:, None] != other_inner[None, :])
    missing, extra = (first * missing + (missing == 0), first * extra + (extra == 0))
    unlike = slots[:, None, 0] != other_slots[None, :, 0]
    costs = np.where(unlike, missing[:, None] + extra[None, :] + 1, costs)
    _, pairs = cheapest(costs, missing, extra)
    return [(None if i is None else units[i], None if j is None else others[j]) for i, j in pairs]


def in_reading_order(graph: Graph) -> Graph:
    """The same graph with its nodes in the order in which its outputs need them, whatever order a file has them in.

    Of what a node reads, the tensor that lies deepest comes first; of two that lie equally deep, the first. Every
    order of branches that do not read one another gives the same graph. Depth is counted in units, so that folding
    changes no order; what no output needs comes last.
    """
    own = {unit.conv.name for unit in graph.units()}
    depth = {SOURCE: 0}
    for node in graph.nodes:
        depth[node.name] = max(depth[name] for name in node.inputs) + (node.name in own)
    found: dict[str, Node] = {}
    stack = [*reversed((*graph.outputs, *graph.by_name))]
    while stack:
        name = stack[-1]
        open_inputs = [each for each in graph[name].inputs if each != SOURCE and each not in found]
        if name in found or not open_inputs:
            found.setdefault(stack.pop(), graph[name])
        else:
            stack.append(max(open_inputs, key=depth.__getitem__))
    return Graph(graph.recipe, tuple(found.values()), graph.outputs)


def cheapest(costs: Counts, missing: Counts, extra: Counts) -> tuple[int, list[tuple[int | None, int | None]]]:
    """Align two sequences of lengths n and m at the least cost.

    Parameters
    ----------
    costs : (n, m), of each pair
    missing, extra : (n,) and (m,), of an element of the first or second sequence that has no counterpart

    Returns
    -------
    cost : of the whole
    pairs : indices into both, in order, None where one side has no counterpart; of equal costs, as many pairs as can
        be come first
    """
    n, m = costs.shape
    without = np.concatenate([[0], np.cumsum(extra)])
    least = np.empty((n + 1, m + 1), np.int64)
    least[0] = without
    for i in range(n):
        row = least[i] + missing[i]
        np.minimum(row[1:], least[i, :-1] + costs[i], out=row[1:])
        # The least over all ways to go without the last few of the second sequence.
        least[i + 1] = np.minimum.accumulate(row - without) + without
    pairs: list[tuple[int | None, int | None]] = []
    i, j = n, m
    while i or j:
        if i and least[i, j] == least[i - 1, j] + missing[i - 1]:
            i -= 1
            pairs.append((i, None))
        elif j and least[i, j] == least[i, j - 1] + extra[j - 1]:
            j -= 1
            pairs.append((None, j))
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return int(least[n, m]), pairs[::-1]


def _units(graph: Graph) -> list[Unit]:
    """Convolutions with their batch norm, every other node by itself."""
    before = {name for node in graph.nodes if node.op in (*ACTIVATIONS, *GATES) for name in node.inputs}
    return graph.units(keep=before)


def _properties(node: Node) -> dict[str, Any]:
    """What alignment looks at: nothing that only folding or the size of the image changes; of a flatten, nothing."""
    if node.op == "flatten":
        return {}
    found: dict[str, Any] = {"kind": _ALIKE.get(node.op, node.op), "op": node.op}
    if node.op in CONVOLUTIONS:
        found["channels"] = node.params["w"][0]
    if node.op in WINDOWED:
        found["filter"] = node.params["w"][-2:]
    if node.op not in POOLS:
        found |= {key: node.attrs[key] for key in _SLOTS if key in node.attrs}
    return found


def _encoded(*sequences: Sequence[dict[str, Any]]) -> list[Counts]:
    """Properties as numbers, (units, slots): equal ones are equal, and 0 is none."""
    numbers: dict[tuple[str, Any], int] = {}
    return [
        np.array(
            [
                [numbers.setdefault((slot, each[slot]), len(numbers) + 1) if slot in each else 0 for slot in _SLOTS]
                for each in sequence
            ],
            np.int64,
        ).reshape(-1, len(_SLOTS))
        for sequence in sequences
    ]


def _inner(units: Sequence[Unit]) -> Counts:
    """How many channels each unit's filters read; what the unit before it makes, and so of no account by itself."""
    weights = (unit.conv.params.get("w", ()) for unit in units)
    return np.array([w[1] if len(w) in (2, 4) else 0 for w in weights], np.int64)
