"""What happens to the weights of a file and to no port: each is told from the arrays themselves.

Signs, factors, offsets, overflow, clipping, coarse rounding, few elements that are off, the weights of another layer.
The arrays' own difference sets the figures of each, so these say what happened only if all elements agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.regions import lines_off
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_FEW = 3  # elements that a factor must explain beyond those that it was taken from, and channels told one by one
_ROUNDED = 1 / 8  # of a row's largest element: rows that are farther off were not rounded to 8 bits
_ONE = 16 * _U  # how far from it a factor is one: that of a few elements, each of which was folded and rounded
_THIRDS = 40  # cuts of a range by a third: 1e-7 of it is left
_SHARE = 16  # of an array that must be right, and off, before its end is told
_FILLED = 0.9  # of the end of an array that must be off
_HALF = FLOATS["float16"]


def weights_zeroed(unit: UnitArrays) -> Iterator[Change]:
    """all zeros where there were weights."""
    yield made_so(unit, "", Expected.exactly(np.zeros_like(unit[unit.slot])))


def weights_misplaced(unit: UnitArrays) -> Iterator[Change]:
    """the weights of another layer.

    As they are, or transposed.
    """
    copy = unit.seen[unit.slot]
    for name, tensors in unit.others.items():
        for slot, made in tensors().items():
            if made.value.size != copy.size or (slot == "w") != (unit.slot == "w"):
                continue
            if made.value.shape == copy.shape:
                yield made_so(unit, "", made, layer=name, slot=slot)
            if slot == "w" and made.value.ndim == 2 and made.value.T.shape == copy.shape:
                yield made_so(unit, "transposed", made.map(np.transpose), layer=name, slot=slot)


def weights_negated(unit: UnitArrays) -> Iterator[Change]:
    """the opposite sign.

    Of all, or of some channels.
    """
    if not comparable(unit):
        return
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    yield made_so(unit, "all", wanted._replace(value=-wanted.value))
    rows, own = (each.reshape(len(each), -1) for each in (copy, wanted.value))
    flip = np.flatnonzero((rows * own).sum(axis=1) < 0)
    value = wanted.value.copy()
    value[flip] *= -1
    yield made_so(unit, "channels", wanted._replace(value=value), channels=_numbers(flip))


def weights_scaled(unit: UnitArrays) -> Iterator[Change]:
    """a constant factor."""
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit) or copy.size <= _FEW:
        return
    square = float((wanted.value**2).sum())
    if not square:
        return
    factor = float((copy * wanted.value).sum()) / square
    steps = unit.steps.get(unit.names[unit.slot])
    if steps is not None:
        yield from _integers_scaled(unit, factor, steps)
    elif abs(factor - 1) > 3 * _U:  # once is no change
        yield _times(unit, factor)


def _times(unit: UnitArrays, factor: float, more: Array | float = 0.0) -> Change:
    """The array times a factor; the product rounds, and so do the factor itself and our estimate of it."""
    wanted = unit.tensors[unit.slot]
    value = factor * wanted.value
    return made_so(unit, "", Expected(value, abs(factor) * wanted.slack + 3 * _U * np.abs(value) + more), factor=factor)


def _integers_scaled(unit: UnitArrays, factor: float, steps: Array) -> Iterator[Change]:
    """Integers beside their half steps; they may have been made from integers that were right, if once is too few.

    Those at the ends may have been cut off; where that alone explains them, no factor is told.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    inside = (copy > copy.min()) & (copy < copy.max())
    off = np.abs(copy - np.clip(wanted.value, copy.min(), copy.max()))
    if not inside.any() or (off <= steps * (0.5 + _ONE) + wanted.slack).all():
        return
    rows, own = ((each / steps)[inside].reshape(1, -1) for each in (copy, wanted.value))
    (nearest,) = nearest_factors(rows, own, np.array([factor]))
    if abs(nearest - 1) > _ONE:
        made = last_cut(float(nearest) * wanted.value, copy.min(), copy.max(), steps)
        yield made_so(unit, "", Expected(made, nearest * wanted.slack + 3 * _U * np.abs(made)), factor=float(nearest))
    if (off > steps * (1 + _ONE) + wanted.slack).any():
        yield _times(unit, factor, abs(factor) * steps / 2)


def last_cut(values: Array, low: Array, high: Array, step: Array) -> Array:
    """Values whose integers would lie one beyond the ends, at the ends: of 256 levels the last is cut off."""
    cut = np.clip(values, low, high)
    made: Array = np.where(np.abs(values - cut) <= 1.5 * step, cut, values)
    return made


def channels_scaled(unit: UnitArrays) -> Iterator[Change]:
    """a factor for each channel."""
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit) or copy.ndim < 2 or copy[0].size <= _FEW:
        return
    if (lines := _factors(copy, wanted.value, 0)) is None:
        return
    factor = nearest_factors(*lines)
    made = _multiplied(wanted, factor, 0)
    scaled = np.flatnonzero(np.abs(factor - 1) > _ONE)
    if len(scaled) <= max(3, len(factor) // 8):
        factors = tuple(float(factor[k]) for k in scaled)
        yield made_so(unit, "few", made, channels=_numbers(scaled), of=len(factor), factors=factors)
    else:
        yield made_so(unit, "all", made, least=float(factor.min()), most=float(factor.max()))


def _factors(copy: Array, right: Array, axis: int) -> tuple[Array, Array, Array] | None:
    """Line by line along an axis the copy's numbers, the right ones, and a factor; None where there is none."""
    lines, own = (np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1) for each in (copy, right))
    square = (own**2).sum(axis=1)
    factor = (lines * own).sum(axis=1) / np.where(square > 0, square, 1.0)
    return (lines, own, factor) if factor[square > 0].all() else None  # lines of zeros are not scaled, they are gone


def _multiplied(wanted: Expected, factor: Array, axis: int) -> Expected:
    """An array whose lines along an axis are multiplied; the product rounds, and so does the factor, twice."""
    along = factor.reshape([-1 if each == axis else 1 for each in range(wanted.value.ndim)])
    value = along * wanted.value
    return Expected(value, np.abs(along) * wanted.slack + 3 * _U * np.abs(value))


def nearest_factors(rows: Array, own: Array, factor: Array) -> Array:
    """Of rows that were rounded besides, the factors that leave the smallest largest difference.

    No factor leaves less, so where any explains a row but for half steps, this one does. The difference is convex in
    the factor, and the least squares of a row whose largest element is m and is R off lie within 2 R / m of it.
    """
    most = np.abs(own).max(axis=1)
    off = np.abs(rows - factor[:, None] * own).max(axis=1)
    size = np.abs(rows).max(axis=1)
    if (off > _ROUNDED * size).any() or (off <= 3 * _U * size).all():
        return factor
    reach = 2 * off / np.where(most > 0, most, 1.0)
    low, high = factor - reach, factor + reach
    for _ in range(_THIRDS):
        left, right = (2 * low + high) / 3, (low + 2 * high) / 3
        less = np.abs(rows - left[:, None] * own).max(axis=1) < np.abs(rows - right[:, None] * own).max(axis=1)
        low, high = np.where(less, low, left), np.where(less, right, high)
    made: Array = (low + high) / 2
    return made


def inputs_scaled(unit: UnitArrays) -> Iterator[Change]:
    """a factor for each input channel."""
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit) or copy.ndim < 2 or unit.op == "depthwise_conv2d" or copy[:, 0].size <= _FEW:
        return
    if (lines := _factors(copy, wanted.value, 1)) is None or copy.shape[1] < 2:
        return
    *_, factor = lines
    made = _multiplied(wanted, factor, 1)
    if len(factor) <= _FEW:
        yield made_so(unit, "few", made, factors=tuple(float(each) for each in factor))
    else:
        yield made_so(unit, "all", made, least=float(factor.min()), most=float(factor.max()))


def weights_affine(unit: UnitArrays) -> Iterator[Change]:
    """a factor and a constant added."""
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit) or copy.size <= 2 * _FEW or not np.ptp(wanted.value):
        return
    x, y = wanted.value.ravel(), copy.ravel()
    centred = x - x.mean()
    factor = float(centred @ y) / float(centred @ centred)
    constant = float(y.mean()) - factor * float(x.mean())
    if factor and constant:
        value = factor * wanted.value + constant
        slack = abs(factor) * wanted.slack + 6 * _U * (np.abs(factor * wanted.value) + abs(constant))
        yield made_so(unit, "", Expected(value, slack), factor=factor, constant=constant)


def weights_offset(unit: UnitArrays) -> Iterator[Change]:
    """a constant added."""
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if not comparable(unit) or copy.size <= _FEW:
        return
    apart = copy - wanted.value
    # Of integers each is off by up to half a step besides: the middle of the two ends leaves least.
    held = unit.steps.get(unit.names[unit.slot])
    constant = float(np.median(apart) if held is None else (apart.max() + apart.min()) / 2)
    if not constant:
        return
    value = wanted.value + constant
    slack = wanted.slack + 3 * _U * (np.abs(value) + abs(constant))
    yield made_so(unit, "", Expected(value, slack), constant=constant)


def weights_overflow(unit: UnitArrays) -> Iterator[Change]:
    """beyond what float16 holds.

    Such elements have become infinite, or the largest number that it can hold.
    """
    wanted = unit.tensors[unit.slot]
    beyond = np.abs(wanted.value) > _HALF.largest
    if unit.seen[unit.slot].shape == beyond.shape and beyond.any():
        for form, most in (("infinite", np.inf), ("cut", _HALF.largest)):
            value = np.where(beyond, np.copysign(most, wanted.value), wanted.value)
            made = Expected(value, np.where(beyond, 0.0, wanted.slack))
            yield made_so(unit, form, made, count=int(beyond.sum()), of=beyond.size)


def weights_clipped(unit: UnitArrays) -> Iterator[Change]:
    """cut off at the ends.

    At the smallest and the largest value that is there.
    """
    if not comparable(unit):
        return
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    low, high = float(copy.min()), float(copy.max())
    cut = (wanted.value < low) | (wanted.value > high)
    if int(cut.sum()) >= _FEW:
        yield made_so(unit, "", wanted._replace(value=np.clip(wanted.value, low, high)), low=low, high=high)


def weights_flushed(unit: UnitArrays) -> Iterator[Change]:
    """small values flushed to zero.

    Those below the normal numbers of float16.
    """
    wanted = unit.tensors[unit.slot]
    small = np.abs(wanted.value) < _HALF.normal
    if unit.seen[unit.slot].shape == small.shape and small.any():
        yield made_so(unit, "", wanted._replace(value=np.where(small, 0.0, wanted.value)))


def weights_pruned(unit: UnitArrays) -> Iterator[Change]:
    """weights pruned to zero.

    Whole channels, some in every group of so many, the smallest of all, or others; the rest is as it was.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit):
        return
    gone = (copy == 0) & (np.abs(wanted.value) > wanted.slack)
    count = int(gone.sum())
    if count <= _FEW or count == gone.size:
        return
    made = Expected(np.where(gone, 0.0, wanted.value), np.where(gone, 0.0, wanted.slack))
    form, size, share = _pruning(gone, np.abs(wanted.value))
    for axis, side in ((0, "output"), (1, "input"))[: 1 if unit.op == "depthwise_conv2d" else 2]:
        lines = lines_off(gone, axis)
        first, last, of = int(lines[0]), int(lines[-1]), gone.shape[axis]
        if len(lines) == last - first + 1 < of and not copy.take(lines, axis).any():
            yield made_so(unit, "run", made, side=side, first_of=first, last_of=last, of=of)
            return
    yield made_so(unit, form, made, percent=100 * count / gone.size, group=size, kept=share)


def _pruning(gone: Array, size: Array) -> tuple[str, int, int]:
    """By what rule elements were pruned: whole channels, so many of each group of inputs, the smallest, or another."""
    rows = gone.reshape(len(gone), -1)
    if np.all(rows.all(axis=1) | ~rows.any(axis=1)):
        return "channels", 0, 0
    for group in (2, 4, 8):
        if rows.shape[1] % group == 0:
            kept = group - rows.reshape(-1, group).sum(axis=1)
            if group > kept[0] > 0 and np.all(kept == kept[0]):
                return "groups", group, int(kept[0])
    return ("smallest" if size[gone].max() <= size[~gone].min() else "some"), 0, 0


def weights_damaged(unit: UnitArrays) -> Iterator[Change]:
    """few elements off.

    All but a few elements, or all but few channels, are right.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if copy.shape != wanted.value.shape:
        return
    with np.errstate(invalid="ignore"):
        off = ~((np.abs(copy - wanted.value) <= wanted.slack) | (copy == wanted.value))
    count, places = int(off.sum()), np.argwhere(off)
    if not count or count == off.size:
        return
    part, empty = _part(off, 2 if unit.op != "depthwise_conv2d" else 1), not copy[off].any()
    if part is not None and not (empty and count > off.size // 8):  # so many are pruned
        axis, form, facts = part
        held = Expected(np.where(off, copy, wanted.value), wanted.slack)
        side = "output" if axis == 0 else "input"
        finite = bool(np.isfinite(copy[off]).all())
        yield made_so(unit, form, held, side=side, empty=empty, finite=finite, **facts)
        return
    channels = np.unique(places[:, 0])
    few_elements = count <= max(1, off.size // 100)
    few_channels = off.ndim > 1 and len(channels) <= max(1, len(off) // 8)
    made = partial(made_so, unit, made=Expected(np.where(off, copy, wanted.value), wanted.slack))
    finite = bool(np.isfinite(copy[off]).all())
    if few_channels and count > 1:
        empty = not copy[channels].any()
        form = "channel" if len(channels) == 1 else "channels"
        yield made(form, channels=_numbers(channels), of=len(off), empty=empty, finite=finite)
    elif few_elements or few_channels:
        yield made("elements", count=count, of=off.size, first=_numbers(places[0]), finite=finite)


def _part(off: npt.NDArray[np.bool_], axes: int) -> tuple[int, str, dict[str, int]] | None:
    """A run of channels or inputs that are off, every so many of them, or the end of an array as it lies in memory.

    Of the axis, 'run', 'step' or 'tail', and where; None where what is off forms none of these.
    """
    for axis in range(min(off.ndim, axes)) if off.ndim > 1 else ():
        lines, of = lines_off(off, axis), off.shape[axis]
        first, last, steps = int(lines[0]), int(lines[-1]), np.diff(lines)
        if len(lines) <= _FEW or len(lines) == of:
            continue
        if (steps == 1).all():
            return axis, "run", {"first_of": first, "last_of": last, "of": of}
        if (steps == steps[0]).all():
            return axis, "step", {"every": int(steps[0]), "first_of": first, "of": of}
    start = int(off.ravel().argmax())
    if min(start, off.size - start) > off.size // _SHARE + _FEW and off.ravel()[start:].mean() > _FILLED:
        return 0, "tail", {"count": off.size - start, "of": off.size}
    return None


def weights_coarse(unit: UnitArrays) -> Iterator[Change]:
    """rounded further.

    The right values to fewer bits: every element, relative to itself.
    """
    if not comparable(unit):
        return
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(copy - wanted.value)
        relative = np.where(error <= wanted.slack, 0.0, error / np.abs(wanted.value))
    most = float(relative.max(initial=0.0))
    bits = next((bits for bits in range(22, 6, -1) if most <= 2.0**-bits), None)
    if bits is not None:
        slack = wanted.slack + 2.0**-bits * np.abs(wanted.value)
        yield made_so(unit, "", Expected(wanted.value, slack), bits=bits)


def made_so(unit: UnitArrays, form: str, made: Expected, **facts: Any) -> Change:
    """The array that is to be explained, made in another way."""
    return Change(unit.name, form, facts, params={unit.names[unit.slot]: made}, rare=True)


def comparable(unit: UnitArrays) -> bool:
    """Whether there is an element for each, all of them numbers."""
    copy, wanted = unit.seen[unit.slot], unit[unit.slot]
    return copy.shape == wanted.shape and bool(np.isfinite(copy).all() and np.isfinite(wanted).all())


def _numbers(indices: Array) -> tuple[int, ...]:
    return tuple(int(index) for index in indices)
