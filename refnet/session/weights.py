"""The weights of a network as the calls of a session read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.memory import return_freed_memory
from refnet.session.pages import LARGE, has_large_pages, large_pages

__all__ = ["Weights"]

Array = npt.NDArray[Any]
Key = tuple[Any, ...]

_LINE = 64  # bytes of a cache line: where arrays begin
_ALIGNED = 16  # bytes: where the C library lets arrays begin
_BLOCK = 2**25  # bytes that are asked for at once; only pages that are written are taken
_RETURNED = 2**23  # bytes of arrays that have moved, after which their memory is returned; that takes a while, too


class Weights:
    """Params, and what calls read in their place.

    Parameters
    ----------
    params : (name, array); an array that may be written is given away, and one that may not is only read
    large : whether to copy them into large pages
    divisors : of those that `transposed` has transposed already, by name

    Attributes
    ----------
    params : the arrays by name
    packed : what was made of them, by (node, what); a copy of all, as for another process, has none of it
    large : whether they lie in large pages, one behind another
    """

    def __init__(
        self, params: Iterable[tuple[str, Array]], *, large: bool = False, divisors: Mapping[str, int] | None = None
    ) -> None:
        self.large, self._block, self._used = large, np.empty(0, np.uint8), 0
        self._divisors = dict(divisors or {})
        self.params = {name: self._laid(name, array) for name, array in params}
        self.packed: dict[Key, Array] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.params, self.large, self._divisors)

    @property
    def gains_by_moving(self) -> bool:
        """Whether large pages are to be had, and the params would fill one."""
        return not self.large and has_large_pages() and sum(array.nbytes for array in self.params.values()) >= LARGE

    def move(self) -> None:
        """Move to large pages, array by array; what was packed is to be made again.

        Where there is no room, everything stays where it is.
        """
        self.packed.clear()
        self.large = self._has_room(_BLOCK)
        moved = 0
        for name in self.params if self.large else ():
            self.params[name] = self._laid(name, self.params[name])
            moved += self.params[name].nbytes
            if moved > _RETURNED:
                return_freed_memory()
                moved = 0
        return_freed_memory()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the params; float32 where there are none."""
        return next((array.dtype for array in self.params.values()), np.dtype(np.float32))

    def pack(self, key: Key, make: Callable[[], Array]) -> Array:
        """An array that is made the first time that it is asked for."""
        if key not in self.packed:
            self.packed[key] = self._held(make())
        return self.packed[key]

    @property
    def packed_bytes(self) -> int:
        """Of all that was made of the params."""
        return sum(array.nbytes for array in self.packed.values())

    def transposed(self, node: str, over: int = 1) -> Array:
        """The matrix of a node, (K, C) -> (C, K), divided by a number; in its own memory, so that it is held once.

        All are, before another thread reads the params: the first program of a session reads every matrix.

        Raises
        ------
        ValueError
            if it was divided by another number before.
        """
        key, name = (node, "w"), f"{node}.w"
        if self._divisors.get(name, over) != over:
            raise ValueError(f"{name}: divided by {self._divisors[name]} already, not by {over}")
        if key not in self.packed:
            w = self.params[name]
            if name not in self._divisors:
                columns = w.T if over == 1 else w.T / w.dtype.type(over)
                packed = w.reshape(columns.shape) if w.flags.writeable else np.empty(columns.shape, w.dtype)
                np.copyto(packed, columns)  # of what overlaps NumPy makes a copy first
                self.params[name], self._divisors[name] = packed.T, over
            self.packed[key] = self.params[name].T
        return self.packed[key]

    def _laid(self, name: str, array: Array) -> Array:
        """A param in C order, or transposed where it was transposed."""
        return self._held(array.T).T if name in self._divisors else self._held(array)

    def _held(self, array: Array) -> Array:
        """An array in C order; in large pages a copy behind the last one, where there is room."""
        if not self.large or not self._has_room(array.nbytes):
            return (np.array if array.ctypes.data % _ALIGNED else np.asarray)(array, order="C")
        first, end = self._used, self._used + array.nbytes
        self._used = -(-end // _LINE) * _LINE
        held = self._block[first:end].view(array.dtype).reshape(array.shape)
        np.copyto(held, array)
        return held

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes fit in large pages, in another block if need be."""
        if self._used + size > len(self._block):
            return_freed_memory()
            try:
                self._block, self._used = large_pages(max(_BLOCK, size)), 0
            except MemoryError:  # of a limit on addresses
                return False
        return True


def _restored(params: Mapping[str, Array], large: bool, divisors: Mapping[str, int]) -> Weights:
    return Weights(params.items(), large=large, divisors=divisors)
