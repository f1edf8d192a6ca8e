"""What many faults of a file have in common, so that one sentence says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from refnet.graph import Graph
from refnet.verification.values import ArrayFinding

__all__ = ["FaultPattern", "common"]

_MANY = 3  # faults that have something in common
_STATISTICS = ("mean", "var")


class FaultPattern(NamedTuple):
    """What all faults have in common.

    Attributes
    ----------
    kind : 'statistics' (only running means and variances differ), 'norms' (only arrays of batch norm), 'one' (all of
        one kind)
    arrays : how many are wrong
    layers : of how many nodes
    of : how many nodes have such arrays
    fault : the kind of all faults, '' where they have several
    """

    kind: str
    arrays: int
    layers: int
    of: int
    fault: str


def common(graph: Graph, values: Sequence[ArrayFinding]) -> FaultPattern | None:
    """The pattern of the faults, the particular ones first; None where they are few or have nothing in common."""
    slots = {f"{node.name}.{slot}": (node, slot) for node in graph.nodes for slot in node.params}
    faults = [value for value in values if value.fault]
    if len(faults) < _MANY or any(value.name not in slots for value in faults):
        return None
    nodes = {slots[value.name][0].name for value in faults}
    kinds = {value.kind for value in faults}
    fault = next(iter(kinds)) if len(kinds) == 1 else ""
    norms = {node.name for node in graph.nodes if node.op == "batch_norm"}
    found = {slots[value.name][1] for value in faults}
    if found <= set(_STATISTICS):
        return FaultPattern("statistics", len(faults), len(nodes), len(norms), fault)
    if nodes <= norms:
        return FaultPattern("norms", len(faults), len(nodes), len(norms), fault)
    if fault:
        kept = {node.name for node, slot in slots.values() if slot in found}
        return FaultPattern("one", len(faults), len(nodes), len(kept), fault)
    return None
