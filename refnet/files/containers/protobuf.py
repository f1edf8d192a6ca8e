"""protobuf messages, read with distrust: fields by their number, every byte of them inside the message.

The wire format is told in `wire`. A message is split into its fields when it is made; what lies in a field is read only
when it is asked for, so that a file costs what is used of it. Every field and every packed number that is read is
counted. A field that stands for one value must be there once: the last would hide the others.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.wire import varint

__all__ = ["Message", "message"]

_MOST = 400_000  # fields and packed integers; a network has some ten thousand
_LARGEST = 64 << 10  # bytes of a name or a word

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class _Source:
    """The bytes of a file, and how many fields may still be read of them."""

    def __init__(self, data: bytes) -> None:
        self.view = memoryview(data)
        self.left = _MOST

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise FormatError(f"describes more than {_MOST} things: no network does")


def message(data: bytes) -> Message:
    """The outermost message of a file.

    Raises
    ------
    FormatError : the bytes are no message
    """
    source = _Source(data)
    return Message(source, 0, len(source.view))


class Message:
    """The fields of one message, asked for by number."""

    def __init__(self, source: _Source, at: int, end: int) -> None:
        self._source = source
        self._fields: dict[int, list[tuple[int, int, int]]] = {}
        view = source.view
        while at < end:
            source.spend(1)
            tag, at = varint(view, at, end)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = varint(view, at, end)
                entry = (kind, value, at)
            elif kind == _BYTES:
                length, at = varint(view, at, end)
                entry = (kind, at, at + length)
                at += length
            elif kind in (_EIGHT, _FOUR):
                entry = (kind, at, at + (8 if kind == _EIGHT else 4))
                at = entry[2]
            else:
                raise FormatError("its bytes cannot be parsed: damaged, or no such file")
            if at > end:
                raise FormatError("its bytes end too early")
            self._fields.setdefault(number, []).append(entry)

    def __contains__(self, field: int) -> bool:
        return field in self._fields

    def integer(self, field: int, default: int = 0) -> int:
        """A whole number of up to 64 bits, signed."""
        entry = self._one(field)
        if entry is None:
            return default
        kind, value, _ = entry
        if kind != _VARINT:
            raise FormatError(f"field {field} holds something else than a number: damaged")
        return _signed(value)

    def real(self, field: int, default: float = 0.0) -> float:
        """A float of 32 bits."""
        entry = self._one(field)
        if entry is None:
            return default
        kind, at, _ = entry
        if kind != _FOUR:
            raise FormatError(f"field {field} holds something else than a number: damaged")
        return float(struct.unpack_from("<f", self._source.view, at)[0])

    def text(self, field: int) -> str:
        """A word, '' if it is left out."""
        return _text(self.part(field))

    def texts(self, field: int) -> tuple[str, ...]:
        """Every word of a repeated field."""
        return tuple(_text(part) for part in self.parts(field))

    def part(self, field: int) -> memoryview:
        """Bytes as they lie in the file, none if the field is left out."""
        entry = self._one(field)
        return memoryview(b"") if entry is None else self._slice(field, entry)

    def parts(self, field: int) -> list[memoryview]:
        """The bytes of every entry of a repeated field."""
        return [self._slice(field, entry) for entry in self._fields.get(field, ())]

    def message(self, field: int) -> Message | None:
        """A message inside this one."""
        entry = self._one(field)
        return None if entry is None else self._inner(field, entry)

    def messages(self, field: int) -> list[Message]:
        """Every message of a repeated field."""
        return [self._inner(field, entry) for entry in self._fields.get(field, ())]

    def entries(self, field: int) -> dict[str, Message]:
        """A map from words to messages.

        Raises
        ------
        FormatError : a key is there twice
        """
        found: dict[str, Message] = {}
        for entry in self.messages(field):
            key, value = entry.text(1), entry.message(2)
            if key in found:
                raise FormatError(f"{shown(key)} is there twice: refused, one would hide the other")
            found[key] = Message(self._source, 0, 0) if value is None else value
        return found

    def integers(self, field: int) -> tuple[int, ...]:
        """Whole numbers of a repeated field, packed or not."""
        found: list[int] = []
        for kind, at, end in self._fields.get(field, ()):
            if kind == _VARINT:
                found.append(_signed(at))
                continue
            if kind != _BYTES:
                raise FormatError(f"field {field} holds something else than whole numbers: damaged")
            self._source.spend(end - at)
            while at < end:
                value, at = varint(self._source.view, at, end)
                found.append(_signed(value))
        return tuple(found)

    def reals(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """Floats of a repeated field, '<f4' or '<f8', packed or not."""
        itemsize = np.dtype(dtype).itemsize
        wanted = _FOUR if itemsize == 4 else _EIGHT
        parts: list[memoryview] = []
        for kind, at, end in self._fields.get(field, ()):
            if kind not in (wanted, _BYTES) or (end - at) % itemsize:
                raise FormatError(f"field {field} holds something else than floats: damaged")
            parts.append(self._source.view[at:end])
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), dtype)

    def _one(self, field: int) -> tuple[int, int, int] | None:
        entries = self._fields.get(field)
        if entries is None:
            return None
        if len(entries) > 1:
            raise FormatError(f"field {field} is there {len(entries)} times: refused, one would hide the others")
        return entries[0]

    def _slice(self, field: int, entry: tuple[int, int, int]) -> memoryview:
        kind, at, end = entry
        if kind != _BYTES:
            raise FormatError(f"field {field} holds something else than bytes: damaged")
        return self._source.view[at:end]

    def _inner(self, field: int, entry: tuple[int, int, int]) -> Message:
        kind, at, end = entry
        if kind != _BYTES:
            raise FormatError(f"field {field} holds something else than a message: damaged")
        return Message(self._source, at, end)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _text(part: memoryview) -> str:
    if len(part) > _LARGEST:
        raise FormatError(f"a name of {len(part)} bytes: refused")
    try:
        return bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"the name {shown(bytes(part[:40]))} is no UTF-8: damaged") from None
