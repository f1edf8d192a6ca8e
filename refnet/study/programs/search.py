"""Which slips of a right program give all of a reader's answers: one, or two at once.

A program is run in float64 on what the reader was given. Its numbers are the reader's where they lie within `SLACK`
roundings of the largest one. Rounding in another order moves right answers by less; and cases in float64 tell apart
what such a slack does not in float32.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.study.cases import Case
from refnet.study.programs.edits import Edit
from refnet.study.programs.forms import Slipped, programs_of, slips_of

__all__ = ["SLACK", "Shown", "Slip", "slips_in", "told"]

Arrays = tuple[npt.NDArray[Any], ...]

SLACK = 512  # tuned: roundings of the largest number; right spellings of all exercises reach 40, slips differ by 1e5
_FIRSTS = 6  # slips that are tried with every other one
_NEXT = 60  # and those that are tried with one another
_TOLD = 4  # ways that are told, of those that give the answers alike
_LARGE = 1 << 16  # numbers
PARTS = ("first", "last", "not first", "not last")


@dataclass(frozen=True, eq=False)
class Shown:
    """A case with the reader's answer, and whether that is right."""

    case: Case
    answer: Arrays
    right: bool

    @cached_property
    def slack(self) -> float:
        """How far numbers may be from the answer's, as a share of the largest one."""
        dtype = self.case.dtype
        return 0.0 if dtype is None or self.answer[0].dtype.kind != "f" else SLACK * float(np.finfo(dtype).eps) / 2

    @cached_property
    def given(self) -> dict[str, Any]:
        """What a program is given, in float64."""
        return {name: _wide(value) for name, value in self.case.given.items()}


class Slip(NamedTuple):
    """A slip of a program, in values.

    Attributes
    ----------
    edit : what is done
    before, after : the lines of its function that are others, as they should be and as they are
    """

    edit: Edit
    before: tuple[str, ...]
    after: tuple[str, ...]


def slips_in(exercise: str, shown: Sequence[Shown], *, pairs: bool = True) -> tuple[tuple[Slip, ...], ...]:
    """Every slip, or else every slip in a part of the result, or every two, that give all answers; the simplest first.

    Parameters
    ----------
    shown : the smallest case first
    """
    wrong = [each for each in shown if not each.right]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tried = _tried(slips_of(exercise), wrong[0])
        found = [one.program for one in tried if one.off <= 1 and _explains_all(one.program, shown)]
        found = found or _in_part(programs_of(exercise)[0], tried, shown)
        if not found and pairs:
            found = _pairs(tried, wrong, shown)
    found.sort(key=lambda program: [edit.order for edit in program.edits])
    return tuple(told(program) for program in found[:_TOLD])


def told(program: Slipped) -> tuple[Slip, ...]:
    """The slips of a program with the lines that they change."""
    slips, known = [], Slipped(program.main)
    for edit in program.edits:
        made = known.edited(edit)
        before, after = (ast.unparse(each.tree(edit.copy)).splitlines() for each in (known, made))
        rows = [row for row in difflib.ndiff(before, after) if row[0] in "-+"]
        one, other = (tuple(row[2:].strip() for row in rows if row[0] == sign) for sign in "-+")
        slips.append(Slip(edit, one, other))
        known = made
    return tuple(slips)


class _Tried(NamedTuple):
    """A program, what it makes of a case, and how far that is from the answer."""

    program: Slipped
    made: Arrays
    off: float


def _tried(programs: Iterable[Slipped], shown: Shown) -> list[_Tried]:
    made = ((program, _made(program, shown)) for program in programs)
    return [_Tried(program, one, _off(one, shown)) for program, one in made if one is not None]


def _explains_all(program: Slipped, shown: Sequence[Shown]) -> bool:
    order = [*[each for each in shown if not each.right][-1:], *shown]  # the largest tells most
    return all(_explains(program, each) for each in order)


def _explains(program: Slipped, shown: Shown) -> bool:
    """Whether a program gives an answer; where it cannot be run, the answer must be right."""
    made = _made(program, shown)
    return shown.right if made is None else _off(made, shown) <= 1


def _in_part(right: Slipped, tried: Sequence[_Tried], shown: Sequence[Shown]) -> list[Slipped]:
    """Slips that are made in the first or last image, channel, row or column only, or in all but that."""
    wrong = next(each for each in shown if not each.right)
    known, found = _made(right, wrong), []
    assert known is not None
    for one in tried:
        if not _may_be_part(one.made, known, wrong):
            continue
        for axis in range(known[0].ndim):
            for which in PARTS:
                program = one.program.within(right, axis, which)
                made = _within(one.made, known, axis, which)
                if made is not None and _off(made, wrong) <= 1 and _explains_all(program, shown):
                    found.append(program)
    return found


def _may_be_part(made: Arrays, right: Arrays, shown: Shown) -> bool:
    """Whether each number of an answer is what is made, or what is right."""
    if not [y.shape for y in shown.answer] == [one.shape for one in made] == [one.shape for one in right]:
        return False
    for one, two, y in zip(made, right, shown.answer, strict=True):
        least = shown.slack * max(1.0, float(np.abs(two).max(initial=0.0)))
        if not np.all(np.minimum(np.abs(one - y), np.abs(two - y)) <= least):
            return False
    return True


def _within(made: Arrays, right: Arrays, axis: int, which: str) -> Arrays | None:
    """What is made in a part of a result, and what is right in the rest."""
    if [one.shape for one in made] != [one.shape for one in right] or any(one.ndim <= axis for one in made):
        return None
    parts = []
    for one, other in zip(made, right, strict=True):
        at = np.arange(one.shape[axis]).reshape([-1 if i == axis else 1 for i in range(one.ndim)])
        end = 0 if "first" in which else one.shape[axis] - 1
        parts.append(np.where((at == end) ^ which.startswith("not"), one, other))
    return tuple(parts)


def _made(program: Slipped, shown: Shown) -> Arrays | None:
    """What a program makes of a case; None where it cannot be run."""
    made = _run(program, shown)
    if program.part is None or made is None:
        return made
    right, axis, which = program.part
    known = _run(right, shown)
    return None if known is None else _within(made, known, axis, which)


def _run(program: Slipped, shown: Shown) -> Arrays | None:
    try:
        made = program.function(*shown.given.values(), **shown.case.named)
        parts = made if isinstance(made, tuple) and isinstance(made[0], np.ndarray) else (made,)
        arrays = tuple(np.atleast_1d(np.asarray(part, np.float64)) for part in parts)
    except Exception:  # a slip may leave nothing that runs
        return None
    return arrays if all(array.size <= _LARGE for array in arrays) else None


def _wide(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _wide(each) for name, each in value.items()}
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value


def _off(made: Arrays, shown: Shown) -> float:
    """How far numbers are from an answer, in units of what is let pass; infinite for another shape."""
    worst, least = 0.0, shown.slack
    for found, y in zip(made, shown.answer, strict=False):
        if found.shape != y.shape or len(made) != len(shown.answer):
            return float("inf")
        finite = np.isfinite(found)
        if not np.array_equal(finite, np.isfinite(y)):
            return float("inf")
        if not finite.all():
            found, y = found[finite], y[finite]
        size = max(1.0, float(np.abs(found).max(initial=0.0)))
        error = float(np.abs(found - y).max(initial=0.0))
        if error:
            worst = max(worst, error / (least * size) if least else float("inf"))
    return worst


def _pairs(tried: Sequence[_Tried], wrong: Sequence[Shown], shown: Sequence[Shown]) -> list[Slipped]:
    """Every two slips of which the first explains a wrong case, or comes closest to one."""
    other = wrong[len(wrong) // 2]
    ranks, seen = [], set[bytes]()
    for place, one in enumerate(tried):
        made = _made(one.program, other)
        numbers = b"".join(array.tobytes() for array in (*one.made, *(made or ())))
        if numbers in seen:  # another spelling of the same slip
            continue
        seen.add(numbers)
        off = (one.off, np.inf if made is None else _off(made, other))
        ranks.append((-sum(each <= 1 for each in off), min(off), place, one.program))
    ranks.sort(key=lambda rank: rank[:3])
    ordered = [program for *_, program in ranks]
    for at, first in enumerate(ordered[:_NEXT]):
        seconds = (ordered if at < _FIRSTS else ordered[:_NEXT])[at + 1 :]
        both = (first.edited(second.edits[0]) for second in seconds if second.main == first.main)
        for one in _tried(both, wrong[0]):
            if one.off <= 1 and _explains_all(one.program, shown):
                return [one.program]
    return []
