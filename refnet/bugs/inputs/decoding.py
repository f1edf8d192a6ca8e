"""Bugs of the bytes that pixels are: of which sign, how many bits, in which colour space.

They show on whole pixels of 0 to 255 alone; what a colour space does also on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import bytes_of, column, fed, normalised, pixels_of
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]


def input_bytes(segment: Segment) -> Iterator[Change]:
    """pixels of another sign, or of fewer bits.

    Bytes taken for signed ones, a difference that wraps at 256, a division of whole numbers, or the 5, 6 and 5 bits of
    a camera.

    Source: https://github.com/espressif/esp-tflite-micro/issues/18
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None or segment.given[SOURCE].shape[1] != 3:
        return
    if bytes_of(segment.given[SOURCE], own) is None:
        return
    for form, rule in _OF_BYTES.items():
        yield from fed(segment, form, partial(_read_as, segment, rule, own))


def _read_as(segment: Segment, rule: Callable[[Array, Preprocessing], Array], own: Preprocessing) -> Array:
    pixels = bytes_of(segment.given[SOURCE], own)
    assert pixels is not None
    return rule(pixels, own)


def _signed(pixels: Array) -> Array:
    return np.where(pixels >= 128, pixels - 256, pixels)


def _wrapped(pixels: Array, own: Preprocessing, rounded: Callable[[Array], Array]) -> Array:
    """Bytes less a byte, in bytes."""
    made: Array = (pixels - rounded(column(own.mean) * own.scale)) % 256 / (own.scale * column(own.std))
    return made


_UNITS = column((8, 4, 8))  # of 5, 6 and 5 bits


def _cut(pixels: Array, own: Preprocessing) -> Array:
    return normalised(pixels - pixels % _UNITS, own)


def _spread(pixels: Array, own: Preprocessing) -> Array:
    """The highest bits once more below, so that white stays white."""
    high = pixels - pixels % _UNITS
    return normalised(high + np.floor(high * _UNITS / 256), own)


_OF_BYTES: Mapping[str, Callable[[Array, Preprocessing], Array]] = {
    "signed": lambda pixels, own: normalised(_signed(pixels), own),
    "signed alone": lambda pixels, own: _signed(pixels) / own.scale,
    "signed 128": lambda pixels, own: _signed(pixels) / 128,
    "signed 127": lambda pixels, own: _signed(pixels) / 127,
    "wrapped": lambda pixels, own: _wrapped(pixels, own, np.floor),
    "wrapped up": lambda pixels, own: _wrapped(pixels, own, np.ceil),
    "wrapped nearest": lambda pixels, own: _wrapped(pixels, own, np.rint),
    "whole": lambda pixels, own: normalised(np.floor(pixels / own.scale) * own.scale, own),
    "565": _cut,
    "565 spread": _spread,
}

# Red, green, blue to luma and two differences of colour, full range, ITU-R BT.601 (as JPEG) and BT.709.
_KR_KB = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}


def _matrix(which: str) -> Array:
    kr, kb = _KR_KB[which]
    y = np.array([kr, 1 - kr - kb, kb])
    made: Array = np.array([y, (np.array([0, 0, 1]) - y) / (2 - 2 * kb), (np.array([1, 0, 0]) - y) / (2 - 2 * kr)])
    return made


_CHROMA = np.array([0, 128, 128.0]).reshape(3, 1, 1)
_STUDIO = np.array([219, 224, 224.0]).reshape(3, 1, 1) / 255, np.array([16, 128, 128.0]).reshape(3, 1, 1)


def _mixed(matrix: Array, pixels: Array) -> Array:
    made: Array = np.einsum("ij,njhw->nihw", matrix, pixels)
    return made


def _encoded(pixels: Array, which: str = "601") -> Array:
    made: Array = _mixed(_matrix(which), pixels) + _CHROMA
    return made


def _decoded(video: Array, which: str = "601") -> Array:
    return _mixed(np.linalg.inv(_matrix(which)), video - _CHROMA)


_VIDEO: Mapping[str, Callable[[Array], Array]] = {
    "studio": lambda video: _decoded((video - _STUDIO[1]) / _STUDIO[0] + _CHROMA),
    "full": lambda video: _decoded((video - _CHROMA) * _STUDIO[0] + _STUDIO[1]),
    "swapped": lambda video: _decoded(video[:, [0, 2, 1]]),
    "709": lambda video: _decoded(video, "709"),
    "YCbCr": lambda video: video,
    "YCrCb": lambda video: video[:, [0, 2, 1]],
}
_LEVELS = 4.0  # of a pixel, which one of luma and one of a colour, rounded otherwise, move by: 1.164 + 2.018 at most


def input_video(segment: Segment) -> Iterator[Change]:
    """luma and colour of a camera or a JPEG decoded otherwise.

    Of another range (16 to 235, or 0 to 255), by another standard's matrix, with the two colours exchanged, or not
    decoded at all.

    Source: https://github.com/tensorflow/tensorflow/issues/4911
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None or segment.given[SOURCE].shape[1] != 3:
        return
    whole = bytes_of(segment.given[SOURCE], own) is not None
    for form in _VIDEO:
        made = partial(_of_video, segment, form, own, whole=whole)
        yield from fed(segment, form, made, _LEVELS if whole else 0.0)


def _of_video(segment: Segment, form: str, own: Preprocessing, *, whole: bool) -> Array:
    pixels = pixels_of(segment, own)
    if not whole:
        return normalised(_VIDEO[form](_encoded(pixels)), own)
    video = np.rint(_encoded(np.rint(pixels))).clip(0, 255)
    return normalised(np.rint(_VIDEO[form](video)).clip(0, 255), own)
