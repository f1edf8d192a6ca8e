"""Two graphs side by side: what each of their nodes costs, and what the one saves over the other."""

from __future__ import annotations

from typing import NamedTuple

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference
from refnet.alignment.naming import named_after
from refnet.graph import Graph
from refnet.readings.cost import Cost, cost

__all__ = ["CostPair", "GraphDiff", "diff_graphs"]


class CostPair(NamedTuple):
    """A node of either graph, as each has it under its own name; None where it has no such node."""

    one: Cost | None
    other: Cost | None

    @property
    def macs(self) -> int:
        """Multiply-adds that the other graph has more here; fewer where negative."""
        return (self.other.macs if self.other else 0) - (self.one.macs if self.one else 0)

    @property
    def params(self) -> int:
        """Parameters that the other graph has more here, batch-norm statistics left out."""
        return (self.other.trainable if self.other else 0) - (self.one.trainable if self.one else 0)


class GraphDiff(NamedTuple):
    """Two graphs aligned.

    Attributes
    ----------
    pairs : every node of either once, in the order of the first
    differences : in what the other is another network; under the first one's names, see `alignment.diff`
    """

    pairs: tuple[CostPair, ...]
    differences: tuple[Difference, ...]

    @property
    def macs(self) -> int:
        """Multiply-adds that the other graph has more."""
        return sum(pair.macs for pair in self.pairs)

    @property
    def params(self) -> int:
        """Parameters that the other graph has more, batch-norm statistics left out."""
        return sum(pair.params for pair in self.pairs)


def diff_graphs(one: Graph, other: Graph) -> GraphDiff:
    """Align two graphs and set their costs side by side.

    Parameters
    ----------
    one, other : any graphs, folded or not, at sizes of their own

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> diff_graphs(build("paper/mobilenet_v3_large@wide_stem"), build("paper/mobilenet_v3_large")).macs
    -10436608
    """
    named = named_after(one, other)
    mine = {row.node.name: row for row in cost(one)}
    theirs = {named.names[row.node.name]: row for row in cost(other)}
    order = [node.name for node in named.graph.nodes]
    pairs: list[CostPair] = []
    at = 0
    for name, row in mine.items():
        if name in theirs and (place := order.index(name)) >= at:
            pairs += [CostPair(None, theirs[each]) for each in order[at:place] if each not in mine]
            at = place + 1
        pairs.append(CostPair(row, theirs.get(name)))
    pairs += [CostPair(None, theirs[each]) for each in order[at:] if each not in mine]
    return GraphDiff(tuple(pairs), differences(one, named.graph))
