"""The small language that bugs are written in: a change, of what, and how it is said without words.

A bug is a function from a `Segment`, or from the arrays of a unit, to changes. A change is data: nodes in place of a
node, other arrays, another input, another precision, another way of laying out the result, another shape. So it can be
replayed on the inputs of a port, matched against the arrays of a file, injected, and put on top of another change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.graph import Node
from refnet.readings.precision import FLOATS, Precision

__all__ = [
    "PART",
    "SHORT",
    "Change",
    "Deferred",
    "Mistake",
    "TensorPart",
    "identity",
    "stood_for",
    "with_attrs",
    "with_op",
    "without",
]

Array = npt.NDArray[Any]

SHORT = 7  # nodes of a segment that is judged by its bound, in which values stand in the place of a node's
PART = "part"  # of the facts of a mistake: in which part of a tensor it is, where it is not in all of it
TensorPart = tuple[str, tuple[tuple[str, Any], ...]]  # what is said there: its kind, and its facts

_NONE: Mapping[str, Any] = MappingProxyType({})


class Deferred(Mapping[str, "Array | Expected"]):
    """Arrays by name that are made when one is asked for: a change that is only counted makes none.

    What was handed out is not kept, and made again when it is asked for again: thousands of changes are at hand.

    Parameters
    ----------
    names : of the arrays
    make : gives them all
    """

    def __init__(self, names: Iterable[str], make: Callable[[], Mapping[str, Array | Expected]]) -> None:
        self._names, self._make = tuple(names), make
        self._made: dict[str, Array | Expected] = {}

    def __getitem__(self, name: str) -> Array | Expected:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made = dict(self._make())
        return self._made.pop(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # makes none

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Mistake(NamedTuple):
    """A bug at a place, in values; `report` words it.

    Attributes
    ----------
    bug : its id
    node : where
    form : which spelling of the bug, the same at every place; '' where it has one
    facts : the values of this place
    kind : what it has in common with places of other forms; '' where only its form counts
    """

    bug: str
    node: str
    form: str
    facts: Mapping[str, Any]
    kind: str = ""

    @property
    def what(self) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
        """What is wrong, without where."""
        return self.bug, self.form, tuple(self.facts.items())


@dataclass(frozen=True, eq=False)
class Change:
    """One way in which a bug shows at a place.

    Attributes
    ----------
    node, form, facts, kind : as in `Mistake`
    nodes : by the name of a node, those that stand in its place; the last one is called as it is
    params : by 'node.slot', other arrays
    on_batch : of these, the statistics of what a batch norm is given, with what they are multiplied by: a run that
        rounds otherwise has others
    given : other inputs of the segment, by name; exact, or with how far a port's own may lie from them
    view : how the result is laid out
    precision : what is computed in
    shape : of the result, batch included, where the bug changes it: no input is needed to show such a bug. Where even
        its params would have other shapes nothing can be replayed, and the change is of the shape alone
    rare : tried only where arrays are matched: too rare to replay a port for it, or too small to be seen there
    fed : it follows from values or sizes inside the segment, so that changes before it move it
    lone : made at one place, never in the same way at many
    joint : made beside others of its form, never alone: at this place another bug does the same
    many : made at many places, never alone
    """

    node: str
    form: str = ""
    facts: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    kind: str = field(default="", kw_only=True)
    nodes: Mapping[str, tuple[Node, ...]] = field(default_factory=lambda: _NONE)
    params: Mapping[str, Array | Expected] = field(default_factory=lambda: _NONE)
    on_batch: Mapping[str, float] = field(default_factory=lambda: _NONE)
    given: Mapping[str, Array | Expected] = field(default_factory=lambda: _NONE)
    view: Callable[[Array], Array] | None = None
    precision: Precision | None = None
    shape: tuple[int, ...] | None = None
    rare: bool = False
    fed: bool = False
    lone: bool = False
    joint: bool = False
    many: bool = False

    @property
    def alone(self) -> bool:
        """Whether it may be made at its place alone."""
        return not (self.joint or self.many)

    def of(self, bug: str) -> Mistake:
        """The change as the mistake of a bug."""
        return Mistake(bug, self.node, self.form, dict(self.facts), self.kind)


def with_attrs(node: Node, **attrs: Any) -> dict[str, tuple[Node, ...]]:
    """In a node's place: the same with some attributes replaced."""
    return {node.name: (replace(node, attrs={**node.attrs, **attrs}),)}


def with_op(node: Node, op: str, **attrs: Any) -> dict[str, tuple[Node, ...]]:
    """In a node's place: another operation, which has no params."""
    return {node.name: (replace(node, op=op, params={}, attrs=attrs),)}


def with_factor(node: Node, factor: float, offset: float = 0.0) -> tuple[Node, Node]:
    """In a node's place: the same, and its result times a factor, and moved."""
    whole = replace(node, name=f"{node.name}.whole")
    return whole, Node(node.name, "affine", (whole.name,), {}, {"slope": factor, "offset": offset})


def without(node: Node, source: int = 0) -> dict[str, tuple[Node, ...]]:
    """In a node's place: one that hands on one of its inputs."""
    return {node.name: (identity(node.name, node.inputs[source], 2 if node.op == "softmax" else 4),)}


def identity(name: str, source: str, axes: int) -> Node:
    """A node that hands on a tensor of so many axes as it is."""
    if axes == 4:
        return Node(name, "pad", (source,), {}, {"pad": ((0, 0), (0, 0)), "mode": "constant", "value": 0.0})
    return Node(name, "flatten", (source,))


def stood_for(
    node: Node, y: Array, terms: int, size: Array | None = None, slack: Array | float = 0.0
) -> dict[str, Any]:
    """Values in the place of a node's, which so many roundings in float32 may move, of terms of a size.

    Parameters
    ----------
    slack : how far the values may be moved besides
    """
    name = f"{node.name}.values"
    off = np.broadcast_to(rounded_off(terms, np.abs(y) if size is None else size) + slack, y.shape)
    return {"nodes": {node.name: (identity(node.name, name, y.ndim),)}, "given": {name: Expected(y, off)}}


def rounded_off(terms: int, size: Array) -> Array:
    """How far so many roundings in float32 move a number, of terms of a size."""
    u = FLOATS["float32"].u
    off: Array = terms * u / (1 - terms * u) * size
    return off
