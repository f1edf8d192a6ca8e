"""A worker process: reads what to do from standard input, answers with one byte on standard output.

Messages come from the process that started it: first a graph and its params, then the shared memory to use, or which
images of it to run. It ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np

from refnet.session import Session
from refnet.session.workers import field


def serve_session() -> None:
    """Serve one session until the pipe closes."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    requests = sys.stdin.buffer
    session: Session | None = None
    shared: Any = None
    while True:
        try:
            match pickle.load(requests):
                case str() as path, dtype, int() as count:
                    shared = np.memmap(path, dtype, "r+", shape=(count,))
                case int() as start, int() as stop, int() as group:
                    assert session is not None
                    for place, y in enumerate(session.in_groups(shared["x"][start:stop], group).values()):
                        shared[field(place)][start:stop] = y
                case graph, params:
                    session = Session(graph, params, threads=1)
            answers.write(b"+")
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # who asks has ended, perhaps in mid-sentence
            return


if __name__ == "__main__":
    serve_session()
