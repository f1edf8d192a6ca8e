"""A file that a run appends to: one process alone writes it, and what it has written is on the disk."""

from __future__ import annotations

import os
from pathlib import Path

from refnet.errors import RequestError

try:
    import fcntl
except ImportError:  # Windows, where two processes on one file go unnoticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["append", "lock_alone"]


def lock_alone(file: int, path: Path, run: str) -> None:
    """Refuse a file that another process has locked; the system opens the lock when a process ends, however it ends.

    Parameters
    ----------
    file : its descriptor
    run : what is written there, in a word

    Raises
    ------
    RequestError : another process is at it
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"{path}: another process is at this {run}; wait for it, or stop it") from None


def append(file: int, data: bytes) -> None:
    """Write all of some bytes where the descriptor stands; they are on the disk when this returns."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fsync(file)
