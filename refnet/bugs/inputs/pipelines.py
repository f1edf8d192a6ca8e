"""Bugs of a picture that is resized by another library and normalised otherwise: two steps of preprocessing at once.

Whoever writes the preprocessing anew takes the library at hand with its own habits; so what is wrong comes in pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pictures import kernel_of, room_of, size_of
from refnet.bugs.inputs.pixels import column, fed
from refnet.bugs.inputs.preprocessing import by_rule, differs
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.files.images import prepare
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]

_LIBRARY = ("opencv-bilinear", "opencv-area", "opencv-bicubic", "first-nearest", "float-bilinear", "lanczos")
_CONSTANTS = ("own", "0..1", "-1..1", "0..255", "out", "torch")


def input_pipeline(segment: Segment) -> Iterator[Change]:
    """the picture resized by another library, and its pixels treated otherwise.

    By OpenCV, whose colours are in reverse order, or by another kernel, cut or squashed; and under other constants.

    Source: https://github.com/python-pillow/Pillow/issues/4445
    """
    own = segment.whole.recipe.preprocessing
    if segment.image is None or SOURCE not in segment.given or own is None:
        return
    squashed = replace(own, resize=None, keep=(1, 1))
    cuts = {"": own} if own.resize is None and own.keep == (1, 1) else {"": own, "squashed": squashed}
    names = [name for name in _CONSTANTS if name == "own" or differs(name, own)]
    for kernel, cut, reverse, name in itertools.product(("", *_LIBRARY), cuts, (True, False), names):
        if (kernel or cut) and (reverse or name != "own"):
            form = " ".join(filter(None, (kernel, cut, "bgr" if reverse else "", name)))
            made = partial(_treated, segment.image, cuts[cut], own, size_of(segment), (kernel, name), reverse=reverse)
            facts = {"kernel": kernel, "join": bool(kernel and cut), "cut": cut, "colours": reverse, "rule": name}
            yield from fed(segment, form, made, room_of(segment.image, kernel), **facts)


def _treated(
    image: Array,
    rule: Preprocessing,
    own: Preprocessing,
    size: tuple[int, int],
    ways: tuple[str, str],
    *,
    reverse: bool,
) -> Array:
    kernel, name = ways
    x = prepare(image, rule, size, kernel_of(own, kernel)).astype(np.float64)
    pixels = (x * column(own.std) + column(own.mean)) * own.scale
    pixels = pixels[:, ::-1] if reverse else pixels
    return by_rule(pixels, own, name)
