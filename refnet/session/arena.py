"""Memory for the tensors of one run: one block, in which each tensor has its place while something still reads it."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

__all__ = ["Arena"]

Array = npt.NDArray[Any]

_LINE = 64  # bytes of a cache line: where tensors begin
_MOST = min(2**42, sys.maxsize)  # bytes that an array may seem to have: 2 GiB where addresses have 32 bits


class Arena:
    """Hands out arrays from one block of memory, always at the lowest place that is free.

    What is let go first is hot in cache, and is used again first. Made without memory, an arena has none behind its
    arrays: a dry run with it finds out how much is needed.

    Attributes
    ----------
    peak : the most bytes that were taken at once

    Raises
    ------
    MemoryError
        by `take`, where no address space could hold what is needed.
    """

    def __init__(self, dtype: np.dtype[Any], memory: Array | None = None) -> None:
        self.dtype, self.itemsize = dtype, dtype.itemsize
        self.peak = 0
        self._taken: list[tuple[int, int]] = []  # (first, end), in order
        if memory is None:
            self._block = as_strided(np.zeros(1, dtype), (_MOST // dtype.itemsize,), (dtype.itemsize,))
        else:
            self._block = memory.view(dtype)

    @property
    def nbytes(self) -> int:
        """Of its memory."""
        return self._block.nbytes

    def empty(self) -> None:
        """Let everything go."""
        self._taken.clear()

    def take(self, *shape: int) -> Array:
        """An array whose contents are whatever was there."""
        if 0 in shape:
            return self._block[:0].reshape(shape)
        line = _LINE // self.itemsize
        size = -(-math.prod(shape) // line) * line
        first = place = 0
        while place < len(self._taken) and first + size > self._taken[place][0]:
            first = self._taken[place][1]
            place += 1
        if first + size > len(self._block):
            raise MemoryError(f"{(first + size) * self.itemsize / 2**30:.1f} GiB of buffers are needed at once")
        self._taken.insert(place, (first, first + size))
        self.peak = max(self.peak, (first + size) * self.itemsize)
        return self._block[first : first + math.prod(shape)].reshape(shape)

    def drop(self, *arrays: Array) -> None:
        """Let arrays go that `take` returned."""
        origin = self._block.__array_interface__["data"][0]
        for array in (array for array in arrays if array.size):
            # Where no memory lies behind arrays, their addresses may begin again at zero.
            first = (array.__array_interface__["data"][0] - origin) % (2 * sys.maxsize + 2) // self.itemsize
            self._taken.remove(next(span for span in self._taken if span[0] == first))
