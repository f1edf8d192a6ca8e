"""Runs of one segment with changes: only what a change reaches is run again; between two nodes time is asked for.

No operation mixes the images of a batch, so that some of them can be run without the others.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment, run
from refnet.graph import Node
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.lanes import Lane, LanePart, gathered, reading_alike
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
        self._parts: dict[str, LanePart] = {}
        self._pace: dict[str, tuple[float, float]] = {}  # by operation, seconds that it took, and its work
        self._read: dict[str, tuple[Node, list[str], list[Array]]] = {}  # by node, its params
        for node in segment.graph.nodes:
            keys = _keys(node)
            self._read[node.name] = node, keys, [segment.params[key] for key in keys]
        self._folded = _folded(segment, self.dtype) if fold else {}
        self._places = {node.name: index for index, node in enumerate(segment.graph.nodes)}
        self.y = self._first()

    def run(self, changed: Segment) -> Array:
        """What the segment makes of its images when it is changed.

        Raises
        ------
        OverBudgetError
            where the time is over.
        ValueError, IndexError
            where shapes do not fit each other: two bugs at once may leave such.
        """
        (y,) = self.several([changed])
        if isinstance(y, Exception):
            raise y
        return y

    def several(self, changed: Sequence[Segment]) -> list[Array | Exception]:
        """The same of several ways to change it; in the place of one where shapes do not fit, the error.

        What they have in common is run once, and what they do alike to other tensors as if these were more images.
        """
        made: dict[int, Array | Exception] = {}
        lanes: dict[int, Lane] = {}
        for number, each in enumerate(changed):
            if each.view is not None and self.images != EVERY:  # which may be about all images
                made[number] = _tried(partial(self._viewed, each))
            else:
                lanes[number] = self._lane(each)
        self._run_lanes(tuple(lanes.values()))
        made |= {number: lane.failed or _tried(lane.result) for number, lane in lanes.items()}
        return [made[number] for number in range(len(changed))]

    def _viewed(self, changed: Segment) -> Array:
        return run(changed, self.dtype)[self.images]

    def _lane(self, changed: Segment) -> Lane:
        """A changed segment, with what it has in common with the unchanged one."""
        moved = {name for name, array in changed.given.items() if self.segment.given.get(name) is not array}
        kept = dict(self._parts)
        for name in moved:
            kept.pop(name, None)
        own: set[str] = set()
        for node in changed.graph.nodes:
            if not self._is_same(node, changed):
                own.add(node.name)
            elif moved.isdisjoint(node.inputs):
                continue
            moved.add(node.name)
            kept.pop(node.name, None)
        nodes = self._joined([node for node in changed.graph.nodes if node.name not in kept], own)
        kinds = {name: tuple(id(changed.params[key]) for key in _keys(changed.graph[name])) for name in own}
        return Lane(changed, nodes, kinds, kept, self._places)

    def _run_lanes(self, lanes: Sequence[Lane]) -> None:
        """Run all of them, place by place."""
        for step in sorted({step for lane in lanes for step in lane.steps}):
            groups: dict[object, tuple[Node, list[Lane], list[tuple[LanePart, ...]]]] = {}
            for lane in lanes:
                node = lane.steps.get(step)
                if node is not None and lane.failed is None:
                    parts = lane.read(node, self._read_in)
                    kind = id(node), lane.kinds.get(node.name), tuple(part.shape for part in parts)
                    _, some, inputs = groups.setdefault(kind, (node, [], []))
                    some.append(lane)
                    inputs.append(parts)
            for node, some, inputs in groups.values():
                for together in reading_alike(some, inputs):
                    self._pass(node, together)

    def _pass(self, node: Node, together: Sequence[tuple[tuple[LanePart, ...], list[Lane]]]) -> None:
        """Run a node once for all that lanes read there."""
        segment = together[0][1][0].segment
        read = [gathered(parts) for parts in zip(*(parts for parts, _ in together), strict=True)]
        weights = self._weights(segment, node)
        self.budget.check(self._seconds(node, _work(node, [*read, *weights])))
        failed, y = None, None
        try:
            y = getattr(fast, node.op)(*read, *weights, **node.attrs)
        except (ValueError, IndexError) as error:
            failed = error
        for place, (_, lanes) in enumerate(together):
            part = None if y is None else LanePart.of(y, place, len(together))
            for lane in lanes:
                lane.failed = failed
                if part is not None:
                    lane.passed(node, part)

    def _is_same(self, node: Node, changed: Segment) -> bool:
        """Whether a node of a changed segment is one of the unchanged segment, with the same params."""
        own, keys, arrays = self._read.get(node.name, (None, [], []))
        return own is node and all(map(is_, map(changed.params.get, keys), arrays))

    def is_slow(self, changed: Segment) -> bool:
        """Whether a run of it takes far longer than one of the segment as it is."""
        own, nodes = self.segment.graph.nodes, changed.graph.nodes
        alike = len(nodes) == len(own) and all(map(_sized_alike, own, nodes))
        return not alike and elements(changed) > _SLOW * elements(self.segment)

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

    def _first(self) -> Array:
        """Run the unchanged segment; every tensor of it is kept, and how long its operations take is measured."""
        values: dict[str, Array] = {}
        segment = self.segment
        for node in self._joined([*segment.graph.nodes], ()):
            for name in node.inputs:
                if name not in values:
                    values[name] = self._read_in(segment.given[name])
            read = [*(values[name] for name in node.inputs), *self._weights(segment, node)]
            self.budget.check(0.0)
            begun = time.monotonic()
            values[node.name] = getattr(fast, node.op)(*read, **node.attrs)
            seconds, done = self._pace.get(node.op, (0.0, 0.0))
            self._pace[node.op] = seconds + time.monotonic() - begun, done + _work(node, read)
        self._values, self._parts = values, {name: LanePart.of(y) for name, y in values.items()}
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

    def _seconds(self, node: Node, work: float) -> float:
        """How long a node takes, by what its operation did where nothing was changed; or by all of them."""
        some = [self._pace[node.op]] if node.op in self._pace else [*self._pace.values()]
        seconds, done = map(sum, zip(*some, strict=True))
        return float(work * seconds / done)

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


def _tried(make: Callable[[], Array]) -> Array | Exception:
    """What is made; or the error, where shapes do not fit."""
    try:
        return make()
    except (ValueError, IndexError) as error:
        return error


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
