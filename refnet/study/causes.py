"""Which bugs of the catalogue give the reader's answers: on all cases, not on one.

A way is a bug in one of its forms at one place, or the same everywhere, or two at once. It explains the answers if it
gives each wrong one within what rounding explains, and leaves right what the reader has right. Where no form fits all
cases, a bug fits whose form may be another one in each case (a stride of 2 for 3, and of 1 for 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS, REPLAYED, Bug
from refnet.bugs.language.changes import Change, Mistake
from refnet.study.subjects import Sought

__all__ = ["Faced", "NamedMistake", "mistakes_in"]

Arrays = tuple[npt.NDArray[np.generic], ...]

# What is wrong with images, with their preprocessing, or with the precision of a runtime is no reader's mistake.
_NOT_HERE = (
    "preprocessing",
    "raster",
    "pictures",
    "solved",
    "ends",
    "stored",
    "leftovers",
    "overflow",
    "precision",
    "damage",
    "few_values",
    "refolds",
    "scales",
    "stored_weights",
)
_ALSO = ("input-order", "input-hw")  # of those all the same
_TRIED = tuple(bug for bug in BUGS.values() if bug.group not in _NOT_HERE or bug.id in _ALSO)
_PORTS = frozenset(bug.id for bug in REPLAYED)
_LOOKED = 2  # wrong cases in which ways are looked for: a small one may not tell one from another
_FIRSTS = 3  # ways that may be the first of two: those that leave least of the error


@dataclass(frozen=True, eq=False)
class Faced:
    """What is right in a case, and the reader's answer to it."""

    subject: Sought
    answer: Arrays

    @cached_property
    def start(self) -> _Start:
        """The case with its answer to be explained."""
        return _Start(self.subject.facing(self.answer))


class NamedMistake(NamedTuple):
    """A mistake by name: a bug at a place, in values, and whether it is at every place."""

    mistake: Mistake
    everywhere: bool


class _Step(NamedTuple):
    """A bug; its form, None for any; its place, '' for every one."""

    bug: str
    form: str | None
    node: str


_Way = tuple[_Step, ...]


class _Start:
    """What mistakes are made in; ways that begin with the same one share what it makes.

    Parameters
    ----------
    subject : right, or with the mistakes before
    """

    def __init__(self, subject: Sought) -> None:
        self.subject = subject
        self._changes: dict[str, tuple[Change, ...]] = {}
        self._firsts: dict[_Step, tuple[tuple[Change, _Start], ...]] = {}

    def changes(self, bug: Bug) -> tuple[Change, ...]:
        """The ways in which a bug shows here."""
        if bug.id not in self._changes:
            self._changes[bug.id] = tuple(self.subject.changes(bug))
        return self._changes[bug.id]

    def made(self, step: _Step) -> Iterator[tuple[Change, Sought]]:
        """What a step makes, in each of its forms."""
        bug = BUGS[step.bug]
        if step.node:
            here = (each for each in self.changes(bug) if each.node == step.node and step.form in (None, each.form))
            made = ((change, _made(self.subject, change)) for change in here)
            yield from ((change, one) for change, one in made if one is not None)
        else:
            yield from _throughout(self, bug, step.form)

    def firsts(self, step: _Step) -> tuple[tuple[Change, _Start], ...]:
        """The same, for other steps to start from."""
        if step not in self._firsts:
            self._firsts[step] = tuple((change, _Start(made)) for change, made in self.made(step))
        return self._firsts[step]


def mistakes_in(faced: Sequence[Faced], *, two: bool = False) -> tuple[tuple[NamedMistake, ...], ...]:
    """Every way that explains all answers, each as the mistakes that it is made of.

    Parameters
    ----------
    faced : all cases whose answers are arrays, the smallest first
    two : whether it is made of two mistakes, not of one
    """
    with np.errstate(all="ignore"):
        wrong = [each for each in faced if not each.subject.misfit(each.answer) <= 1]
        looked = [*wrong[: _LOOKED - 1], *wrong[_LOOKED - 1 :][-1:]]
        found, ways = _pairs if two else _singles, dict[_Way, None]()
        for each in looked:
            new = [way for way in dict.fromkeys(found(each)) if way not in ways]
            ways |= dict.fromkeys(new)
            if fits := [way for way in new if _explains_all(way, faced, wrong)]:
                return tuple(_as_named(way, wrong) for way in _told(fits))
            if not two:  # one mistake shows in every wrong case, in some form
                break
        loose = dict.fromkeys(map(_loosened, ways))
        fits = [way for way in loose if _explains_all(way, faced, wrong) and _needs_forms(way, wrong)]
        return tuple(_as_named(way, wrong) for way in _told(fits))


def _needs_forms(way: _Way, wrong: Sequence[Faced]) -> bool:
    """Whether no one form of a way fits all wrong cases; one that does has failed where the reader is right."""
    common: set[tuple[str, ...]] | None = None
    for each in wrong:
        applied = _applied(way, each.start)
        forms = {tuple(mistake.form for mistake in mistakes) for mistakes, made in applied if _fits(made, each.answer)}
        common = forms if common is None else common & forms
    return not common


def _told(fits: Sequence[_Way]) -> Iterator[_Way]:
    """Of ways that explain all answers those that are told: what ports do before slips, one form of a bug at a place.

    What is everywhere is told as at one place, where it is that in all cases.
    """
    ports = [way for way in fits if all(step.bug in _PORTS for step in way)]
    seen: set[tuple[tuple[str, str], ...]] = set()
    for way in ports or fits:
        places = tuple((step.bug, step.node) for step in way)
        alone = (
            len(way) == 1 and not way[0].node and any(other[0].node and other[0].bug == way[0].bug for other in fits)
        )
        if places not in seen and not alone:
            seen.add(places)
            yield way


def _loosened(way: _Way) -> _Way:
    return tuple(step._replace(form=None) for step in way)


def _steps(start: _Start, bugs: Iterable[Bug] = _TRIED) -> Iterator[tuple[_Step, Sought]]:
    """Every bug at every place, and everywhere."""
    for bug in bugs:
        made = ((change, _made(start.subject, change)) for change in start.changes(bug))
        alone = {change: one for change, one in made if one is not None}
        for change, one in alone.items():
            yield _Step(bug.id, change.form, change.node), one
        for change, one in _throughout(start, bug, alone=alone):
            yield _Step(bug.id, change.form, ""), one


def _throughout(
    start: _Start, bug: Bug, form: str | None = None, alone: Mapping[Change, Sought] | None = None
) -> Iterator[tuple[Change, Sought]]:
    """A bug at all of its places at once; nothing where another one before it has left shapes that nothing runs on.

    `form` is the one that is asked for, None for each; `alone` is what changes make at their own places, as far as that
    is known.
    """
    try:
        changes = (change for change in start.changes(bug) if form in (None, change.form))
        yield from start.subject.throughout(bug, changes, alone or {})
    except (ValueError, IndexError, KeyError):
        return


def _made(subject: Sought, change: object) -> Sought | None:
    try:
        return subject.changed(change)  # type: ignore[arg-type]
    except (ValueError, IndexError, KeyError):
        return None


def _singles(each: Faced) -> Iterator[_Way]:
    for step, made in _steps(each.start):
        if _fits(made, each.answer):
            yield (step,)


def _pairs(each: Faced) -> Iterator[_Way]:
    """On top of each way that comes closer, or makes the shape that the answer has, every other."""
    before, other = _left(each.start.subject, each.answer), each.answer[0].shape != each.subject.right[0].shape
    firsts = [(left, step, made) for step, made in _steps(each.start) if (left := _left(made, each.answer)) < np.inf]
    closer = [first for first in firsts if other or first[0] < before]
    for _, first, made in sorted(closer, key=lambda first: first[0])[:_FIRSTS]:
        for second, both in _steps(_Start(made.facing(each.answer))):
            if _may_join(first, second) and _fits(both, each.answer):
                yield (first, second)


def _may_join(first: _Step, second: _Step) -> bool:
    """Two bugs, or two slips in one rule."""
    return second.bug != first.bug or (BUGS[first.bug].group == "rules" and second.form != first.form)


def _left(subject: Sought, answer: Arrays) -> float:
    """The size of the error that is left, infinite where shapes are others."""
    try:
        made = subject.made
    except (ValueError, IndexError, KeyError):
        return float("inf")
    if any(y.shape != right.shape for y, right in zip(answer, made, strict=True)):
        return float("inf")
    total = sum(float(np.square(y.astype(float) - right).sum()) for y, right in zip(answer, made, strict=True))
    return total if np.isfinite(total) else float("inf")


def _fits(subject: Sought, answer: Arrays) -> bool:
    try:
        return subject.misfit(answer) <= 1
    except (ValueError, IndexError, KeyError):  # a change may leave shapes that nothing runs on
        return False


def _applied(way: _Way, start: _Start) -> Iterator[tuple[tuple[Mistake, ...], Sought]]:
    """A subject with a way's mistakes, in each form that they may have there."""
    if not way:
        yield (), start.subject
        return
    step, *rest = way
    if not rest:
        yield from (((change.of(step.bug),), made) for change, made in start.made(step))
        return
    for change, first in start.firsts(step):
        for mistakes, last in _applied(tuple(rest), first):
            yield (change.of(step.bug), *mistakes), last


def _explains_all(way: _Way, faced: Sequence[Faced], wrong: Sequence[Faced]) -> bool:
    """Whether a way explains all answers; the largest wrong one tells most."""
    return all(_explains(way, each) for each in (*wrong[-1:], *faced))


def _explains(way: _Way, each: Faced) -> bool:
    """Whether a case's answer is what the way makes; where a part of it is not possible, what the rest makes."""
    possible = False
    for _, made in _applied(way, each.start):
        possible = True
        if _fits(made, each.answer):
            return True
    if possible and any(step.form is not None for step in way):
        return False
    parts = itertools.chain.from_iterable(itertools.combinations(way, size) for size in range(len(way)))
    return any(_fits(made, each.answer) for part in parts for _, made in _applied(tuple(part), each.start))


def _as_named(way: _Way, wrong: Sequence[Faced]) -> tuple[NamedMistake, ...]:
    """A way in the values of the smallest case in which it shows."""
    for each in wrong:
        for mistakes, made in _applied(way, each.start):
            if _fits(made, each.answer):
                return tuple(NamedMistake(mistake, not step.node) for mistake, step in zip(mistakes, way, strict=True))
    raise AssertionError("a way that fits is made of what fits")
