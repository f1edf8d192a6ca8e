"""What a reader's function answers to a case, in values: arrays, and whatever is wrong with it besides its numbers."""

from __future__ import annotations

import copy
import inspect
import linecache
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.study.cases import Case
from refnet.study.exercises import Exercise

__all__ = ["Blemish", "Returned", "answers_of", "check_call", "fault_of"]

Array = npt.NDArray[Any]

_STOPS = ("raised", "type", "count", "numbers", "large")  # where one call tells all
_LARGE = 1 << 22  # numbers: an answer of more is no answer to a case of a few hundred


class Blemish(NamedTuple):
    """One thing that is wrong with an answer besides its numbers.

    Attributes
    ----------
    kind : 'raised', 'type', 'count', 'numbers', 'large', 'shape', 'dtype', 'nonfinite', 'changed', 'unsteady',
        'endless', 'ended'
    facts : its values
    """

    kind: str
    facts: Mapping[str, Any]


class Returned(NamedTuple):
    """What a function returned; no arrays where there are none that could be judged."""

    arrays: tuple[Array, ...] = ()
    faults: tuple[Blemish, ...] = ()


def check_call(exercise: Exercise, function: Callable[..., Any], case: Case) -> None:
    """Refuse a function that cannot be called as the exercise says.

    Raises
    ------
    RequestError
        which says how it is called.
    """
    if not callable(function):
        raise RequestError(f"{exercise.name}: give a function, {exercise.name}({exercise.call})")
    try:
        inspect.signature(function).bind(*case.given.values(), **case.named)
    except TypeError as error:
        raise RequestError(f"write {exercise.name}({exercise.call}): {error}") from None
    except ValueError:  # one of C has no signature
        pass


def answers_of(
    exercise: Exercise, cases: Sequence[Case], function: Callable[..., Any], path: str = ""
) -> Iterator[Returned]:
    """A function's answers, case by case, until one tells all; each case is asked for twice.

    Parameters
    ----------
    path : as of `answer_to`
    """
    for case in cases:
        answer, again = (answer_to(exercise, case, function, path) for _ in range(2))
        if answer.arrays and not all(map(_alike, answer.arrays, again.arrays)):
            answer = answer._replace(faults=(*answer.faults, Blemish("unsteady", {})))
        yield answer
        if any(fault.kind in _STOPS for fault in answer.faults):
            return


def answer_to(exercise: Exercise, case: Case, function: Callable[..., Any], path: str = "") -> Returned:
    """Call a function on copies of a case's arrays; nothing that it raises goes on.

    Parameters
    ----------
    path : the file of the reader's code; '' for the file that the function is in
    """
    given = copy.deepcopy(dict(case.given))
    own = path or getattr(getattr(function, "__code__", None), "co_filename", "")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = function(*given.values(), **copy.deepcopy(dict(case.named)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the reader's code raises, SystemExit too, is what is told of it
        return Returned((), (fault_of(error, own),))
    found = _taken(exercise, case, made)
    changed = [name for name, array in case.arrays.items() if not _same(_arrays(given).get(name), array)]
    return found._replace(faults=(*found.faults, *(Blemish("changed", {"argument": name}) for name in changed[:1])))


def fault_of(error: BaseException, path: str) -> Blemish:
    """An exception as values: its type and words, and the last line of the reader's own file that it went through."""
    number, text = 0, ""
    if isinstance(error, SyntaxError) and error.filename == path:
        number, text = error.lineno or 0, (error.text or "").strip()
    else:
        frame: TracebackType | None = error.__traceback__
        while frame is not None:
            if frame.tb_frame.f_code.co_filename == path:
                number = frame.tb_lineno
            frame = frame.tb_next
        text = linecache.getline(path, number).strip() if number else ""
    words = error.msg if isinstance(error, SyntaxError) else _words(error)
    return Blemish("raised", {"error": type(error).__name__, "words": words, "line": number, "text": text})


def _words(error: BaseException) -> str:
    try:
        return _shortened(str(error), 300)
    except Exception:  # of a class of the reader's own
        return ""


def _written(made: Any) -> str:
    try:
        return repr(made)
    except Exception:  # of a class of the reader's own
        return f"a value of type {type(made).__name__}"


def _shortened(text: str, most: int = 80) -> str:
    """On one line, and not too long for a sentence."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[:most]} ..."


def _arrays(given: Mapping[str, Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, value in given.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def _alike(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


def _same(array: Any, before: Array) -> bool:
    return isinstance(array, np.ndarray) and np.array_equal(array, before)


def _taken(exercise: Exercise, case: Case, made: Any) -> Returned:
    """What was returned as arrays, as far as it is any."""
    wanted = case.subject.right
    if exercise.answers in ("numbers", "rows", "number"):
        return _whole(exercise.answers, made)
    parts = made if exercise.answers == "arrays" else (made,)
    if exercise.answers == "arrays" and not (isinstance(made, tuple | list) and len(made) == 2):
        return Returned((), (Blemish("count", {"found": type(made).__name__}),))
    found, faults = [], dict[str, Blemish]()
    for part, right in zip(parts, wanted, strict=True):
        if not isinstance(part, np.ndarray | np.generic) or part.dtype.kind not in "fiub":
            name = type(part).__name__
            kind = f"{name} of {part.dtype}" if isinstance(part, np.ndarray | np.generic) else name
            return Returned((), (Blemish("type", {"found": kind}),))
        array = np.array(part)  # the reader may change his own later
        if array.size > _LARGE:
            return Returned((), (Blemish("large", {"found": array.shape, "wanted": right.shape}),))
        if array.shape != right.shape:
            faults["shape"] = Blemish("shape", {"found": array.shape, "wanted": right.shape})
        if array.dtype.newbyteorder("=") != case.dtype:
            faults["dtype"] = Blemish("dtype", {"found": array.dtype.name, "wanted": str(case.dtype)})
        if not np.isfinite(array).all():
            count = int(np.count_nonzero(~np.isfinite(array)))
            faults["nonfinite"] = Blemish("nonfinite", {"count": count, "of": array.size})
        found.append(array)
    return Returned(tuple(found), tuple(faults.values()))


def _whole(kind: str, made: Any) -> Returned:
    """Whole numbers: one, two, or rows of five."""
    wanted = {"number": (), "numbers": (2,), "rows": (-1, 5)}[kind]
    try:
        plain = np.array([list(row) for row in made] if kind == "rows" else made)
        if plain.dtype.kind not in "iufb":
            raise TypeError("these are no numbers")
        found = plain.astype(np.float64)
        same = found.ndim == len(wanted) and all(n in (-1, side) for n, side in zip(wanted, found.shape, strict=True))
        same = same and bool(np.all(found == np.rint(found)) and np.all(np.abs(found) < _LARGE))
    except Exception:  # of a class of the reader's own, which may raise anything
        same = False
    if not same:
        return Returned((), (Blemish("numbers", {"found": _shortened(_written(made)), "wanted": kind}),))
    return Returned((np.atleast_1d(found.astype(np.int64)),))
