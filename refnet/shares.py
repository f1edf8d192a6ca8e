"""Work that splits, over some processes: this one has the first share, each other one is a Python of its own.

A share is a function of a module, called as ``function(given, share, of)``. The other processes hear over a pipe which
function and what it is given, and answer with what it returns: refnet's own values, from a process that this one has
started. An exception ends all of them, and so does the end of this process. A process that cannot be started, or is
lost, costs time alone: its share is worked on here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from refnet import child

__all__ = ["cores", "in_shares"]


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def in_shares(function: Callable[[Any, int, int], Any], given: Any, count: int) -> list[Any]:
    """What a function returns for each of some shares, in order.

    Parameters
    ----------
    function : of a module, by its own name there; takes `given`, which share, and of how many
    given : whatever can be pickled
    count : how many processes, this one among them; each has what it is given, and imports, for itself

    Raises
    ------
    Exception
        what the function raises, in whichever process.
    """
    helpers = [_Helper(function, given, share, count) for share in range(1, count)] if child.is_startable() else []
    try:
        own = [function(given, share, count) for share in ([0] if helpers else range(count))]
        return own + [helper.answer() for helper in helpers]
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """A process that works on one share, and the thread that waits for it."""

    def __init__(self, function: Callable[[Any, int, int], Any], given: Any, share: int, of: int) -> None:
        self.function, self.work = function, (given, share, of)
        self.data = b""
        self.process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(
                child.python("-m", "refnet.shares"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child.environment(**child.ONE_THREAD),
                process_group=0,  # an interrupt is for the process that asks
            )
        self.thread = threading.Thread(target=self._talk, daemon=True)
        self.thread.start()

    def _talk(self) -> None:
        if self.process is None or self.process.stdin is None or self.process.stdout is None:
            return
        # The pipe stays open until the answer is there: where it closes before, who asked is gone.
        with contextlib.suppress(OSError, ValueError), self.process.stdin as requests:
            message = (self.function.__module__, self.function.__name__, self.work)
            requests.write(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
            requests.flush()
            self.data = self.process.stdout.read()

    def answer(self) -> Any:
        """What the function returned, there or, if that process is lost, here."""
        self.thread.join()
        try:
            returned, error = pickle.loads(self.data)
        except (EOFError, pickle.UnpicklingError):
            return self.function(*self.work)
        if error is not None:
            raise error
        return returned

    def end(self) -> None:
        """End the process, whatever it is at."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.thread.join()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _leave_when_alone() -> None:
    os.read(0, 1)
    os._exit(1)


def _serve() -> None:
    """Work on one share."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    module, name, work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_when_alone, daemon=True).start()
    try:
        answer = pickle.dumps((getattr(import_module(module), name)(*work), None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # the process that asked raises it
        answer = pickle.dumps((None, error), pickle.HIGHEST_PROTOCOL)
    with contextlib.suppress(BrokenPipeError), answers:
        answers.write(answer)
    os._exit(0)


if __name__ == "__main__":
    _serve()
