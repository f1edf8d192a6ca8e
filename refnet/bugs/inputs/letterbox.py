"""A whole picture inside an input of other proportions: between bars, or filled up to these proportions first.

No bug is here: those of pictures are made with these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.networks.preprocessing import Preprocessing

__all__ = ["Box", "boxes", "is_filled_first"]

Array = npt.NDArray[Any]

# What lies around a whole picture, of one brightness: 114 is YOLO's.
_BRIGHT: Mapping[str, float] = {"black": 0.0, "grey": 128.0, "114": 114.0, "white": 255.0}
_MODES = ("edge", "reflect", "symmetric")  # as `numpy.pad` calls them
# Also what is zero behind mean and standard deviation, the mean in whole levels, and the picture's own mean.
FILLS = ("black", "zero", "grey", "114", "white", "mean", "average", *_MODES)
_FIRST = "first"  # the rule of what is filled up before it is resized
_CORNERED = ("black", "zero", "grey", "114", "white")  # what somebody puts below or beside a picture, too


class Rectangle(NamedTuple):
    """Where a picture lies in an input."""

    top: int
    left: int
    height: int
    width: int


class Box(NamedTuple):
    """How a whole picture lies in an input.

    Attributes
    ----------
    fill : what is around it, one of `FILLS`
    corner : whether it begins in the input's corner, not in its middle
    place : where it lies; where it is filled up to the input's proportions before it is resized, in what it then is
    whole : the sides of what is then resized; of a picture that is resized first, the input's
    rule : '' for the place that most would compute, else by what it is told from it
    """

    fill: str
    corner: bool
    place: Rectangle
    whole: tuple[int, int]
    rule: str

    @property
    def name(self) -> str:
        """What it is called, by whichever rule its place was computed."""
        return f"{self.fill} corner" if self.corner else self.fill

    def made(
        self,
        own: Preprocessing,
        resize: Callable[[Array, tuple[int, int]], Array],
        pixels: Array,
        size: tuple[int, int],
    ) -> Array:
        """The pixels of the input, (*size, 3)."""
        level = self._level(own, pixels)
        top, left, *shape = self.place
        if self.filled_first:
            return resize(self._filled(pixels, level, (top, left)), size)
        return self._filled(resize(pixels, (shape[0], shape[1])), level, (top, left))

    @property
    def filled_first(self) -> bool:
        """Whether it is filled up before it is resized."""
        return is_filled_first(self.rule)

    def _level(self, own: Preprocessing, pixels: Array) -> Array | float:
        """Of what brightness, or colour, what is around the picture is, where that is one."""
        mean: Array = np.array(own.mean) * own.scale
        match self.fill:
            case "zero":
                return mean
            case "mean":
                return np.rint(mean)
            case "average":
                colour: Array = np.rint(pixels.reshape(-1, 3).mean(axis=0))
                return colour
        return _BRIGHT.get(self.fill, 0.0)

    def _filled(self, pixels: Array, level: Array | float, begin: Sequence[int]) -> Array:
        (H, W), (top, left) = pixels.shape[:2], begin
        if self.fill in _MODES:
            around = [(top, self.whole[0] - H - top), (left, self.whole[1] - W - left), (0, 0)]
            return np.pad(pixels, around, mode=self.fill)  # type: ignore[call-overload,no-any-return]
        made = np.empty((*self.whole, 3), np.uint8 if self.filled_first else np.float64)
        made[...] = level
        made[top : top + H, left : left + W] = pixels
        return made


def is_filled_first(rule: str) -> bool:
    """Whether a rule is one by which a picture is filled up before it is resized."""
    return rule.startswith(_FIRST)


def boxes(sides: tuple[int, int], size: tuple[int, int]) -> Iterator[Box]:
    """The ways in which a picture of some sides lies in an input; none where it has the input's proportions."""
    for fill, corner in itertools.product(FILLS, (False, True)):
        if corner and fill not in _CORNERED:
            continue
        plain, *others = _places(sides, size, corner)
        if (plain.height, plain.width) == size:
            return
        yield Box(fill, corner, plain, size, "")
        yield from (Box(fill, corner, each, size, "x".join(map(str, each))) for each in others)
        if fill != "zero":  # which is only known behind what is made of pixels
            for at, whole in enumerate(_proportioned(sides, size, corner)):
                top, left = (0 if corner else (to - side) // 2 for to, side in zip(whole, sides, strict=True))
                yield Box(fill, corner, Rectangle(top, left, *sides), whole, f"{_FIRST} {at or ''}".strip())


def _places(sides: tuple[int, int], size: tuple[int, int], corner: bool) -> list[Rectangle]:
    """Where a picture lies that is as large as fits, by each way to round its sides and what is left beside them.

    What is left is halved, down or up; or before the sides are rounded, as TensorFlow does. Rounded down, a side that
    fits may be a pixel short, since quotients are rounded too: TensorFlow's are float32.
    """
    scale = min(to / side for to, side in zip(size, sides, strict=True))
    exact, single = [side * scale for side in sides], np.array(sides, np.float32)
    as_tensorflow = single / (single / np.array(size, np.float32)).max()
    found: dict[Rectangle, None] = {}
    for rounded, wanted in ((round, exact), (math.floor, exact), (math.floor, as_tensorflow.tolist())):
        H, W = (min(max(rounded(side), 1), to) for side, to in zip(wanted, size, strict=True))
        halves = [
            ((to - side) // 2, (to - side + 1) // 2, math.floor((to - by) / 2))
            for to, side, by in zip(size, (H, W), wanted, strict=True)
        ]
        for top, left in [(0, 0)] if corner else zip(*halves, strict=True):
            found[Rectangle(top, left, H, W)] = None
    return [each for each in found if each.top + each.height <= size[0] and each.left + each.width <= size[1]]


def _proportioned(sides: tuple[int, int], size: tuple[int, int], corner: bool) -> list[tuple[int, int]]:
    """The least sides in an input's proportions around a picture, rounded, or as Keras cuts them off.

    Keras has as much on both sides.
    """
    scale = max(side / to for to, side in zip(size, sides, strict=True))
    nearest = [max(side, round(to * scale)) for to, side in zip(size, sides, strict=True)]
    as_keras = [max(side, math.floor(to * scale)) for to, side in zip(size, sides, strict=True)]
    if not corner:
        as_keras = [side + (to - side) // 2 * 2 for to, side in zip(as_keras, sides, strict=True)]
    return [*dict.fromkeys((H, W) for H, W in (nearest, as_keras))]
