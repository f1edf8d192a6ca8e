"""Worker processes that run a part of each batch, or half of one image.

Threads would be simpler, but NumPy's calls are short here, and two threads that call so often queue for the
interpreter's lock: two were measured to do less than one. A worker is a Python of its own, which hears over a pipe
which images to take from a file in memory. It executes nothing but `refnet.session.worker`, and ends when the pipe
closes. Whatever goes wrong with it (it cannot be started, it dies, there is no memory to share) costs time alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pickle
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from refnet import child
from refnet.graph import Graph
from refnet.session.pipes import LOST, START, eagerness, has_done, send
from refnet.session.weights import Weights

__all__ = ["WorkerPool", "field", "remove", "shared_memory"]

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]

# Seconds that a worker has for its share, and so many times what the share of this process took. One that is stopped
# or hangs is ended, and its share is run here.
_SHARE, _TIMES = 30.0, 20
_ZEROS = bytes(2**16)


class WorkerPool:
    """The workers of one session.

    Parameters
    ----------
    count : how many
    graph, weights : what they run
    keep : the tensors that the session keeps; workers keep the same, so that they make the same calls
    """

    def __init__(self, count: int, graph: Graph, weights: Weights, keep: Collection[str]) -> None:
        self._owner, self.count = os.getpid(), count
        self._core = -1  # which workers keep off
        self._shared: Array | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        with contextlib.suppress(OSError):
            for _ in range(count if child.is_startable() else 0):
                self._workers.append(_start())
        self._end = weakref.finalize(self, _stop_workers, self._owner, list(self._workers))
        for worker in self._workers:
            with contextlib.suppress(*LOST):
                send(worker, (graph, weights, tuple(keep)))
        self._workers = [worker for worker in self._workers if has_done(worker, START)]

    def stop_workers(self) -> None:
        """End the workers, whatever they are at."""
        self._workers = []
        self._end()

    def introduce(self, path: str) -> bool:
        """Let the first worker write its half of an image's calls; whether it has."""
        for worker in self._own()[:1]:
            with contextlib.suppress(*LOST):
                send(worker, path)
                return has_done(worker, START)
        return False

    def call(self, before: int) -> bool:
        """Let the first worker run its half of an image, after so many meetings; whether there is one."""
        self._keep_off()
        for worker in self._own()[:1]:
            with contextlib.suppress(*LOST):
                assert worker.stdin is not None
                return os.write(worker.stdin.fileno(), pickle.dumps(before)) > 0  # it waits: the pipe is empty
        return False

    def _keep_off(self) -> None:
        """Keep workers off the core of this thread: a run was seen to take ten milliseconds longer on one core."""
        ask = _core_asker()
        if ask is None or (core := ask()) == self._core:
            return
        with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every system
            if others := os.sched_getaffinity(0) - {core}:
                for worker in self._own():
                    os.sched_setaffinity(worker.pid, others)
            self._core = core

    def _own(self) -> list[subprocess.Popen[bytes]]:
        """The workers, unless they are those of the process that this one was forked from."""
        if os.getpid() != self._owner:
            self._workers = []
        return self._workers

    def divide(self, x: Array, y: Outputs, run: Callable[[Array, Outputs], None], group: int) -> None:
        """Run a batch: some whole groups of images here, with `run`, and some by each worker."""
        if self._own() and (self._shared is None or len(self._shared) < len(x)):
            self._share(x, y)
        groups, parts = -(-len(x) // group), len(self._workers) + 1
        ends = [min(len(x), groups * part // parts * group) for part in range(parts + 1)]
        shares = [slice(first, end) for first, end in pairwise(ends)]
        # The first share may have no image where there are fewer groups than processes; the last one has some.
        own, shares = shares[-1], shares[:-1]
        shared: Any = self._shared  # there while there are workers
        self._keep_off()
        asked = []
        for worker, share in zip(self._workers, shares, strict=True):
            if share.start == share.stop:
                continue
            shared["x"][share] = x[share]
            with contextlib.suppress(*LOST):
                send(worker, (share.start, share.stop, group))
                asked.append(worker)
        started = time.monotonic()
        run(x[own], _rows(y, own))
        took = time.monotonic() - started
        for worker, share in zip(list(self._workers), shares, strict=True):
            if share.start == share.stop:
                continue
            if worker in asked and has_done(worker, _SHARE + _TIMES * took, eagerness(took)):
                for place, array in enumerate(y.values()):
                    array[share] = shared[field(place)][share]
            else:
                self._workers.remove(worker)
                run(x[share], _rows(y, share))

    def _share(self, x: Array, y: Outputs) -> None:
        """Share memory with the workers, with room for a batch; without such memory there is no work for them."""
        arrays = {"x": x} | {field(place): array for place, array in enumerate(y.values())}
        dtype = np.dtype([(name, array.dtype, array.shape[1:]) for name, array in arrays.items()])
        self._shared, path = None, ""
        try:
            path, memory = shared_memory(len(x) * dtype.itemsize)
            self._shared = memory.view(dtype)
            for worker in self._workers:
                with contextlib.suppress(*LOST):
                    send(worker, (path, dtype, len(x)))
            self._workers = [worker for worker in self._workers if has_done(worker, START)]
        except OSError:
            self.stop_workers()
        finally:
            remove(path)


def shared_memory(size: int) -> tuple[str, Array]:
    """So many bytes of memory, and the path at which another process opens them; `remove` it then.

    Raises
    ------
    OSError
        if there is none.
    """
    for folder in ("/dev/shm", None):  # in memory, or else on a disk
        path = ""
        try:
            handle, path = tempfile.mkstemp(prefix="refnet-", dir=folder)
            with open(handle, "wb") as file:
                # Written, not only claimed: touching a page that a full disk cannot give would kill us.
                for first in range(0, size, len(_ZEROS)):
                    file.write(_ZEROS[: size - first])
            return path, np.memmap(path, np.uint8, "r+", shape=(size,))
        except OSError:
            remove(path)
    raise OSError("no memory to share")


def remove(path: str) -> None:
    """Take the name of shared memory away; where the system forbids that while it is open, it stays."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def field(place: int) -> str:
    """What an output is called in the memory that is shared: its own name may be anything."""
    return f"y{place}"


def _rows(y: Outputs, share: slice) -> dict[str, Array]:
    return {name: array[share] for name, array in y.items()}


def _start() -> subprocess.Popen[bytes]:
    """A worker whose BLAS uses one thread."""
    return subprocess.Popen(
        child.python("-m", "refnet.session.worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child.environment(**child.ONE_THREAD),
        process_group=0,  # an interrupt is for the process that asks
    )


@functools.cache
def _core_asker() -> Callable[[], int] | None:
    """What tells the core that this thread is on, where the C library can."""
    try:
        return cast(Callable[[], int], ctypes.PyDLL(None).sched_getcpu)  # it keeps the interpreter's lock: it is short
    except (AttributeError, OSError, TypeError):  # not on Linux
        return None


def _stop_workers(owner: int, workers: list[subprocess.Popen[bytes]]) -> None:
    """Close the pipes: then workers end, or else are ended."""
    if os.getpid() != owner:
        return
    for worker in workers:
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    for worker in workers:
        try:
            worker.wait(timeout=1)
        except subprocess.TimeoutExpired:  # a process that was forked from this one still holds the pipe
            worker.kill()
            worker.wait()
