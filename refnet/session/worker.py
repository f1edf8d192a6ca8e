"""A worker process: reads what to do from standard input, answers with one byte on standard output.

Messages come from the process that started it:

- first a graph, its weights and the tensors that are kept;
- for batches the shared memory to use, then which images of it to run;
- for one image in halves the memory that both share, then after how many meetings the next run begins. That one has no
  answer.

A worker ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.readings.shapes import shapes
from refnet.session import Session
from refnet.session.halves import Half
from refnet.session.pair import half_program
from refnet.session.pipes import eagerness, has_come
from refnet.session.program import Program, Programs
from refnet.session.steps import steps
from refnet.session.weights import Weights
from refnet.session.workers import field
from refnet.threads import numpy_threads

Array = npt.NDArray[Any]


def serve_session() -> None:
    """Serve one session until the pipe closes."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    requests = sys.stdin.buffer
    graph: Any = None
    weights: Any = None
    keep: tuple[str, ...] = ()
    session: Session | None = None
    shared: Any = None
    half: tuple[Half, Program] | None = None
    worked = 0.0  # seconds, at the last message
    while True:
        try:
            has_come(requests, 0.0, eagerness(worked))  # what is read ahead already does not come: reading waits
            began = time.monotonic()
            match pickle.load(requests):
                case str() as path, dtype, int() as count:
                    shared = np.memmap(path, dtype, "r+", shape=(count,))
                    session = session or Session(graph, weights, threads=1, keep=keep)
                case int() as start, int() as stop, int() as group:
                    assert session is not None
                    for place, y in enumerate(session.in_groups(shared["x"][start:stop], group).values()):
                        shared[field(place)][start:stop] = y
                case str() as path:
                    half = _half(graph, weights, keep, np.memmap(path, np.uint8, "r+"))
                case int() as before:
                    assert half is not None
                    _run(*half, before)
                    worked = time.monotonic() - began
                    continue
                case Graph() as graph, Weights() as weights, keep:
                    pass
            worked = time.monotonic() - began
            answers.write(b"+")
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # who asks has ended, perhaps in mid-sentence
            return


def _half(graph: Graph, weights: Weights, keep: Collection[str], memory: Array) -> tuple[Half, Program]:
    """The second half of an image, and its calls."""
    parent = os.getppid()

    def wait() -> None:
        if os.getppid() != parent:
            raise EOFError

    sizes, half = shapes(graph), Half(1, wait)
    programs = Programs(steps(graph, sizes, keep), weights, sizes, keep)
    return half, half_program(programs, half, lambda size: memory)


def _run(half: Half, program: Program, before: int) -> None:
    """Make half of an image; what it warns of, such as what follows where the other half has given up, is not said."""
    half.before = before
    with numpy_threads(1), np.errstate(all="ignore"):
        program.run(np.empty(1))  # an image, of which this half reads nothing
    half.end()


if __name__ == "__main__":
    serve_session()
