"""Half of one image here, and the other half by a worker, in memory that both see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.session.halves import LINES, Half
from refnet.session.program import Copies, Program, Programs
from refnet.session.weights import Weights
from refnet.session.workers import WorkerPool, remove, shared_memory

__all__ = ["Pair", "Start", "half_program"]

Array = npt.NDArray[Any]

_PAGE = 4096  # bytes before the tensors, in which the halves say how far they are


class _WaitedError(Exception):
    """The worker has let this process wait for too long."""


class Start:
    """The start of one worker in a thread of its own.

    Attributes
    ----------
    pool : of that worker, once it is ready
    """

    def __init__(self, graph: Graph, weights: Weights, keep: Collection[str]) -> None:
        self.pool: WorkerPool | None = None
        threading.Thread(target=self._make, args=(graph, weights, keep), daemon=True).start()

    def _make(self, graph: Graph, weights: Weights, keep: Collection[str]) -> None:
        self.pool = WorkerPool(1, graph, weights, keep)


class Pair:
    """A process and the first worker of its pool; without a worker or memory to share, no image is run.

    Parameters
    ----------
    programs : of this process
    """

    def __init__(self, pool: WorkerPool, programs: Programs) -> None:
        self._pool, self._until, self._path = pool, 0.0, ""
        self._half = Half(0, self._wait)
        self._program: Program | None = None
        try:
            program = half_program(programs, self._half, self._memory)
            if pool.introduce(self._path):
                self._program = program
        except OSError:
            pass
        finally:
            remove(self._path)

    def run(self, x: Array, copies: Copies, patience: float) -> bool:
        """Run an image, (1, C, H, W), and copy the tensors that are asked for.

        Returns
        -------
        whether the worker has done its half within so many seconds; if not, what was copied is nothing
        """
        half = self._half
        if self._program is None or not half.other_is_done or not self._pool.call(half.before):
            return False
        self._until = time.monotonic() + patience
        try:
            self._program.run(x, copies)
        except _WaitedError:
            return False
        finally:
            half.end()
        return True

    def _memory(self, size: int) -> Array:
        self._path, made = shared_memory(size)
        return made

    def _wait(self) -> None:
        if time.monotonic() > self._until:
            raise _WaitedError


def half_program(programs: Programs, half: Half, memory: Callable[[int], Array]) -> Program:
    """The program of one half, in memory of which the first page says how far each half is."""

    def tensors(size: int) -> Array:
        made = memory(_PAGE + size)
        half.places = np.ndarray(LINES, np.uint8, made).data.cast("q")
        return np.ndarray(size, np.uint8, made, _PAGE)

    return programs.of_half(half, tensors)
