"""Bugs of how a picture becomes the input: its kernel, its size before the crop, the part that is kept.

Each is replayed from the picture itself, so it is tried only where the picture is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from refnet.bugs.changes import Change
from refnet.bugs.pixels import fed
from refnet.bugs.segments import Segment
from refnet.errors import RequestError
from refnet.files.images import prepare
from refnet.files.resample import KERNELS, ResizeKernel
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Interpolation

_VENDORS: tuple[Interpolation, ...] = get_args(Interpolation)
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


def _size(segment: Segment) -> tuple[int, int]:
    _, _, H, W = segment.given[SOURCE].shape
    return H, W


def _alike(one: _Rule, other: _Rule) -> bool:
    """Whether two cuts are the same: 256 for 224 is 8 / 7."""
    (a, b), (c, d) = (rule[0] or (0, 1) for rule in (one, other))
    return a * d == b * c and one[1] == other[1]
