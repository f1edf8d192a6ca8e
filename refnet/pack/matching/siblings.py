"""Tensors whose names differ in numbers alone are of one kind: `06_dwconv` is of its layer what `10_dwconv` is of its.

The tensor of a layer that is wrong may be nearest to another one of the same layer: to what lies before its batch norm,
or behind its activation.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from refnet.network import Network
from refnet.pack.matching.layers_right import layers_right
from refnet.pack.matching.likeness import Tables

__all__ = ["as_siblings_are"]

_SHARE = 2 / 3  # more than so many of a kind are the same of their layers; where all tensors are of one kind, none is


def as_siblings_are(
    tables: Tables, network: Network, pairs: Mapping[str, tuple[str, str]], named: Collection[str]
) -> dict[str, str]:
    """{node: another node of its layer}, for tensors that contents tell to be otherwise than most of their kind.

    Where a kind is of two minds, all kinds tell. Of names that vendors give those tell which contents have put
    elsewhere in their layer: a convolution's that holds what batch norm makes of it. No fewer layers may be right then.

    Parameters
    ----------
    pairs : by node, the candidate's name of its tensor and how it was found
    named : the nodes that names alone tell
    """
    layer = {node.name: unit for unit in network.graph.units() for node in unit.nodes}
    kinds: dict[str, list[str]] = defaultdict(list)
    for node, (source, _) in pairs.items():
        if node in layer and (kind := re.sub(r"\d+", "#", source)) != source:
            kinds[kind].append(node)
    if len(kinds) < 2:
        return {}
    places = {
        node: [each and each.name for each in layer[node]].index(node) for nodes in kinds.values() for node in nodes
    }
    moved: dict[str, str] = {}
    elsewhere = {
        kind: {places[node] for node in nodes if pairs[node][1] == "vendor" and node not in named}
        for kind, nodes in kinds.items()
    }
    first = {
        kind: min(elsewhere[kind]) if len(elsewhere[kind]) == 1 else _most(Counter(places[node] for node in nodes))
        for kind, nodes in kinds.items()
    }
    settled = [places[node] if first[kind] is None else first[kind] for kind, nodes in kinds.items() for node in nodes]
    for kind, nodes in kinds.items():
        seen, most = {places[node] for node in nodes}, first[kind]
        if most is None:
            most = _most(Counter(place for place in settled if place in seen))
        told = ("content", "vendor") if most in elsewhere[kind] else ("content",)
        for node in nodes:
            there = None if most is None or places[node] == most else layer[node][most]
            if there is not None and there.name not in pairs and pairs[node][1] in told:
                moved[node] = there.name
    if not moved:
        return {}
    own = {node: source for node, (source, _) in pairs.items()}
    other = {moved.get(node, node): source for node, source in own.items()}
    (before, _), (behind, _) = (layers_right(tables, network, sources) for sources in (own, other))
    return moved if behind >= before else {}


def _most(counts: Counter[int]) -> int | None:
    """What most are, if they are so many."""
    most, count = counts.most_common(1)[0]
    return most if count > _SHARE * counts.total() else None
