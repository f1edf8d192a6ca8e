"""Mutants of protobuf messages and of checkpoints' tables that know what they damage: all lengths are right again."""

from __future__ import annotations

import re
import struct

import numpy as np

__all__ = ["NUMBERS", "block", "encoded", "lie", "names", "protobuf_mutant", "table", "table_mutant", "varint"]

NUMBERS = [0, 1, -1, 2, 7, 127, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**31)]
NAMES = 400  # of a file, that are put in each other's places


def lie(rng: np.random.Generator) -> int:
    """A number that a size, a count or an offset hardly is."""
    return NUMBERS[int(rng.integers(len(NUMBERS)))]


# ------------------------------------------------------------------------------------------------------------- protobuf


def names(data: bytes) -> list[bytes]:
    """Words that a file holds."""
    found = sorted(set(re.findall(rb"[A-Za-z_][A-Za-z0-9_/.:]{2,60}", data)))
    return found[:: max(len(found) // NAMES, 1)] or [b"x"]


def protobuf_mutant(data: bytes, rng: np.random.Generator, words: list[bytes], depth: int = 0) -> bytes:
    """A message of which one field, somewhere within, lies, is elsewhere, twice or gone; all lengths are right."""
    fields = _fields(data)
    if fields is None or not fields:
        return data
    index = int(rng.integers(len(fields)))
    number, kind, value = fields[index]
    if kind == 2 and depth < 12 and rng.random() < 0.85 and len(value) > 1 and _fields(value):
        fields[index] = (number, kind, protobuf_mutant(value, rng, words, depth + 1))
        return encoded(fields)
    match rng.integers(7):
        case 0 | 1:
            fields[index] = (number, kind, _lied(kind, value, rng, words))
        case 2:
            fields.append(fields[index])
        case 3:
            del fields[index]
        case 4:
            other = int(rng.integers(len(fields)))
            fields[index], fields[other] = fields[other], fields[index]
        case 5:
            fields[index] = (int(rng.choice([number + 1, max(number - 1, 1), 1, 15, 100])), kind, value)
        case 6:
            if kind == 2 and rng.random() < 0.5:
                nested = value
                for _ in range(int(rng.choice([2, 40, 300]))):
                    nested = encoded([(number, 2, nested)])
                fields[index] = (number, 2, nested)
            else:
                fields += [fields[index]] * int(
                    rng.choice([10, 1000, 30_000 if len(encoded([fields[index]])) < 20 else 2])
                )
    return encoded(fields)


def _lied(kind: int, value: bytes, rng: np.random.Generator, words: list[bytes]) -> bytes:
    if kind == 0:
        return varint(lie(rng) % 2**64)
    if kind in (1, 5):
        return rng.bytes(8 if kind == 1 else 4)
    match rng.integers(4):
        case 0 | 1:
            return words[int(rng.integers(len(words)))]
        case 2:
            return value[: int(rng.integers(len(value) + 1))]
    return value * int(rng.choice([2, 50]))


def _fields(data: bytes) -> list[tuple[int, int, bytes]] | None:
    """(number, kind, body) of a message's fields, None where it is none."""
    found, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            start = at
            _, at = _read_varint(data, at)
            body = data[start:at]
        elif kind == 2:
            length, at = _read_varint(data, at)
            body = data[at : at + length]
            at += length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            body = data[at : at + size]
            at += size
        else:
            return None
        if at > len(data) or not number:
            return None
        found.append((number, kind, body))
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    return value, len(data) + 1


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def encoded(fields: list[tuple[int, int, bytes]]) -> bytes:
    parts = []
    for number, kind, body in fields:
        parts += [varint(number << 3 | kind), varint(len(body)) if kind == 2 else b"", body]
    return b"".join(parts)


# --------------------------------------------------------------------------------------------------------------- tables


def table_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """A checkpoint's table, written anew with an entry that lies, or blocks that are not where they should be."""
    entries = _entries(data)
    if not entries or rng.random() < 0.1:
        at = int(rng.integers(len(data)))
        return data[:at] + rng.bytes(1) + data[at + 1 :]
    words = [key for key, _ in entries if key]
    index = int(rng.integers(len(entries)))
    key, value = entries[index]
    match rng.integers(8):
        case 0 | 1 | 2:
            entries[index] = (key, protobuf_mutant(value, rng, words))
        case 3:
            entries[index] = (words[int(rng.integers(len(words)))] if words else b"x", value)
        case 4:
            entries[index] = (
                bytes(rng.choice(256, int(rng.choice([1, 3, 5000])))[:1]) * int(rng.choice([1, 4097])),
                value,
            )
        case 5:
            del entries[index]
        case 6:
            entries[index] = (key, entries[int(rng.integers(len(entries)))][1])
        case 7:
            shared = entries[index:] * int(rng.choice([2, 50]))
            entries = entries[:index] + (shared if rng.random() < 0.5 else sorted(shared))
    return table(entries, rng)


def _entries(data: bytes) -> list[tuple[bytes, bytes]]:
    from refnet.errors import FormatError
    from refnet.files.containers import sstable

    try:
        return [(key, bytes(value)) for key, value in sstable.entries(data)]
    except FormatError:
        return []


def table(entries: list[tuple[bytes, bytes]], rng: np.random.Generator) -> bytes:
    """A table in blocks of some entries; one in five times with a handle or a byte of compression that lies."""
    lies = rng.random() < 0.2
    made, handles = bytearray(), []
    step = int(rng.choice([1, 16, 1000]))
    for start in range(0, len(entries), step):
        part = entries[start : start + step]
        rows = block(part)
        handles.append((part[-1][0], varint(len(made)) + varint(len(rows))))
        made += rows + bytes([int(rng.integers(3)) if lies else 0]) + bytes(4)
    if lies and len(handles) > 1:
        handles[int(rng.integers(len(handles)))] = (handles[-1][0], handles[0][1])
    index = block(handles)
    place = varint(len(made)) + varint(len(index))
    made += index + bytes(5)
    footer = varint(0) + varint(0) + (varint(lie(rng) % 2**64) + varint(1 << 40) if rng.random() < 0.03 else place)
    return bytes(made + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    made = bytearray()
    for key, value in entries:
        made += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    return bytes(made + struct.pack("<II", 0, 1))
