"""What walks through the network tell of a candidate's tensors, beside their names: one, and if need be another."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from refnet.network import Network
from refnet.networks.folded import folded_convolutions
from refnet.pack.matching.claims import Known
from refnet.pack.matching.layouts import AxisOrder
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.names import without_node
from refnet.pack.matching.unfolded import ChannelLine
from refnet.pack.matching.walk import walk_along

__all__ = ["WalkedTwice", "all_walks"]


class WalkedTwice(NamedTuple):
    """What walks tell of tensors and nodes.

    Attributes
    ----------
    vouched : nodes without a tensor that are right
    lines : by node, a tensor before batch norm and its line
    beside : tensors that are set aside
    moved : nodes under whose own names the candidate has what lies behind them in their layer
    """

    vouched: frozenset[str] = frozenset()
    lines: Mapping[str, tuple[str, ChannelLine]] = MappingProxyType({})
    beside: Mapping[str, str] = MappingProxyType({})
    moved: tuple[str, ...] = ()


def all_walks(
    tables: Tables, network: Network, pairs: dict[str, tuple[str, str]], layouts: dict[str, AxisOrder]
) -> WalkedTwice:
    """What a walk through the network finds, and if that is not all, another one.

    Where every tensor is a node's and every node has one, there is nothing to find, but what is before batch norm.

    Parameters
    ----------
    pairs, layouts : by node, the name of its tensor and how it was found, and its axes; what is found joins them
    """
    made, folded = WalkedTwice(), folded_convolutions(network.graph)
    whole = not without_node(tables.candidate, pairs) and pairs.keys() >= network.graph.by_name.keys()
    if whole and not folded:
        return made
    for again in (False, True):
        known = {node: Known(source, layouts[node]) for node, (source, _) in pairs.items()}
        fixed = frozenset(node for node, (_, how) in pairs.items() if how == "map")
        left = [source for source in without_node(tables.candidate, pairs) if source not in made.beside]
        if not again or (left and len(pairs) + len(made.vouched) < len(network.graph)):
            sure = made.vouched if again else None
            named = {node for node, (_, how) in pairs.items() if how == "name"}
            walked = walk_along(tables, network.graph, network.params, known, fixed=fixed, sure=sure, folded=folded)
            for node, other in walked.moved.items():
                pairs[other], layouts[other] = pairs.pop(node), layouts.pop(node)
            for node, each in walked.found.items():
                pairs[node], layouts[node] = (each.source, "content"), each.layout
            for node in [node for node, (source, _) in pairs.items() if source in walked.beside]:
                del pairs[node]
            lines = {node: (pairs[node][0], line) for node, line in walked.lines.items() if node in pairs}
            moved = (*made.moved, *(node for node in walked.moved if node in named))
            made = WalkedTwice(walked.vouched, lines, {**made.beside, **walked.beside}, moved)
    return made
