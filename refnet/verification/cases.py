"""One tensor of a copy beside the layer that it should come from, and whether another reading of that layer fits it.

A reading is accepted only when every element lies within what rounding allows: never because it is merely closer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.verification.layers import Expected, Layer, expected
from refnet.verification.roundings import Rounding

__all__ = ["Case", "Reading", "agrees", "fits"]

Array = npt.NDArray[Any]

_SAMPLE = 64  # differing elements that are looked at before whole tensors are


@dataclass(frozen=True, eq=False)
class Case:
    """A tensor that is not what it should be.

    Attributes
    ----------
    slot : 'w', 'b', 'gamma', ...
    layer : of the original
    folded : whether the copy has the layer's batch norm worked in
    wanted : what the tensor should be
    copy : what it is, float64
    mates : by slot, all that the copy has of the layer
    roundings : the formats whose grid it lies on
    others : by name, every other layer of the original as the copy should have it
    last : whether the layer gives the classes
    """

    slot: str
    layer: Layer
    folded: bool
    wanted: Expected
    copy: Array
    mates: Mapping[str, Array]
    roundings: tuple[Rounding, ...]
    others: Mapping[str, Callable[[], Mapping[str, Expected]]]
    last: bool

    def read(self, layer: Layer) -> Expected:
        """What the tensor would be, had it been made from another layer."""
        return expected(layer, self.folded)[self.slot]


class Reading(NamedTuple):
    """What a tensor would be if something had gone wrong with it, and what, in words."""

    detail: str
    made: Expected


def agrees(copy: Array, made: Expected) -> bool:
    """Whether every element lies within its slack; NaN and infinity agree with the same."""
    if copy.shape != made.value.shape:
        return False
    with np.errstate(invalid="ignore"):
        fine = (np.abs(copy - made.value) <= made.slack) | (copy == made.value)
    return bool(np.all(fine | (np.isnan(copy) & np.isnan(made.value))))


def fits(case: Case, readings: Iterator[Reading]) -> Iterator[tuple[Reading, Rounding]]:
    """The readings within which the tensor lies, each with the coarsest rounding that it needs."""
    sample = _telling(case)
    for reading in readings:
        if reading.made.value.shape != case.copy.shape:
            continue
        few = Expected(reading.made.value[sample], reading.made.slack[sample])
        for rounding in case.roundings:
            # A rounding by steps is as large as the tensor, and so cannot be asked of a few elements.
            if rounding.fine and not agrees(case.copy[sample], rounding.widen(few)):
                continue
            if agrees(case.copy, rounding.widen(reading.made)):
                yield reading, rounding
                break


def _telling(case: Case) -> tuple[Array, ...]:
    """Indices of a few elements, those first that are not what they should be."""
    if case.copy.shape == case.wanted.value.shape:
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(case.copy - case.wanted.value) <= case.wanted.slack).ravel()
        flat = np.flatnonzero(off)
    else:
        flat = np.arange(case.copy.size)
    flat = flat[:: max(len(flat) // _SAMPLE, 1)][:_SAMPLE]
    return np.unravel_index(flat, case.copy.shape)
