"""Formats that an export may have rounded weights to, as the values themselves show.

A copy that was rounded lies on the format's grid *and* within half a step of what it should be; both are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.stored_weights import grids
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.numbers.precision import grid_steps
from refnet.readings.orders import rounded
from refnet.readings.precision import FLOATS

__all__ = ["Rounding", "off_other_grids", "on_grid", "roundings", "short_folds"]

Array = npt.NDArray[Any]

_BITS = 8  # of a grid that is one of integers
_PRODUCT = 3 * FLOATS["float32"].u  # scale times integer, in float32, of a scale that was itself divided and rounded
_SAME = 8 * _PRODUCT * 2**_BITS  # by how much of themselves steps are off that are read from a grid's largest number


class Rounding(NamedTuple):
    """A format, and what it makes of `Expected`.

    Attributes
    ----------
    needs : what a policy must allow for it
    form : '' for none, 'float', 'grid' of 8 bits, 'integers' with steps of their own; 'fold' of a float format in which
        batch norm was worked in; 'moved' of a bias that was larger by a constant, and so is coarser than the bias
        itself would be
    facts : the float format, what a grid is per, the constant
    fine : whether it is so small beside the tensor that a few elements show whether it explains a difference
    """

    needs: tuple[str, ...]
    form: str
    facts: Mapping[str, Any]
    widen: Callable[[Expected], Expected]
    fine: bool = False


def on_grid(values: Array, store: str) -> bool:
    """Whether every value is one of a float format's."""
    finite = np.asarray(values[np.isfinite(values)], np.float32)
    with np.errstate(over="ignore"):
        return bool(np.array_equal(rounded(finite, store), finite))


def roundings(
    copy: Array, steps: Array | None = None, constant: float = 0.0, flushes: bool = False
) -> Iterator[Rounding]:
    """The formats whose grid a tensor lies on, the finest first.

    Parameters
    ----------
    copy : the tensor, float64
    steps : quantisation steps of a tensor that was stored as integers, to meet its shape
    constant : of the activation behind a bias, the 3 of a hard sigmoid, which exporters add to the bias
    flushes : whether the file's writer makes zero of what is below float16's normal numbers
    """
    if steps is not None:
        with np.errstate(invalid="ignore"):  # the least value is taken away first, where one is
            half = _half(copy, steps) + _PRODUCT * np.ptp(copy)
        yield Rounding(("int8",), "integers", {}, partial(_stepped, more=half, by=0.0))
        if constant:
            facts = {"constant": constant, "store": "int8"}
            yield Rounding(("int8",), "moved", facts, partial(_stepped, more=steps / 2, by=constant))
        return
    yield Rounding((), "", {}, partial(_within, more=0.0), True)
    with np.errstate(over="ignore"):
        if np.array_equal(copy.astype(np.float32), copy, equal_nan=True):
            yield Rounding(("float32",), "float", {"store": "float32"}, partial(_short, store="float32"), True)
    for store in ("float16", "bfloat16"):
        if on_grid(copy, store):
            gone = copy == 0 if flushes and store == "float16" else None
            yield Rounding((store,), "float", {"store": store}, partial(_short, store=store, gone=gone))
    if constant:
        for store, needs in (("float16", ("folded", "float16")), ("float32", ("folded",))):
            if store == "float32" or on_grid(copy + constant, store):
                facts = {"constant": constant, "store": store}
                yield Rounding(needs, "moved", facts, partial(_moved, by=constant, store=store), store == "float32")
    for per, step in _grids(copy):
        yield Rounding(("int8",), "grid", {"per": per}, partial(_within, more=_half(copy, step)))


def off_other_grids(wanted: Expected, copy: Array) -> Iterator[Expected]:
    """What should be there, half a step wider, where it lies on a grid of 8 bits and the copy on another one."""
    if wanted.value.shape != copy.shape or np.any(wanted.slack):
        return
    others = [*_grids(copy)]
    for _, step in _grids(wanted.value) if others else ():
        if not any(np.allclose(step, other, rtol=_SAME, atol=0) for _, other in others):
            yield _within(wanted, _half(wanted.value, step))


def _half(copy: Array, steps: Array) -> Array:
    """Half a step; a whole one of weights at the end of the integers: a scale of the largest / 128 cuts 128 to 127."""
    end = 2.0 ** (_BITS - 1) - 1
    whole = np.abs(copy - end * steps) < steps / 2 if copy.ndim > 1 else np.zeros(copy.shape, bool)
    made: Array = np.where(whole, steps, steps / 2)
    return made


def short_folds(copy: Array, unit: UnitArrays | None, slot: str) -> Iterator[Rounding]:
    """The short formats that a tensor may have been folded in, as casting a module before its fold does.

    Parameters
    ----------
    unit : before the fold, None where there is none
    """
    # The shorter fraction first: its numbers may be numbers of the other too, which explains as much of a large sum.
    for store in ("bfloat16", "float16") if unit is not None and unit.foldable else ():
        if unit is not None and on_grid(copy, store):
            made = unit.folded_in(store).tensors[slot]
            yield Rounding((store,), "fold", {"store": store}, partial(_replaced, by=made))


def _short(made: Expected, *, store: str, gone: npt.NDArray[np.bool_] | None = None) -> Expected:
    """Rounded once more: half a unit in the last place, relative, or half the smallest subnormal.

    Where it has `gone` it may have been anything below the normal numbers.
    """
    grid = FLOATS[store]
    with np.errstate(invalid="ignore"):
        more = grid.u * (np.abs(made.value) + made.slack) + grid.subnormal / 2
        return _within(made, more=more if gone is None else np.where(gone, grid.normal, more))


def _stepped(made: Expected, *, more: Array, by: float) -> Expected:
    """Half a step, and what float32 leaves of the quotient: converters divide in it, by a product of two scales."""
    with np.errstate(invalid="ignore"):
        return _within(made, more=more + _PRODUCT * (np.abs(made.value + by) + abs(by)))


def _moved(made: Expected, *, by: float, store: str) -> Expected:
    """Rounded with a constant added, and once more when it was taken away."""
    with np.errstate(invalid="ignore"):
        more = FLOATS[store].u * np.abs(made.value + by) + FLOATS["float32"].u * np.abs(made.value)
        return _within(made, more=more)


def _replaced(made: Expected, by: Expected) -> Expected:
    return by


def _within(made: Expected, more: Array | float) -> Expected:
    return Expected(made.value, made.slack + more)


def _grids(copy: Array) -> Iterator[tuple[str, Array]]:
    """8-bit grids that a float tensor lies on, by channel or as a whole: 'channel' or 'tensor', and the steps."""
    if copy.ndim < 2 or not np.isfinite(copy).all():
        return
    symmetric = set()
    for per in ("channel", "tensor"):
        for levels in (127.0, 128.0):
            step = grid_steps(copy, per, levels)
            q = copy / step
            if np.all(np.abs(q - np.rint(q)) <= levels * 2 * _PRODUCT):
                yield per, np.broadcast_to(step * (1 + 2 * _PRODUCT * levels), copy.shape)
                symmetric.add(per)
                break
    for per, bits, step in grids(copy):
        if bits == _BITS and per not in symmetric:
            yield per, np.broadcast_to(step * (1 + 2 * _PRODUCT * 2**bits), copy.shape)
