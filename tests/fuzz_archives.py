"""Mutants of zip archives that know what they damage: a directory that lies, members twice, hidden, or too large."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

__all__ = ["archive_mutant"]

_NAMES = [
    "../x.npy",
    "/etc/x.npy",
    "C:\\x.npy",
    "",
    ".",
    "a\0b.npy",
    "\x1b[31mx.npy",
    "x\nfine.npy",
    "\u202ex.npy",
    "n" * 65_000,
]
_SIZES = [0, 1, 100, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# (offset, length) in an entry of the central directory: version, flags, method, time, crc, sizes, lengths, place.
_FIELDS = [(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)]
_END_FIELDS = [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)]


def archive_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive with the same members, stored or deflated, of which one thing is not as it should be."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = [(name, source.read(name)) for name in source.namelist()]
    index = int(rng.integers(len(members)))
    name, body = members[index]
    match rng.integers(10):
        case 0:
            members += [(name, body if rng.random() < 0.5 else body[::-1])]
        case 1:
            members[index] = (_NAMES[int(rng.integers(len(_NAMES)))], body)
        case 2:
            members += [(_NAMES[int(rng.integers(len(_NAMES)))], b"x")]
        case 3:
            members[index] = (name, bytes(int(rng.choice([10**6, 10**8]))))
        case 4:
            members += [(f"{number}", b"") for number in range(int(rng.choice([100, 60_000])))]
        case 5:
            members[index] = (name, _written(members, zipfile.ZIP_DEFLATED))
        case 6:
            del members[index]
        case _:
            return _lied(_written(members, zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED), rng)
    return _written(members, zipfile.ZIP_DEFLATED)


def _written(members: list[tuple[str, bytes]], method: int) -> bytes:
    """The directory of members may hold a name twice, which the library warns of."""
    made, entries = bytearray(), bytearray()
    for name, body in members:
        raw = name.encode("utf-8", "surrogatepass")
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = packer.compress(body) + packer.flush() if method else body
        head = struct.pack(
            "<HHHHHIIIHH", 20, 0x800, method, 0, 33, zlib.crc32(body), len(packed), len(body), len(raw), 0
        )
        place = len(made)
        made += _LOCAL + head + raw + packed
        entries += _CENTRAL + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, place) + raw
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(entries), len(made), 0)
    return bytes(made + entries + _END + end)


def _lied(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three numbers of the directory, of an entry's own header or of its end are others."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        what = rng.random()
        mark, fields = (_CENTRAL, _FIELDS) if what < 0.6 else (_END, _END_FIELDS)
        if what > 0.85:
            mark, fields = _LOCAL, [(at - 2, length) for at, length in _FIELDS if at < 32]
        places = _found(made, mark)
        if not places:
            continue
        offset, length = fields[int(rng.integers(len(fields)))]
        at = places[int(rng.integers(len(places)))] + offset
        number = _SIZES[int(rng.integers(len(_SIZES)))]
        made[at : at + length] = struct.pack("<I", number)[:length]
    return bytes(made)


def _found(data: bytearray, mark: bytes) -> list[int]:
    places, at = [], data.find(mark)
    while at >= 0:
        places.append(at)
        at = data.find(mark, at + 1)
    return places
