"""Bugs of a colour space: pixels of another one that are taken for red, green and blue.

Spaces of luma are in `decoding`. Those that are here hold hue, or lightness, and are no mixtures of the colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import WHITE, WHOLE, bytes_of, fed, normalised, pixels_of
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]

_BITS = 4096.0  # by which OpenCV multiplies its tables of reciprocals, which are whole
# IEC 61966-2-1: linear red, green, blue to X, Y, Z under D65, over the white's own.
_XYZ = np.array([[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]])
_XYZ /= _XYZ.sum(axis=1, keepdims=True)
_FIXED = 3.0  # of a pixel: what the tables of whole numbers that OpenCV has for Lab move it by, over all colours


class _Hue(NamedTuple):
    """Of each pixel: sixths of a turn, from -1 on; the largest and the least colour, and between them."""

    sixths: Array
    high: Array
    low: Array
    chroma: Array


def _hue(pixels: Array) -> _Hue:
    r, g, b = pixels.swapaxes(0, 1)
    high, low = pixels.max(axis=1), pixels.min(axis=1)
    chroma = high - low
    turned = np.where(high == r, g - b, np.where(high == g, b - r + 2 * chroma, r - g + 4 * chroma))
    return _Hue(np.divide(turned, chroma, out=np.zeros_like(high), where=chroma > 0), high, low, chroma)


def _share(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _stacked(*planes: Array) -> Array:
    return np.stack(planes, axis=1)


def _by_table(pixels: Array, turn: float) -> Array:
    """OpenCV's hue (of so many steps), saturation and value, by tables of whole numbers."""
    hue = _hue(pixels)
    reciprocal = np.rint(_share(np.full_like(hue.chroma, turn * _BITS / 6), hue.chroma))
    sixths = np.rint(hue.sixths * hue.chroma)
    steps = np.floor(sixths * reciprocal / _BITS + 0.5)
    part = hue.chroma * np.rint(_share(np.full_like(hue.high, WHITE * _BITS), hue.high))
    return _stacked(np.where(steps < 0, steps + turn, steps), np.floor(part / _BITS + 0.5), hue.high)


def _by_share(pixels: Array) -> Array:
    """Hue, saturation and value of 0 to 255, not rounded."""
    hue = _hue(pixels)
    return _stacked(hue.sixths / 6 % 1 * WHITE, _share(hue.chroma, hue.high) * WHITE, hue.high)


def _by_lightness(pixels: Array) -> Array:
    """OpenCV's hue (of 180 steps), lightness and saturation."""
    hue, total = _hue(pixels), pixels.max(axis=1) + pixels.min(axis=1)
    share = _share(hue.chroma, np.where(total < WHITE, total, 2 * WHITE - total))
    return np.rint(_stacked(hue.sixths / 6 % 1 * 180, total / 2, share * WHITE))


def _lab(pixels: Array) -> Array:
    """CIE 1976: lightness of 0 to 255, and a and b, to which 128 is added."""
    stored = pixels / WHITE
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    xyz = np.einsum("ij,njhw->inhw", _XYZ, light)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.rint(_stacked((116 * y - 16) * WHITE / 100, 500 * (x - y) + 128, 200 * (y - z) + 128))


class _Space(NamedTuple):
    """What it makes of pixels, red first; how many levels a library may be away; whether it needs whole pixels."""

    made: Callable[[Array], Array]
    levels: float = 0.0
    whole: bool = True


_SPACES: Mapping[str, _Space] = {
    "HSV": _Space(lambda pixels: _by_table(pixels, 180.0)),
    "HSV 256": _Space(lambda pixels: _by_table(pixels, 256.0)),
    "HSV share": _Space(_by_share, whole=False),
    "HSV cut": _Space(lambda pixels: np.floor(_by_share(pixels)), 1.0),
    "HLS": _Space(_by_lightness, 1.0),
    "Lab": _Space(_lab, _FIXED),
}


def input_space(segment: Segment) -> Iterator[Change]:
    """a space of hue or lightness taken for colours.

    Hue, saturation and value, as OpenCV, Pillow and TensorFlow have them; hue, lightness and saturation; or CIE Lab. Of
    red, green and blue, or of these in reverse order.

    Source: https://docs.opencv.org/4.x/de/d25/imgproc_color_conversions.html
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None or segment.given[SOURCE].shape[1] != 3:
        return
    pixels = pixels_of(segment, own)
    if pixels.min(initial=0.0) < -WHOLE or pixels.max(initial=0.0) > WHITE + WHOLE:
        return
    whole = bytes_of(segment.given[SOURCE], own) is not None
    for form, space in _SPACES.items():
        for name, step in ((form, 1), (f"{form} bgr", -1)):
            if whole or not space.whole:
                made = partial(_taken, segment, space, own, step, whole=whole)
                yield from fed(segment, name, made, space.levels)


def _taken(segment: Segment, space: _Space, own: Preprocessing, step: int, *, whole: bool) -> Array:
    pixels = bytes_of(segment.given[SOURCE], own) if whole else pixels_of(segment, own).clip(0, WHITE)
    assert pixels is not None
    return normalised(space.made(pixels[:, ::step]), own)
