"""Dilation as TensorFlow wrote it before convolutions had it: a map cut into blocks, filtered, and put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.importers.vendor_axes import Const, Map

__all__ = ["BlockedMap", "cut_into_blocks", "joined_blocks"]

Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


class BlockedMap(NamedTuple):
    """A map cut into blocks, so that a dense convolution of it is a dilated one of the map.

    Attributes
    ----------
    make : the convolution, given name and padding, once there is one
    """

    x: Map
    block: Pair
    pad: Pad
    make: Callable[[str, Pad], Map] | None = None

    def filtered(self, make: Callable[[str, Pad], Map], *, plain: bool) -> BlockedMap:
        """The blocks behind a convolution, which must be `plain`: without strides, dilation and padding."""
        if not plain or self.make is not None:
            raise FormatError("with strides or padding, or behind another, of a map in blocks: only a plain one")
        return self._replace(make=make)


def cut_into_blocks(x: Map, block: Const, pads: Const) -> BlockedMap:
    """SpaceToBatchND."""
    height, width = _pair(block.array.ravel())
    (top, bottom), (left, right) = (_pair(ends) for ends in pads.array)
    if x.axes != "NHWC" or min(height, width) < 1 or min(top, bottom, left, right) < 0:
        raise FormatError("blocks of no points, or a negative padding, or of no map")
    return BlockedMap(x, (height, width), ((top, bottom), (left, right)))


def joined_blocks(name: str, x: Any, block: Const, crops: Const) -> Map:
    """BatchToSpaceND: what is cropped is padding that the convolution need not have had."""
    if not isinstance(x, BlockedMap) or x.make is None or _pair(block.array.ravel()) != x.block:
        raise FormatError("of anything but one convolution of a map in such blocks")
    ends = zip(x.pad, crops.array, strict=True)
    pad = tuple((before - int(first), after - int(last)) for (before, after), (first, last) in ends)
    if min(map(min, pad)) < 0 or np.min(crops.array) < 0:
        raise FormatError("crops more than was padded")
    return x.make(name, (pad[0], pad[1]))


def _pair(numbers: npt.NDArray[Any]) -> Pair:
    height, width = numbers
    return int(height), int(width)
