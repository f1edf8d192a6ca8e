"""Processes that try proposals: started anew, one thread of BLAS each, gone when the process that asked is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

__all__ = ["working"]


@contextmanager
def working(jobs: int) -> Iterator[Executor]:
    """An executor of so many processes; what waits is dropped when the block ends.

    Examples
    --------
    >>> with working(1) as executor:
    ...     executor.submit(abs, -1).result()
    1
    """
    context = multiprocessing.get_context("spawn")  # a fork would have the threads and locks of this process
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In a new process: an interrupt is for the one that asked, and without that one there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
