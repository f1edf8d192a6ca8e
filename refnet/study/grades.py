"""A reader's answers to all cases, as a grade: what is right, the smallest case that is wrong, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnet.judge.causes.describe import describe
from refnet.judge.causes.feature import Feature
from refnet.study.answers import Blemish, Returned, answers_of, check_call
from refnet.study.cases import Case
from refnet.study.causes import Faced, NamedMistake, mistakes_in
from refnet.study.exercises import Exercise
from refnet.study.programs.search import Shown, Slip, slips_in
from refnet.study.subjects import Computed

__all__ = ["Grade", "grade", "grade_of"]

Causes = tuple[tuple[NamedMistake, ...], ...]
Slips = tuple[tuple[Slip, ...], ...]


@dataclass(frozen=True, eq=False)
class Grade:
    """How a reader's function did.

    Attributes
    ----------
    exercise : which
    cases, answers : in the order of their running; a run ends early where no more is to be learnt
    wrong : the indices of those whose numbers or shapes are wrong, or that have another fault, the smallest case first
    faults : what is wrong besides numbers, each kind once, with the index of its first case
    causes : every way that explains all answers, each as the mistakes that it is made of
    slips : every slip of a right program that gives all answers, or every two, where no mistake of the catalogue does
    features : what can be seen in the error of the smallest case where no way explains all
    """

    exercise: Exercise
    cases: tuple[Case, ...]
    answers: tuple[Returned, ...]
    wrong: tuple[int, ...]
    faults: tuple[tuple[int, Blemish], ...]
    causes: Causes = ()
    slips: Slips = ()
    features: tuple[Feature, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every answer is right."""
        return not self.wrong

    @property
    def numbers(self) -> tuple[int, ...]:
        """The indices of the cases with wrong numbers or shapes, the smallest case first."""
        return tuple(index for index in self.wrong if _is_off(self.cases[index], self.answers[index]))


def grade_of(exercise: Exercise, function: Callable[..., Any], seed: int = 0) -> Grade:
    """Run a function of this process on all cases.

    Raises
    ------
    RequestError
        if it cannot be called as the exercise says.
    """
    cases = exercise.cases(seed)
    check_call(exercise, function, cases[0])
    return grade(exercise, cases, list(answers_of(exercise, cases, function)))


def grade(exercise: Exercise, cases: Sequence[Case], answers: Sequence[Returned]) -> Grade:
    """The grade of answers to the first of the cases, which are all or end in one that stops."""
    pairs = list(zip(cases, answers, strict=False))
    wrong = [i for i, (case, answer) in enumerate(pairs) if answer.faults or _is_off(case, answer)]
    wrong.sort(key=lambda index: (*cases[index].order, index))
    kinds: dict[str, tuple[int, Blemish]] = {}
    for index, answer in enumerate(answers):
        for fault in answer.faults:
            kinds.setdefault(fault.kind, (index, fault))
    off = [index for index in wrong if _is_off(*pairs[index])]
    order = sorted(range(len(pairs)), key=lambda index: cases[index].order)
    faced = [Faced(cases[i].subject, answers[i].arrays) for i in order if answers[i].arrays]
    shown = [Shown(cases[i], answers[i].arrays, i not in off) for i in order if answers[i].arrays]
    causes, slips = _named(exercise.name, faced, shown) if off else ((), ())
    features = _seen(cases[off[0]], answers[off[0]]) if off and not (causes or slips) else ()
    return Grade(exercise, tuple(cases), tuple(answers), tuple(wrong), tuple(kinds.values()), causes, slips, features)


def _named(exercise: str, faced: Sequence[Faced], shown: Sequence[Shown]) -> tuple[Causes, Slips]:
    """A mistake of the catalogue, a slip of a program; two of either."""
    if causes := mistakes_in(faced):
        return causes, ()
    if slips := slips_in(exercise, shown):
        return (), slips
    return mistakes_in(faced, two=True), ()


def _is_off(case: Case, answer: Returned) -> bool:
    """Whether numbers, or their shape, are wrong."""
    return bool(answer.arrays) and not case.subject.misfit(answer.arrays) <= 1


def _seen(case: Case, answer: Returned) -> tuple[Feature, ...]:
    facing = case.subject.facing(answer.arrays)
    if not isinstance(facing, Computed) or not np.isfinite(answer.arrays[0]).all():
        return ()
    with np.errstate(all="ignore"):
        return describe(facing.segment, facing.precision)
