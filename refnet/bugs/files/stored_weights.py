"""What a file makes of weights as numbers: bytes read as others, and steps so few that they are few bits.

Each is told from the arrays themselves, as in `damage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import comparable, made_so
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.regions import lines_off
from refnet.bugs.language.shifts import flat_shift
from refnet.bugs.numbers.precision import grid_steps
from refnet.readings.orders import rounded, whole_steps
from refnet.readings.precision import FLOATS

__all__ = ["READINGS", "bytes_misread", "channels_displaced", "grids", "weights_shifted", "weights_stepped"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_BYTE, _WORD = 8, 32  # bits of the integers that files hold, and of those of biases
_MOST = 1 << 12  # levels of a grid: beyond those float16 is as coarse
_BITS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
_IN_MEMORY = {2: ((0, 1), (1, 0)), 3: ((0, 1, 2), (1, 2, 0)), 4: ((0, 1, 2, 3), (2, 3, 1, 0))}  # PyTorch, TensorFlow
_BITS_OF_BIAS = (*_BITS[_BITS.index(4) :], 14, 16)  # fewer are told from a few numbers by chance
_MINIFLOATS = {"float8 e4m3": (3, -6, 448.0), "float8 e5m2": (2, -14, 57344.0)}  # bits, least exponent, largest
_HALVES = 2.0 ** (np.array(_BITS)[:, None, None] - 1)  # levels on one side of zero
_LEVELS = np.maximum(_HALVES - [[1], [0], [2]], 1)  # of the largest weight; one fewer where it is cut
_GLANCE = 64  # numbers that refute most grids
_LEAST = 4  # levels beside each other that show a step
_ALIKE = 3  # channels that show by how much they are displaced


def bytes_misread(unit: UnitArrays) -> Iterator[Change]:
    """bytes read as other numbers.

    In the opposite order, or as those of the other short format.
    """
    wanted = unit.tensors[unit.slot]
    if unit.seen[unit.slot].shape != wanted.value.shape:
        return
    for form, read in READINGS.items():
        with np.errstate(all="ignore"):
            yield made_so(unit, form, Expected.exactly(read(wanted.value)))


def weights_shifted(unit: UnitArrays) -> Iterator[Change]:
    """numbers read from the wrong place on.

    Each stands a few places too early or too late in memory, as it does behind a header of another length than is
    thought, or behind an array that has a number more or fewer. What stands at the end may be of anything.

    Source: https://github.com/eriklindernoren/PyTorch-YOLOv3/pull/842
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if copy.shape != wanted.value.shape:
        return
    found = [
        (by, axes)
        for axes in _IN_MEMORY.get(copy.ndim, ((0,),))
        if (by := flat_shift(_flat(copy, axes), _flat(wanted.value, axes)))
    ]
    for by, axes in sorted(found, key=lambda each: abs(each[0])):
        flat, own = copy.transpose(axes), wanted.map(partial(_flat, axes=axes))
        here, there = slice(max(-by, 0), copy.size - max(by, 0)), slice(max(by, 0), copy.size - max(-by, 0))
        made = Expected(flat.copy().ravel(), np.zeros(copy.size))
        made.value[here], made.slack[here] = own.value[there], own.slack[there]
        lying = made.map(partial(_laid, like=flat, axes=np.argsort(axes)))
        yield made_so(unit, "early" if by > 0 else "late", lying, by=abs(by))


def _flat(y: Array, axes: tuple[int, ...]) -> Array:
    return y.transpose(axes).ravel()


def _laid(y: Array, like: Array, axes: Array) -> Array:
    return y.reshape(like.shape).transpose(axes)


def channels_displaced(unit: UnitArrays) -> Iterator[Change]:
    """channels that hold the values of others.

    Several beside each other hold those of channels as many places further on, or before; the rest is right.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit):
        return
    with np.errstate(invalid="ignore"):
        off = np.abs(copy - wanted.value) > wanted.slack
    for axis, side in enumerate(("output", "input")[: 1 if unit.op == "depthwise_conv2d" else min(copy.ndim, 2)]):
        lines, of = lines_off(off, axis), copy.shape[axis]
        if len(lines) < _ALIKE or lines[-1] - lines[0] >= len(lines):
            continue
        mine, theirs = (np.moveaxis(each, axis, 0).reshape(of, -1) for each in (copy, wanted.value))
        apart = np.abs(mine[lines[0]] - theirs).max(axis=1)
        by = int(apart.argmin()) - int(lines[0])
        source = np.arange(of)
        source[lines] += by
        if by and source.min() >= 0 and source.max() < of:
            facts = {"side": side, "first_of": int(lines[0]), "last_of": int(lines[-1]), "of": of, "by": abs(by)}
            made = wanted.map(partial(np.take, indices=source, axis=axis))
            form = {1: "next", -1: "previous"}.get(by, "later" if by > 0 else "earlier")
            yield made_so(unit, form, made, **facts)


def weights_stepped(unit: UnitArrays) -> Iterator[Change]:
    """rounded to few bits.

    Whole multiples of a step, of the tensor or of each channel, from zero or from the smallest value: to the nearest,
    toward zero, also once half a step is added, down or up. What lies beyond the largest is cut off there. Integers in
    a file have the steps that it says. Of a bias of no integers the step is a share of its largest number, or a power
    of two, and it is rounded to the nearest.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot == "b" and comparable(unit):
        yield from _bias_stepped(unit)
    if unit.slot != "w" or not comparable(unit) or copy.ndim < 2:
        return
    told = unit.steps.get(unit.names[unit.slot])
    for per, bits, step in grids(copy) if told is None else [("integers", _BYTE, told)]:
        axes = None if per == "tensor" else tuple(range(1, copy.ndim))
        low, high = copy.min(axis=axes, keepdims=True), copy.max(axis=axes, keepdims=True)
        value, slack = np.clip(wanted.value, low, high), _MOST * _U * np.abs(copy)
        half = step / 2 if told is None else 0.0  # of what a file holds as integers it is rounding anyhow
        yield from _one_sided(unit, per, bits, Expected(value, wanted.slack + slack), step)
        yield made_so(unit, f"{per} nearest", Expected(value, wanted.slack + half + slack), bits=bits)
    for form, (fraction, least, most) in _MINIFLOATS.items():
        if np.all(np.abs(copy) <= most) and _is_whole(copy / _spacing(copy, fraction, least), 1.0):
            value = np.clip(wanted.value, -most, most)
            yield made_so(unit, form, Expected(value, wanted.slack + _spacing(value, fraction, least) / 2))


def _one_sided(unit: UnitArrays, per: str, bits: int, exact: Expected, step: Array) -> Iterator[Change]:
    """What lies on one side of what it is made of, by more than half a step: that is no nearest step.

    Of numbers that are cut off nearly all that are not zero lie off: where few do, these are damaged.
    """
    copy, value = unit.seen[unit.slot], exact.value
    half = 0.0 if unit.names[unit.slot] in unit.steps else step / 2  # of a file's own integers it is rounding anyhow
    apart = np.abs(copy - value)
    moved = (apart > exact.slack)[value != 0]
    if moved.size and moved.mean() > 0.5 and (apart > step / 2 + exact.slack).any():
        sides = {
            "cut": (np.abs(copy) <= np.abs(value), -np.sign(value)),
            "down": (copy <= value, -1),
            "up": (copy >= value, 1),
        }
        for how, (side, toward) in sides.items():
            made = np.where(side | (apart <= exact.slack), value + toward * step / 2, np.nan)
            yield made_so(unit, f"{per} {how}", Expected(made, half + 2 * exact.slack), bits=bits)
        right = unit[unit.slot]  # where the ends did not cut it off
        raised = right + np.where(right < -step / 2, step, 0.0)  # (int)(x + 0.5), which goes toward zero
        yield made_so(unit, f"{per} half", Expected(raised, half + exact.slack), bits=bits)


def _bias_stepped(unit: UnitArrays) -> Iterator[Change]:
    """A bias in so many bits, the most first; an element on a tie may be either neighbour."""
    wanted = unit.tensors[unit.slot]
    told = unit.steps.get(unit.names[unit.slot])
    if told is not None:
        near = wanted.slack + 3 * _U * np.abs(wanted.value)  # of a quotient, and the product with it
        yield from _one_sided(unit, "integers", _WORD, Expected(wanted.value, near), told)
    slack = wanted.slack + (0.0 if told is None else told / 2)
    largest = float(np.abs(wanted.value).max(initial=0.0))
    if not largest:
        return
    for bits in sorted(_BITS_OF_BIAS, reverse=True):
        half = 1 << (bits - 1)
        for step in (largest / (half - 1), largest / half, 2.0 ** np.ceil(np.log2(largest / half))):
            steps = wanted.value / step
            made = np.clip(np.rint(steps), -half, half - 1) * step
            tie = np.abs(np.abs(steps - np.trunc(steps)) - 0.5) * step <= slack + _MOST * _U * np.abs(made)
            left = slack + 3 * _U * np.abs(made) + np.where(tie, step, 0.0)  # of a quotient, and the product with it
            yield made_so(unit, "tensor nearest", Expected(made, left), bits=bits)


def _spacing(values: Array, fraction: int, least: int) -> Array:
    """The distance of neighbours in a short float format, by bits of fraction and the least exponent."""
    _, exponent = np.frexp(values)
    made: Array = np.ldexp(1.0, np.maximum(exponent - 1, least) - fraction)
    return made


def grids(copy: Array) -> Iterator[tuple[str, int, Array]]:
    """The grids of few bits on which all values lie: per 'tensor' or 'channel', how many bits, and the steps."""
    few = len(np.unique(copy.ravel()[: 2 * _MOST])) <= _MOST + 1  # as all are that lie on a grid
    if few and len(np.unique(copy)) >= _LEAST and (found := whole_steps(copy, _MOST)) is not None:
        count, size = found
        yield "tensor", max(2, count.bit_length()), np.broadcast_to(size, (1,) * copy.ndim)
    first = copy[:2]  # channels, of which most grids are none
    for bits in _possible(first[0].ravel()) if copy.size else ():
        if any(len(np.unique(row)) > 1 << bits for row in first) or _steps_by_channel(first, bits) is None:
            continue
        if (step := _steps_by_channel(copy, bits)) is not None:
            yield "channel", bits, step
            return


def _possible(channel: Array) -> list[int]:
    """Those bits on whose grids, around zero or from the least weight on, a channel's first numbers lie."""
    few, low, high = channel[:_GLANCE], channel.min(), channel.max()
    around = few / grid_steps(channel[None], "channel", _LEVELS)
    above = (few - low) / np.maximum((high - low) / (2 * _HALVES - 1), FLOATS["float32"].subnormal)
    fits = _whole_rows(around, _LEVELS).any(axis=1) | _whole_rows(above, 2 * _HALVES)[:, 0]
    return [bits for bits, fit in zip(_BITS, fits, strict=True) if fit]


def _steps_by_channel(copy: Array, bits: int) -> Array | None:
    """A step for each channel on whose grid of so many bits it lies, around zero or from its least weight on."""
    half = 1 << (bits - 1)
    if (own := _around_zero(copy, half)) is not None:
        return own
    axes = tuple(range(1, copy.ndim))
    low, high = copy.min(axis=axes, keepdims=True), copy.max(axis=axes, keepdims=True)
    step: Array = np.maximum((high - low) / (2 * half - 1), FLOATS["float32"].subnormal)
    return step if _is_whole((copy - low) / step, 2 * half) else None


def _around_zero(copy: Array, half: int) -> Array | None:
    """A step for each channel whose largest weight is as many of them as its bits have; one fewer where it is cut."""
    found, left = np.ones((len(copy), *(1,) * (copy.ndim - 1))), np.ones(len(copy), bool)
    for most in (half - 1, half, half - 2):
        if most > 0 and left.any():
            step = grid_steps(copy, "channel", float(most))
            off = np.abs(copy / step - np.rint(copy / step)).reshape(len(copy), -1).max(axis=1)
            fits = left & (off <= 8 * most * _U)
            found[fits], left = step[fits], left & ~fits
    return None if left.any() else found


def _is_whole(steps: Array, most: float) -> bool:
    """Whether all are whole numbers, but for what float32 leaves of a step and of a product with it."""
    return bool(_whole_rows(steps, most).all())


def _whole_rows(steps: Array, most: float | Array) -> Array:
    """Of which rows all numbers are whole so."""
    whole: Array = (np.abs(steps - np.rint(steps)) <= 8 * most * _U).all(axis=-1)
    return whole


def _swapped(values: Array, dtype: str) -> Array:
    return values.astype(dtype).byteswap().astype(np.float64)


def _other_half(values: Array) -> Array:
    """The bits of bfloat16, as float16 has them."""
    bits = np.asarray(rounded(values.astype(np.float32), "bfloat16"), np.float32).view(np.uint32) >> 16
    return bits.astype(np.uint16).view(np.float16).astype(np.float64)


def _other_brain(values: Array) -> Array:
    """The bits of float16, as bfloat16 has them."""
    bits = values.astype(np.float16).view(np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).astype(np.float64)


READINGS: dict[str, Callable[[Array], Array]] = {
    "swapped": partial(_swapped, dtype="float32"),
    "swapped float16": partial(_swapped, dtype="float16"),
    "bfloat16 as float16": _other_half,
    "float16 as bfloat16": _other_brain,
}
