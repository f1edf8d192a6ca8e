"""The weights of a network as the calls of a session read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.memory import return_freed_memory
from refnet.session.pages import large_pages

__all__ = ["Weights"]

Array = npt.NDArray[Any]
Key = tuple[Any, ...]

_LINE = 64  # bytes of a cache line: where arrays begin
_BLOCK = 2**25  # bytes that are asked for at once; only pages that are written are taken


class Weights:
    """Copies of params, and what calls read in their place, one behind another in large pages.

    Parameters
    ----------
    params : (name, array); none is held while the next one is made
    divisors : of those that `transposed` has divided already, by name

    Attributes
    ----------
    params : the copies by name
    packed : what was made of them, by (node, what); a copy of all, as for another process, has none of it
    """

    def __init__(self, params: Iterable[tuple[str, Array]], divisors: Mapping[str, int] | None = None) -> None:
        self._block, self._used = np.empty(0, np.uint8), 0
        self.params = {name: self._held(array) for name, array in params}
        self.packed: dict[Key, Array] = {}
        self._divisors = dict(divisors or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.params, self._divisors)

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
        """The matrix of a node, (K, C) -> (C, K), divided by a number, in its own memory, so that it is held once.

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
            columns = w.T if over == 1 or name in self._divisors else w.T / w.dtype.type(over)
            packed = w.reshape(columns.shape)
            np.copyto(packed, columns)  # of what overlaps NumPy makes a copy first
            self.packed[key], self.params[name] = packed, packed.T
            self._divisors[name] = over
        return self.packed[key]

    def _held(self, array: Array) -> Array:
        """A copy of an array, behind the last one."""
        first = -(-self._used // _LINE) * _LINE
        if first + array.nbytes > len(self._block):
            return_freed_memory()
            first = 0
            try:
                self._block = large_pages(max(_BLOCK, array.nbytes))
            except MemoryError:  # of a limit on addresses
                self._block = large_pages(array.nbytes)
        self._used = first + array.nbytes
        held = self._block[first : self._used].view(array.dtype).reshape(array.shape)
        np.copyto(held, array)
        return held


def _restored(params: Mapping[str, Array], divisors: Mapping[str, int]) -> Weights:
    return Weights(params.items(), divisors)
