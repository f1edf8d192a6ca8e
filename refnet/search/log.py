"""What a search has done so far: a file of JSON lines, the first of which says what search it is.

A line is on the disk before the search goes on, so a kill can do no more than cut the last one short; that step is done
again. A log of another search, a damaged one, and one that another process writes are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from refnet.errors import FormatError, RequestError
from refnet.files.containers.appended import append, lock_alone
from refnet.files.containers.json_text import parse_json

__all__ = ["SearchLog", "read_log"]


class SearchLog:
    """The log of one search, open for appending; `with` closes it.

    Parameters
    ----------
    path : of the file
    run : what the search is: plain values by name, equal when it is taken up again; 'format' among them
    resume : go on with the log that is there; without, there must be none

    Attributes
    ----------
    found : the records that were there, in order

    Raises
    ------
    FormatError : the file is no such log
    RequestError : it is of another search, is there or not there against what was asked, or another process writes it
    """

    def __init__(self, path: str | os.PathLike[str], run: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = Path(path)
        there = os.path.lexists(self.path)
        if resume and not self.path.is_file():
            raise RequestError(f"{self.path}: no such log to go on with; begin without --resume")
        if there and not resume:
            raise RequestError(f"{self.path}: exists already; --resume goes on with it, or choose another name")
        if not self.path.parent.is_dir():
            raise RequestError(f"{self.path.parent}: is no folder to write into")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            lock_alone(self._file, self.path, "search")
            self.found = self._read(json.loads(json.dumps(dict(run))))
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> SearchLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a record; it is on the disk when this returns."""
        append(self._file, json.dumps(dict(record), allow_nan=False).encode() + b"\n")

    def _read(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The records; what a kill cut short at the end of the file is cut off."""
        whole, _, rest = self.path.read_bytes().rpartition(b"\n")
        if not whole:  # new, or killed while it was
            if not json.dumps(run).encode().startswith(rest):
                raise FormatError(f"{self.path}: no log of a search; choose another name")
            os.ftruncate(self._file, 0)
            self.add(run)
            return []
        os.ftruncate(self._file, len(whole) + 1)
        os.lseek(self._file, 0, os.SEEK_END)
        said, records = _parsed(whole, self.path, run["format"])
        other = [name for name in run | said if run.get(name) != said.get(name)]
        if other:
            raise RequestError(f"{self.path}: of a search with other {', '.join(other)}; finish that, or begin another")
        return records


def read_log(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What search a log is of, and its records; the file stays as it is, and a line cut short is passed over.

    Parameters
    ----------
    kind : its format

    Raises
    ------
    FormatError : the file is no such log
    """
    file = Path(path)
    try:
        whole, _, _ = file.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror}") from None
    return _parsed(whole, file, kind)


def _parsed(whole: bytes, path: Path, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first line, and the others."""
    said, *records = (parse_json(line, f"{path}, line {number}") for number, line in enumerate(whole.split(b"\n"), 1))
    if said.get("format") != kind:
        raise FormatError(f"{path}: its format is {str(said.get('format'))[:40]!r}, not {kind!r}")
    return said, records
