"""The axes of a candidate's tensor: in which orders its shape is a node's, and how to read it as NCHW."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy.typing as npt

__all__ = ["UNKNOWN", "UNKNOWN_LAST", "AxisOrder", "axis_orders", "plain_orders"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class AxisOrder(NamedTuple):
    """How a candidate's tensor is to be read.

    Attributes
    ----------
    label : the axes that it has, 'nhwc' or 'chw'
    order : of all four axes; '' where none is known
    last : where none is known, whether the channels are the last of four axes all the same
    block : how many channels lie together behind the other axes, (N, C / 4, H, W, 4); 0 where they are one axis
    """

    label: str
    order: str
    last: bool = False
    block: int = 0

    def nchw(self, array: Array, full: Shape) -> Array:
        """A view of the tensor in the node's shape."""
        if not self.order:
            return array.transpose(0, 3, 1, 2) if self.last else array
        sizes = _sizes(full)
        if self.block:
            parts = array.reshape(sizes["n"], -1, sizes["h"], sizes["w"], self.block).transpose(0, 1, 4, 2, 3)
            return parts.reshape(sizes["n"], -1, sizes["h"], sizes["w"])[:, : sizes["c"]].reshape(full)
        whole = array.reshape([sizes[axis] for axis in self.order])
        return whole.transpose([self.order.index(axis) for axis in "nchw"]).reshape(full)


UNKNOWN = AxisOrder("unknown", "")
UNKNOWN_LAST = AxisOrder("unknown", "", last=True)


def _sizes(full: Shape) -> dict[str, int]:
    """(N, classes) counts as (N, classes, 1, 1)."""
    return dict(zip("nchw", (*full, 1, 1), strict=False))


def _long(order: str, sizes: Mapping[str, int]) -> str:
    """The axes that are not singletons, which are all that orders the values."""
    return "".join(axis for axis in order if sizes[axis] != 1)


@lru_cache(4096)
def axis_orders(found: Shape, full: Shape) -> tuple[AxisOrder, ...]:
    """The orders of axes in which a shape is a node's, without those that read the tensor alike.

    Parameters
    ----------
    found : the shape of the candidate's tensor
    full : the node's, (N, C, H, W) or (N, classes)

    Examples
    --------
    >>> [order.label for order in axis_orders((1, 8, 6, 3), (1, 3, 8, 6))]
    ['nhwc']
    """
    sizes = _sizes(full)
    sides = [side for side in found if side != 1]
    for orders in ("nchw", "nhwc"), ("ncwh", "nwhc"), ("chwn", "hwcn"):
        layouts: dict[str, AxisOrder] = {}
        for order in orders:
            axes = _long(order, sizes)
            if [sizes[axis] for axis in axes] == sides:
                label = next(
                    (some for some in _labels(order, len(found)) if tuple(sizes[a] for a in some) == found), ""
                )
                if axes not in layouts or (label and not layouts[axes].label):
                    layouts[axes] = AxisOrder(label, order)
        if layouts:
            return tuple(AxisOrder(layout.label or layout.order, layout.order) for layout in layouts.values())
    if (blocks := _in_blocks(found, full)) is not None:
        return (blocks,)
    if len(sides) == 1 and sides[0] == math.prod(full):
        alike = {_long(order, sizes): AxisOrder(f"flat {order}", order) for order in ("nhwc", "nchw")}
        return tuple(alike.values())[::-1]
    return ()


def plain_orders(found: Shape, full: Shape) -> tuple[AxisOrder, ...]:
    """Those in which a tensor has a node's numbers and no more, as it has where channels lie in blocks."""
    return tuple(order for order in axis_orders(found, full) if not order.block)


_BLOCKS = (4, 8, 16, 32)


def _in_blocks(found: Shape, full: Shape) -> AxisOrder | None:
    """Channels in groups of so many, the last one filled up: as textures, MNN, TVM and oneDNN have them."""
    sizes, block = _sizes(full), found[-1] if found else 0
    groups = (-(-sizes["c"] // block), sizes["h"], sizes["w"], block) if block in _BLOCKS else ()
    if groups and (found == (sizes["n"], *groups) or (found == groups and sizes["n"] == 1)):
        return AxisOrder(f"{'n' * (len(found) == 5)}c{block}hw{block}", "nchw", block=block)
    return None


@cache
def _labels(order: str, rank: int) -> list[str]:
    """Ways to leave out axes, the batch first."""
    return ["".join(axes) for axes in itertools.combinations(order, rank)][::-1]
