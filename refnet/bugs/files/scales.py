"""What goes wrong with weights that a file stores as integers: their scales in another order, bytes of the other kind.

Each is told from the integers and the steps that a file has for them, as in `damage`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import comparable, last_cut, made_so, nearest_factors
from refnet.bugs.files.stored_weights import grids
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.memory.channel_orders import rule_of, ruled_orders
from refnet.bugs.numbers.precision import grid_steps
from refnet.readings.precision import FLOATS

__all__ = ["integers_misread", "integers_unnudged", "scales_moved"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_QUOTIENT = 4 * _U  # relative: what float32 leaves of an integer times its step, and of that over the step
_SAME = 16 * _U  # relative: the same where both were folded, and the scale was made of what was
_HALF = 128  # of the integers of a byte
_BITS = 8  # of those integers
_LEVELS = (255 / 256, 256 / 255)  # of a scale: that of 256 steps for that of 255, and the reverse
_FULL = 126  # of the largest integer of a channel that has a scale of its own: 127, and perhaps one less
_FEWEST = 4  # weights of a channel that show whether a factor fits
_TOSSES = 20  # weights whose rounding errors lie within one step about another place than zero by no chance


class _Integers(NamedTuple):
    """The integers of an array row by row, (K, n), and the right rows; steps (K,), or (K, n) along the inputs."""

    q: Array
    steps: Array
    right: Array


def scales_moved(unit: UnitArrays) -> Iterator[Change]:
    """right integers under other scales.

    Those of the channels in another order, those of another layer, one for all, or along the inputs; or one scale made
    all integers.
    """
    held = _integers(unit)
    if held is None or len(held.q) < 2:
        return
    several = held.q.shape[1] >= _FEWEST  # else any factor fits a channel
    if held.steps.ndim > 1:
        yield _rescaled(unit, "inputs", held.steps / _needed(held)[:, None], of_step=held.steps / 2)
    elif np.ptp(held.steps):
        yield from _in_order(unit, held)
        yield from _made_by_one(unit, held)
        for name, other in unit.steps.items() if several else ():
            if name != unit.names[unit.slot] and np.array_equal(other.reshape(len(other), -1)[:, 0], held.steps):
                yield _rescaled(unit, "layer", (held.steps / _needed(held))[:, None], facts={"layer": name})
    elif several and (np.abs(held.q).max(axis=1)[held.q.any(axis=1)] >= _FULL).all():
        yield _rescaled(unit, "one", (held.steps / _needed(held))[:, None])
    elif unit.slot == "b" and (of_weights := unit.steps.get(unit.names["w"])) is not None and np.ptp(of_weights):
        along = of_weights.reshape(len(of_weights), -1)[:, 0]
        low, high = (each / along for each in _fitting(held))
        own = along * float(np.sqrt(low.max() * high.min()))  # the weights' scales times that of what they read
        if np.isfinite(own).all() and own.all():
            yield _rescaled(unit, "one", (held.steps / own)[:, None])


def _made_by_one(unit: UnitArrays, held: _Integers) -> Iterator[Change]:
    """Integers that one scale made, that of a channel or any other, though each channel is read with its own."""
    known = float((held.q**2).sum())
    if len(held.q) < _FEWEST or not known:
        return
    one = float((held.q * held.right).sum() / known)
    channel = int(np.abs(held.steps / one - 1).argmin())
    made = {"made by a channel's": (held.steps[channel], {"channel": channel}), "made by one": (one, {})}
    for form, (scale, facts) in made.items():
        # A fit to integers that are half a step off, each of them perhaps twice, is no nearer than chance brings it.
        if not facts or abs(scale / one - 1) <= 2 / math.sqrt(known):
            own = (held.steps / scale)[:, None]
            # They may have been made from integers that were right.
            more = np.broadcast_to(own * held.steps[:, None] / 2, held.q.shape)
            yield _rescaled(unit, form, own, of_step=more, facts=facts)


def _in_order(unit: UnitArrays, held: _Integers) -> Iterator[Change]:
    """The scales in the order by a rule that is nearest to what the integers need, then in one that all of them fit."""
    steps, along = held.steps, np.arange(len(held.steps))
    low, high = _fitting(held)
    middle = np.sqrt(np.maximum(low, FLOATS["float32"].subnormal) * np.where(np.isfinite(high), high, steps))
    rolls = (np.roll(along, by) for by in range(2, len(along) - 1))
    nearest = min(
        (*ruled_orders(len(along)), *rolls), key=lambda order: float(np.abs(np.log(steps / middle[order])).max())
    )
    for order in (nearest, _matched(steps, low, high)):
        if order is not None and not np.array_equal(order, along):
            back = np.empty_like(steps)
            back[order] = steps  # the scale that each channel had
            form, facts = rule_of(order)
            yield _rescaled(unit, form, (steps / back)[:, None], facts={"side": "scales", **facts})


def _fitting(held: _Integers) -> tuple[Array, Array]:
    """The smallest and the largest step of which each channel's integers are the nearest ones to its right weights."""
    right, q = np.abs(held.right), np.where(held.q * held.right < 0, -np.abs(held.q), np.abs(held.q))
    with np.errstate(divide="ignore"):
        low, high = right / (q + 0.5), np.where(q > 0, right / (q - 0.5), np.inf)
    low, high = np.where(low < 0, np.inf, low).max(axis=1), high.min(axis=1)
    return low * (1 - _QUOTIENT), high * (1 + _QUOTIENT)


def _matched(steps: Array, low: Array, high: Array) -> Array | None:
    """Which channel's each step is, so that all lie between what fits; those stay that fit where they are.

    Of the channels that a step may be of, the one that the fewest of the larger ones fit: this finds an order if any.
    """
    fits = (low <= steps) & (steps <= high)
    order, left = np.arange(len(steps)), list(np.flatnonzero(~fits))
    for place in sorted(left, key=lambda each: float(steps[each])):
        some = [each for each in left if low[each] <= steps[place] <= high[each]]
        if not some:
            return None
        order[place] = min(some, key=lambda each: float(high[each]))
        left.remove(order[place])
    return order


def _needed(held: _Integers) -> Array:
    """The step by which each channel's integers are nearest to its right weights."""
    square = (held.q**2).sum(axis=1)
    own = (held.q * held.right).sum(axis=1) / np.where(square > 0, square, 1.0)
    return nearest_factors(held.right, held.q, np.where(square > 0, own, 1.0))


def _rescaled(
    unit: UnitArrays, form: str, factors: Array, of_step: Array | None = None, facts: Mapping[str, Any] | None = None
) -> Change:
    """The right weights with every integer under another scale; `of_step`: what of it is rounded off, if not of it."""
    wanted = unit.tensors[unit.slot]
    shape = wanted.value.shape
    factors = np.broadcast_to(factors, (len(factors), math.prod(shape[1:]))).reshape(shape)
    value = wanted.value * factors
    slack = wanted.slack * np.abs(factors) + 3 * _U * np.abs(value)
    slack = slack if of_step is None else slack + of_step.reshape(shape)
    return made_so(unit, form, Expected(value, slack), **(facts or {}))


def integers_misread(unit: UnitArrays) -> Iterator[Change]:
    """integers read as others.

    Bytes of one kind, signed or not, as those of the other; or with another zero point.
    """
    held = _integers(unit)
    if held is None:
        yield from _floats_misread(unit)
    elif held.steps.ndim == 1:
        q, steps = held.q, held.steps[:, None]
        for form, more, facts in _readings(q, np.rint(np.median(q - held.right / steps, axis=1))):
            yield _moved(unit, form, more * steps, **facts)


def _readings(q: Array, by: Array) -> Iterator[tuple[str, Array, dict[str, int]]]:
    """What was added to integers that were read as others; `by` is how much that is in each channel."""
    if by.any() and not np.ptp(by):
        yield "moved", by[:, None], {"by": int(by[0])}
    elif by.any() and q.shape[1] >= _FEWEST:
        yield "each", by[:, None], {"least": int(by.min()), "most": int(by.max())}
    yield "turned", np.where(q < 0, -_HALF, _HALF), {}
    if (q >= _HALF).any():
        yield "unsigned", np.where(q >= _HALF, 2 * _HALF, 0), {}


def _floats_misread(unit: UnitArrays) -> Iterator[Change]:
    """The same of integers that were multiplied by their scale, and are floats in the file.

    Which integer is the right one is exact then, but for weights on a tie.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit) or copy.ndim < 2 or unit.names["w"] in unit.steps:
        return
    for step, least, most in _scales_of(copy, wanted.value):
        if not (_is_whole(copy[:1], step[:1]) and _is_whole(copy, step)):
            continue
        exact, q = wanted.value / step, np.rint(copy / step).reshape(len(copy), -1)
        right = np.clip(np.rint(exact), least, most)
        tie = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) <= _SAME * np.abs(exact) + wanted.slack / step
        by = np.median(q - right.reshape(q.shape), axis=1)
        for form, more, facts in _readings(q, by):
            left = form == "moved" and 0 <= q.min() < facts["by"] and q.max() < 2 * _HALF
            made = (right + np.broadcast_to(more, q.shape).reshape(right.shape)) * step
            slack = _SAME * np.abs(made) + np.where(tie, step, 0.0)
            yield made_so(unit, "left" if left else form, Expected(made, slack), **facts)


def _scales_of(copy: Array, right: Array) -> Iterator[tuple[Array, int, int]]:
    """Scales that quantisers take of the right weights, then that of the copy's own grid; and the ends of integers."""
    for per in ("channel", "tensor"):
        axes = tuple(range(1, right.ndim)) if per == "channel" else None
        for levels in (_HALF - 1, _HALF):
            yield np.broadcast_to(grid_steps(right, per, levels), _along(copy)), -_HALF, _HALF - 1
        ends = (np.maximum(right.max(axis=axes, keepdims=True), 0), np.minimum(right.min(axis=axes, keepdims=True), 0))
        step = np.maximum((ends[0] - ends[1]) / (2 * _HALF - 1), FLOATS["float32"].subnormal)
        yield np.broadcast_to(step, _along(copy)), 1 - 2 * _HALF, 2 * _HALF - 1
    for _, bits, step in grids(copy):
        if bits <= _BITS + 1:
            yield np.broadcast_to(step, _along(copy)), 1 - 2 * _HALF, 2 * _HALF - 1


def _along(copy: Array) -> tuple[int, ...]:
    return len(copy), *(1,) * (copy.ndim - 1)


def _is_whole(copy: Array, step: Array) -> bool:
    q = copy / step
    return bool((np.abs(q - np.rint(q)) <= _SAME * np.abs(q)).all())


def integers_unnudged(unit: UnitArrays) -> Iterator[Change]:
    """a constant part of a step is added to every weight.

    The integers count from the unrounded minimum, or down from the maximum, and the zero point is rounded: the range
    was not moved so that zero is an integer. Its ends say how much that is; of a tensor also all of its elements. The
    scale may besides be that of a level more or fewer.
    """
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    if unit.slot != "w" or not comparable(unit):
        return
    told = unit.steps.get(unit.names[unit.slot])
    for step in [step for _, bits, step in grids(copy) if bits <= _BITS] if told is None else [told]:
        alike = not np.ptp(step)
        axes = None if alike else tuple(range(1, copy.ndim))
        low, high = copy.min(axis=axes, keepdims=True), copy.max(axis=axes, keepdims=True)
        off = np.abs(copy - np.clip(wanted.value, low, high)) > step * (0.5 + _HALF * _QUOTIENT) + wanted.slack
        if not off.any():
            continue
        for form, part, factor in _parts(copy, wanted.value, step, axes):
            value = last_cut(factor * wanted.value + part * step, low, high, step)
            nearest = bool((np.abs(part) <= 0.5 + _HALF * _QUOTIENT).all())
            facts = {"parts": (float(part.min()), float(part.max())), "zero": nearest, "of_scale": factor}
            yield made_so(unit, form, Expected(value, factor * wanted.slack + 3 * _U * np.abs(value)), **facts)


def _parts(copy: Array, right: Array, step: Array, axes: tuple[int, ...] | None) -> Iterator[tuple[str, Array, float]]:
    """Which part of a step was added, of a tensor or of each channel, and what the scale was multiplied by."""
    for factor in (1.0, *_LEVELS):
        for form, end, beyond in (("minimum", np.min, np.minimum), ("maximum", np.max, np.maximum)):
            own, its = (beyond(end(each, axis=axes, keepdims=True), 0) for each in (copy, factor * right))
            yield form, (own - its) / step, factor
    inside = (copy > copy.min()) & (copy < copy.max())  # the ends may be cut off
    if axes is None and (share := _middle(((copy - right) / step)[inside])):
        yield "part", np.full(1, share), 1.0


def _middle(off: Array) -> float:
    """About which part of a step rounding errors lie, if on both sides of zero; else they were rounded to one side."""
    if off.size < _TOSSES or min(-off.min(), off.max()) <= _HALF * _QUOTIENT:
        return 0.0
    return float(off.min() + off.max()) / 2


def _moved(unit: UnitArrays, form: str, more: Array, **facts: Any) -> Change:
    """The right weights with something added to each."""
    wanted = unit.tensors[unit.slot]
    more = np.broadcast_to(more, (len(more), math.prod(wanted.value.shape[1:]))).reshape(wanted.value.shape)
    return made_so(unit, form, Expected(wanted.value + more, wanted.slack + 3 * _U * np.abs(more)), **facts)


def _integers(unit: UnitArrays) -> _Integers | None:
    """The integers of the array that is to be explained; None where it has none."""
    steps = unit.steps.get(unit.names[unit.slot])
    if steps is None or not comparable(unit) or steps.shape != unit.seen[unit.slot].shape:
        return None
    copy, right, along = (each.reshape(len(steps), -1) for each in (unit.seen[unit.slot], unit[unit.slot], steps))
    for held in (along, along.T) if along.shape[0] == along.shape[1] else (along,):
        q = np.rint(copy / held)
        if (np.abs(copy / held - q) <= _QUOTIENT * np.abs(q)).all():
            return _Integers(q, held[:, 0] if held is along else held, right)
    return None
