"""A reader's file: it is run in another process, since it is code that may do anything, and for a limited time.

The file is the reader's own, run because the reader asks for it. Its answers come back as files of plain arrays.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from refnet import child
from refnet.errors import FormatError, RequestError
from refnet.study.answers import Blemish, Returned, answers_of, check_call, fault_of
from refnet.study.cases import Case
from refnet.study.exercises import Exercise, exercise_of

__all__ = ["answer_in_child", "answers_of_file"]

_COMMAND = "import sys; from refnet.study.reader import answer_in_child; answer_in_child(*sys.argv[1:])"
_MEMORY = 8 << 30  # bytes of address space


def answers_of_file(exercise: Exercise, path: str | Path, *, seed: int = 0, seconds: float = 60.0) -> list[Returned]:
    """Run the function of a file on the cases of an exercise.

    Parameters
    ----------
    seconds : for how long all cases together may run

    Raises
    ------
    RequestError
        if there is no such file, or no such function in it.
    FormatError
        if it cannot be loaded; it says in which line.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise RequestError(f"{path}: there is no such file")
    with tempfile.TemporaryDirectory() as folder:
        ended = _run(str(path), exercise, folder, seed, seconds)
        found = _read(Path(folder), path)
    if ended is not None:
        found.append(Returned((), (ended,)))
    return found


def _run(path: str, exercise: Exercise, folder: str, seed: int, seconds: float) -> Blemish | None:
    """Start the other process and wait for it; how it ended where not as it should."""
    try:
        ran = subprocess.run(
            child.python("-c", _COMMAND, path, exercise.name, folder, str(seed)),
            env=child.environment(**child.ONE_THREAD),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _is_stream(sys.stderr) else subprocess.DEVNULL,  # what the reader prints
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return Blemish("endless", {"seconds": seconds})
    if ran.returncode == 0:
        return None
    how = signal.Signals(-ran.returncode).name if ran.returncode < 0 else f"exit status {ran.returncode}"
    return Blemish("ended", {"how": how})


def _is_stream(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (AttributeError, OSError, ValueError):
        return False


def _read(folder: Path, path: Path) -> list[Returned]:
    """The answers that the other process has left, up to where it got."""
    try:
        if (folder / "load.json").exists():
            _refuse(path, json.loads((folder / "load.json").read_text(encoding="utf-8")))
        found: list[Returned] = []
        while (folder / f"{len(found)}.json").exists():
            faults = json.loads((folder / f"{len(found)}.json").read_text(encoding="utf-8"))
            with np.load(folder / f"{len(found)}.npz", allow_pickle=False) as arrays:
                own = tuple(arrays[name] for name in arrays.files)
            found.append(Returned(own, tuple(Blemish(kind, _tuples(facts)) for kind, facts in faults)))
    except RequestError:
        raise
    except FormatError:
        raise
    except (OSError, ValueError, TypeError, KeyError):
        raise FormatError(f"{path}: its answers cannot be read: it writes where refnet does") from None
    return found


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}


def _refuse(path: Path, found: dict[str, Any]) -> None:
    if "request" in found:
        raise RequestError(f"{path}: {found['request']}")
    where = f", line {found['line']}" if found["line"] else ""
    raise FormatError(f"{path}{where}: {found['error']}: {found['words']}")


# ------------------------------------------------------------------------------------------------ the other process


def answer_in_child(path: str, name: str, folder: str, seed: str) -> None:
    """What the other process does: load the file, run its function on all cases, leave the answers in a folder."""
    _limit_memory()
    exercise = exercise_of(name)
    cases = exercise.cases(int(seed))
    sys.path.insert(0, str(Path(path).parent))
    try:
        module = _loaded(path)
        function = getattr(module, exercise.name, None)
        if not callable(function):
            own = (key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_")
            raise RequestError(
                f"it has no function {exercise.name}, but {', '.join(own) or 'none'}: see refnet exercise {name}"
            )
        check_call(exercise, function, cases[0])
    except RequestError as error:
        _write(Path(folder, "load.json"), {"request": str(error)})
        os._exit(0)
    except BaseException as error:  # whatever the reader's file raises
        _write(Path(folder, "load.json"), dict(fault_of(error, path).facts))
        os._exit(0)
    for index, answer in enumerate(_answers(exercise, cases, function, path)):
        np.savez(Path(folder, f"{index}.npz"), *answer.arrays)
        _write(Path(folder, f"{index}.json"), [(fault.kind, dict(fault.facts)) for fault in answer.faults])
    sys.stdout.flush()
    os._exit(0)  # whatever threads the reader's code has left


def _answers(exercise: Exercise, cases: Sequence[Case], function: Callable[..., Any], path: str) -> Iterator[Returned]:
    """The answers; an interrupt is the reader's own here, since that of a person ends the process that waits."""
    try:
        yield from answers_of(exercise, cases, function, path)
    except KeyboardInterrupt as error:
        yield Returned((), (fault_of(error, path),))


def _loaded(path: str) -> ModuleType:
    module = ModuleType("reader")
    module.__file__ = path
    sys.modules["reader"] = module
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), vars(module))
    return module


def _write(path: Path, value: Any) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(path)


def _limit_memory() -> None:
    """So that an array of all memory is an error of the reader's, not the machine's end."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
