"""What goes wrong in a fold and only files show: it is made again, by another layer's norm, or pixels' beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import comparable, made_so
from refnet.bugs.language.arrays import FOLDED_BIAS, Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.layers.norms import fold_divisors
from refnet.graph import SOURCE
from refnet.readings.precision import FLOATS

__all__ = ["fold_elsewhere", "fold_repeated", "normalisation_folded"]

Array = npt.NDArray[Any]

_NORM = ("gamma", "beta", "mean", "var")
_LIKE = 1e-3  # relative: how near a layer's factors are to those that a fold shows; rounding leaves 1e-6
_LEFT = 1e-3  # of what a bias is moved by, what the normalisation of pixels may leave
_ROUNDINGS = 16  # of what pixels' normalisation adds to a bias, besides one for each term of the sum
_COLOURS = (1, 3, 4)


def fold_repeated(unit: UnitArrays) -> Iterator[Change]:
    """batch norm folded again into what was folded."""
    if not unit.foldable:
        return
    s = unit.factor
    again = unit["w"] * s.reshape(-1, *(1,) * (unit["w"].ndim - 1))
    with np.errstate(all="ignore"):
        once = s * (unit.bias - unit["mean"])
        beta = s * (once + unit["beta"] - unit["mean"]) + unit["beta"] - once
    seen = unit.seen.get(FOLDED_BIAS)
    if seen is not None and seen.shape == once.shape:
        twice = np.linalg.norm(seen - once - beta) < np.linalg.norm(seen - once - unit["beta"])
        yield _with(unit, "both", {"w": again, "beta": beta}) if twice else _with(unit, "weights", {"w": again})


def fold_elsewhere(unit: UnitArrays) -> Iterator[Change]:
    """the batch norm of another layer folded in."""
    divisors = fold_divisors(unit)
    if divisors is None or FOLDED_BIAS not in unit.seen:
        return
    with np.errstate(all="ignore"):
        shown = unit["gamma"] / divisors
    for layer, held in unit.others.items():
        other = held()
        if any(slot not in other or other[slot].value.shape != unit[slot].shape for slot in _NORM):
            continue
        gamma, beta, mean, var = (other[slot].value for slot in _NORM)
        with np.errstate(all="ignore"):
            factor = gamma / np.sqrt(var + unit.eps)
            if np.abs(factor - shown).max() <= _LIKE * np.abs(shown).max():
                arrays = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
                yield _with(unit, "", arrays, layer=layer)


def normalisation_folded(unit: UnitArrays) -> Iterator[Change]:
    """the normalisation of the input worked into the first layer.

    (x - mean) / std makes weights of w / std for each colour, and takes the sum of w mean / std off the bias.
    """
    names = ("w", "b")
    if unit.unit.conv.inputs != (SOURCE,) or unit.slot not in names or not all(each in unit.seen for each in names):
        return
    w, b = (unit.tensors[each].value for each in names)
    seen_w, seen_b = (unit.seen[each] for each in names)
    if (
        not comparable(unit)
        or w.ndim != 4
        or w.shape[1] not in _COLOURS
        or (seen_w.shape, seen_b.shape) != (w.shape, b.shape)
    ):
        return
    with np.errstate(all="ignore"):
        slopes = (seen_w * w).sum(axis=(0, 2, 3)) / (w**2).sum(axis=(0, 2, 3))
        sums, moved = w.sum(axis=(2, 3)), seen_b - b
    if not (np.isfinite(slopes).all() and slopes.all() and np.isfinite(moved).all() and moved.any()) or len(w) <= len(
        slopes
    ):
        return
    offsets, *_ = np.linalg.lstsq(sums, moved, rcond=None)
    if np.linalg.norm(moved - sums @ offsets) > _LEFT * np.linalg.norm(moved):
        return
    facts = {
        name: tuple(float(f"{each:.5g}") for each in values)
        for name, values in (("mean", -offsets / slopes), ("std", 1 / slopes))
    }
    if unit.slot == "w":
        held, by = unit.tensors["w"], slopes.reshape(1, -1, 1, 1)
        value, u = held.value * by, 2 * FLOATS["float32"].u
        yield made_so(unit, "", Expected(value, held.slack * np.abs(by) + u * np.abs(value)), **facts)
    else:
        size = np.abs(w).sum(axis=(2, 3)) @ np.abs(offsets) + np.abs(b)
        slack = unit.tensors["b"].slack + (_ROUNDINGS + w[0].size) * FLOATS["float32"].u * size
        yield made_so(unit, "", Expected(b + sums @ offsets, slack), **facts)


def _with(unit: UnitArrays, form: str, arrays: dict[str, Array], **facts: Any) -> Change:
    assert unit.norm is not None
    return Change(
        unit.norm.name, form, facts, params={unit.names[slot]: array for slot, array in arrays.items()}, rare=True
    )
