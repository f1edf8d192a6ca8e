"""What goes wrong with weights that a file stores as integers: their scales in another order, bytes of the other kind.

Each is told from the integers and the steps that a file has for them, as in `damage`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import comparable, made_so, nearest_factors
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.memory.channel_orders import rule_of, ruled_orders
from refnet.readings.precision import FLOATS

__all__ = ["integers_misread", "scales_moved"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_QUOTIENT = 4 * _U  # relative: what float32 leaves of an integer times its step, and of that over the step
_HALF = 128  # of the integers of a byte
_FULL = 126  # of the largest integer of a channel that has a scale of its own: 127, and perhaps one less
_FEWEST = 4  # weights of a channel that show whether a factor fits


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
    if held is None or held.steps.ndim > 1:
        return
    q, steps = held.q, held.steps[:, None]
    by = np.rint(np.median(q - held.right / steps, axis=1))
    if by.any() and not np.ptp(by):
        yield _moved(unit, "moved", by[:, None] * steps, by=int(by[0]))
    elif by.any() and q.shape[1] >= _FEWEST:
        yield _moved(unit, "each", by[:, None] * steps, least=int(by.min()), most=int(by.max()))
    yield _moved(unit, "turned", np.where(q < 0, -_HALF, _HALF) * steps)
    yield _moved(unit, "unsigned", np.where(q >= _HALF, 2 * _HALF, 0) * steps)


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
