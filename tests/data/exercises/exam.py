"""The answers of readers as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from data.exercises import beginners, blocks, filters, functions, last_beginners, more_beginners, rules

SETS = (beginners, more_beginners, last_beginners)  # written before the catalogue was read, one after the other
ANSWERS = {**filters.ANSWERS, **blocks.ANSWERS, **functions.ANSWERS, **rules.ANSWERS}


def right_code(exercise: str) -> Iterator[tuple[str, str]]:
    """Each right spelling, and its code."""
    yield from ANSWERS[exercise][0].items()


def wrong_code(exercise: str) -> Iterator[tuple[str, str]]:
    """Each wrong answer by what is wrong with it, and its code."""
    right, wrong = ANSWERS[exercise]
    for name, (spelling, *edits) in (
        *wrong.items(),
        *(entry for each in SETS for entry in each.WRONG[exercise].items()),
    ):
        code = right[spelling]
        for old, new in edits:
            assert old in code, f"{exercise}, {name}: {old!r} is not there"
            code = code.replace(old, new)
        yield name, code


def unnamed(exercise: str) -> set[str]:
    """What is wrong with those whose mistake is not named."""
    return {name for each in SETS for name in each.UNNAMED.get(exercise, ())}


def function_of(exercise: str, code: str) -> Callable[..., Any]:
    """The function that a file with this code holds."""
    names: dict[str, Any] = {}
    exec(compile(code, f"{exercise}.py", "exec"), names)
    found: Callable[..., Any] = names[exercise]
    return found
