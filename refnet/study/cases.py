"""One case of an exercise, and how cases are drawn: small ones of whole numbers first, then larger ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.readings.bounds import Precision
from refnet.study.subjects import Computed, Sought

__all__ = ["Case", "Draw", "cases_of", "computed", "reading_input"]

Array = npt.NDArray[Any]

_SMALL, _ALL = 8, 20  # cases of whole numbers, and all


@dataclass(frozen=True, eq=False)
class Case:
    """What the reader's function is given, and what it should make of that.

    Attributes
    ----------
    given : its arguments by position, by name
    named : those by keyword
    subject : what is right
    whole : whether its numbers are whole ones of few digits
    """

    given: Mapping[str, Any]
    named: Mapping[str, Any]
    subject: Sought
    whole: bool = False

    @property
    def order(self) -> tuple[bool, int]:
        """By which cases are small: those of whole numbers first."""
        return not self.whole, self.size

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the arrays that are given, and of the answer; None where there are none."""
        return next((x.dtype for x in self.arrays.values()), None)

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays among the arguments, by name; those in a dictionary by their names in it."""
        found: dict[str, Array] = {}
        for name, value in self.given.items():
            own = value if isinstance(value, dict) else {name: value}
            found |= {key: each for key, each in own.items() if isinstance(each, np.ndarray)}
        return found

    @property
    def size(self) -> int:
        """How many numbers the reader is given."""
        return sum(x.size for x in self.arrays.values())


class Draw:
    """Random numbers of one case: whole ones of few digits, and small sizes, where the case is to be read by eye."""

    def __init__(self, seed: int, index: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64([seed, index]))
        self.index, self.small = index, index < _SMALL
        self.dtype = np.dtype(np.float32 if index % 3 else np.float64)

    def number(self, low: int, high: int, small: int | None = None) -> int:
        """A whole number from low to high; to `small` in small cases."""
        return int(self._rng.integers(low, (small if self.small and small is not None else high) + 1))

    def pair(self, low: int, high: int, small: int | None = None) -> tuple[int, int]:
        """Two such numbers."""
        return self.number(low, high, small), self.number(low, high, small)

    def yes(self, share: float = 0.5) -> bool:
        """Whether something is so."""
        return bool(self._rng.random() < share)

    def array(self, *shape: int, scale: float = 1.0) -> Array:
        """Numbers of both signs."""
        if self.small:
            return np.asarray(np.rint(scale * 3) / 3 * self._rng.integers(-3, 4, shape), self.dtype)
        return (scale * self._rng.standard_normal(shape)).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        """Numbers above zero, as variances are."""
        if self.small:
            return self._rng.choice([0.25, 1.0, 4.0, 9.0], shape).astype(self.dtype)
        return self._rng.uniform(0.1, 3.0, shape).astype(self.dtype)

    def eps(self) -> float:
        """Of a batch norm: large enough to be seen beside the variances."""
        return 1.0 if self.small and self.yes() else float(self._rng.choice([1e-3, 1e-5, 0.1]))

    def pads(self, most: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Four numbers, for the most part different ones."""
        return self.pair(0, most), self.pair(0, most)


def cases_of(draw: Callable[[Draw], Case], seed: int) -> tuple[Case, ...]:
    """All cases of an exercise, the same for a seed."""
    return tuple(replace(draw(each), whole=each.small) for each in (Draw(seed, index) for index in range(_ALL)))


def reading_input(channels: int, size: tuple[int, int], *nodes: Node) -> Graph:
    """Nodes that read an image."""
    return Graph(Recipe("", 1.0, size, 1, channels), nodes)


def computed(
    graph: Graph, params: Mapping[str, Array], x: Array, *, end: str = "", shape: tuple[int, ...] | None = None
) -> Computed:
    """What a graph makes of an input as a subject."""
    return Computed(segment_of(graph, params, x, end), Precision.of(x.dtype.name), shape)


def segment_of(graph: Graph, params: Mapping[str, Array], x: Array, end: str = "") -> Segment:
    """A graph and its input as a segment, up to one of its tensors."""
    return cut(Parts(graph), params, end or graph.output, {SOURCE: x}, judged=False)
