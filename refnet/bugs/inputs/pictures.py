"""Bugs of how a picture becomes the input: its kernel, its size before the crop, the part that is kept.

Each is replayed from the picture itself, so it is tried only where the picture is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import fed
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.errors import RequestError
from refnet.files.images import prepare
from refnet.files.resample import KERNELS, resized
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]

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
    for kernel, cut, rule in other_rules(own):
        try:
            x = prepare(segment.image, rule, size_of(segment))
        except RequestError:  # a picture of a few pixels
            continue
        facts = {"kernel": kernel, "join": bool(kernel and cut), "cut": cut}
        form = f"{kernel} {cut}".strip()
        yield from fed(segment, form, x.astype(np.float64), room_of(segment.image, kernel), **facts)


def other_rules(own: Preprocessing) -> Iterator[tuple[str, str, Preprocessing]]:
    """The same with another kernel, or cut in another way, or both: the names of what is other, and the rule."""
    cuts = {name: cut for name, cut in _CUTS.items() if not _alike(cut, (own.resize, own.keep))}
    kernels = [name for name in KERNELS if name != own.interpolation]
    for kernel, cut in [*((name, "") for name in kernels), *itertools.product(("", *kernels), cuts)]:
        resize, keep = cuts.get(cut, (own.resize, own.keep))
        yield kernel, cut, replace(own, resize=resize, keep=keep, interpolation=kernel or own.interpolation)


def room_of(image: Array, kernel: str) -> float:
    """How far, in levels of a pixel, a library's own result may lie from a kernel's; the network's own is exact."""
    return KERNELS[kernel].room(image.shape[:2]) if kernel else 0.0


def input_decoded(segment: Segment) -> Iterator[Change]:
    """the picture's file decoded otherwise.

    Its transparency blended, its orientation ignored, grey before it is resized, or a JPEG at a part of its size.

    Source: https://github.com/pytorch/vision/issues/5510
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE in segment.given and own is not None:
        for form, image in segment.decoded.items():
            yield from fed(segment, form, partial(prepare, image, own, size_of(segment)))


# What lies around a whole picture: 114 is YOLO's; 'zero' is what becomes zero, where it is added behind.
_BARS: Mapping[str, float | None] = {"black": 0.0, "grey": 128.0, "114": 114.0, "white": 255.0, "zero": None}
_BOXED = ("", "opencv-bilinear")  # kernels of those who do so: the network's own, and YOLO's


def input_placed(segment: Segment) -> Iterator[Change]:
    """another part of the picture.

    A pixel away, from its corner, a row or a column more before the crop, all of it between bars, or on its side.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    own = segment.whole.recipe.preprocessing
    if segment.image is None or SOURCE not in segment.given or own is None:
        return
    size, image = size_of(segment), segment.image
    if min(image.shape[:2]) < _LEAST or min(size) < 2:
        return
    if own.resize is not None:
        yield from _cut_elsewhere(segment, own, image, size)
    yield from _in_bars(segment, own, image, size)
    if own.resize is not None:
        yield from _cut_before(segment, own, image, size)
        for form, begin in (("pitch", True), ("pitch corner", False)):
            yield from fed(segment, form, partial(prepare, image, own, size, partial(_read_on, own, size, begin)))
    for form, turns in (("left", 1), ("right", 3)):
        yield from fed(segment, form, partial(prepare, np.rot90(image, turns), own, size))


def _cut_elsewhere(segment: Segment, own: Preprocessing, image: Array, size: tuple[int, int]) -> Iterator[Change]:
    """Another part of the picture once it is resized: a pixel away, from its corner, a row or a column more."""
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        if dy or dx:
            made = partial(prepare, image, own, size, partial(_moved, own, (dy, dx)))
            yield from fed(segment, f"moved {dy:+d} {dx:+d}", made, down=dy, right=dx)
    yield from fed(segment, "corner", partial(prepare, image, own, size, partial(_cornered, own, size)))
    for form, more in (("row", (1, 0)), ("column", (0, 1))):
        yield from fed(segment, form, partial(prepare, image, own, size, partial(_wider, own, more)))
    yield from fed(segment, "side", partial(prepare, image, own, size, partial(_larger, own)))
    yield from fed(segment, "unresized", partial(prepare, image, own, size, lambda pixels, shape: pixels))


def _in_bars(segment: Segment, own: Preprocessing, image: Array, size: tuple[int, int]) -> Iterator[Change]:
    """All of the picture, between bars of some brightness or in a corner of them."""
    whole = replace(own, resize=None, keep=(1, 1))
    for bars, corner, kernel in itertools.product(_BARS, (False, True), _BOXED):
        boxed = partial(_boxed, own, _BARS[bars], corner, kernel_of(own, kernel))
        form = " ".join(filter(None, (bars, "corner" if corner else "", kernel)))
        yield from fed(segment, form, partial(prepare, image, whole, size, boxed), room_of(image, kernel))


def _cut_before(segment: Segment, own: Preprocessing, image: Array, size: tuple[int, int]) -> Iterator[Change]:
    """The picture cut before it is resized: to the shape of the input, or to the part that the network looks at."""
    squared, whole = _cut_first(image, size), replace(own, resize=None, keep=(1, 1))
    if squared.shape == image.shape:
        return
    yield from fed(segment, "cut first", partial(prepare, squared, whole, size))
    if own.resize is not None and own.resize[0] > own.resize[1]:  # of a resize that leaves a margin
        yield from fed(segment, "part first", partial(prepare, _cut_first(image, size, own.resize), whole, size))


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


def _larger(own: Preprocessing, pixels: Array, shape: tuple[int, int]) -> Array:
    """The picture resized to one more on its shorter side, and to as much more in proportion on the other."""
    least = min(pixels.shape[:2])
    H, W = (side * (min(shape) + 1) // least for side in pixels.shape[:2])
    return resized(pixels, (H, W), own.interpolation)


def kernel_of(own: Preprocessing, name: str) -> Callable[[Array, tuple[int, int]], Array]:
    """How pixels are resized: by a kernel of a name, or by the network's own."""
    return KERNELS[name or own.interpolation].resize


def _boxed(
    own: Preprocessing,
    value: float | None,
    corner: bool,
    resize: Callable[[Array, tuple[int, int]], Array],
    pixels: Array,
    shape: tuple[int, int],
) -> Array:
    """The whole picture in its own proportions, in the middle or in the corner, the rest of one value."""
    least = min(to / side for to, side in zip(shape, pixels.shape[:2], strict=True))
    H, W = (max(1, min(to, round(side * least))) for to, side in zip(shape, pixels.shape[:2], strict=True))
    top, left = (0, 0) if corner else ((shape[0] - H) // 2, (shape[1] - W) // 2)
    made = np.full((*shape, 3), np.array(own.mean) * own.scale if value is None else value, np.float32)
    made[top : top + H, left : left + W] = resize(pixels, (H, W))
    return made


def _cut_first(image: Array, size: tuple[int, int], of: tuple[int, int] = (1, 1)) -> Array:
    """The middle of a picture in the proportions of the input: all that fits, or a part of that."""
    scale = min(side / to for side, to in zip(image.shape[:2], size, strict=True)) * of[1] / of[0]
    H, W = (max(1, int(to * scale)) for to in size)
    top, left = (image.shape[0] - H) // 2, (image.shape[1] - W) // 2
    return image[top : top + H, left : left + W]


def _read_on(own: Preprocessing, size: tuple[int, int], begin: bool, pixels: Array, shape: tuple[int, int]) -> Array:
    """The resized picture read on without end from where the crop begins, or from its first pixel: rows lie aslant."""
    made = resized(pixels, shape, own.interpolation)
    top, left = (round((n - to) / 2) if begin else 0 for n, to in zip(shape, size, strict=True))
    flat, count = made.reshape(-1, 3)[top * shape[1] + left :], size[0] * size[1]
    read = np.zeros((count, 3), made.dtype)
    read[: min(count, len(flat))] = flat[:count]
    wide = np.zeros_like(made)  # of which `prepare` cuts the middle
    top, left = (round((n - to) / 2) for n, to in zip(shape, size, strict=True))
    wide[top : top + size[0], left : left + size[1]] = read.reshape(*size, 3)
    return wide


def size_of(segment: Segment) -> tuple[int, int]:
    """Height and width of the input."""
    _, _, H, W = segment.given[SOURCE].shape
    return H, W


def _alike(one: _Rule, other: _Rule) -> bool:
    """Whether two cuts are the same: 256 for 224 is 8 / 7."""
    (a, b), (c, d) = (rule[0] or (0, 1) for rule in (one, other))
    return a * d == b * c and one[1] == other[1]
