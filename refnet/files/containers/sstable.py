"""Tables of sorted keys, as LevelDB and TensorFlow's checkpoints write them, read with distrust.

The format: blocks, each followed by a byte that says how it is compressed and by its checksum; at the end of the file
48 bytes, of which the last 8 tell what it is, and where the block that lists the others lies. In a block a key says how
many bytes it has in common with the one before it, then its own. Keys must grow throughout the table, so that no block
is read twice. Compressed blocks are refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.wire import varint

__all__ = ["MAGIC", "entries"]

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER = 48
_LONGEST = 4096  # bytes of a key
_MOST = 20_000  # keys
_LARGEST = 2 << 20  # bytes of keys and values together; a network's are some ten thousand


def entries(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every key and its value, in their order.

    Raises
    ------
    FormatError : it is no such table, or damaged, or compressed
    """
    if len(data) < _FOOTER or data[-8:] != MAGIC:
        raise FormatError("no table of a checkpoint, or its end is missing: fetch it again")
    view = memoryview(data)
    at = len(data) - _FOOTER
    for _ in range(2):  # of the metaindex, which lists nothing, then of the index
        offset, at = varint(view, at, len(data) - 8)
        size, at = varint(view, at, len(data) - 8)
    last, count, total = b"", 0, 0
    for _, handle in _block(view, offset, size):
        start, place = varint(handle, 0, len(handle))
        length, _ = varint(handle, place, len(handle))
        for key, value in _block(view, start, length):
            if count and key <= last:
                raise FormatError(f"its key {shown(key.decode('utf-8', 'replace'))} is out of order or there twice")
            last, count, total = key, count + 1, total + len(key) + len(value)
            if count > _MOST or total > _LARGEST:
                raise FormatError(f"lists more than {_MOST} arrays, or says more of them than any checkpoint: refused")
            yield key, value


def _block(view: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of one block."""
    if offset + size + 5 > len(view) - _FOOTER:
        raise FormatError("a block of it lies outside of the file: it is damaged")
    compression = view[offset + size]
    if compression:
        name = "snappy" if compression == 1 else f"method {compression}"
        raise FormatError(f"its table is compressed with {name}: only tables without compression are read")
    block = view[offset : offset + size]
    if size < 4:
        raise FormatError("a block of it is too short: it is damaged")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 - 4 * restarts
    if end < 0:
        raise FormatError("a block of it is too short: it is damaged")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at, end)
        own, at = varint(block, at, end)
        length, at = varint(block, at, end)
        if shared > len(key) or at + own + length > end or shared + own > _LONGEST:
            raise FormatError("a key of it is longer than it can be: it is damaged")
        key = key[:shared] + bytes(block[at : at + own])
        at += own + length
        yield key, block[at - length : at]
