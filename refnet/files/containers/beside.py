"""Files that a model refers to: only regular ones in its own folder or below it, read within what they are worth.

No absolute path, no '..', no link that leads out. Each file may be read once over, and `_SHARED` bytes more of all
together: arrays may share bytes, but not without end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from refnet.errors import FormatError
from refnet.files.containers.archive import shown

__all__ = ["Beside", "inside"]

_SHARED = 16 << 20  # bytes that arrays may have in common


class Beside:
    """The files of one folder.

    Parameters
    ----------
    folder : nothing outside of it is opened
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.left = folder.resolve(), _SHARED
        self._sizes: dict[str, int] = {}

    def path(self, location: str, what: str) -> Path:
        """The file that a location means.

        Raises
        ------
        FormatError : it is not in the folder or below it
        """
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]:
            raise FormatError(f"{shown(what)} lies in {shown(location)}: only files beside the model are read")
        try:
            path = (self.folder / location).resolve()
        except (OSError, RuntimeError) as error:  # a link to itself
            raise FormatError(f"{shown(what)} lies in {shown(location)}, which leads nowhere") from error
        if not path.is_relative_to(self.folder):
            raise FormatError(
                f"{shown(what)} lies in {shown(location)}, which leads out of the model's folder: refused"
            )
        return path

    def has(self, location: str) -> bool:
        """Whether there is such a file."""
        return self.path(location, "it").is_file()

    def size(self, location: str, what: str) -> int:
        """How many bytes a file has."""
        with self._opened(location, what) as file:
            return os.fstat(file.fileno()).st_size

    def read(self, location: str, offset: int, size: int, what: str) -> bytes:
        """A stretch of a file.

        Parameters
        ----------
        location : of the file, relative to the folder, as the model says it
        offset, size : in bytes
        what : lies there, for messages

        Raises
        ------
        FormatError
            if the file lies elsewhere, is missing or too short, or the stretches that were read come to more than the
            files are worth.
        """
        with self._opened(location, what) as file:
            total = os.fstat(file.fileno()).st_size
            if offset < 0 or size < 0 or offset + size > total:
                raise FormatError(f"{shown(location)} ends before {shown(what)} does: fetch it again")
            if location not in self._sizes:
                self._sizes[location] = total
                self.left += total
            self.left -= size
            if self.left < 0:
                raise FormatError("its arrays share bytes and would need more memory than the files are worth: refused")
            file.seek(offset)
            return file.read(size)

    def whole(self, location: str, what: str, most: int) -> bytes:
        """All of a file, which may have `most` bytes."""
        size = self.size(location, what)
        if size > most:
            raise FormatError(f"{shown(location)} has {size} bytes; {shown(what)} is read up to {most}")
        return self.read(location, 0, size, what)

    def _opened(self, location: str, what: str) -> BinaryIO:
        path = self.path(location, what)
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
        except OSError as error:
            reason = error.strerror or "input/output error"
            raise FormatError(f"{shown(what)} lies in {shown(location)}, which cannot be read ({reason})") from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise FormatError(f"{shown(what)} lies in {shown(location)}, which is not a regular file: refused")
        return file


def inside(path: Path, name: str) -> Path:
    """A model's first file: the path itself, or where that is a folder the one of this name in it.

    Raises
    ------
    FormatError : the folder has a link there that leads out of it
    """
    if not path.is_dir():
        return path
    try:
        return Beside(path).path(name, "the model")
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
