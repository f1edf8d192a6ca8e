"""An exercise in a notebook: `refnet.exercise("depthwise")` says what to write, and grades a function it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refnet.report.exercises import grade_lines, task_lines
from refnet.study.exercises import Exercise, exercise_of
from refnet.study.grades import Grade, grade_of
from refnet.text import plain_lines

__all__ = ["Marked", "Task", "exercise"]


@dataclass(frozen=True, eq=False, repr=False)
class Marked:
    """A function with its grade; printed, it says how it did.

    Attributes
    ----------
    grade : the facts
    """

    grade: Grade

    @property
    def passed(self) -> bool:
        """Whether every answer is right."""
        return self.grade.passed

    def __repr__(self) -> str:
        return plain_lines("\n".join(grade_lines(self.grade)))


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """An exercise that grades the function that it is called with; printed, it says what to write.

    Attributes
    ----------
    exercise : the facts
    seed : of its cases
    """

    exercise: Exercise
    seed: int

    def __call__(self, function: Callable[..., Any]) -> Marked:
        """Run a function, in this process and with no limit of time, on all cases."""
        return Marked(grade_of(self.exercise, function, self.seed))

    def __repr__(self) -> str:
        return "\n".join(task_lines(self.exercise))


def exercise(name: str, *, seed: int = 0) -> Task:
    """An exercise by name; call it with your function.

    Parameters
    ----------
    name : as `refnet exercise` lists them, 'depthwise'
    seed : of the random cases

    Returns
    -------
    Task

    Raises
    ------
    RequestError
        if there is no such exercise.

    Examples
    --------
    >>> exercise("hard_sigmoid")(lambda x: (x / 6 + 0.5).clip(0, 1))
    hard_sigmoid: right, in all of 20 cases
    >>> exercise("same_padding")(lambda size, kernel, stride, dilation: (kernel // 2, kernel // 2)).passed
    False
    """
    return Task(exercise_of(name), seed)
