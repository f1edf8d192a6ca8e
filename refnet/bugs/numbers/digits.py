"""Bugs of weights that were written as text with few decimals or digits, as arrays of C headers are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.precision import each_moved
from refnet.pack.printed import FORMS, written_as
from refnet.readings.precision import FLOATS, Printed

__all__ = ["weights_printed"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u


def weights_printed(part: Segment | UnitArrays) -> Iterator[Change]:
    """weights written with few digits.

    As text with so many decimals, or significant digits: all arrays of a layer, or its weights alone; of a file the one
    that is to be explained. How many a file's arrays show, those of the layer or the one alone.
    """
    if isinstance(part, UnitArrays):
        yield from _of_file(part)
        return
    for unit in part.units:
        names = {slot: name for slot, name in unit.names.items() if slot in unit}
        alone = {"w"} < names.keys() and len(part.units) == 1  # of more, `weights_rounded` has it
        every = {"": names} | ({" alone": {"w": names["w"]}} if alone else {})
        for form, (whose, held) in itertools.product(FORMS, every.items()) if names else ():
            yield _change(unit, form, Deferred(held.values(), partial(each_moved, unit, held, form.read)), whose)


def _of_file(unit: UnitArrays) -> Iterator[Change]:
    copy, wanted = unit.seen[unit.slot], unit.tensors[unit.slot]
    form = written_as(unit.seen.values()) or written_as([copy])
    if form is not None and copy.any() and copy.shape == wanted.value.shape:
        half = form.step + (form.u + _U) * np.abs(wanted.value)
        made = Expected(wanted.value, wanted.slack + half)
        yield _change(unit, form, {unit.names[unit.slot]: made}, rare=True)


def _change(
    unit: UnitArrays, form: Printed, params: Mapping[str, Array | Expected], whose: str = "", **how: Any
) -> Change:
    words = f"{form.places} {form.kind}"
    return Change(unit.name, words + whose, form.facts, kind=words, params=params, **how)
