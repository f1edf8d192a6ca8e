"""Bugs of how a picture becomes the input: its kernel, its size before the crop, the part that is kept.

Each is replayed from the picture itself, so it is tried only where the picture is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from refnet.bugs.changes import Change
from refnet.bugs.pixels import fed
from refnet.bugs.segments import Segment
from refnet.errors import RequestError
from refnet.files.images import prepare, resized
from refnet.files.resample import KERNELS, ResizeKernel
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Interpolation, Preprocessing

Array = npt.NDArray[Any]

_VENDORS: tuple[Interpolation, ...] = get_args(Interpolation)
_LEAST = 8  # pixels of a side, of which a picture is moved
_Rule = tuple[tuple[int, int] | None, tuple[int, int]]

# How the picture is cut: (side, crop) of the resize, and the central part that is kept before it.
_CUTS: Mapping[str, _Rule] = {
    "256": ((256, 224), (1, 1)),
    "232": ((232, 224), (1, 1)),
    "224": ((1, 1), (1, 1)),
    "0.9": ((10, 9), (1, 1)),
    "0.95": ((20, 19), (1, 1)),
    "squashed": (None, (1, 1)),
    "central": (None, (7, 8)),
}


def input_resample(segment: Segment) -> Iterator[Change]:
    """the picture resized or cut in another way.

    Another kernel, another size before the crop; one of them, then both.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    own = segment.whole.recipe.preprocessing
    if segment.image is None or SOURCE not in segment.given or own is None:
        return
    own_cut = (own.resize, own.keep)
    others = {name: cut for name, cut in _CUTS.items() if not _alike(cut, own_cut)}
    kernels: dict[str, ResizeKernel | None] = {name: None for name in _VENDORS if name != own.interpolation}
    kernels |= KERNELS
    tried = [(kernel, "") for kernel in kernels] + [("", cut) for cut in others]
    for kernel, cut in [*tried, *((kernel, cut) for cut in others for kernel in kernels)]:
        made = kernels.get(kernel)
        resize, keep = others.get(cut, own_cut)
        interpolation = next((name for name in _VENDORS if name == kernel), own.interpolation)
        rule = replace(own, resize=resize, keep=keep, interpolation=interpolation)
        try:
            x = prepare(segment.image, rule, _size(segment), made and made.resize)
        except RequestError:  # a picture of a few pixels
            continue
        levels = made.levels if made else 0.0
        facts = {"kernel": kernel, "join": bool(kernel and cut), "cut": cut}
        form = f"{kernel} {cut}".strip()
        yield from fed(segment, form, x.astype(np.float64), levels, **facts)


_BARS: Mapping[str, float] = {"black": 0.0, "grey": 128.0, "114": 114.0}  # the last is YOLO's


def input_placed(segment: Segment) -> Iterator[Change]:
    """another part of the picture.

    A pixel away, from its corner, a row or a column more before the crop, all of it between bars, or on its side.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    own = segment.whole.recipe.preprocessing
    if segment.image is None or SOURCE not in segment.given or own is None:
        return
    size, image = _size(segment), segment.image
    if min(image.shape[:2]) < _LEAST or min(size) < 2:
        return
    for dy, dx in itertools.product((-1, 0, 1), repeat=2) if own.resize is not None else ():
        if dy or dx:
            made = partial(prepare, image, own, size, partial(_moved, own, (dy, dx)))
            yield from fed(segment, f"moved {dy:+d} {dx:+d}", made, down=dy, right=dx)
    if own.resize is not None:
        yield from fed(segment, "corner", partial(prepare, image, own, size, partial(_cornered, own, size)))
        for form, more in (("row", (1, 0)), ("column", (0, 1))):
            yield from fed(segment, form, partial(prepare, image, own, size, partial(_wider, own, more)))
    whole = replace(own, resize=None, keep=(1, 1))
    for (bars, value), corner in itertools.product(_BARS.items(), (False, True)):
        boxed = partial(_boxed, own, value, corner)
        form = f"{bars} corner" if corner else bars
        yield from fed(segment, form, partial(prepare, image, whole, size, boxed))
    for form, turns in (("left", 1), ("right", 3)):
        yield from fed(segment, form, partial(prepare, np.rot90(image, turns), own, size))


def _moved(own: Preprocessing, by: tuple[int, int], pixels: Array, shape: tuple[int, int]) -> Array:
    """The resized picture moved, so that a crop begins elsewhere; what leaves it is repeated on the other side."""
    made = resized(pixels, shape, own.interpolation)
    for axis, step in enumerate(by):
        made = made.take((np.arange(shape[axis]) + step).clip(0, shape[axis] - 1), axis)
    return made


def _cornered(own: Preprocessing, size: tuple[int, int], pixels: Array, shape: tuple[int, int]) -> Array:
    return resized(pixels, shape, own.interpolation)[: size[0], : size[1]]


def _wider(own: Preprocessing, more: tuple[int, int], pixels: Array, shape: tuple[int, int]) -> Array:
    return resized(pixels, (shape[0] + more[0], shape[1] + more[1]), own.interpolation)


def _boxed(own: Preprocessing, value: float, corner: bool, pixels: Array, shape: tuple[int, int]) -> Array:
    """The whole picture in its own proportions, in the middle or in the corner, the rest of one value."""
    least = min(to / side for to, side in zip(shape, pixels.shape[:2], strict=True))
    H, W = (max(1, min(to, round(side * least))) for to, side in zip(shape, pixels.shape[:2], strict=True))
    top, left = (0, 0) if corner else ((shape[0] - H) // 2, (shape[1] - W) // 2)
    made = np.full((*shape, 3), value, np.float32)
    made[top : top + H, left : left + W] = resized(pixels, (H, W), own.interpolation)
    return made


def _size(segment: Segment) -> tuple[int, int]:
    _, _, H, W = segment.given[SOURCE].shape
    return H, W


def _alike(one: _Rule, other: _Rule) -> bool:
    """Whether two cuts are the same: 256 for 224 is 8 / 7."""
    (a, b), (c, d) = (rule[0] or (0, 1) for rule in (one, other))
    return a * d == b * c and one[1] == other[1]
