"""How a pack's input was made of a picture: by the network's own recipe, or in another way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pictures import cut_rules, other_rules, sized_rules
from refnet.bugs.inputs.pixels import WHITE, WHOLE, bytes_of, column, normalised
from refnet.bugs.inputs.solved import fewest_digits
from refnet.errors import RequestError
from refnet.files.images import prepare
from refnet.files.resample import KERNELS
from refnet.networks.preprocessing import NAMED, RAW, Preprocessing

__all__ = ["preprocessing_of", "scale_of"]

Array = npt.NDArray[Any]

_ORIGIN = "as the picture and the input show"
_EXACT = 2 * WHOLE  # of a pixel: what whoever scaled it rounds, and what refnet does


def preprocessing_of(pixels: Array, x: Array, known: Preprocessing | None) -> Preprocessing | None:
    """The recipe that makes an input of a picture.

    Parameters
    ----------
    pixels : (H', W', 3) uint8
    x : (N, C, H, W), the input
    known : the network's recipe, where somebody has said it; it is tried first

    Returns
    -------
    recipe : the known one if it makes the input; else the first that does, with another kernel, cut or side, and with
        scale, mean and deviation solved for by channel; of kernels that are known up to a level of a pixel alone, that
        which comes closest. None where no recipe makes it, of one image in three colours
    """
    own = known or RAW
    if x.shape[:2] != (1, len(RAW.mean)):
        return None
    (height, width), size = pixels.shape[:2], (x.shape[2], x.shape[3])

    def made_by(rule: Preprocessing) -> tuple[Preprocessing, float]:
        try:
            made = prepare(pixels, replace(rule, scale=1.0, mean=RAW.mean, std=RAW.std), size)
        except RequestError:  # a picture of a few pixels
            return rule, math.inf
        return _scaled(rule, made.astype(np.float64), x.astype(np.float64))

    def fitting(rules: Iterable[Preprocessing]) -> list[tuple[float, Preprocessing]]:
        """Those that make the input, and how far they lie from it: the first that makes it exactly, alone."""
        found: list[tuple[float, Preprocessing]] = []
        for rule in rules:
            scaled, left = made_by(rule)
            if left <= _EXACT:
                return [(left, scaled)]
            if left <= _EXACT + KERNELS[rule.interpolation].room(pixels.shape[:2]):
                found.append((left, scaled))
        return found

    def of_any_side() -> Iterator[Preprocessing]:
        nearest = min(sized_rules(own, size), key=lambda rule: made_by(rule)[1], default=own)
        yield from (replace(nearest, interpolation=kernel) for kernel in dict.fromkeys((own.interpolation, *KERNELS)))

    usual = (own, *(rule for *_, rule in other_rules(own)), *cut_rules(own, (height, width), size))
    return min(fitting(usual) or fitting(of_any_side()), key=lambda each: each[0], default=(0.0, None))[1]


def scale_of(x: Array, known: Preprocessing | None) -> Preprocessing | None:
    """The recipe under which an input is bytes, where no picture is known: the known one, if no other does better.

    Parameters
    ----------
    x : (N, 3, H, W), the input
    known : the network's recipe, where somebody has said it
    """
    if x.shape[1] != len(RAW.mean) or (known is not None and bytes_of(x, known) is not None):
        return known
    other = next((rule for rule in NAMED.values() if bytes_of(x, rule) is not None), None)
    if other is None:
        return known
    return other if known is None else replace(known, origin=_ORIGIN, scale=other.scale, mean=other.mean, std=other.std)


def _scaled(rule: Preprocessing, made: Array, x: Array) -> tuple[Preprocessing, float]:
    """A rule with the scale that makes an input of resized pixels, and how far they lie from it, in levels of a pixel.

    Its own, where that is right; else per channel the line x = slope * pixel + offset of least squares.
    """
    own = float(np.abs((x - normalised(made, rule)) * column(rule.std) * rule.scale).max())
    if own <= _EXACT or not made.std(axis=(0, 2, 3)).all():
        return rule, own
    middle, level = (each.mean(axis=(0, 2, 3), keepdims=True) for each in (made, x))
    slope = ((made - middle) * (x - level)).sum(axis=(0, 2, 3)) / np.square(made - middle).sum(axis=(0, 2, 3))
    if not slope.all():
        return rule, own
    left = float(np.abs((x - level) / column(tuple(slope)) - (made - middle)).max())
    if own <= left:
        return rule, own
    error = _EXACT / np.ptp(made, axis=(0, 2, 3))  # relative, of what a level is divided by
    one = bool(np.ptp(1 / slope) <= float((np.abs(1 / slope) * error).max()))
    scale = fewest_digits(float((1 / slope).mean()), float(np.abs(1 / slope).max() * error.max())) if one else WHITE
    offset = level.ravel() - slope * middle.ravel()
    std = np.ones(3) if one else 1 / (slope * scale)
    mean, near = -offset * std, _EXACT * np.abs(slope * std)
    return replace(rule, origin=_ORIGIN, scale=scale, mean=_plain(mean, near), std=_plain(std, std * error)), left


def _plain(figures: Array, errors: Array) -> tuple[float, float, float]:
    red, green, blue = (fewest_digits(float(each), float(error)) for each, error in zip(figures, errors, strict=True))
    return red, green, blue
