"""What a run has done so far, in a file beside its output, so that a killed run goes on where it stopped.

    a line that states the format, then records: number, length, CRC-32 of the content, CRC-32 of these three; content

all integers 32 bits, little-endian. The first record says in JSON which run this is, each other one holds a batch.
Records are only ever appended, and are on the disk before the run goes on, so a kill can do no more than cut the last
one short; that batch is done again. Anything else that is wrong (damage, a journal of other weights, another set or
other settings, a second process that writes) is refused.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refnet.errors import FormatError, RequestError
from refnet.evaluation.batches import BatchResult
from refnet.files.containers.appended import append, lock_alone
from refnet.files.containers.atomic import is_no_file

__all__ = ["Journal", "journal_path"]

_FORMAT = b"refnet evaluation journal 1\n"
_HEAD = struct.Struct("<IIII")
_RUN = 0xFFFFFFFF  # the number of the record that says which run this is
_AGAIN = "begin again with --restart"


def journal_path(output: Path) -> Path:
    """Where the journal of a run lies: beside its output."""
    return output.with_name(output.name + ".journal")


class Journal:
    """The journal of one run, open for reading and appending.

    Parameters
    ----------
    path : of the file; made where there is none
    run : what the run is bound to: plain values by name, equal when it is taken up again
    restart : throw away what is there

    Raises
    ------
    FormatError : the file is no journal, or is damaged
    RequestError : it is of another run, or another process is writing it
    """

    def __init__(self, path: Path, run: Mapping[str, Any], *, restart: bool = False) -> None:
        if path.is_symlink() or is_no_file(path):
            raise RequestError(f"{path}: exists and is no file; choose another output")
        self.path = path
        self._places: dict[int, tuple[int, int]] = {}  # number -> where the content begins, its length
        ways = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.open(path, ways, 0o644)
        try:
            lock_alone(self._file, self.path, "run")
            self._open(json.dumps(run, sort_keys=True).encode(), restart)
        except BaseException:
            os.close(self._file)
            raise

    def _open(self, run: bytes, restart: bool) -> None:
        begins = self._read(0, len(_FORMAT))
        if not _FORMAT.startswith(begins):
            raise FormatError(f"{self.path}: no journal of refnet evaluate; move it away, or choose another output")
        if restart or begins != _FORMAT:
            os.ftruncate(self._file, 0)
        for number, place in self._scan():
            if number in self._places:
                raise FormatError(f"{self.path}: holds batch {number} twice; {_AGAIN}")
            self._places[number] = place
        if not self._places:  # new, or killed while it was
            os.ftruncate(self._file, 0)
            append(self._file, _FORMAT)
            self._append(_RUN, run)
        elif next(iter(self._places)) != _RUN:
            raise FormatError(f"{self.path}: does not begin with what run it is of; {_AGAIN}")
        else:
            self._refuse_other(json.loads(run))

    def _scan(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Every record; what a kill cut short at the end of the file is cut off."""
        size, at = os.fstat(self._file).st_size, len(_FORMAT)
        while at < size:
            head = self._read(at, _HEAD.size)
            if len(head) == _HEAD.size:
                number, length, content_sum, head_sum = _HEAD.unpack(head)
                if zlib.crc32(head[:12]) != head_sum:
                    raise FormatError(f"{self.path}: damaged at byte {at}; {_AGAIN}")
                end = at + _HEAD.size + length
                if end <= size and zlib.crc32(self._read(at + _HEAD.size, length)) == content_sum:
                    yield number, (at + _HEAD.size, length)
                    at = end
                    continue
                if end < size:
                    raise FormatError(f"{self.path}: damaged between bytes {at} and {end}; {_AGAIN}")
            os.ftruncate(self._file, at)
            return

    def _refuse_other(self, run: dict[str, Any]) -> None:
        place = self._places.pop(_RUN)
        try:
            of = json.loads(self._read(*place))
            other = [key for key in run | of if of.get(key) != run.get(key)]
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise FormatError(f"{self.path}: does not say what run it is of; {_AGAIN}") from None
        if other:
            raise RequestError(f"{self.path}: of a run with other {', '.join(other)}; finish that one, or {_AGAIN}")

    @property
    def done(self) -> set[int]:
        """The numbers of the batches that are there."""
        return set(self._places)

    def add(self, number: int, result: BatchResult) -> None:
        """Append a batch.

        Raises
        ------
        RequestError : it is there already
        """
        if number in self._places:
            raise RequestError(f"{self.path}: batch {number} is there already")
        outputs = np.asarray(result.outputs, result.outputs.dtype.newbyteorder("<"), order="C")
        head = {"shape": outputs.shape, "dtype": outputs.dtype.str, "failures": dict(result.failures)}
        self._append(number, json.dumps(head).encode() + b"\n" + outputs.tobytes())

    def result(self, number: int) -> BatchResult:
        """Read a batch back, bit for bit.

        Raises
        ------
        FormatError : its content is not a batch
        """
        head, _, body = self._read(*self._places[number]).partition(b"\n")
        try:
            said = json.loads(head)
            outputs = np.frombuffer(body, np.dtype({"<f4": "<f4", "<f8": "<f8"}[said["dtype"]]))
            outputs = outputs.reshape(said["shape"]).astype(outputs.dtype.newbyteorder("="), copy=False)
            return BatchResult(outputs, {int(row): str(words) for row, words in said["failures"].items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise FormatError(f"{self.path}: what it holds of batch {number} is no batch; {_AGAIN}") from None

    def close(self, *, remove: bool = False) -> None:
        """Let go of the file; `remove` it when its run has come to its end."""
        if self._file >= 0:
            if remove:
                self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def _append(self, number: int, content: bytes) -> None:
        head = _HEAD.pack(number, len(content), zlib.crc32(content), 0)[:12]
        at = os.fstat(self._file).st_size + _HEAD.size
        append(self._file, head + zlib.crc32(head).to_bytes(4, "little") + content)
        if number != _RUN:
            self._places[number] = (at, len(content))

    def _read(self, at: int, length: int) -> bytes:
        os.lseek(self._file, at, os.SEEK_SET)
        parts = []
        while length and (part := os.read(self._file, length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
