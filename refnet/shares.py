"""Work that splits, over some processes: this one works too, each other one is a Python of its own; or over threads.

A share is a function of a module, called as ``function(given, share, of)``. A process that is done with a share takes
the next one that no other has, so that a slow one holds up no more than its own. The other processes hear over a pipe
which function and what it is given, then which shares, and answer with what it returns: refnet's own values, from a
process that this one has started. An exception ends all of them, and so does the end of this process. A process that
cannot be started, or is lost, costs time alone: its share is worked on here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from importlib import import_module
from typing import Any, BinaryIO, TypeVar

from refnet import child
from refnet.memory import keep_freed_memory

__all__ = ["at_once", "cores", "in_shares", "shares_begun"]

T = TypeVar("T")
_THREADS = 4  # at most: each has some arrays of its own


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def at_once(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What some tasks return, in order: a thread for each core, four at most, takes one after another.

    While NumPy computes on large arrays it lets other threads run. Each has the context of this one, and with it
    NumPy's way with errors. The others begin at the end, so that of tasks whose size goes one way no two of the largest
    run together. Of tasks that raise, the error of the first is raised here.
    """
    made: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    left = deque(range(len(tasks)))

    def work(take: Callable[[], int]) -> None:
        with contextlib.suppress(IndexError):
            while not errors:
                index = take()
                try:
                    made[index] = tasks[index]()
                except BaseException as error:  # an interrupt too: it is raised below
                    errors[index] = error

    others = [
        threading.Thread(target=copy_context().run, args=(work, left.pop), daemon=True)
        for _ in range(min(cores(), _THREADS, len(tasks)) - 1)
    ]
    for thread in others:
        thread.start()
    try:
        work(left.popleft)
        for thread in others:
            thread.join()
    except BaseException as error:
        errors[-1] = error  # no thread takes another task
        raise
    for index in range(min(errors, default=0)):
        if index not in made:
            tasks[index]()
    if errors:
        raise errors[min(errors)]
    return [made[index] for index in range(len(tasks))]


def in_shares(
    function: Callable[[Any, int, int], Any],
    given: Any,
    count: int,
    jobs: int | None = None,
    tell: Callable[[int, int], object] | None = None,
) -> list[Any]:
    """What a function returns for each of some shares, in order; arguments are those of `shares_begun`."""
    with shares_begun(function, given, count, jobs, tell) as rest:
        return rest()


@contextlib.contextmanager
def shares_begun(
    function: Callable[[Any, int, int], Any],
    given: Any,
    count: int,
    jobs: int | None = None,
    tell: Callable[[int, int], object] | None = None,
) -> Iterator[Callable[[], list[Any]]]:
    """A block during which other processes work on some shares; what it yields works on the rest and returns all.

    Parameters
    ----------
    function : of a module, by its own name there; takes `given`, which share, and of how many
    given : whatever can be pickled
    count : how many shares
    jobs : how many processes, this one among them, by default one for each share; each has what it is given, and
        imports, for itself. Each begins with a share of its own, this one with the first
    tell : is given how many shares are done and how many there are, as that goes on and at the end

    Raises
    ------
    Exception
        what the function raises, in whichever process.
    """
    jobs = min(count, jobs or count)
    turns = _Turns(count, jobs)
    helpers = [_Helper(function, given, first, turns) for first in range(1, jobs)] if child.is_startable() else []

    def rest() -> list[Any]:
        for share in turns.of(0) if helpers else range(count):
            turns.done(share, function(given, share, count))
            if tell is not None and len(turns.made) < count:
                tell(len(turns.made), count)
        for helper in helpers:
            helper.thread.join()
        for share in set(range(count)) - turns.made.keys():
            if turns.error is not None:
                raise turns.error
            turns.done(share, function(given, share, count))  # what a lost process had
        if tell is not None:
            tell(count, count)
        return [turns.made[share] for share in range(count)]

    try:
        yield rest
    finally:
        for helper in helpers:
            helper.end()


class _Turns:
    """Which shares are left to be taken, and what was made of the others.

    Attributes
    ----------
    made : by share, what the function returned
    error : what it raised in another process: then no share is left
    """

    def __init__(self, count: int, jobs: int) -> None:
        self.count = count
        self.made: dict[int, Any] = {}
        self.error: BaseException | None = None
        self._next, self._lock = jobs, threading.Lock()

    def of(self, first: int) -> Iterator[int]:
        """The shares of one process: one of its own, then whichever is next."""
        share = first
        while share < self.count and self.error is None:
            yield share
            with self._lock:
                share, self._next = self._next, self._next + 1

    def done(self, share: int, returned: Any) -> None:
        """Take down what was made of a share."""
        self.made[share] = returned


class _Helper:
    """A process that works on some shares, and the thread that hands them to it."""

    def __init__(self, function: Callable[[Any, int, int], Any], given: Any, first: int, turns: _Turns) -> None:
        self.message = function.__module__, function.__name__, given, turns.count
        self.first, self.turns = first, turns
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
        # The pipe stays open until the last answer is there: where it closes before, who asked is gone.
        with contextlib.suppress(OSError, ValueError, EOFError, pickle.UnpicklingError), self.process.stdin as requests:
            pickle.dump(self.message, requests, pickle.HIGHEST_PROTOCOL)  # array by array, and never whole
            for share in self.turns.of(self.first):
                requests.write(pickle.dumps(share))
                requests.flush()
                returned, error = pickle.load(self.process.stdout)
                if error is not None:
                    self.turns.error = error
                else:
                    self.turns.done(share, returned)

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


def _asked(requests: BinaryIO, shares: queue.SimpleQueue[int]) -> None:
    """Hear of one share after another, and leave when there is no one to ask for any."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            shares.put(pickle.load(requests))
    os._exit(1)


def _serve() -> None:
    """Work on the shares that are asked for."""
    keep_freed_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    module, name, given, count = pickle.load(sys.stdin.buffer)
    shares = queue.SimpleQueue[int]()
    threading.Thread(target=_asked, args=(sys.stdin.buffer, shares), daemon=True).start()
    function = getattr(import_module(module), name)
    while True:
        share = shares.get()
        try:
            answer = pickle.dumps((function(given, share, count), None), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # the process that asked raises it
            answer = pickle.dumps((None, error), pickle.HIGHEST_PROTOCOL)
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    _serve()
