"""Memory that arrays have let go: kept for the next ones by a command, or returned to the system.

The C library gives large blocks back at once; a command that makes thousands of arrays of some megabytes then spends a
fifth of its time on pages that the system has to clear. What a command takes at most is the same. A program that
imports refnet keeps its own settings; a session in it returns what is free when it moves to large pages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

__all__ = ["keep_freed_memory", "return_freed_memory"]

# Of glibc's malloc.h, and bytes: what is free at the top before it goes back, and from which size on a block is the
# system's own; 32 MiB are the most that it takes.
_SETTINGS = {-1: 1 << 30, -3: 1 << 25}


def keep_freed_memory() -> bool:
    """Let the C library keep what arrays let go; whether it does so, which that of GNU does.

    Examples
    --------
    >>> import subprocess, sys  # in a process of its own
    >>> code = "from refnet.memory import keep_freed_memory; print(keep_freed_memory())"
    >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() in ("True", "False")
    True
    """
    global _keeps
    _keeps = _option is not None and all(_option(name, value) == 1 for name, value in _SETTINGS.items())
    return _keeps


def return_freed_memory() -> None:
    """Let the C library return what it holds free to the system, unless this process keeps it."""
    if _trim is not None and not _keeps:
        _trim(0)


def _of_glibc(name: str) -> Callable[..., Any] | None:
    """A function of glibc by its name; None where there is no glibc."""
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found


_keeps = False
_option, _trim = _of_glibc("mallopt"), _of_glibc("malloc_trim")
