"""The arrays of two files: which tensor of one is which of the other, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.judge.causes.budget import SearchBudget
from refnet.verification.agreement import most_shown
from refnet.verification.array_findings import EQUAL, NOTHING, ArrayFinding, Pairing, array_finding, said_of
from refnet.verification.sides import NORM, Sides

__all__ = ["REARRANGED", "match_arrays", "taken_back"]

Array = npt.NDArray[Any]

REARRANGED = "rearranged"
_FLUSHING = ("ncnn",)  # kinds of files whose writers make zero of what is below float16's normal numbers
_Made = Mapping[str, Callable[[], Mapping[str, Expected]]]


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
        ArrayFinding(key, "extra", True, mistake=said_of(key, "misfit", words=words), copy=key)
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
    said = said_of(value.name, "misfit", words=words)
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


def _pairings(sides: Sides, name: str, made: _Made, steps: Mapping[str, Array]) -> Iterator[tuple[Pairing, str, str]]:
    """Each tensor of a unit, with the names that the copy and the original have for it."""
    original, copy, folded = sides.first[name], sides.second[name], sides.folded(name)
    wanted = made[name]()
    if sides.unfolded(name):  # the copy of a folded network has its batch norm
        original, copy, folded = copy, original, True
        wanted = original.folded().tensors
    elif name in sides.other_ahead:  # the copy alone has the batch norm ahead, and may have worked in the one behind
        original, copy, folded = copy, original.folded() if folded else original, False
        held = {slot: each.slack for slot, each in copy.tensors.items()}
        wanted = {
            slot: each._replace(slack=each.slack + held.get(slot, 0.0)) for slot, each in original.tensors.items()
        }
    if sides.worked_out(name):
        original, copy = original.worked_out(), copy.worked_out()
    seen = {slot: tensor.value for slot, tensor in copy.tensors.items()}
    others = {other: each for other, each in made.items() if other != name}
    own = replace(original, seen=seen, others=others, steps=steps)
    lies = own.folded() if folded else own
    norms = {other: partial(_own, sides, other) for other in others}
    before = replace(own.unfolding(wanted["w"]), others=norms) if folded else None
    moved = {*wanted} if folded or name in sides.ahead | sides.other_ahead else set()
    moved |= NORM if sides.worked_out(name) else set()
    for slot in dict.fromkeys([*wanted, *copy.tensors]):
        pairing = Pairing(
            wanted.get(slot, NOTHING),
            seen.get(slot, NOTHING.value),
            replace(lies, slot=slot),
            before and replace(before, slot=slot),
            ("folded",) if slot in moved else (),
            sides.copy.kind in _FLUSHING,
        )
        yield pairing, copy.names.get(slot, f"{name}.{slot}"), original.names.get(slot, "")


def _own(sides: Sides, name: str) -> Mapping[str, Expected]:
    """The arrays of a unit of the original, before anything is folded."""
    return sides.first[name].tensors


def _stepped(pairing: Pairing, steps: Array | None) -> Pairing:
    """What should be there, half a step wider where the original is quantised itself."""
    if steps is None or steps.shape != pairing.wanted.value.shape:
        return pairing
    wanted = pairing.wanted
    return replace(pairing, wanted=wanted._replace(slack=wanted.slack + steps / 2))


def _verdict_of(
    pairing: Pairing, name: str, steps: Array | None, constant: float, budget: SearchBudget
) -> ArrayFinding:
    """What has become of a tensor; if the user has seen enough, that it is wrong."""
    try:
        return array_finding(pairing, name, steps, constant, budget)
    except KeyboardInterrupt:
        budget.ended = "interrupted"
        return array_finding(pairing, name, steps, constant, budget)


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
