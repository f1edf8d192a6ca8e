"""Two graphs side by side: what each of their nodes costs, and what the one saves over the other."""

from __future__ import annotations

from typing import NamedTuple

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference
from refnet.alignment.naming import named_after
from refnet.graph import SOURCE, Graph
from refnet.ops import OPS
from refnet.readings.cost import Cost, cost

__all__ = ["CostPair", "GraphDiff", "LayerPair", "diff_graphs", "layer_pairs"]

_BEGINS = ("convolution", "pool", "join", "classifier")  # kinds of operations with which a layer begins


class CostPair(NamedTuple):
    """A node of either graph, as each has it under its own name; None where it has no such node.

    Attributes
    ----------
    one, other : what it costs in each
    name : what differences call it: the first one's name, where that has the node
    """

    one: Cost | None
    other: Cost | None
    name: str

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


class LayerPair(NamedTuple):
    """A layer of both graphs, or of one: a convolution, pool or join with what follows it.

    Attributes
    ----------
    pairs : its nodes
    differences : of any of them
    """

    pairs: tuple[CostPair, ...]
    differences: tuple[Difference, ...]

    @property
    def one(self) -> tuple[Cost, ...]:
        """Its nodes in the first graph; empty where that has none of them."""
        return tuple(pair.one for pair in self.pairs if pair.one)

    @property
    def other(self) -> tuple[Cost, ...]:
        """Likewise in the second."""
        return tuple(pair.other for pair in self.pairs if pair.other)


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
            pairs += [CostPair(None, theirs[each], each) for each in order[at:place] if each not in mine]
            at = place + 1
        pairs.append(CostPair(row, theirs.get(name), name))
    pairs += [CostPair(None, theirs[each], each) for each in order[at:] if each not in mine]
    folded = not any(node.op == "batch_norm" for node in one.nodes)
    return GraphDiff(tuple(pairs), differences(one, named.graph, folded=folded))


def layer_pairs(found: GraphDiff) -> list[LayerPair]:
    """The nodes of two aligned graphs, layer by layer; what is of the input or the output is of the end layer.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> found = diff_graphs(build("paper/mobilenet_v3_large@wide_stem"), build("paper/mobilenet_v3_large"))
    >>> layers = layer_pairs(found)
    >>> [[each.key for each in layer.differences] for layer in layers[:3]], layers[3].one
    ([['channels', 'op'], ['channels'], []], ())
    """
    groups: list[list[CostPair]] = []
    for pair in found.pairs:
        row = pair.one or pair.other
        begins = row is not None and OPS[row.node.op].kind in _BEGINS
        if groups and not begins and _sides(groups[-1]) >= _sides([pair]):
            groups[-1].append(pair)
        else:
            groups.append([pair])
    place = {pair.name: number for number, pairs in enumerate(groups) for pair in pairs}
    own: list[list[Difference]] = [[] for _ in groups]
    for each in found.differences:
        own[place.get(each.node, 0 if each.node == SOURCE else -1)].append(each)
    return [LayerPair(tuple(pairs), tuple(each)) for pairs, each in zip(groups, own, strict=True)]


def _sides(pairs: list[CostPair]) -> set[int]:
    """Which of the two graphs has some of these nodes."""
    return {side for pair in pairs for side, row in enumerate((pair.one, pair.other)) if row}
