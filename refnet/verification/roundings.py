"""Formats that an export may have rounded weights to, told from the values themselves.

A copy that was rounded lies on the format's grid *and* within half a step of what it should be; both are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.readings.orders import rounded
from refnet.readings.precision import FLOATS
from refnet.verification.layers import Expected

__all__ = ["Rounding", "on_grid", "roundings"]

Array = npt.NDArray[Any]

_PRODUCT = 3 * 2.0**-24  # scale times integer, in float32, of a scale that was itself divided and rounded


class Rounding(NamedTuple):
    """A format: what a policy must allow for it, more on it in words, and what it makes of `Expected`.

    `fine` is a rounding so small beside the tensor that a few elements show whether it explains a difference; `moved`
    one of a bias that was larger by a constant, and so coarser than the bias itself would have it.
    """

    needs: tuple[str, ...]
    detail: str
    widen: Callable[[Expected], Expected]
    fine: bool = False
    moved: bool = False


def on_grid(values: Array, store: str) -> bool:
    """Whether every value is one of a float format's."""
    finite = np.asarray(values[np.isfinite(values)], np.float32)
    with np.errstate(over="ignore"):
        return bool(np.array_equal(rounded(finite, store), finite))


def roundings(copy: Array, steps: Array | None = None, constant: float = 0.0) -> Iterator[Rounding]:
    """The formats whose grid a tensor lies on, the finest first.

    Parameters
    ----------
    copy : the tensor, float64
    steps : quantisation steps of a tensor that was stored as integers, to meet its shape
    constant : of the activation behind a bias, the 3 of a hard sigmoid, which exporters add to the bias
    """
    if steps is not None:
        yield Rounding(("int8",), "quantised", partial(_within, more=steps / 2))
        return
    yield Rounding((), "", partial(_within, more=0.0), True)
    with np.errstate(over="ignore"):
        if np.array_equal(copy.astype(np.float32), copy, equal_nan=True):
            yield Rounding(("float32",), "rounded to float32", partial(_short, store="float32"), True)
    for store in ("float16", "bfloat16"):
        if on_grid(copy, store):
            yield Rounding((store,), f"rounded to {store}", partial(_short, store=store))
    if constant:
        words = f"stored with the {constant:g} of the activation behind it added"
        if on_grid(copy + constant, "float16"):
            move = partial(_moved, by=constant, u=2.0**-11)
            yield Rounding(("folded", "float16"), f"{words}, in float16", move, moved=True)
        yield Rounding(("folded",), words, partial(_moved, by=constant, u=2.0**-24), fine=True, moved=True)
    for words, step in _grids(copy):
        yield Rounding(("int8",), f"quantised to 8 bits {words}", partial(_within, more=step / 2))


def _short(made: Expected, *, store: str) -> Expected:
    """Rounded once more: half a unit in the last place, relative, or half the smallest subnormal."""
    grid = FLOATS[store]
    with np.errstate(invalid="ignore"):
        return _within(made, more=grid.u * (np.abs(made.value) + made.slack) + grid.subnormal / 2)


def _moved(made: Expected, *, by: float, u: float) -> Expected:
    """Rounded with a constant added, and once more when it was taken away."""
    with np.errstate(invalid="ignore"):
        return _within(made, more=u * np.abs(made.value + by) + 2.0**-24 * np.abs(made.value))


def _within(made: Expected, more: Array | float) -> Expected:
    return Expected(made.value, made.slack + more)


def _grids(copy: Array) -> Iterator[tuple[str, Array]]:
    """(words, step) of 8-bit grids that a float tensor lies on, by channel or as a whole."""
    if copy.ndim < 2 or not np.isfinite(copy).all():
        return
    rows = copy.reshape(len(copy), -1)
    for words, largest in (
        ("by channel", np.abs(rows).max(axis=1, keepdims=True)),
        ("as a whole", np.abs(rows).max(keepdims=True)),
    ):
        for levels in (127.0, 128.0):
            step = np.maximum(largest / levels, 2.0**-149)
            q = rows / step
            if np.all(np.abs(q - np.rint(q)) <= levels * 2 * _PRODUCT):
                wide = step * (1 + 2 * _PRODUCT * levels)
                yield words, np.broadcast_to(wide, rows.shape).reshape(copy.shape)
                break
