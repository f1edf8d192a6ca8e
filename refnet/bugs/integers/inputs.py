"""Wrong integers that a network is given: of another picture's layout, range or zero point.

A function takes the integers that the network should be given and those that a port has, and returns what the mistake
makes of the first, None where it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refnet.bugs.inputs.pixels import PIXEL_RULES, WHITE
from refnet.bugs.integers.node import Array
from refnet.readings.integer.quantisation import Quantisation
from refnet.readings.precision import BYTE_STEPS

_TIE = 2.0**-10  # of a step: more than float32 leaves of 256 of them, and less than lies between numbers of pixels

__all__ = [
    "input_channels_reversed",
    "input_height_and_width_exchanged",
    "input_laid_out_otherwise",
    "input_moved",
    "input_of_other_bytes",
    "input_rounded_otherwise",
    "input_scaled",
    "input_scaled_by_channel",
]


def input_channels_reversed(x: Array, port: Array) -> Array | None:
    """The channels of the input are in reverse order."""
    return x[:, ::-1] if x.shape[1] > 1 else None


def input_of_other_bytes(x: Array, port: Array) -> Array | None:
    """The bytes of the input are signed for unsigned ones, or the reverse: each is 128 off, and wraps around."""
    return np.asarray(x ^ x.dtype.type(-128 if x.dtype.kind == "i" else 128)) if x.dtype.itemsize == 1 else None


def input_moved(x: Array, port: Array) -> Array | None:
    """The integers of the input are a constant off, as under another zero point."""
    if x.dtype.kind not in "iu":
        return None
    limits, wide = np.iinfo(x.dtype), x.astype(np.int64)
    inside = (port > limits.min) & (port < limits.max)
    apart = int(np.median((port - wide)[inside])) if inside.any() else 0
    return np.asarray(np.clip(wide + apart, limits.min, limits.max).astype(x.dtype))


def input_height_and_width_exchanged(x: Array, port: Array) -> Array | None:
    """Height and width of the input are exchanged."""
    return x.swapaxes(2, 3) if x.shape[2] == x.shape[3] else None


def input_laid_out_otherwise(x: Array, port: Array) -> Array | None:
    """The input is laid out channels last, and read channels first, or the reverse."""
    last, first = _laid_out(x)
    return last if np.array_equal(last, port) else first


def _laid_out(x: Array) -> tuple[Array, Array]:
    """(N, C, H, W) whose numbers lie channels last, and whose numbers are read so."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(x.shape), x.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def input_scaled(x: Array, port: Array) -> Array | None:
    """The input is the same picture in another range: a factor and a constant away, but for a step."""
    return _on_a_line(x, port)


def input_scaled_by_channel(x: Array, port: Array) -> Array | None:
    """The input is the same picture normalised by other numbers, one set for each channel."""
    made = [_on_a_line(x[:, [c]], port[:, [c]]) for c in range(x.shape[1])]
    channels = [each for each in made if each is not None]
    return np.concatenate(channels, axis=1) if len(channels) == x.shape[1] > 1 else None


def _on_a_line(x: Array, port: Array) -> Array | None:
    """The integers of a port, if a factor and a constant make them of the right ones, but for a step."""
    limits = (np.iinfo if x.dtype.kind in "iu" else np.finfo)(x.dtype)
    inside = (port > limits.min) & (port < limits.max)
    if np.unique(x[inside]).size < 2:
        return None
    slope, offset = np.polyfit(x[inside].astype(np.float64), port[inside].astype(np.float64), 1)
    step = 1.0 if x.dtype.kind in "iu" else 1e-5 * float(np.ptp(port))
    near = np.abs(np.clip(slope * x + offset, limits.min, limits.max) - port) <= step
    return np.where(near, port, x) if near.all() else None


def input_rounded_otherwise(x: Array, port: Array) -> Array | None:
    """The integers of the input are a step off in places: real numbers were rounded otherwise."""
    return port if x.dtype.kind in "iu" and (np.abs(port.astype(np.int64) - x) <= 1).all() else None


def guesses(x: Array, q: Quantisation | None) -> Iterator[tuple[str, Array]]:
    """What a port may have been given that does not say it: by rule, the numbers that these mistakes make.

    Parameters
    ----------
    x : (N, C, H, W), what the network should be given
    q : how its integers are read; None of real numbers
    """
    for bug in (input_channels_reversed, input_height_and_width_exchanged):
        if (y := bug(x, x)) is not None:
            yield bug.__name__.replace("_", "-"), y
    for y in _laid_out(x):
        yield "input-laid-out-otherwise", y
    if q is None:
        yield from ((rule, y.astype(x.dtype)) for rule, y in _otherwise(x, float(x.min()), float(x.max())))
        return
    if (y := input_of_other_bytes(x, x)) is not None:
        yield "input-of-other-bytes", y
    scale, zero = float(q.single()[0]), int(q.single()[1])
    yield "input-moved", _clipped(x.astype(np.float64) - zero, q)
    low, high = (scale * (end - zero) for end in (q.low, q.high))
    for rule, y in _otherwise(scale * (x.astype(np.float64) - zero), low, high, whole=True):
        for tie in (-_TIE, 0.0, _TIE):  # half of all numbers lie between two steps where a range is halved
            yield rule, _clipped(y / scale + zero + tie, q)


def _otherwise(x: Array, least: float, most: float, *, whole: bool = False) -> Iterator[tuple[str, Array]]:
    """Real numbers in each other range of pixels, or normalised; by the ends of their own it is told what they are.

    Parameters
    ----------
    whole : whether they stand for whole pixels
    """
    made = {form: _line(form) for form in PIXEL_RULES}
    lines = {form: line for form, line in made.items() if line.shape[1] in (1, x.shape[1])}

    def beyond(form: str) -> float:
        slope, offset = lines[form]
        return float(abs(offset.min() - least) + abs((slope + offset).max() - most))

    own = min(lines, key=beyond)
    slope, offset = lines[own]
    share = (x.astype(np.float64) - offset) / slope
    share = np.rint(share * BYTE_STEPS) / BYTE_STEPS if whole else share
    for form, (other, start) in lines.items():
        plain = lines[own].shape[1] == lines[form].shape[1] == 1  # one range for all colours
        yield "input-scaled" if plain else "input-scaled-by-channel", other * share + start


def _line(form: str) -> Array:
    """The slope and the offset of what people make of pixels between 0 and 1: (2, C, 1, 1), or of one for all."""
    black, white = (PIXEL_RULES[form](np.full((1, 1, 1), level)) for level in (0.0, WHITE))
    return np.stack([white - black, black])


def _clipped(steps: Array, q: Quantisation) -> Array:
    return np.clip(np.rint(steps), q.low, q.high).astype(q.dtype)
