"""Another Python that imports what this one would: how it is called, and with what environment; and how old this is.

Nothing is imported from the folder that happens to be current. How many threads BLAS takes is told by the environment
too, here and there: it is read once, when NumPy is imported.
"""

from __future__ import annotations

import os
import sys
import time

__all__ = ["ONE_THREAD", "age", "environment", "is_startable", "keep_to_one_thread", "python", "threads_are_set"]

# One thread of BLAS, whichever NumPy was built with.
ONE_THREAD = dict.fromkeys(
    (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
_ours: set[str] = set()  # variables that are not the user's


def python(*arguments: str) -> list[str]:
    """The command: ``python("-m", "package.module", ...)`` or ``python("-c", code, ...)``."""
    return [sys.executable, "-P", *arguments]  # -P: the current folder is no place to import from


def environment(**variables: str) -> dict[str, str]:
    """The user's environment, the import paths of this process, and some variables besides."""
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    own = {name: value for name, value in os.environ.items() if name not in _ours}
    return {**own, "PYTHONPATH": paths, **variables}


def keep_to_one_thread() -> None:
    """Let BLAS take one thread in this process; to be called before NumPy is imported.

    Threads of BLAS wait for one another in a loop: they hardly save time, and where other programs keep the cores busy
    they cost many times as much. A user whose environment says how many there are to be has as many.
    """
    if not any(name in os.environ for name in ONE_THREAD):
        os.environ.update(ONE_THREAD)
        _ours.update(ONE_THREAD)


def threads_are_set() -> bool:
    """Whether the user's environment says how many threads BLAS is to take."""
    return any(name in os.environ and name not in _ours for name in ONE_THREAD)


def age() -> float:
    """Seconds since this process began; where the system does not tell, those of a processor that it took."""
    try:
        with open("/proc/self/stat", "rb") as file:
            began = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, time.process_time())
    except (OSError, AttributeError, ValueError, IndexError):
        return time.process_time()


def is_startable() -> bool:
    """Whether `sys.executable` is a Python, and not a program that would start itself once more."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)
