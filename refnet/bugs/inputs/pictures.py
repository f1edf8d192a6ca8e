"""Bugs of how a picture becomes the input: its kernel, its size before the crop, the part that is kept.

Each is replayed from the picture itself, so it is tried only where the picture is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.letterbox import boxes, is_filled_first
from refnet.bugs.inputs.pixels import fed
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.files.images import JPEG_PARTS, cut_before, prepare, shape_to_crop, tightest
from refnet.files.resample import KERNELS, is_a_size
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]
Resize = Callable[[Array, tuple[int, int]], Array]
_Way = Callable[[Resize, Array, tuple[int, int]], Array]  # a kernel, pixels and a shape -> pixels
_Placement = tuple[str, str, Callable[[Resize], Array]]

TIMES_SMALLER = (2, 3, 4, 8)  # how many times a reader makes a picture smaller
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
        if not is_a_size(shape_to_crop(segment.image.shape[:2], rule, size_of(segment))):  # of a picture of few pixels
            continue
        facts = {"kernel": kernel, "join": bool(kernel and cut), "cut": cut}
        made = partial(prepare, segment.image, rule, size_of(segment))
        yield from fed(segment, f"{kernel} {cut}".strip(), made, room_of(segment.image, kernel), **facts)


def other_rules(own: Preprocessing) -> Iterator[tuple[str, str, Preprocessing]]:
    """The same with another kernel, or cut in another way, or both: the names of what is other, and the rule."""
    cuts = {name: cut for name, cut in _CUTS.items() if own.cut_first or not _alike(cut, (own.resize, own.keep))}
    kernels = [name for name in KERNELS if name != own.interpolation]
    for kernel, cut in [*((name, "") for name in kernels), *itertools.product(("", *kernels), cuts)]:
        resize, keep = cuts.get(cut, (own.resize, own.keep))
        first = own.cut_first and not cut
        interpolation = kernel or own.interpolation
        yield kernel, cut, replace(own, resize=resize, keep=keep, interpolation=interpolation, cut_first=first)


def cut_rules(own: Preprocessing, sides: tuple[int, int], size: tuple[int, int]) -> Iterator[Preprocessing]:
    """The same of a centre that is cut before it is resized, by each kernel.

    Of all that fits, of the part that a resize leaves, or of some whole times the input's pixels.
    """
    side, to = tightest(sides, size)
    parts = [(1, 1), own.resize or (1, 1), *((side, times * to) for times in (1, *TIMES_SMALLER) if times * to < side)]
    for part in dict.fromkeys(parts):
        for kernel in (own.interpolation, *(name for name in KERNELS if name != own.interpolation)):
            yield replace(own, resize=part, keep=(1, 1), interpolation=kernel, cut_first=True)


def sized_rules(own: Preprocessing, size: tuple[int, int]) -> Iterator[Preprocessing]:
    """The same with the shorter side resized to any number of pixels, up to half as many more as the network takes."""
    crop = min(size)
    return (
        replace(own, resize=(side, crop), keep=(1, 1), cut_first=False) for side in range(crop, crop + crop // 2 + 1)
    )


def room_of(image: Array, kernel: str) -> float:
    """How far, in levels of a pixel, a library's own result may lie from a kernel's; the network's own is exact."""
    return KERNELS[kernel].room(image.shape[:2]) if kernel else 0.0


def input_decoded(segment: Segment) -> Iterator[Change]:
    """the picture's file decoded otherwise.

    Its transparency blended, its orientation ignored, or grey before it is resized.

    Source: https://github.com/pytorch/vision/issues/5510
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE in segment.given and own is not None:
        for form, image in segment.decoded.items():
            if form not in JPEG_PARTS:
                yield from fed(segment, form, partial(prepare, image, own, size_of(segment)))


def input_placed(segment: Segment) -> Iterator[Change]:
    """another part of the picture.

    A pixel away, from its corner, a row or a column more before the crop, cut before it is resized, all of it between
    bars, on its side, or of a smaller picture: a JPEG that is decoded at a part of its size, or the means of squares of
    pixels. By any kernel.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    own = segment.whole.recipe.preprocessing
    if segment.image is None or SOURCE not in segment.given or own is None:
        return
    size, image = size_of(segment), segment.image
    if min(image.shape[:2]) < _LEAST or min(size) < 2 or not is_a_size(shape_to_crop(image.shape[:2], own, size)):
        return
    for cut, rule, made in _placements(own, segment, size):
        for kernel in ("", *(name for name in KERNELS if name != own.interpolation)):
            facts = {
                "kernel": kernel,
                "join": bool(kernel),
                "cut": cut,
                "place": rule,
                "filled": is_filled_first(rule),
            }
            form = " ".join(filter(None, (kernel, cut, rule)))
            yield from fed(segment, form, partial(made, kernel_of(own, kernel)), room_of(image, kernel), **facts)


def _placements(own: Preprocessing, segment: Segment, size: tuple[int, int]) -> Iterator[_Placement]:
    """Each by its name, by the rule that tells it from what is called so too, and how a kernel makes it the input."""
    assert segment.image is not None
    image = segment.image
    whole = replace(own, resize=None, keep=(1, 1))
    if own.resize is not None and not own.cut_first:
        yield from _cut_elsewhere(own, image, size)
    for box in boxes((image.shape[0], image.shape[1]), size):
        yield box.name, box.rule, partial(_by, whole, size, image, partial(box.made, own))
    if own.resize is not None and not own.cut_first:
        squared, part = cut_before(image, size), cut_before(image, size, own.resize)
        if squared.shape != image.shape:
            yield "cut first", "", partial(_by, whole, size, squared, _plainly)
            if own.resize[0] > own.resize[1]:  # of a resize that leaves a margin
                yield "part first", "", partial(_by, whole, size, part, _plainly)
        for cut, begin in (("pitch", True), ("pitch corner", False)):
            yield cut, "", partial(_by, own, size, image, partial(_read_on, size, begin))
    for cut, turns in (("left", 1), ("right", 3)):
        yield cut, "", partial(_by, own, size, np.rot90(image, turns), _plainly)
    yield from _made_smaller(own, segment, size)


def _by(rule: Preprocessing, size: tuple[int, int], image: Array, way: _Way, resize: Resize) -> Array:
    """The input that a rule makes of a picture, resized in some way by a kernel."""
    return prepare(image, rule, size, partial(way, resize))


def _plainly(resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    return resize(pixels, shape)


def _cut_elsewhere(own: Preprocessing, image: Array, size: tuple[int, int]) -> Iterator[_Placement]:
    """Another part of the picture once it is resized: a pixel away, from its corner, a row or a column more."""
    ways: dict[str, _Way] = {
        f"moved {dy:+d} {dx:+d}": partial(_moved, (dy, dx))
        for dy, dx in itertools.product((-1, 0, 1), repeat=2)
        if dy or dx
    }
    ways |= {"corner": partial(_cornered, size), "row": partial(_wider, (1, 0)), "column": partial(_wider, (0, 1))}
    ways |= {"side": _larger, "unresized": lambda resize, pixels, shape: pixels}
    for cut, way in ways.items():
        yield cut, "", partial(_by, own, size, image, way)


def _made_smaller(own: Preprocessing, segment: Segment, size: tuple[int, int]) -> Iterator[_Placement]:
    """A picture at a part of its size before it is resized: in its own proportions, or in those of the whole one."""
    assert segment.image is not None
    whole = segment.image.shape
    shape = shape_to_crop(whole, own, size)
    for name, image in segment.decoded.items():
        if name in JPEG_PARTS:
            yield from _of_smaller(own, size, name, image.shape, partial(np.asarray, image), shape)
    for times in TIMES_SMALLER:
        if min(whole[:2]) >= times:
            small = cache(partial(_reduced, segment.image, times))  # of a photograph for all kernels, and only if asked
            sides = tuple(-(-side // times) for side in whole[:2])
            yield from _of_smaller(own, size, f"reduced {times}", sides, small, shape)


def _of_smaller(
    own: Preprocessing,
    size: tuple[int, int],
    name: str,
    sides: tuple[int, ...],
    small: Callable[[], Array],
    shape: tuple[int, int],
) -> Iterator[_Placement]:
    """A smaller picture resized in its own proportions and, where that is another size, to that of the whole one."""
    yield name, "", lambda resize: _by(own, size, small(), _plainly, resize)
    if shape_to_crop(sides, own, size) != shape:
        yield f"{name} whole", "", lambda resize: _by(own, size, small(), partial(_to, shape), resize)


def _reduced(image: Array, times: int) -> Array:
    """A picture so many times smaller: rounded means of squares of pixels, the last of which may be cut short."""
    rows, columns = (np.arange(0, side, times) for side in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.int64), columns, axis=1)
    height, width = (np.diff([*cuts, n]) for cuts, n in zip((rows, columns), image.shape, strict=False))
    counts = np.multiply.outer(height, width)[..., np.newaxis]
    made: Array = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    return made


def _to(shape: tuple[int, int], resize: Resize, pixels: Array, _: tuple[int, int]) -> Array:
    return resize(pixels, shape)


def _moved(by: tuple[int, int], resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    """The resized picture moved, so that a crop begins elsewhere; what leaves it is repeated on the other side."""
    made = resize(pixels, shape)
    for axis, step in enumerate(by):
        made = made.take((np.arange(shape[axis]) + step).clip(0, shape[axis] - 1), axis)
    return made


def _cornered(size: tuple[int, int], resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    return resize(pixels, shape)[: size[0], : size[1]]


def _wider(more: tuple[int, int], resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    return resize(pixels, (shape[0] + more[0], shape[1] + more[1]))


def _larger(resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    """The picture resized to one more on its shorter side, and to as much more in proportion on the other."""
    least = min(pixels.shape[:2])
    H, W = (side * (min(shape) + 1) // least for side in pixels.shape[:2])
    return resize(pixels, (H, W))


def kernel_of(own: Preprocessing, name: str) -> Resize:
    """How pixels are resized: by a kernel of a name, or by the network's own."""
    return KERNELS[name or own.interpolation].resize


def _read_on(size: tuple[int, int], begin: bool, resize: Resize, pixels: Array, shape: tuple[int, int]) -> Array:
    """The resized picture read on without end from where the crop begins, or from its first pixel: rows lie aslant."""
    made = resize(pixels, shape)
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
