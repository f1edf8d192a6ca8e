"""A graph under the names of another: the other one's where it has the node, else after their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, count
from typing import NamedTuple

from refnet.alignment.align import Pairs, align, in_reading_order
from refnet.alignment.diff import same_number
from refnet.graph import Graph, Node
from refnet.networks.build import parts
from refnet.networks.dialects import MODELS
from refnet.ops import OPS

__all__ = ["NamedGraph", "named_after"]

_CALLED = {
    "affine": "rescale",
    "conv2d": "conv",
    "depthwise_conv2d": "depthwise",
    "pointwise_conv2d": "pointwise",
    "batch_norm": "bn",
    "avg_pool2d": "avg_pool",
    "max_pool2d": "max_pool",
}


class NamedGraph(NamedTuple):
    """A file's graph under a known network's names.

    Attributes
    ----------
    graph : its recipe is the known one's at the file's size
    names : the file's name of each node -> its name now
    folded : whether batch norms of the known network have been folded
    """

    graph: Graph
    names: dict[str, str]
    folded: bool

    def keeping(self, nodes: Collection[str], taken: Collection[str]) -> NamedGraph:
        """Some nodes under the file's own names again, with a number where these are taken."""
        taken = {*taken, *(name for name in self.names.values() if name not in nodes)}
        names = dict(self.names)
        for own, name in self.names.items():
            if name in nodes:
                names[own] = next(each for each in chain([own], (f"{own}_{i}" for i in count(2))) if each not in taken)
                taken.add(names[own])
        back = {self.names[own]: name for own, name in names.items()}
        return self._replace(graph=self.graph.renamed(back), names=names)


def named_after(known: Graph, file: Graph) -> NamedGraph:
    """Name the nodes of a graph after a known network's.

    Parameters
    ----------
    known : built at any size, not folded
    file : folded or not, at its own size, with any names
    """
    file = in_reading_order(file)
    pairs = align(known, file)
    names = _Names(known, pairs).names
    both = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    return NamedGraph(
        graph=_as_known(known, file.renamed(names)),
        names=names,
        folded=any(ours.norm is not None and theirs.norm is None for ours, theirs in both),
    )


class _Names:
    """The file's name of each node -> its name, every one of them once.

    A node that the known network lacks is called after the layer or block that it stands in: 'block3.project.act',
    'head.max_pool'; a softmax at the end 'output', as elsewhere.
    """

    def __init__(self, known: Graph, pairs: Pairs) -> None:
        self.parts = _parts(known)
        self.taken = dict.fromkeys((node.name for node in known.nodes), 1)
        self.names: dict[str, str] = {}
        self.part = ""  # that the unit before stands in
        elsewhere = self.moved(pairs)
        after = _following(pairs)
        last = max((i for i, (_, theirs) in enumerate(pairs) if theirs), default=0)
        before: Node | None = None
        for index, (ours, theirs) in enumerate(pairs):
            if theirs is None:
                continue
            node = theirs.conv
            if ours is not None:
                self.names[node.name] = ours.conv.name
                self.part = self.parts[ours.conv.name]
            elif node.name in elsewhere:
                self.names[node.name] = elsewhere[node.name].name
            else:
                self.names[node.name] = self.free(self.of_place(node, before, after[index], index == last))
            if theirs.norm is not None:
                shared = ours.norm if ours is not None else None
                self.names[theirs.norm.name] = shared.name if shared else self.free(f"{self.names[node.name]}.bn")
            before = node

    def of_place(self, node: Node, before: Node | None, after: Node | None, last: bool) -> str:
        """A name for what the known network lacks, from the nodes before and after it."""
        if node.op == "softmax" and last:
            return "output"
        if after is not None and (node.op == "pad" or self._expands(node, after)):
            self.part = self.parts[after.name]
            return f"{after.name}.pad" if node.op == "pad" else f"{self.part}.expand"
        self.part = self.part or (self.parts[after.name] if after else "head")
        closed = before is not None and OPS[before.op].kind in ("activation", "pool", "join", "layout")
        if OPS[node.op].kind in ("activation", "gate") and not closed:
            return f"{self.part if before is None else self.names[before.name]}.act"
        return f"{self.part}.{_CALLED.get(node.op, node.op)}"

    @staticmethod
    def _expands(node: Node, after: Node) -> bool:
        return node.op == "pointwise_conv2d" and after.op == "depthwise_conv2d"

    def moved(self, pairs: Pairs) -> dict[str, Node]:
        """Nodes that lack a counterpart only because the other network has theirs elsewhere in the same block.

        By the file's name of the node, the known node.
        """
        missing = [ours.conv for ours, theirs in pairs if ours and theirs is None and not ours.conv.params]
        found: dict[str, Node] = {}
        here = ""
        for ours, theirs in pairs:
            if ours is not None:
                here = self.parts[ours.conv.name]
            elif theirs is not None:
                same = [node for node in missing if node.op == theirs.conv.op and self.parts[node.name] == here]
                if same:
                    found[theirs.conv.name] = same[0]
                    missing.remove(same[0])
        return found

    def free(self, name: str) -> str:
        """The name, with a number where it is taken."""
        found = name
        while found in self.taken:
            self.taken[name] += 1
            found = f"{name}_{self.taken[name]}"
        self.taken[found] = 1
        return found


def _parts(known: Graph) -> Mapping[str, str]:
    """What each node stands in: one that no known network has, itself."""
    recipe = known.recipe
    built = _parts_of(recipe.model, recipe.width, recipe.classes) if recipe.model in MODELS else {}
    return {node.name: built.get(node.name, node.name) for node in known.nodes}


@lru_cache(maxsize=256)
def _parts_of(model: str, width: float, classes: int) -> Mapping[str, str]:
    return parts(model, width, classes)


def _following(pairs: Pairs) -> list[Node | None]:
    """For each pair the next node that both have, its own included."""
    found: list[Node | None] = []
    after: Node | None = None
    for ours, theirs in reversed(pairs):
        after = ours.conv if ours and theirs else after
        found.append(after)
    return found[::-1]


def _as_known(known: Graph, named: Graph) -> Graph:
    """A graph with the known one's numbers where float32 cannot tell them apart, and its order of terms."""
    stand_for = {unit.conv.name: unit.norm.name for unit in known.units() if unit.norm and unit.norm.name not in named}
    nodes = []
    for node in named.nodes:
        twin = known.by_name.get(node.name)
        if twin is not None and twin.op == node.op:
            node = replace(node, attrs=_exact(twin.attrs, node.attrs))
            terms = tuple(stand_for.get(name, name) for name in node.inputs)
            if node.op == "add" and terms[::-1] == twin.inputs:  # a sum does not mind the order of its terms
                node = replace(node, inputs=node.inputs[::-1])
        nodes.append(node)
    recipe = replace(known.recipe, size=named.recipe.size, channels=named.recipe.channels)
    return Graph(recipe, tuple(nodes), named.returns)


def _exact(known: Mapping[str, object], attrs: Mapping[str, object]) -> dict[str, object]:
    return {
        key: known[key] if isinstance(value, float) and same_number(known[key], value) else value
        for key, value in attrs.items()
    }
