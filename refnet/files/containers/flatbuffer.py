"""FlatBuffers, read with distrust: tables, vectors and texts whose every byte lies inside the file.

The format: a table begins with the signed distance back to its vtable; the vtable holds its own size, the table's size
and, for each field in the order of the schema, where in the table it lies, 0 if it is left out. Vectors, texts and
other tables are reached by unsigned distances forward. Readers generated from a schema follow these unchecked.

Here every distance is checked, and everything that is read is counted: tables may share vectors, so that a small file
could otherwise describe a huge one.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = ["Bytes", "FlatTable", "root"]

_MOST = 4_000_000  # numbers, letters and tables that may be read, apart from weights: far more than a network needs
_DAMAGED = "an offset points outside of the file: it is damaged"


class Bytes:
    """The bytes of a file, and how much may still be read of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = _MOST

    def spend(self, count: int) -> None:
        """Count what is about to be read.

        Raises
        ------
        FormatError : it is more than any network holds
        """
        self._left -= count
        if self._left < 0:
            raise FormatError(f"describes more than {_MOST} numbers and names: no network does")

    def number(self, at: int, kind: str) -> Any:
        """One little-endian number; `kind` as in the struct module."""
        if at < 0 or at + struct.calcsize(kind) > len(self.data):
            raise FormatError(_DAMAGED)
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def part(self, at: int, size: int) -> memoryview:
        """A stretch of bytes, not copied."""
        if at < 0 or size < 0 or at + size > len(self.data):
            raise FormatError(_DAMAGED)
        return memoryview(self.data)[at : at + size]


class FlatTable:
    """A table; its fields are asked for by their place in the schema, the first being 0."""

    def __init__(self, source: Bytes, at: int) -> None:
        source.spend(1)
        self._source, self._at = source, at
        self._fields = at - source.number(at, "i")
        self._count = (source.number(self._fields, "H") - 4) // 2
        self._size = source.number(self._fields + 2, "H")

    def number(self, field: int, kind: str, default: Any = 0) -> Any:
        """A scalar field; `kind` as in the struct module."""
        at = self._place(field)
        return default if at is None else self._source.number(at, kind)

    def table(self, field: int) -> FlatTable | None:
        """A field that is a table."""
        at = self._target(field)
        return None if at is None else FlatTable(self._source, at)

    def text(self, field: int) -> str:
        """A field that is a text, '' if it is left out."""
        part = self._vector(field, 1)
        self._source.spend(len(part))
        return bytes(part).decode("utf-8", "replace")

    def numbers(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """A field that is a vector of scalars, empty if it is left out."""
        part = self._vector(field, np.dtype(dtype).itemsize)
        self._source.spend(len(part) // np.dtype(dtype).itemsize)
        return np.frombuffer(part, dtype)

    def part(self, field: int) -> memoryview:
        """A field that is a vector of bytes, as it lies in the file."""
        return self._vector(field, 1)

    def tables(self, field: int) -> list[FlatTable]:
        """A field that is a vector of tables."""
        at = self._target(field)
        if at is None:
            return []
        offsets = np.frombuffer(self._vector(field, 4), "<u4")
        self._source.spend(len(offsets))
        return [FlatTable(self._source, at + 4 + 4 * index + int(offset)) for index, offset in enumerate(offsets)]

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._place(field) is not None

    def _place(self, field: int) -> int | None:
        if field >= self._count:
            return None
        inside = self._source.number(self._fields + 4 + 2 * field, "H")
        if inside >= self._size and inside:
            raise FormatError(_DAMAGED)
        return self._at + inside if inside else None

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else int(at + self._source.number(at, "I"))

    def _vector(self, field: int, itemsize: int) -> memoryview:
        at = self._target(field)
        if at is None:
            return memoryview(b"")
        return self._source.part(at + 4, itemsize * self._source.number(at, "I"))


def root(source: Bytes) -> FlatTable:
    """The table that the file begins with.

    Raises
    ------
    FormatError : an offset points outside of the file
    """
    return FlatTable(source, source.number(0, "I"))
