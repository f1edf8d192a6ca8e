"""Runs of one segment with changes: only what a change reaches is run again; between two nodes time is asked for.

No operation mixes the images of a batch, so that some of them can be run without the others.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment, run
from refnet.graph import Node
from refnet.judge.causes.budget import SearchBudget
from refnet.networks.rewrite import fold_batch_norm, norms
from refnet.ops import BY_ELEMENT, OPS
from refnet.readings import fast

__all__ = ["EVERY", "Replays", "elements"]

Array = npt.NDArray[Any]

EVERY = slice(None)
_SLOW = 4  # times as many elements as the segment has: what makes more is looked at late


class _Joined(NamedTuple):
    """A batch norm and the convolution that it reads, as one node under the batch norm's name; and its weights."""

    conv: str
    node: Node
    weights: list[Array | None]


class Replays:
    """A segment as it should be, with every tensor in it, beside which changed ones are run.

    Parameters
    ----------
    segment : unchanged
    dtype : of the arithmetic: float32 where only what comes closest is asked for
    images : of the batch, those that are run
    fold : whether batch norm is worked into convolutions wherever nothing changes these, which is quicker and rounds
        otherwise
    """

    def __init__(
        self,
        segment: Segment,
        budget: SearchBudget,
        dtype: npt.DTypeLike = np.float64,
        images: slice = EVERY,
        *,
        fold: bool = False,
    ) -> None:
        self.segment, self.budget, self.dtype, self.images = segment, budget, np.dtype(dtype), images
        self._arrays: dict[int, tuple[Array, Array]] = {}  # by identity, with what keeps that alive
        self._values: dict[str, Array] = {}
        self._pace: dict[str, tuple[float, float]] = {}  # by operation, seconds that it took, and its work
        self._took: dict[str, tuple[Node, float]] = {}  # by name, a node and its seconds for each element that it read
        self._read: dict[str, tuple[Node, list[str], list[Array]]] = {}  # by node, its params
        self._loaded: dict[str, tuple[Node, list[Array | None]]] = {}  # the same in the dtype of the arithmetic
        for node in segment.graph.nodes:
            keys = _keys(node)
            self._read[node.name] = node, keys, [segment.params[key] for key in keys]
        self._folded = _folded(segment, self.dtype) if fold else {}
        self.y = self._run(segment, {}, set())

    def unfolded(self) -> Array:
        """What the segment makes of its images, batch norm as it is, which rounds otherwise."""
        return run(self.segment, self.dtype)[self.images]

    def run(self, changed: Segment) -> Array:
        """What the segment makes of its images when it is changed.

        Raises
        ------
        OverBudgetError
            where the time is over.
        ValueError, IndexError
            where shapes do not fit each other: two bugs at once may leave such.
        """
        if changed.view is not None and self.images != EVERY:  # which may be about all images
            return run(changed, self.dtype)[self.images]
        moved = {name for name, array in changed.given.items() if self.segment.given.get(name) is not array}
        kept = {name: y for name, y in self._values.items() if name not in moved}
        own = {node.name for node in changed.graph.nodes if not self._is_same(node, changed)}
        for node in changed.graph.nodes:
            if node.name in own or not moved.isdisjoint(node.inputs):
                moved.add(node.name)
                kept.pop(node.name, None)
        return self._run(changed, kept, own)

    def _is_same(self, node: Node, changed: Segment) -> bool:
        """Whether a node of a changed segment is one of the unchanged segment, with the same params."""
        own, keys, arrays = self._read.get(node.name, (None, [], []))
        unchanged = changed.params is self.segment.params
        return own is node and (unchanged or all(map(is_, map(changed.params.get, keys), arrays)))

    def is_slow(self, changed: Segment) -> bool:
        """Whether a run of it takes far longer than one of the segment as it is."""
        own, nodes = self.segment.graph.nodes, changed.graph.nodes
        alike = len(nodes) == len(own) and all(map(_sized_alike, own, nodes))
        return not alike and elements(changed) > self._many

    @cached_property
    def _many(self) -> int:
        return _SLOW * elements(self.segment)

    @property
    def values(self) -> Mapping[str, Array]:
        """Every tensor of the segment as it should be."""
        return self._values

    def inputs(self, node: Node) -> list[Array | None]:
        """What a node of the segment reads, and its params, for `fast`."""
        read = [self._given(self.segment, name) for name in node.inputs]
        return [*read, *self._weights(self.segment, node)]

    def part(self, changed: Segment) -> dict[str, Array]:
        """Every tensor that a part of the segment makes when it is changed; nothing where shapes do not fit."""
        made: dict[str, Array] = {}
        try:
            with np.errstate(all="ignore"):
                for node in changed.graph.nodes:
                    self.budget.check()
                    read = [made[name] if name in made else self._given(changed, name) for name in node.inputs]
                    made[node.name] = getattr(fast, node.op)(*read, *self._weights(changed, node), **node.attrs)
        except (ValueError, IndexError, KeyError):
            return {}
        return made

    def _given(self, changed: Segment, name: str) -> Array:
        return self._values[name] if name in self._values else self._read_in(changed.given[name])

    def _read_in(self, array: Array) -> Array:
        """An input of the images that are run; one that is the same of all images is so of these."""
        return self._array(array[self.images] if len(array) == self.segment.batch else array)

    def _weights(self, segment: Segment, node: Node) -> list[Array | None]:
        if (joined := self._folded.get(node.name)) is not None and joined.node is node:
            return joined.weights
        return [
            self._array(segment.params[f"{node.name}.{slot}"]) if slot in node.params else None
            for slot in OPS[node.op].params
        ]

    def _unchanged(self, node: Node) -> list[Array | None]:
        """The params of a node that no change reaches, alone or with the batch norm that reads it."""
        own, weights = self._loaded.get(node.name, (None, []))
        if own is not node:
            weights = self._weights(self.segment, node)
            self._loaded[node.name] = node, weights
        return weights

    def _run(self, segment: Segment, kept: Mapping[str, Array], own: Collection[str]) -> Array:
        """What a segment makes, some of whose tensors are known, and some of whose nodes are its own."""
        values, first = {**kept}, not self._values
        nodes = self._joined([node for node in segment.graph.nodes if node.name not in kept], own)
        last = {name: node.name for node in nodes for name in node.inputs}
        for node in nodes:
            for name in node.inputs:
                if name not in values:
                    values[name] = self._read_in(segment.given[name])
            weights = self._weights(segment, node) if node.name in own else self._unchanged(node)
            read = [*(values[name] for name in node.inputs), *weights]
            self.budget.check(0.0 if first else self._seconds(node, read))
            begun = time.monotonic()
            values[node.name] = getattr(fast, node.op)(*read, **node.attrs)
            if first:
                self._timed(node, read, time.monotonic() - begun)
            else:  # what no later node reads is let go: a change may make maps that are many times as large
                for name in node.inputs:
                    if last[name] == node.name and name != segment.end:
                        values.pop(name, None)
        if first:
            self._values = values
        y = values[segment.end]
        y = y if segment.view is None else segment.view(y)
        return y if np.isinf(segment.span).all() else y.clip(*segment.span)

    def _joined(self, nodes: list[Node], own: Collection[str]) -> list[Node]:
        """The nodes to run, each batch norm worked into the convolution that it reads where both are as they were.

        Of the unchanged segment the convolutions are run by themselves too: changes read them.
        """
        there, read = {node.name for node in nodes} - {*own}, Counter(name for node in nodes for name in node.inputs)
        found = {norm: joined for norm, joined in self._folded.items() if {norm, joined.conv} <= there}
        found = {norm: joined for norm, joined in found.items() if read[joined.conv] == 1}
        left_out = {joined.conv for joined in found.values()} if self._values else set()
        return [found[node.name].node if node.name in found else node for node in nodes if node.name not in left_out]

    def _timed(self, node: Node, read: Sequence[Array | None], took: float) -> None:
        """Keeps how long a node took where nothing was changed."""
        seconds, done = self._pace.get(node.op, (0.0, 0.0))
        self._pace[node.op] = seconds + took, done + _work(node, read)
        self._took[node.name] = node, took / _size(read)

    def _seconds(self, node: Node, read: Sequence[Array | None]) -> float:
        """How long a node takes, by what it took, or its operation, or all of them, where nothing was changed."""
        own, each = self._took.get(node.name, (None, 0.0))
        if own is node:
            return each * _size(read)
        some = [self._pace[node.op]] if node.op in self._pace else [*self._pace.values()]
        seconds, done = map(sum, zip(*some, strict=True))
        return float(_work(node, read) * seconds / done)

    def _array(self, array: Array) -> Array:
        """In the dtype of the arithmetic; what belongs to the unchanged segment is converted once."""
        if array.dtype == self.dtype:
            return array
        if id(array) not in self._arrays:
            made = array.astype(self.dtype)
            if self._values:  # of a change
                return made
            self._arrays[id(array)] = array, made
        return self._arrays[id(array)][1]


def _folded(segment: Segment, dtype: np.dtype[Any]) -> dict[str, _Joined]:
    """By batch norm of a segment, what it is with the convolution that it reads, if nothing else reads that."""
    graph, params = fold_batch_norm(segment.graph, segment.params)
    found: dict[str, _Joined] = {}
    for conv, norm in norms(segment.graph).items():
        node = replace(graph[conv], name=norm.name, inputs=segment.graph[conv].inputs)
        weights: list[Array | None] = [params[f"{conv}.{slot}"].astype(dtype) for slot in ("w", "b")]
        found[norm.name] = _Joined(conv, node, weights)
    return found


def _keys(node: Node) -> list[str]:
    return [f"{node.name}.{slot}" for slot in node.params]


def _size(read: Sequence[Array | None]) -> int:
    """How many elements the first input has."""
    return 0 if read[0] is None else read[0].size


def _work(node: Node, read: Sequence[Array | None]) -> float:
    """Multiply-adds of a node with weights, elements that it reads of another."""
    x = next(array for array in read if array is not None)
    if "w" not in node.params:
        return sum(array.size for array in read if array is not None)
    w = next(array for array in read[len(node.inputs) :] if array is not None)
    return float(x.size / x.shape[1] * w.size / math.prod(node.attrs.get("stride", (1, 1))))


def elements(segment: Segment) -> int:
    """Of all tensors that are made of several elements each: how long a run takes goes with it."""
    made = (node.name for node in segment.graph.nodes if node.op not in BY_ELEMENT)
    return sum(math.prod(segment.sizes.get(name, ())) for name in made)


def _sized_alike(own: Node, node: Node) -> bool:
    """Whether a node in another one's place makes a map of the same size."""
    return own is node or (own.op == node.op == "batch_norm" and own.inputs == node.inputs)
