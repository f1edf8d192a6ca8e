"""The axes of a tensor as a stranger wrote it: in which layouts is its shape a node's, and how to read it as NCHW."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy.typing as npt

__all__ = ["UNKNOWN", "Layout", "fits"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class Layout(NamedTuple):
    """How a tensor found is to be read: the axes that it has, and the order of all four."""

    label: str
    order: str

    def nchw(self, array: Array, full: Shape) -> Array:
        """A view of the tensor in the node's shape."""
        if not self.order:
            return array
        sizes = _sizes(full)
        whole = array.reshape([sizes[axis] for axis in self.order])
        return whole.transpose([self.order.index(axis) for axis in "nchw"]).reshape(full)


UNKNOWN = Layout("unknown", "")


def _sizes(full: Shape) -> dict[str, int]:
    """(N, classes) counts as (N, classes, 1, 1)."""
    return dict(zip("nchw", (*full, 1, 1), strict=False))


def _long(order: str, sizes: Mapping[str, int]) -> str:
    """The axes that are not singletons, which are all that orders the values."""
    return "".join(axis for axis in order if sizes[axis] != 1)


@lru_cache(4096)
def fits(found: Shape, full: Shape) -> tuple[Layout, ...]:
    """The layouts in which a shape is a node's, without those that read the tensor alike."""
    sizes = _sizes(full)
    sides = [side for side in found if side != 1]
    for orders in ("nchw", "nhwc"), ("ncwh", "nwhc"):
        layouts: dict[str, Layout] = {}
        for order in orders:
            axes = _long(order, sizes)
            if [sizes[axis] for axis in axes] == sides:
                label = next(
                    (some for some in _labels(order, len(found)) if tuple(sizes[a] for a in some) == found), ""
                )
                if axes not in layouts or (label and not layouts[axes].label):
                    layouts[axes] = Layout(label, order)
        if layouts:
            return tuple(Layout(layout.label or layout.order, layout.order) for layout in layouts.values())
    if len(sides) == 1 and sides[0] == math.prod(full):
        alike = {_long(order, sizes): Layout(f"flat {order}", order) for order in ("nhwc", "nchw")}
        return tuple(alike.values())[::-1]
    return ()


@cache
def _labels(order: str, rank: int) -> list[str]:
    """Ways to leave out axes, the batch first."""
    return ["".join(axes) for axes in itertools.combinations(order, rank)][::-1]
