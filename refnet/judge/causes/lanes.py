"""Changed segments that are run side by side: where they do the same to the same tensor, it is done once.

What they do alike to other tensors is done to all of these at once, as if they were more images: no operation mixes
images, and on the small maps of a network's end many are hardly dearer than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.graph import Node

__all__ = ["TOGETHER", "Lane", "LanePart", "gathered", "reading_alike", "side_by_side"]

Array = npt.NDArray[Any]
_Item = TypeVar("_Item")

TOGETHER = 1 << 18  # numbers of inputs that are run together: of larger ones no two are quicker than one by one

_LANES = 16  # that are run side by side: of more, more is not quicker


class LanePart(NamedTuple):
    """A tensor of one lane: some images of an array that others may have their own of."""

    stack: Array
    place: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, stack: Array, place: int = 0, count: int = 1) -> LanePart:
        """That of one of so many lanes."""
        return cls(stack, place, (len(stack) // count, *stack.shape[1:]))

    @property
    def array(self) -> Array:
        """The tensor itself."""
        images = self.shape[0]
        return self.stack[self.place * images : (self.place + 1) * images]


class Lane:
    """One changed segment on its way through its nodes.

    Parameters
    ----------
    nodes : that are to be run
    kinds : by the name of each that is not as it was, what tells its params from others
    values : the tensors that are known
    places : the order of the nodes of the unchanged segment; others come with the next one that is of it

    Attributes
    ----------
    steps : by place and turn there, the node to run
    failed : why it goes no further; None while it does
    """

    def __init__(
        self,
        segment: Segment,
        nodes: Sequence[Node],
        kinds: Mapping[str, tuple[int, ...]],
        values: dict[str, LanePart],
        places: Mapping[str, int],
    ) -> None:
        self.segment, self.kinds, self.values = segment, kinds, values
        self.failed: Exception | None = None
        self.steps: dict[tuple[int, int], Node] = {}
        self._last = {name: node.name for node in nodes for name in node.inputs}
        turn = 0
        ahead = [places.get(node.name) for node in nodes]
        for index, node in enumerate(nodes):
            place = next((each for each in ahead[index:] if each is not None), len(places))
            self.steps[place, turn] = node
            turn = turn + 1 if ahead[index] is None else 0

    def read(self, node: Node, given: Callable[[Array], Array]) -> tuple[LanePart, ...]:
        """What a node reads."""
        for name in node.inputs:
            if name not in self.values:
                y = given(self.segment.given[name])
                self.values[name] = LanePart.of(y)
        return tuple(self.values[name] for name in node.inputs)

    def passed(self, node: Node, y: LanePart) -> None:
        """Keep what a node made; what no later one reads is let go: a change may make maps many times as large."""
        self.values[node.name] = y
        for name in {*node.inputs} - {self.segment.end}:
            if self._last[name] == node.name:
                self.values.pop(name, None)

    def result(self) -> Array:
        """What the segment makes, laid out as it lays it out."""
        y = self.values[self.segment.end].array
        y = y if self.segment.view is None else self.segment.view(y)
        return y if np.isinf(self.segment.span).all() else y.clip(*self.segment.span)


def reading_alike(
    lanes: Sequence[Lane], inputs: Sequence[tuple[LanePart, ...]]
) -> Iterator[list[tuple[tuple[LanePart, ...], list[Lane]]]]:
    """What a node reads in each of some lanes, and which read the very same; by as many as are run together.

    Parameters
    ----------
    inputs : of tensors that have the same shapes in all of them
    """
    if len(lanes) == 1:
        yield [(inputs[0], [*lanes])]
        return
    found: dict[tuple[tuple[int, int], ...], tuple[tuple[LanePart, ...], list[Lane]]] = {}
    for lane, parts in zip(lanes, inputs, strict=True):
        found.setdefault(tuple((id(part.stack), part.place) for part in parts), (parts, []))[1].append(lane)
    size = max(math.prod(part.shape) for part in inputs[0])
    count = max(1, TOGETHER // max(size, 1)) if len({part.shape[0] for part in inputs[0]}) == 1 else 1
    rest = iter(found.values())
    while some := [*islice(rest, count)]:
        yield some


def gathered(parts: Sequence[LanePart]) -> Array:
    """Tensors as one, with all of their images; no copy where they already lie so."""
    first, images = parts[0], parts[0].shape[0]
    if len(parts) == 1:
        return first.array
    if all(part.stack is first.stack and part.place == first.place + index for index, part in enumerate(parts)):
        return first.stack[first.place * images : (first.place + len(parts)) * images]
    return np.concatenate([part.array for part in parts])


def side_by_side(items: Iterable[_Item], alone: Callable[[_Item], bool]) -> Iterator[list[_Item]]:
    """Items in order, by as many as are run side by side; each that is to be alone, alone."""
    some: list[_Item] = []
    for each in items:
        if some and (alone(each) or len(some) == _LANES):
            yield some
            some = []
        some.append(each)
        if alone(each):
            yield some
            some = []
    if some:
        yield some
