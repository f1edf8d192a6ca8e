"""What an exercise asks for, as something that the catalogue of bugs can change.

An answer is a tuple of arrays. A subject says how far one is from what is right, in units of what rounding explains,
and what a bug makes of the subject is another subject.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import Bug
from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment, limit
from refnet.bugs.systematic import changed_at
from refnet.graph import interpret
from refnet.readings import loops
from refnet.readings.bounds import Precision

__all__ = ["Computed", "Folded", "Padded", "Sought"]

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]

_NEAR = 1e-2  # of the size of an answer: what is further off is not worth a bound


class Sought(Protocol):
    """What an exercise asks for."""

    @property
    def right(self) -> Arrays:
        """The right answer, by the definition, in float64 or whole numbers."""

    @property
    def made(self) -> Arrays:
        """What it makes as it stands, changed or not."""

    def misfit(self, answer: Arrays) -> float:
        """How far an answer of the right number of arrays is off, in units of the bound; infinite for a shape."""

    def off(self, answer: Arrays) -> Arrays:
        """Which numbers of an answer are wrong, array by array; all of one that has another shape."""

    def facing(self, answer: Arrays) -> Sought:
        """The same with an answer to be explained."""

    def changes(self, bug: Bug) -> Iterator[Change]:
        """The ways in which a bug shows here."""

    def changed(self, change: Change) -> Sought:
        """What a change makes of it."""

    def throughout(
        self, bug: Bug, changes: Iterable[Change], alone: Mapping[Change, Sought]
    ) -> Iterator[tuple[Change, Sought]]:
        """The same mistake at every place where it can be: its first change, what all of them make.

        Parameters
        ----------
        changes : of the bug, in the forms that are asked for
        alone : what changes make at their own places, as far as that is known
        """


@dataclass(frozen=True, eq=False)
class Computed:
    """An exercise whose answer is a tensor: nodes to run.

    Attributes
    ----------
    segment : the nodes and their inputs
    precision : of the arrays that the reader is given
    shape : of the answer, where the nodes make the same numbers in another shape; None where they do not
    """

    segment: Segment
    precision: Precision
    shape: tuple[int, ...] | None = None

    @cached_property
    def right(self) -> Arrays:
        """By loops, in float64."""
        segment = self.segment
        params = {name: np.asarray(segment.params[name], np.float64) for name in segment.graph.params()}
        given = {name: np.asarray(x, np.float64) for name, x in segment.given.items()}
        y: Array = interpret(segment.graph, loops, params, given)
        return (y if self.shape is None else y.reshape(self.shape),)

    @property
    def made(self) -> Arrays:
        """By the fast reading, in float64."""
        y = self.segment.result
        return (y.reshape(self.shape) if self.shape is not None and y.size == np.prod(self.shape) else y,)

    def misfit(self, answer: Arrays) -> float:
        """Against the worst case of rounding, which holds for every order of summation."""
        (y,) = answer
        if self.shape is not None and y.shape != self.shape:
            return float("inf")
        with np.errstate(all="ignore"):
            made = self.segment.result
            y = y.astype(np.float64).reshape(made.shape) if y.size == made.size and self.shape else y
            if y.shape != made.shape or not np.isfinite(made).all():
                return float("inf")
            error = np.abs(y - made)
            if not error.max(initial=0.0) <= _NEAR * max(1.0, float(np.abs(made).max(initial=0.0))):
                return float("inf")
            return _ratio(error, self._limit)

    def off(self, answer: Arrays) -> Arrays:
        """Beyond the worst case of rounding."""
        (y,), (right,) = answer, self.right
        if y.shape != right.shape:
            return (np.ones(y.shape, bool),)
        return (~(np.abs(y - right) <= self._limit.reshape(y.shape)),)

    @cached_property
    def _limit(self) -> Array:
        """How far rounding may move each element; one for all where the result is summed up or cut, not only laid out.

        Such a view adds up elements of the result, each at most once, so that no element moves by more than all do.
        """
        plain = limit(replace(self.segment, view=None), self.precision).worst
        return plain if self.segment.view is None else np.asarray(plain.sum())

    def facing(self, answer: Arrays) -> Computed:
        """The same with an answer to be explained."""
        (y,) = answer
        sizes = self.segment.sizes[self.segment.end]
        same = self.shape is not None and y.size == np.prod((self.segment.batch, *sizes))
        return replace(self, segment=replace(self.segment, candidate=y.reshape(-1, *sizes) if same else y))

    def changes(self, bug: Bug) -> Iterator[Change]:
        """At each place; those too that are too rare for a port. Pads are given, and follow no rule."""
        if bug.group == "pad_rules":
            return
        yield from bug.changes(self.segment)
        if Segment not in bug.takes:
            yield from (each for unit in self.segment.units for each in bug.of_arrays(unit) if each.rare)

    def changed(self, change: Change) -> Computed:
        """The segment with the change made."""
        return replace(self, segment=self.segment.changed(change))

    def throughout(
        self, bug: Bug, changes: Iterable[Change], alone: Mapping[Change, Sought]
    ) -> Iterator[tuple[Change, Sought]]:
        """The same mistake in every layer."""
        places: dict[str, dict[str, Change]] = {}
        for change in changes:
            if change.precision is None and not change.lone:
                places.setdefault(change.form, {}).setdefault(change.node, change)
        for form, found in places.items():
            first, *others = found.values()
            if not others and first.alone and first in alone:
                yield first, alone[first]
                continue
            done, segment = changed_at(bug, self.segment, form, found)
            if done:
                yield done[0], replace(self, segment=segment)


@dataclass(frozen=True, eq=False)
class Folded:
    """An exercise whose answer is a convolution's weights and bias with batch norm worked in."""

    unit: UnitArrays

    @property
    def right(self) -> Arrays:
        """The fold in float64."""
        made = self.unit.folded()
        return made["w"], made["b"]

    made = right

    def misfit(self, answer: Arrays) -> float:
        """Against what a fold in float32 may round."""
        made, worst = self.unit.folded(), 0.0
        for y, slot in zip(answer, ("w", "b"), strict=True):
            value, slack = made.tensors[slot]
            if y.shape != value.shape or not np.isfinite(value).all():
                return float("inf")
            worst = max(worst, _ratio(np.abs(y - value), slack))
        return worst

    def off(self, answer: Arrays) -> Arrays:
        """Beyond what a fold may round."""
        made = self.unit.folded()
        pairs = [(y, made.tensors[slot]) for y, slot in zip(answer, ("w", "b"), strict=True)]
        return tuple(
            ~(np.abs(y - value) <= slack) if y.shape == value.shape else np.ones(y.shape, bool)
            for y, (value, slack) in pairs
        )

    def facing(self, answer: Arrays) -> Folded:
        """The same with the answer's weights seen, as a file's are."""
        w, b = answer
        seen: Mapping[str, Array] = {"w": w, "b": b}
        return Folded(replace(self.unit, seen=seen, slot="w"))

    def changes(self, bug: Bug) -> Iterator[Change]:
        """Of bugs of arrays."""
        yield from bug.of_arrays(self.unit)

    def changed(self, change: Change) -> Folded:
        """The unit with the change made; as it is where nothing can be folded then."""
        return Folded(self.unit.having(change.params, change.nodes) or self.unit)

    def throughout(
        self, bug: Bug, changes: Iterable[Change], alone: Mapping[Change, Sought]
    ) -> Iterator[tuple[Change, Sought]]:
        """There is one place only."""
        yield from ()


@dataclass(frozen=True, eq=False)
class Padded:
    """An exercise whose answer is two numbers: how a convolution is padded along the height."""

    segment: Segment

    @property
    def right(self) -> Arrays:
        """(before, after)."""
        return (np.array(self.segment.graph.nodes[-1].attrs["pad"][0]),)

    made = right

    def misfit(self, answer: Arrays) -> float:
        """Whole numbers are right or wrong."""
        return 0.0 if np.array_equal(answer[0], self.right[0]) else float("inf")

    def off(self, answer: Arrays) -> Arrays:
        """Those that differ."""
        return (answer[0] != self.right[0],)

    def facing(self, answer: Arrays) -> Padded:
        """Nothing is to be seen in two numbers."""
        return self

    def changes(self, bug: Bug) -> Iterator[Change]:
        """Those of padding; none where a pad leaves no window."""
        with contextlib.suppress(ValueError):
            yield from (each for each in bug.changes(self.segment) if each.node in each.nodes)

    def changed(self, change: Change) -> Padded:
        """As it is, where the change is of no convolution's pad."""
        made = self.segment.changed(change)
        return Padded(made) if "pad" in made.graph.nodes[-1].attrs else self

    def throughout(
        self, bug: Bug, changes: Iterable[Change], alone: Mapping[Change, Sought]
    ) -> Iterator[tuple[Change, Sought]]:
        """There is one place only."""
        yield from ()


def _ratio(error: Array, bound: Array) -> float:
    """The largest error in units of its bound."""
    ratio = np.where(error == 0, 0.0, error / np.maximum(bound, 1e-300))
    return float(ratio.max(initial=0.0))
