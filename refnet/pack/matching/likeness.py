"""How alike a candidate's tensor and a node's are, read in the axis order that fits best.

Each tensor is looked at through the same few thousand elements first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.pack.matching.layouts import AxisOrder, axis_orders

__all__ = ["CLEAR", "CLOSE", "Likeness", "Tables", "is_affine", "is_scaled", "slopes"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

CLOSE = 0.5  # the relative rms distance below which a tensor may be a node's by content
CLEAR = 4.0  # how many times farther every other choice must be
_POINTS = 4096  # elements that are looked at before whole tensors are


class Likeness(NamedTuple):
    """A tensor read as one node's: its relative rms distance in its best layout, and in the other one.

    `whole` says whether all elements were looked at.
    """

    distance: float
    layout: AxisOrder
    other: float
    whole: bool

    @property
    def clear(self) -> bool:
        """Whether the values settle the layout."""
        return self.distance < CLOSE and self.other >= CLEAR * self.distance and self.other > self.distance


class Tables:
    """A candidate's tensors and the nodes that they may be.

    Attributes
    ----------
    candidate, found : its tensors and their shapes, by its own names
    shapes : of every node and of 'input', in order of execution
    golden : gives a node's golden tensor
    """

    def __init__(
        self,
        candidate: Mapping[str, Array],
        found: Mapping[str, Shape],
        shapes: Mapping[str, Shape],
        golden: Callable[[str], Array],
    ) -> None:
        self.candidate, self.found, self.shapes, self.golden = candidate, found, shapes, golden
        self._golden = cache(self._sampled)
        self._own: dict[tuple[str, Shape, str], Array] = {}

    def near(self, source: str, nodes: Iterable[str], *, whole: bool = False) -> dict[str, Likeness]:
        """The best way to read one tensor as each of some nodes, by their golden tensors."""
        return {
            node: self.like(source, node, self.golden(node) if whole else self._golden(node), whole=whole)
            for node in nodes
        }

    def like(self, source: str, node: str, target: Array, *, whole: bool = False) -> Likeness:
        """How alike a tensor is to what a node made, all of it or its sample, in the layout that fits best."""
        full = self.shapes[node]
        layouts = axis_orders(self.found[source], full)
        target = target.astype(np.float64).ravel()
        if whole:
            array = np.asarray(self.candidate[source])
            errors = [_distance(layout.nchw(array, full).ravel(), target) for layout in layouts]
        else:
            errors = [_distance(self._samples(source, full, layout), target) for layout in layouts]
        return _least(errors, layouts, whole=whole)

    def like_made(self, source: str, y: Array) -> Likeness | None:
        """How alike a tensor is to one of any size, in the layout that fits best; None where no shape fits."""
        layouts, target = axis_orders(self.found[source], y.shape), y[_points(y.shape)].astype(np.float64)
        errors = [_distance(self._samples(source, y.shape, layout), target) for layout in layouts]
        return _least(errors, layouts) if errors else None

    def sample(self, node: str, y: Array) -> Array:
        """The elements of what a node made that are looked at first."""
        values: Array = y[_points(self.shapes[node])].astype(np.float64)
        return values

    def fits(self, source: str, node: str) -> bool:
        """Whether a tensor has a shape that can be the node's."""
        return bool(axis_orders(self.found[source], self.shapes[node]))

    def array(self, source: str, node: str, layout: AxisOrder) -> Array:
        """A tensor in the node's shape."""
        return layout.nchw(np.asarray(self.candidate[source]), self.shapes[node])

    def _sampled(self, node: str) -> Array:
        return self.sample(node, self.golden(node))

    def _samples(self, source: str, full: Shape, layout: AxisOrder) -> Array:
        key = source, full, layout.order
        if key not in self._own:
            self._own[key] = layout.nchw(np.asarray(self.candidate[source]), full)[_points(full)].astype(np.float64)
        return self._own[key]


def _least(errors: Sequence[float], layouts: Sequence[AxisOrder], *, whole: bool = False) -> Likeness:
    """The layout that leaves the least, and what the next one leaves."""
    first = min(range(len(layouts)), key=errors.__getitem__)
    other = min((error for index, error in enumerate(errors) if index != first), default=math.inf)
    return Likeness(errors[first], layouts[first], other, whole)


def is_scaled(t: Array, y: Array, factors: Array, near: float, apart: float) -> bool:
    """Whether each channel of t is that of y times its factor and one number more, and factors are not all one.

    Parameters
    ----------
    near : relative; how far the tensor, and most slopes, may be off
    apart : how far most factors must be from one
    """
    found, square, left = slopes(t, y)
    with np.errstate(all="ignore"):
        off, moved = (float(np.median(np.abs(found / each - 1)[square > 0])) for each in (factors, 1.0))
    return left <= near and off <= near and moved > apart


def is_affine(t: Array, y: Array, near: float) -> bool:
    """Whether each channel of t is that of y times one number, and one number more."""
    return slopes(t, y)[2] <= near


def slopes(t: Array, y: Array) -> tuple[Array, Array, float]:
    """By channel what t is times y, and the square of y, both without their means; and what that leaves of t."""
    y, t = (each - each.mean(axis=(0, 2, 3), keepdims=True) for each in (y.astype(np.float64), t.astype(np.float64)))
    with np.errstate(all="ignore"):
        square = np.einsum("nchw,nchw->c", y, y)
        found = np.einsum("nchw,nchw->c", y, t) / square  # no number of a channel that is silent
        left = float(np.sqrt(np.nansum(np.square(t - found.reshape(-1, 1, 1) * y)) / np.square(t).sum()))
    return found, square, left


@lru_cache(128)
def _points(full: Shape) -> tuple[Array, ...]:
    """Indices of a few thousand elements of a tensor: all of them, or some drawn with a fixed seed."""
    size = math.prod(full)
    flat = np.arange(size) if size <= _POINTS else np.random.default_rng(0).integers(size, size=_POINTS)
    return np.unravel_index(flat, full)


def _distance(values: Array, target: Array) -> float:
    """rms(values - target) / rms(target) over the finite values; infinite if there are none."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values, target = values[finite], target[finite]
    if not values.size:
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        error, size = float(np.square(values - target).sum()), float(np.square(target).sum())
    if not math.isfinite(error) or not size:
        return math.inf if error else 0.0
    return math.sqrt(error / size)
