"""Writing a file whole or not at all: under another name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from refnet.errors import RequestError

__all__ = ["atomic_file", "atomic_path", "writable"]


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing and reading bytes, which takes its place once the `with` block has ended well.

    Parameters and errors are those of `atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("x+b") as file:
        yield file


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write under, in the same folder; the file takes its place once the `with` block has ended well.

    Parameters
    ----------
    path : of the file; where it is a link, the link stays and what it leads to is replaced

    Yields
    ------
    temporary : the name, of no file yet

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
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except RequestError as error:  # of what was written by another one of these
        raise RequestError(str(error).replace(str(temporary), str(path))) from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}): give another path") from error


def writable(path: str | os.PathLike[str]) -> Path:
    """Where a file would be written, links followed; to be asked before the work that makes it.

    Raises
    ------
    RequestError
        if there is something else than a file, or no folder, or one that may not be written to.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise RequestError(f"{path}: exists and is no file; choose another name")
    if not target.parent.is_dir():
        raise RequestError(f"{target.parent}: is no folder to write into")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise RequestError(f"{target.parent}: may not be written to; give another path")
    return target
