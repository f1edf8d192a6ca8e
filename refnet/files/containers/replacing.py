"""Writing a file whole or not at all: under another name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from refnet.errors import RequestError

__all__ = ["replacing", "writable"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes its place, or that of one already there, once the `with` block has ended well.

    Parameters
    ----------
    path : of the file; where it is a link, the link stays and what it leads to is replaced

    Yields
    ------
    file : open for writing and reading bytes

    Raises
    ------
    RequestError
        if the path is a folder, lies in none, or the file cannot be written.
    """
    target = writable(path)
    # In the same folder, because os.replace cannot move a file from one file system to another.
    temporary = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        try:
            with temporary.open("x+b") as file:
                yield file
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}): give another path") from error


def writable(path: str | os.PathLike[str]) -> Path:
    """Where a file would be written, links followed; to be asked before the work that makes it.

    Raises
    ------
    RequestError
        if there is something else than a file, or no folder.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise RequestError(f"{path}: exists and is no file; choose another name")
    if not target.parent.is_dir():
        raise RequestError(f"{target.parent}: is no folder to write into")
    return target
