"""The input of a network as the pixels that it was made of, and a segment on another input.

No bug is here: those of the input are made with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing
from refnet.readings.carried import gamma
from refnet.readings.precision import FLOATS

__all__ = ["PIXEL_RULES", "WHITE", "WHOLE", "bytes_of", "column", "fed", "normalised", "pixels_of", "room"]

Array = npt.NDArray[Any]

WHITE = 255.0  # the largest of a pixel, and of an alpha

_U = FLOATS["float32"].u
# Of a pixel, what float32 leaves of a whole one: three roundings, of terms that are as large as it and twice the mean
# together (`fed`), none of which is more than 256.
WHOLE = gamma(3, _U) * 3 * 256


def pixels_of(segment: Segment, own: Preprocessing) -> Array:
    """The pixels that the input was made of, in float64, not rounded."""
    return _undone(segment.given[SOURCE], own)


def _undone(x: Array, own: Preprocessing) -> Array:
    return (x.astype(np.float64) * column(own.std) + column(own.mean)) * own.scale


def normalised(pixels: Array, own: Preprocessing) -> Array:
    """The input that is made of pixels."""
    made: Array = (pixels / own.scale - column(own.mean)) / column(own.std)
    return made


def bytes_of(x: Array, own: Preprocessing) -> Array | None:
    """The pixels that an input was made of, whole; None where they are no bytes."""
    pixels = _undone(x, own)
    whole = np.rint(pixels)
    if np.abs(pixels - whole).max(initial=0.0) > WHOLE or whole.min(initial=0.0) < 0 or whole.max(initial=0.0) > WHITE:
        return None
    return whole


def column(figures: tuple[float, ...]) -> Array:
    """A number a channel: (C, 1, 1)."""
    return np.array(figures).reshape(-1, 1, 1)


# What people make of pixels whatever the network, red first.
PIXEL_RULES: Mapping[str, Callable[[Array], Array]] = {
    "0..1": lambda pixels: pixels / 255,
    "-1..1": lambda pixels: pixels / 127.5 - 1,
    "0..255": lambda pixels: pixels,
    "-0.5..0.5": lambda pixels: pixels / 255 - 0.5,
    "-128..127": lambda pixels: pixels - 128,
    "torch": lambda pixels: (pixels / 255 - column((0.485, 0.456, 0.406))) / column((0.229, 0.224, 0.225)),
    "caffe": lambda pixels: pixels - column((123.68, 116.779, 103.939)),
    "caffe-scaled": lambda pixels: (pixels - column((123.68, 116.78, 103.94))) * 0.017,
}


def fed(
    segment: Segment, form: str, x: Array | Callable[[], Array], levels: float | Callable[[], Array] = 0.0, **facts: Any
) -> Iterator[Change]:
    """The segment on another input; a port's own may be some levels of a pixel away from it, or from some of it.

    x was made from the reference's input, which was rounded when the pixels became it, three times, of terms that are
    as large as pixel / scale and mean, over the standard deviation; and so is the port's own. What gives an x of the
    same shape does so when the change is made.
    """
    if callable(x) or x.shape == segment.given[SOURCE].shape:
        yield Change(SOURCE, form, facts, given=Deferred([SOURCE], lambda: {SOURCE: _expected(segment, x, levels)}))


def _expected(segment: Segment, x: Array | Callable[[], Array], levels: float | Callable[[], Array]) -> Expected:
    x, away = x() if callable(x) else x, levels() if callable(levels) else levels
    slack, own = _slack(segment, x), segment.whole.recipe.preprocessing
    if np.any(away) and own is not None:
        slack = slack + away / own.scale / column(own.std)
    return Expected(x, slack)


def _slack(segment: Segment, x: Array) -> Array:
    """How far a port's own input may lie from one that was made from the reference's; see `fed`."""
    return room(x, segment.given[SOURCE], segment.whole.recipe.preprocessing)


def room(x: Array, given: Array, own: Preprocessing | None) -> Array:
    """How far a port's input may lie from one, x, that was made of the reference's, since both round in float32.

    The reference's rounds by 3 u (abs(x) + 2 t), t = mean / std, and what is made from it scales that alike; the port's
    own rounds as much again. The largest value stands for all.
    """
    t = 0.0 if own is None else max(abs(m / s) for m, s in zip(own.mean, own.std, strict=True))
    size = float(np.abs(given).max(initial=0.0))
    grown = float(np.abs(x).max(initial=0.0)) / size if size else 1.0
    slack = 3 * _U * (2 * float(np.abs(x).max(initial=0.0)) + 4 * t * max(grown, 1.0))
    return np.broadcast_to(slack, x.shape)
