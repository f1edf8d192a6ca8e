"""What became of one tensor of a copy, beside what it should be: equal, equal after what was meant, or how wrong.

It is accepted only when every element lies within what rounding allows: never because it is merely closer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Mistake
from refnet.judge.causes.budget import SearchBudget
from refnet.readings.precision import FLOATS
from refnet.verification.agreement import FittingFormula, way_of
from refnet.verification.kinds import EITHER, KINDS, Fault, Kind, faults
from refnet.verification.roundings import Rounding, off_other_grids, roundings, short_folds

__all__ = ["EQUAL", "NOTHING", "ArrayFinding", "Pairing", "array_finding", "said_of"]

Array = npt.NDArray[Any]

EQUAL = "bit-equal"
NOTHING = Expected.exactly(np.zeros(0))  # in place of a tensor that is not there
_FLOAT = FLOATS["float32"]
_LAST = np.nextafter(np.float32(_FLOAT.largest), np.float32(0))  # beyond it there is no next number to measure by
_TOSSES = 20  # numbers that lie toward zero, all of them by chance once in a million times
_SAMPLE = 64  # differing elements that are looked at before whole tensors are
_NEAR = (
    "eps",
    "mean-forgotten",
    "truncated",
)  # kinds whose formulas may all fit one array: what most arrays show is said


@dataclass(frozen=True)
class ArrayFinding:
    """One tensor of the copy.

    Attributes
    ----------
    name : refnet's, as the copy has it
    kind : 'bit-equal'; what it is equal after, joined by '+' ('folded', 'float16', 'folded+int8'); 'rearranged' where
        the network computes the same with it; or the id of what is wrong, from `kinds.KINDS`, or 'stale' (this
        layer alone differs), 'unloaded' (and is as initialisers leave it), 'renormalised' (only batch norm's numbers,
        folded in, differ), 'retrained' (most do), 'left-behind' (in the old order, while its channels are in another),
        'missing', 'extra', 'shape'
    fault : whether something is wrong with it
    needs : what a policy must allow for it
    mistake : the bug that made it, where one fits; else what is to be said of it, of a bug ''
    before : whether that happened before batch norm was folded
    backward : whether it happened to the original, of which the copy is what it should be
    ways : where formulas lie near to each other, each that fits, with its rounding and what it leaves of the slack
    empty : whether all that the copy has is zeros
    rounding : the format that it was rounded to besides
    ulps : the largest difference, in units in the last place of float32 at the value that it should be
    at : index of that element
    original, copy : the files' own names of the arrays
    """

    name: str
    kind: str
    fault: bool = False
    needs: tuple[str, ...] = ()
    mistake: Mistake | None = None
    before: bool = False
    backward: bool = False
    ways: tuple[FittingFormula, ...] = ()
    empty: bool = False
    rounding: Rounding | None = None
    ulps: float = 0.0
    at: tuple[int, ...] = ()
    original: str = ""
    copy: str = ""


@dataclass(frozen=True, eq=False)
class Pairing:
    """A tensor of a copy beside the one that it should be.

    `lies` is the unit as the copy should have it, with what it has; `unfolded` the same before batch norm was folded,
    None where it was not. `needs` is what a policy must allow for the two to be held against each other at all.
    `flushes` is whether the copy's writer makes zero of what is below float16's normal numbers.
    """

    wanted: Expected
    copy: Array
    lies: UnitArrays
    unfolded: UnitArrays | None
    needs: tuple[str, ...] = ()
    flushes: bool = False
    roundings: tuple[Rounding, ...] = field(default=())

    @cached_property
    def sample(self) -> tuple[Array, ...]:
        """Indices of a few elements, those first that are not what they should be."""
        copy, wanted = self.copy, self.wanted
        if copy.shape == wanted.value.shape:
            with np.errstate(invalid="ignore"):
                off = ~(np.abs(copy - wanted.value) <= wanted.slack).ravel()
            flat = np.flatnonzero(off)
        else:
            flat = np.arange(copy.size)
        flat = flat[:: max(len(flat) // _SAMPLE, 1)][:_SAMPLE]
        return np.unravel_index(flat, copy.shape)

    @cached_property
    def few(self) -> Array:
        """Those elements."""
        few: Array = self.copy[self.sample]
        return few


def said_of(name: str, form: str, **facts: Any) -> Mistake:
    """What is to be said of a tensor that no bug of the catalogue is about."""
    return Mistake("", name, form, facts)


def array_finding(
    pairing: Pairing, name: str, steps: Array | None, constant: float, budget: SearchBudget
) -> ArrayFinding:
    """What has become of a tensor; where time is over, whether it is wrong."""
    copy, wanted = pairing.copy, pairing.wanted
    if copy is NOTHING.value:
        if not wanted.value.any():
            return ArrayFinding(name, EQUAL, mistake=said_of(name, "bias-left-out"))
        return ArrayFinding(name, "lost", True, mistake=said_of(name, "not-in-copy"))
    if wanted is NOTHING:
        if not copy.any():
            return ArrayFinding(name, EQUAL, mistake=said_of(name, "bias-of-zeros"))
        return ArrayFinding(name, "extra", True, mistake=said_of(name, "not-in-original"))
    folds = pairing.needs
    if copy.shape == wanted.value.shape and not folds and _agrees(copy, wanted):
        return ArrayFinding(name, EQUAL)
    pairing = replace(pairing, roundings=tuple(roundings(copy, steps, constant, pairing.flushes)))
    ulps, at = _apart(pairing)
    known = ArrayFinding(name, "", True, folds, empty=not copy.any(), ulps=ulps, at=at)
    short = short_folds(copy, pairing.unfolded, pairing.lies.slot)
    own = ((wanted, rounding) for rounding in (*pairing.roundings, *short))
    for right, rounding in chain(own, _requantised(pairing)):
        if copy.shape == right.value.shape and _agrees(copy, rounding.widen(right)):
            if rounding.form == "fold" and (cut_off := _cut_off(pairing)) is not None:
                return replace(known, **cut_off)
            needs = tuple(dict.fromkeys((*folds, *rounding.needs)))
            return ArrayFinding(name, "+".join(needs) or EQUAL, False, needs, rounding=rounding, ulps=ulps, at=at)
    # A copy that has more digits than a printed original looks as if it were rounded: the original is asked first.
    for way, held, kinds in (
        *_backward(pairing, {"printed": EITHER["printed"]}),
        (False, pairing, KINDS),
        *_backward(pairing, EITHER),
    ):
        if (fault := _first_fault(held, kinds.values(), budget)) is not None:
            return replace(known, backward=way, **fault)
    if copy.shape != wanted.value.shape:
        shapes = said_of(name, "shapes", found=copy.shape, known=wanted.value.shape)
        return ArrayFinding(name, "shape", True, folds, shapes)
    return ArrayFinding(name, "stale", True, folds, _likeness(pairing, name), ulps=ulps, at=at)


def _requantised(pairing: Pairing) -> Iterator[tuple[Expected, Rounding]]:
    """Roundings to 8 bits, of an original that lies on another grid of them."""
    steps = [each for each in pairing.roundings if each.form in ("grid", "integers")]
    for right in off_other_grids(pairing.wanted, pairing.copy) if steps and not pairing.needs else ():
        yield from ((right, each) for each in steps)


def _first_fault(pairing: Pairing, kinds: Iterable[Kind], budget: SearchBudget) -> dict[str, Any] | None:
    """The first kind of fault within which the tensor lies, as fields of a finding."""
    for kind in kinds:
        if budget.over:
            return None
        if (found := _fault(pairing, kind)) is not None:
            return found
    return None


def _fault(pairing: Pairing, kind: Kind) -> dict[str, Any] | None:
    """A kind of fault within which the tensor lies, as fields of a finding."""
    with np.errstate(all="ignore"):
        fits = _fits(pairing, faults(kind, pairing.lies, pairing.unfolded))
        fitting = [*islice(fits, None if kind.id in _NEAR else 1)]
        if not fitting:
            return None
        first, *_ = ways = tuple(way_of(pairing.copy, *each) for each in fitting)
    before, others = fitting[0][0].before, ways if len(ways) > 1 else ()
    said = {"mistake": first.mistake, "rounding": first.rounding, "ways": others}
    return {"kind": kind.id, "before": before, **said}


def _cut_off(pairing: Pairing) -> dict[str, Any] | None:
    """That it was cut off, where more numbers show it than by chance: a fold in a short format errs to either side."""
    copy, wanted = pairing.copy, pairing.wanted
    short = next((each for each in pairing.roundings if each.form == "float" and not each.fine), None)
    if short is None or copy.shape != wanted.value.shape:
        return None
    off = np.abs(copy - wanted.value) > short.widen(wanted).slack
    return _fault(pairing, KINDS["truncated"]) if int(off.sum()) >= _TOSSES else None


def _backward(pairing: Pairing, kinds: Mapping[str, Kind]) -> Iterator[tuple[bool, Pairing, Mapping[str, Kind]]]:
    """The original beside the copy as what it should be, where both have the same arrays."""
    copy, wanted, slot = pairing.copy, pairing.wanted, pairing.lies.slot
    if pairing.needs or copy.shape != wanted.value.shape:
        return
    right = Expected(copy, wanted.slack)
    tensors = pairing.lies.tensors
    seen = {**{each: own.value for each, own in tensors.items()}, slot: wanted.value}
    lies = replace(pairing.lies, tensors={**tensors, slot: right}, seen=seen, others={})
    rounds = tuple(roundings(wanted.value))
    yield True, Pairing(right, wanted.value, lies, None, roundings=rounds), kinds


def _agrees(copy: Array, made: Expected) -> bool:
    """Whether every element lies within its slack; NaN and infinity agree with the same."""
    if copy.shape != made.value.shape:
        return False
    with np.errstate(invalid="ignore"):
        fine = (np.abs(copy - made.value) <= made.slack) | (copy == made.value)
    return bool(np.all(fine | (np.isnan(copy) & np.isnan(made.value))))


def _fits(pairing: Pairing, tried: Iterable[Fault]) -> Iterator[tuple[Fault, Rounding]]:
    """The faults within which the tensor lies, each with the coarsest rounding that it needs."""
    sample = pairing.sample
    for fault in tried:
        if fault.made.value.shape != pairing.copy.shape:
            continue
        few = Expected(fault.made.value[sample], fault.made.slack[sample])
        for rounding in pairing.roundings:
            # A rounding by steps is as large as the tensor, and so cannot be asked of a few elements.
            if rounding.fine and not _agrees(pairing.few, rounding.widen(few)):
                continue
            if _agrees(pairing.copy, rounding.widen(fault.made)):
                yield fault, rounding
                break


def _apart(pairing: Pairing) -> tuple[float, tuple[int, ...]]:
    """The largest difference in units in the last place of float32, and where."""
    copy, wanted = pairing.copy, pairing.wanted.value
    if copy.shape != wanted.shape or not copy.size:
        return 0.0, ()
    with np.errstate(all="ignore"):
        value = np.abs(wanted).astype(np.float32)
        unit = np.spacing(np.clip(value, np.float32(_FLOAT.normal), _LAST)).astype(np.float64)
        error = np.abs(copy - wanted) / unit
    error = np.where(copy == wanted, 0.0, np.where(np.isnan(error), np.inf, error))
    index = int(error.argmax())
    return float(error.flat[index]), tuple(int(i) for i in np.unravel_index(index, error.shape))


def _likeness(pairing: Pairing, name: str) -> Mistake:
    """How much of a tensor is still what it should be."""
    copy, wanted = pairing.copy.ravel(), pairing.wanted.value.ravel()
    if not (np.isfinite(copy).all() and np.isfinite(wanted).all()):
        return said_of(name, "not-finite")
    size, apart = np.sqrt(np.mean(wanted**2)), np.sqrt(np.mean((copy - wanted) ** 2))
    product = float(np.sqrt((copy**2).sum() * (wanted**2).sum()))
    alike = float((copy * wanted).sum()) / product if product else 0.0
    return said_of(name, "unlike", relative=float(apart / size) if size else None, alike=alike)
