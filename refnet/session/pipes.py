"""What a session and its workers say to each other: messages one way, a byte in answer to each the other way."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import subprocess
import time
from typing import Any

__all__ = ["LOST", "START", "eagerness", "has_come", "has_done", "send"]

# What is raised by a worker that has ended, or by a pipe that is closed or has a number too large for `select`.
LOST = (OSError, EOFError, ValueError, pickle.UnpicklingError)
START = 60.0  # seconds that a worker has to be ready, or to read on, on a machine that does other things
_EAGER, _LONGEST = 1 / 5, 0.02  # of the time that was worked, and seconds


def send(worker: subprocess.Popen[bytes], message: Any) -> None:
    """Send a message, array by array, and never whole."""
    assert worker.stdin is not None
    if os.name == "nt":  # whose pipes cannot be waited for
        pickle.dump(message, worker.stdin, pickle.HIGHEST_PROTOCOL)
        worker.stdin.flush()
    else:
        pickle.dump(message, _Pipe(worker), pickle.HIGHEST_PROTOCOL)


def has_done(worker: subprocess.Popen[bytes], patience: float, eager: float = 0.0) -> bool:
    """Whether a worker says in time that it has done what it was asked; one that does not is ended."""
    assert worker.stdout is not None
    with contextlib.suppress(*LOST):
        if has_come(worker.stdout, patience, eager):
            return worker.stdout.read(1) == b"+"
    worker.kill()
    return False


def has_come(pipe: Any, patience: float | None, eager: float = 0.0) -> bool:
    """Wait for something to read from a pipe, or for its end; whether it came in time.

    A core that waits asleep wakes up slowly, and with empty caches where its host has given it to others meanwhile. So
    who expects something soon should look for it again and again.

    Parameters
    ----------
    patience : seconds, or None: as long as it takes
    eager : seconds before that, in which it is looked for without a pause
    """
    if os.name == "nt":
        return True  # reading waits
    until = time.monotonic() + eager
    while time.monotonic() < until:
        if select.select([pipe], [], [], 0)[0]:
            return True
    return bool(select.select([pipe], [], [], patience)[0])


def eagerness(worked: float) -> float:
    """For how many seconds to look without a pause for what follows so many seconds of work, at little loss."""
    return min(_EAGER * worked, _LONGEST)


class _Pipe:
    """What a worker reads from, as a file; a worker that reads nothing for too long is ended."""

    def __init__(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdin is not None
        self._worker, self._pipe, self._until = worker, worker.stdin.fileno(), time.monotonic() + START
        os.set_blocking(self._pipe, False)

    def write(self, data: Any) -> None:
        data = memoryview(data).cast("B")
        while data:
            if not select.select([], [self._pipe], [], max(0.0, self._until - time.monotonic()))[1]:
                self._worker.kill()
                raise TimeoutError
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._pipe, data) :]
