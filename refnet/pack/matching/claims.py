"""Which nodes the candidate's tensors are that nobody has named: the nearest ones to what nodes make are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.ops import ACTIVATIONS
from refnet.pack.matching.layouts import AxisOrder
from refnet.pack.matching.likeness import Likeness, Tables

__all__ = ["EQUAL", "Claims", "Known"]

Array = npt.NDArray[Any]

EQUAL = 1e-6  # relative distance within which two nodes hold the same


class Known(NamedTuple):
    """The candidate's tensor that is a node's, and how it is read."""

    source: str
    layout: AxisOrder


class Claims:
    """The tensors that are free, and those that were found to be a node's.

    Parameters
    ----------
    known : tensors whose nodes are known
    limit : the relative distance within which a tensor is what a node makes

    Attributes
    ----------
    free : names of tensors that are no node's yet
    found : by node, what was claimed
    distance : by node, from what it makes
    """

    def __init__(self, tables: Tables, graph: Graph, known: Mapping[str, Known], limit: float) -> None:
        self.tables, self.graph, self.known, self.limit = tables, graph, known, limit
        self.free = [name for name in tables.candidate if name not in {each.source for each in known.values()}]
        self.found: dict[str, Known] = {}
        self.distance: dict[str, float] = {}

    def claim(self, nodes: list[str], made: Mapping[str, Array]) -> None:
        """The tensors that are what nodes of a unit made, the nearest first; equal ones in order."""
        near = self.near(nodes, made)
        while near:
            source = min(near, key=lambda name: min(each.distance for each in near[name].values()))
            ties = self._ties(near[source])
            alike = [name for name in self.free if name in near and self._ties(near[name]) == ties]
            if len(ties) > 1 and len(alike) >= len(ties):
                chosen = dict(zip(ties, alike, strict=False))
            else:
                chosen = {self._of_tied(source, ties, near[source], made): source}
            for node, name in chosen.items():
                self.take(node, name, near[name][node])
            near = {
                name: left
                for name, each in near.items()
                if name in self.free and (left := {n: one for n, one in each.items() if n not in self.found})
            }

    def near(self, nodes: list[str], made: Mapping[str, Array]) -> dict[str, dict[str, Likeness]]:
        """By free tensor, the nodes that it is near to, and how near."""
        near: dict[str, dict[str, Likeness]] = {}
        for node in nodes:
            sample, limit = self.tables.sample(node, made[node]), self._limit(node)
            if not np.ptp(sample):
                continue  # zeros are like any zeros
            for source in self.free:
                if self.tables.fits(source, node) and not self._is_flat(source, node) and self._is_same(source, node):
                    like = self.tables.like(source, node, sample)
                    if like.distance <= limit:
                        near.setdefault(source, {})[node] = like
        return near

    def _limit(self, node: str) -> float:
        """How far a node's tensor may lie: no farther than that of which it is a copy, where that is known."""
        flat = node in self.graph and self.graph[node].op == "flatten"
        if flat and (before := self.graph[node].inputs[0]) in self.distance:
            return 4 * max(self.distance[before], EQUAL)
        return self.limit

    def _is_same(self, source: str, node: str) -> bool:
        """Whether a tensor holds the numbers that it would be flattened from, where those are known."""
        before = self.graph[node].inputs[0] if node in self.graph and self.graph[node].op == "flatten" else ""
        each = self.found.get(before) or self.known.get(before)
        if each is None:
            return True
        mine, theirs = (np.ravel(np.asarray(self.tables.candidate[name])) for name in (source, each.source))
        return np.array_equal(mine, theirs, equal_nan=True)

    def _is_flat(self, source: str, node: str) -> bool:
        """Whether a tensor has the shape of what flattens the node, and so is that."""
        reader = self.graph.only_reader(node)
        return (
            reader is not None
            and reader.op == "flatten"
            and (self.tables.found[source] == self.tables.shapes[reader.name] != self.tables.shapes[node])
        )

    def _ties(self, near: Mapping[str, Likeness]) -> tuple[str, ...]:
        """The nodes that a tensor is as good as equally near to, in order."""
        least = min(each.distance for each in near.values())
        return tuple(node for node, each in near.items() if each.distance <= 4 * least + EQUAL)

    def _of_tied(
        self, source: str, ties: tuple[str, ...], near: Mapping[str, Likeness], made: Mapping[str, Array]
    ) -> str:
        """One of tied nodes: behind a ReLU nothing is below zero, before it something may be."""
        for node in reversed(ties):
            before = self.graph[node].inputs[0]
            if self.graph[node].op in ACTIVATIONS and before in ties and self.graph[node].op.startswith("relu"):
                return node if np.nanmin(np.asarray(self.tables.candidate[source])) >= 0 else before
        exact = [node for node in ties if self.tables.found[source] == self.tables.shapes[node]]
        return min(exact or ties, key=lambda node: near[node].distance)

    def take(self, node: str, source: str, like: Likeness) -> None:
        """Let a tensor be a node's."""
        self.found[node], self.distance[node] = Known(source, like.layout), like.distance
        self.free.remove(source)
