"""Another Python that imports what this one would: how it is called, and with what environment.

Nothing is imported from the folder that happens to be current.
"""

from __future__ import annotations

import os
import sys

__all__ = ["ONE_THREAD", "environment", "is_startable", "python"]

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # of BLAS, for `environment`


def python(*arguments: str) -> list[str]:
    """The command: ``python("-m", "package.module", ...)`` or ``python("-c", code, ...)``."""
    return [sys.executable, "-P", *arguments]  # -P: the current folder is no place to import from


def environment(**variables: str) -> dict[str, str]:
    """The environment and the import paths of this process, and some variables besides."""
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "PYTHONPATH": paths, **variables}


def is_startable() -> bool:
    """Whether `sys.executable` is a Python, and not a program that would start itself once more."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)
