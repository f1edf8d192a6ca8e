"""What a vendor's tensor is: an array, or a map with the vendor's axes; and how axes change when they are reshaped.

Axes are letters, slowest first: N C H W, and L for height, width and channels in one, F for channels, height and width,
R for images, height and width, S for height and width. Axes of one point may be absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = ["Const", "Map", "Value", "axes_of_shape", "channels_first", "channels_second", "decimal", "sizes_of"]

Array = npt.NDArray[Any]

_JOINED = {"L": "HWC", "F": "CHW", "R": "NHW", "S": "HW"}
_KNOWN = ("NC", "NCHW", "NHWC", "NCH", "NCW", "NHC", "NWC", "NF", "NL", "RC", "NCS", "NSC")


class Const(NamedTuple):
    """An array: its numbers, the file's name of it ('' if it was computed) and its dtype there."""

    array: Array
    key: str = ""
    stored: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether a bias is nothing but zeros that an exporter made up."""
        return not self.key and not self.array.any()

    def reshaped(self, shape: tuple[int, ...]) -> Const:
        """The same numbers in another shape."""
        return self._replace(array=self.array.reshape(shape))


class Map(NamedTuple):
    """What a node makes: the node, its (C, H, W), and the vendor's axes in order: 'NCHW', 'NHWC', 'NC', 'NL'."""

    node: str
    shape: tuple[int, ...]
    axes: str

    def side(self, letter: str) -> int:
        """The length of an axis, by letter; 1 if the vendor has dropped it."""
        place = "CHW".index(letter)
        return self.shape[place] if place < len(self.shape) else 1

    @property
    def points(self) -> int:
        """Of the map: height times width."""
        return self.side("H") * self.side("W")


Value = Const | Map


def decimal(number: float) -> float:
    """The number that was meant by a float32: its shortest decimal, if that has at most six digits, or 1/6."""
    single = np.float32(number)
    shortest = str(single)
    digits = re.sub(r"e.*|\.|-", "", shortest).strip("0")
    if len(digits) <= 6:
        return float(shortest)
    return 1 / 6 if single == np.float32(1 / 6) else float(single)


def sizes_of(x: Map, axes: str, batch: int) -> tuple[int, ...]:
    """The lengths of axes of a map, of so many images."""
    plain = (_JOINED.get(letter, letter) for letter in axes)
    return tuple(math.prod(batch if each == "N" else x.side(each) for each in letters) for letters in plain)


def axes_of_shape(x: Map, shape: Sequence[int], batch: int) -> str:
    """The axes that a map has once it has another shape, its numbers staying in their order.

    Raises
    ------
    FormatError : they would be axes of no map
    """
    old = sizes_of(x, x.axes, batch)
    total = math.prod(old)
    known = math.prod(size for size in shape if size != -1)
    new = tuple(total // max(known, 1) if size == -1 else int(size) for size in shape)
    if list(shape).count(-1) > 1 or math.prod(new) != total or not new:
        raise FormatError(f"reshapes {old} to {tuple(shape)}")
    for axes in (x.axes, *_KNOWN):
        if sizes_of(x, axes, batch) == new and _order(x, axes, batch) == _order(x, x.axes, batch):
            return axes
    raise FormatError(f"reshapes {old} to {new}: only to other orders of images, height, width, channels, or a vector")


def _order(x: Map, axes: str, batch: int) -> list[str]:
    """The axes of more than one point, slowest first; all that a map has must be among them."""
    letters = "".join(_JOINED.get(letter, letter) for letter in axes)
    absent = [letter for letter in "NCHW" if letter not in letters and sizes_of(x, letter, batch) != (1,)]
    return [letter for letter in letters if sizes_of(x, letter, batch) != (1,)] + absent


def channels_first(x: Map, array: Array) -> Array:
    """What stands above a tensor in the vendor's axes, broadcast from the right, as (C, H, W) with 1 for what is open.

    Raises
    ------
    FormatError : it differs from image to image, or does not fit
    """
    axes = x.axes[-array.ndim :] if array.ndim else ""
    letters = "".join(_JOINED.get(letter, letter) for letter in axes)
    if array.ndim > len(x.axes):
        raise FormatError(f"a constant of shape {array.shape} for the axes {x.axes}")
    sizes: list[int] = []
    for letter, size in zip(axes, array.shape, strict=True):
        whole = _JOINED.get(letter, letter)
        sizes += [1] * len(whole) if size == 1 else [1 if each == "N" else x.side(each) for each in whole]
    if math.prod(sizes) != array.size:
        raise FormatError(f"a constant of shape {array.shape} for the axes {x.axes} of a map of {x.shape}")
    laid = array.reshape(sizes).reshape([*sizes, *(1 for letter in "CHW" if letter not in letters)])
    letters += "".join(letter for letter in "CHW" if letter not in letters)
    places = [letters.index(letter) for letter in "CHW"]
    rest = [place for place in range(len(letters)) if place not in places]
    return np.ascontiguousarray(laid.transpose([*rest, *places]).reshape([laid.shape[place] for place in places]))


def channels_second(rows: Array, sides: tuple[int, ...]) -> Array:
    """(K, H W C) -> (K, C, H, W), the sides being (C, H, W)."""
    C, H, W = sides
    return rows.reshape(-1, H, W, C).transpose(0, 3, 1, 2)
