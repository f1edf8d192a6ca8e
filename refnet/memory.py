"""Memory of a command: what one array has let go is kept for the next, not given back to the system.

The C library gives large blocks back at once; a command that makes thousands of arrays of some megabytes then spends a
fifth of its time on pages that the system has to clear. What a command takes at most is the same. A program that
imports refnet keeps its own settings.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

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
    try:
        option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or a system without one
        return False
    return all(option(name, value) == 1 for name, value in _SETTINGS.items())
