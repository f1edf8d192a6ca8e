"""Memory in large pages, where the system has them.

A core remembers where some two thousand pages of 4 KiB lie, which is less than the weights of most networks: it looks
up thousands of places in every run. Of pages of 2 MiB there are a dozen.
"""

from __future__ import annotations

import contextlib
import mmap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LARGE", "has_large_pages", "large_pages", "small_pages"]

LARGE = 2**21  # bytes of a page
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@cache
def has_large_pages() -> bool:
    """Whether the system gives large pages to those who ask for them, which Linux does by default."""
    try:
        return hasattr(mmap, "MADV_HUGEPAGE") and "[never]" not in _SETTING.read_text()
    except OSError:
        return False


def large_pages(size: int) -> npt.NDArray[Any]:
    """So many bytes of zeros, which begin at a page; memory is taken page by page, when it is first written.

    Raises
    ------
    MemoryError
        if there is no room for them.
    """
    advice: int | None = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux
    if advice is not None and size >= LARGE:
        whole = size // LARGE * LARGE
        with contextlib.suppress(OSError, OverflowError):
            memory = mmap.mmap(-1, size + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            every = np.frombuffer(memory, np.uint8)
            start = -every.ctypes.data % LARGE
            with contextlib.suppress(OSError):  # of a system without large pages
                memory.madvise(advice, start, whole)
            return every[start : start + size]
    return small_pages(size)


def small_pages(size: int) -> npt.NDArray[Any]:
    """So many bytes of zeros, which begin at a page; from memory that the process has already, if possible.

    Raises
    ------
    MemoryError
        if there is no room for them.
    """
    every = np.zeros(size + mmap.PAGESIZE, np.uint8)
    start = -every.ctypes.data % mmap.PAGESIZE
    return every[start : start + size]
