"""The arrays of two files, tensor by tensor: equal, equal after what was meant, or wrong, and then how.

What is wrong is accepted only when every element lies within what rounding allows: never because it is merely closer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Mistake
from refnet.judge.causes.budget import SearchBudget
from refnet.readings.precision import FLOATS
from refnet.verification.agreement import FittingFormula, most_shown, way_of
from refnet.verification.kinds import EITHER, KINDS, Fault, Kind, faults
from refnet.verification.roundings import Rounding, roundings, short_folds
from refnet.verification.sides import Sides

__all__ = ["EQUAL", "REARRANGED", "ArrayFinding", "match_arrays", "taken_back"]

Array = npt.NDArray[Any]

EQUAL = "bit-equal"
REARRANGED = "rearranged"
_FLOAT = FLOATS["float32"]
_LAST = np.nextafter(np.float32(_FLOAT.largest), np.float32(0))  # beyond it there is no next number to measure by
_SAMPLE = 64  # differing elements that are looked at before whole tensors are
_NOTHING = Expected.exactly(np.zeros(0))  # in place of a tensor that is not there

_NEAR = ("eps", "mean-forgotten")  # kinds whose formulas may all fit one array: what most arrays show is said

_Made = Mapping[str, Callable[[], Mapping[str, Expected]]]


@dataclass(frozen=True)
class ArrayFinding:
    """One tensor of the copy.

    Attributes
    ----------
    name : refnet's, as the copy has it
    kind : 'bit-equal'; what it is equal after, joined by '+' ('folded', 'float16', 'folded+int8'); 'rearranged' where
        the network computes the same with it; or the id of what is wrong, from `kinds.KINDS`, or 'stale' (this
        layer alone differs), 'unloaded' (and is as initialisers leave it), 'retrained' (most do), 'left-behind' (in the
        old order, while its channels are in another), 'missing', 'extra', 'shape'
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
class _Pairing:
    """A tensor of a copy beside the one that it should be.

    `lies` is the unit as the copy should have it, with what it has; `unfolded` the same before batch norm was folded,
    None where it was not. `needs` is what a policy must allow for the two to be held against each other at all.
    """

    wanted: Expected
    copy: Array
    lies: UnitArrays
    unfolded: UnitArrays | None
    needs: tuple[str, ...] = ()
    roundings: tuple[Rounding, ...] = field(default=())


def match_arrays(
    sides: Sides,
    steps: Mapping[str, Array] | None = None,
    own: Mapping[str, Array] | None = None,
    budget: SearchBudget | None = None,
) -> list[ArrayFinding]:
    """Every tensor of a copy beside the original, in order.

    Parameters
    ----------
    steps : by the copy's 'node.slot', quantisation steps of what it stores as integers, to meet the tensor's shape
    own : the same of the original: where both are quantised, half a step of each lies between them
    budget : of saying what happened to those that are wrong; what is wrong is found in any case
    """
    budget = budget or SearchBudget()
    found: list[ArrayFinding] = []
    made: _Made = {name: cache(partial(_wanted, sides, name)) for name in sides.first}
    constants = _constants(sides)
    for name in dict.fromkeys([*sides.first, *sides.second]):
        if name not in sides.second:
            found += [ArrayFinding(each, "missing", True) for each in sides.first[name].names.values()]
        elif name not in sides.first:
            found += [ArrayFinding(each, "extra", True) for each in sides.second[name].names.values()]
        elif sides.unfolded(name) and (holes := _holes(sides, name)):
            found += holes  # without which there is nothing to fold
        else:
            for pairing, known, origin in _pairings(sides, name, made, steps or {}):
                constant = constants.get(name, 0.0) if pairing.lies.slot == "b" else 0.0
                pairing = _stepped(pairing, (own or {}).get(origin))
                budget.expect(1)
                value = _fitting(sides, _verdict_of(pairing, known, (steps or {}).get(known), constant, budget))
                budget.passed(0 if value.fault and budget.over else 1)
                keys = (sides.copy.keys, sides.original.keys)
                theirs, mine = reversed(keys) if sides.unfolded(name) else keys
                found.append(replace(value, original=mine.get(origin, ""), copy=theirs.get(known, "")))
    needed = sides.copy.graph.params()
    left_over = {key: words for key, words in sides.copy.misfits.items() if key not in needed}
    found += [
        ArrayFinding(key, "extra", True, mistake=_said(key, "misfit", words=words), copy=key)
        for key, words in left_over.items()
    ]
    return _settled(_agreed(found))


def taken_back(
    values: Sequence[ArrayFinding], sides: Sides, units: Collection[str], left: Collection[str] = ()
) -> tuple[ArrayFinding, ...]:
    """The findings, where those units' arrays differ only in what the network takes back; `left` should, and do not."""
    names = {name for unit in units for name in sides.second[unit].names.values()}

    def taken(value: ArrayFinding) -> ArrayFinding:
        if value.name in left:
            return replace(value, kind="left-behind", fault=True, mistake=None, rounding=None)
        if not (value.fault and value.name in names):
            return value
        needs = tuple(dict.fromkeys((*value.needs, REARRANGED)))
        return replace(value, kind="+".join(needs), fault=False, needs=needs, mistake=None, backward=False)

    return tuple(map(taken, values))


def _said(name: str, form: str, **facts: Any) -> Mistake:
    """What is to be said of a tensor that no bug of the catalogue is about."""
    return Mistake("", name, form, facts)


def _holes(sides: Sides, name: str) -> list[ArrayFinding]:
    """The arrays of a unit of the copy that are missing, or of a size that cannot be read in any order."""
    params, needed = sides.copy.params, sides.copy.graph.params()
    names = [each for each in sides.second[name].names.values() if each in sides.copy.misfits]
    holes = [each for each in names if each not in params or params[each].shape != needed[each]]
    return [_fitting(sides, ArrayFinding(each, EQUAL, copy=sides.copy.keys.get(each, ""))) for each in holes]


def _fitting(sides: Sides, value: ArrayFinding) -> ArrayFinding:
    """A finding, or where nothing else is wrong with a tensor, that strict loading would refuse it."""
    words = sides.copy.misfits.get(value.name)
    if value.fault or words is None:
        return value
    kind = "shape" if value.name in sides.copy.params else "lost"
    said = _said(value.name, "misfit", words=words)
    return replace(value, kind=kind, fault=True, mistake=said, rounding=None)


def _wanted(sides: Sides, name: str) -> Mapping[str, Expected]:
    """A unit of the original as the copy should have it."""
    unit = sides.first[name]
    if sides.worked_out(name):
        return unit.worked_out().tensors
    return (unit.folded() if sides.folded(name) else unit).tensors


def _constants(sides: Sides) -> dict[str, float]:
    """What the activation behind a unit adds to its input: 3 for x / 6 + 0.5 as relu6(x + 3) / 6."""
    readers, found = sides.original.graph.readers(), {}
    for name, unit in sides.first.items():
        for node in readers[(unit.norm or unit.unit.conv).name]:
            if node.op == "hard_sigmoid":
                found[name] = float(f"{node.attrs['offset'] / node.attrs['slope']:.6g}")
            elif node.op == "hard_swish":
                found[name] = 3.0
    return found


def _pairings(sides: Sides, name: str, made: _Made, steps: Mapping[str, Array]) -> Iterator[tuple[_Pairing, str, str]]:
    """Each tensor of a unit, with the names that the copy and the original have for it."""
    original, copy, folded = sides.first[name], sides.second[name], sides.folded(name)
    wanted = made[name]()
    if sides.unfolded(name):  # the copy of a folded network has its batch norm
        original, copy, folded = copy, original, True
        wanted = original.folded().tensors
    elif name in sides.other_ahead:
        original, copy = copy, original
        wanted = original.tensors
    if sides.worked_out(name):
        original, copy = original.worked_out(), copy.worked_out()
    seen = {slot: tensor.value for slot, tensor in copy.tensors.items()}
    others = {other: each for other, each in made.items() if other != name}
    own = replace(original, seen=seen, others=others, steps=steps)
    lies = own.folded() if folded else own
    norms = {other: partial(_own, sides, other) for other in others}
    before = replace(own.unfolding(wanted["w"]), others=norms) if folded else None
    moved = sides.worked_out(name) or name in sides.ahead | sides.other_ahead
    needs = ("folded",) if folded or moved else ()
    for slot in dict.fromkeys([*wanted, *copy.tensors]):
        pairing = _Pairing(
            wanted.get(slot, _NOTHING),
            seen.get(slot, _NOTHING.value),
            replace(lies, slot=slot),
            before and replace(before, slot=slot),
            needs,
        )
        yield pairing, copy.names.get(slot, f"{name}.{slot}"), original.names.get(slot, "")


def _own(sides: Sides, name: str) -> Mapping[str, Expected]:
    """The arrays of a unit of the original, before anything is folded."""
    return sides.first[name].tensors


def _stepped(pairing: _Pairing, steps: Array | None) -> _Pairing:
    """What should be there, half a step wider where the original is quantised itself."""
    if steps is None or steps.shape != pairing.wanted.value.shape:
        return pairing
    wanted = pairing.wanted
    return replace(pairing, wanted=wanted._replace(slack=wanted.slack + steps / 2))


def _verdict_of(
    pairing: _Pairing, name: str, steps: Array | None, constant: float, budget: SearchBudget
) -> ArrayFinding:
    """What has become of a tensor; if the user has seen enough, that it is wrong."""
    try:
        return _explained(pairing, name, steps, constant, budget)
    except KeyboardInterrupt:
        budget.ended = "interrupted"
        return _explained(pairing, name, steps, constant, budget)


def _explained(
    pairing: _Pairing, name: str, steps: Array | None, constant: float, budget: SearchBudget
) -> ArrayFinding:
    """What has become of a tensor; where time is over, whether it is wrong."""
    copy, wanted = pairing.copy, pairing.wanted
    if copy is _NOTHING.value:
        if not wanted.value.any():
            return ArrayFinding(name, EQUAL, mistake=_said(name, "bias-left-out"))
        return ArrayFinding(name, "lost", True, mistake=_said(name, "not-in-copy"))
    if wanted is _NOTHING:
        if not copy.any():
            return ArrayFinding(name, EQUAL, mistake=_said(name, "bias-of-zeros"))
        return ArrayFinding(name, "extra", True, mistake=_said(name, "not-in-original"))
    folds = pairing.needs
    if copy.shape == wanted.value.shape and not folds and _agrees(copy, wanted):
        return ArrayFinding(name, EQUAL)
    pairing = replace(pairing, roundings=tuple(roundings(copy, steps, constant)))
    ulps, at = _apart(pairing)
    for rounding in (*pairing.roundings, *short_folds(copy, pairing.unfolded, pairing.lies.slot)):
        if _agrees(copy, rounding.widen(wanted)):
            needs = tuple(dict.fromkeys((*folds, *rounding.needs)))
            return ArrayFinding(name, "+".join(needs) or EQUAL, False, needs, rounding=rounding, ulps=ulps, at=at)
    known = ArrayFinding(name, "", True, folds, empty=not copy.any(), ulps=ulps, at=at)
    # A copy that has more digits than a printed original looks as if it were rounded: the original is asked first.
    for way, held, kinds in (
        *_backward(pairing, {"printed": EITHER["printed"]}),
        (False, pairing, KINDS),
        *_backward(pairing, EITHER),
    ):
        if (fault := _first_fault(held, kinds.values(), budget)) is not None:
            return replace(known, backward=way, **fault)
    if copy.shape != wanted.value.shape:
        shapes = _said(name, "shapes", found=copy.shape, known=wanted.value.shape)
        return ArrayFinding(name, "shape", True, folds, shapes)
    return ArrayFinding(name, "stale", True, folds, _likeness(pairing, name), ulps=ulps, at=at)


def _first_fault(pairing: _Pairing, kinds: Iterable[Kind], budget: SearchBudget) -> dict[str, Any] | None:
    """The first kind of fault within which the tensor lies, as fields of a finding."""
    for kind in kinds:
        if budget.over:
            return None
        with np.errstate(all="ignore"):
            fits = _fits(pairing, faults(kind, pairing.lies, pairing.unfolded))
            fitting = [*islice(fits, None if kind.id in _NEAR else 1)]
            if fitting:
                first, *_ = ways = tuple(way_of(pairing.copy, *each) for each in fitting)
                before, others = fitting[0][0].before, ways if len(ways) > 1 else ()
                said = {"mistake": first.mistake, "rounding": first.rounding, "ways": others}
                return {"kind": kind.id, "before": before, **said}
    return None


def _backward(pairing: _Pairing, kinds: Mapping[str, Kind]) -> Iterator[tuple[bool, _Pairing, Mapping[str, Kind]]]:
    """The original beside the copy as what it should be, where both have the same arrays."""
    copy, wanted, slot = pairing.copy, pairing.wanted, pairing.lies.slot
    if pairing.needs or copy.shape != wanted.value.shape:
        return
    right = Expected(copy, wanted.slack)
    tensors = pairing.lies.tensors
    seen = {**{each: own.value for each, own in tensors.items()}, slot: wanted.value}
    lies = replace(pairing.lies, tensors={**tensors, slot: right}, seen=seen, others={})
    rounds = tuple(roundings(wanted.value))
    yield True, _Pairing(right, wanted.value, lies, None, roundings=rounds), kinds


def _agrees(copy: Array, made: Expected) -> bool:
    """Whether every element lies within its slack; NaN and infinity agree with the same."""
    if copy.shape != made.value.shape:
        return False
    with np.errstate(invalid="ignore"):
        fine = (np.abs(copy - made.value) <= made.slack) | (copy == made.value)
    return bool(np.all(fine | (np.isnan(copy) & np.isnan(made.value))))


def _fits(pairing: _Pairing, tried: Iterable[Fault]) -> Iterator[tuple[Fault, Rounding]]:
    """The faults within which the tensor lies, each with the coarsest rounding that it needs."""
    sample = _telling(pairing)
    for fault in tried:
        if fault.made.value.shape != pairing.copy.shape:
            continue
        few = Expected(fault.made.value[sample], fault.made.slack[sample])
        for rounding in pairing.roundings:
            # A rounding by steps is as large as the tensor, and so cannot be asked of a few elements.
            if rounding.fine and not _agrees(pairing.copy[sample], rounding.widen(few)):
                continue
            if _agrees(pairing.copy, rounding.widen(fault.made)):
                yield fault, rounding
                break


def _telling(pairing: _Pairing) -> tuple[Array, ...]:
    """Indices of a few elements, those first that are not what they should be."""
    copy, wanted = pairing.copy, pairing.wanted
    if copy.shape == wanted.value.shape:
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(copy - wanted.value) <= wanted.slack).ravel()
        flat = np.flatnonzero(off)
    else:
        flat = np.arange(copy.size)
    flat = flat[:: max(len(flat) // _SAMPLE, 1)][:_SAMPLE]
    return np.unravel_index(flat, copy.shape)


def _apart(pairing: _Pairing) -> tuple[float, tuple[int, ...]]:
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


def _likeness(pairing: _Pairing, name: str) -> Mistake:
    """How much of a tensor is still what it should be."""
    copy, wanted = pairing.copy.ravel(), pairing.wanted.value.ravel()
    if not (np.isfinite(copy).all() and np.isfinite(wanted).all()):
        return _said(name, "not-finite")
    size, apart = np.sqrt(np.mean(wanted**2)), np.sqrt(np.mean((copy - wanted) ** 2))
    product = float(np.sqrt((copy**2).sum() * (wanted**2).sum()))
    alike = float((copy * wanted).sum()) / product if product else 0.0
    return _said(name, "unlike", relative=float(apart / size) if size else None, alike=alike)


def _agreed(found: list[ArrayFinding]) -> list[ArrayFinding]:
    """Where formulas lie near to each other, the one that most arrays show."""
    said = most_shown({index: value.ways for index, value in enumerate(found) if value.ways})
    settled = list(found)
    for index, way in said.items():
        settled[index] = replace(found[index], mistake=way.mistake, rounding=way.rounding)
    return settled


def _settled(found: list[ArrayFinding]) -> list[ArrayFinding]:
    """Stale is what differs while most agree; where most differ, the network was trained otherwise.

    A step of training leaves some arrays so near to what they were that they look as if they were rounded.
    """
    alike = ("stale", "coarse") if any(value.kind == "stale" for value in found) else ("stale",)
    unexplained = sum(value.kind in alike for value in found)
    if 2 * unexplained <= len(found):
        return found
    return [replace(value, kind="retrained") if value.kind in alike else value for value in found]
