"""Writing a file or a folder whole or not at all: in a folder of its own beside the target, then renamed.

A process that is killed leaves that folder behind, unlocked; whoever writes the same target next takes it away. What is
replaced keeps its permissions, what is new gets those that the user's umask leaves.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from refnet.errors import RequestError
from refnet.interrupts import held, taking_place

try:
    import fcntl
except ImportError:  # Windows, where what a killed process leaves behind stays
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_file", "atomic_folder", "atomic_path", "free", "is_no_file", "writable"]

_SUFFIX = ".part"
_START = 1000  # bytes of a file that tell what it is


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing and reading bytes, which takes its place once the `with` block has ended well.

    Parameters and errors are those of `atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("x+b") as file:
        yield file
        file.flush()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write under; the file takes its place once the `with` block has ended well.

    Parameters
    ----------
    path : of the file; where it is a link, the link stays and what it leads to is replaced

    Yields
    ------
    temporary : the name, of no file yet, in a folder beside the target

    Raises
    ------
    RequestError
        if the path is a folder, lies in none, or the file cannot be written.
    """
    target = temporary = writable(path)
    try:
        with _beside(target) as folder:
            temporary = folder / f"made{target.suffix}"
            yield temporary
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            with held() if target.parent.suffix == _SUFFIX else taking_place():  # a part of another one is no output
                os.replace(temporary, target)
    except RequestError as error:  # of what was written by another one of these
        raise RequestError(str(error).replace(str(temporary), str(path))) from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}): give another path") from error


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write in, which gets its name once the `with` block has ended well.

    Raises
    ------
    RequestError
        if there is something of that name, before the work or after it, or no folder to put it in.
    """
    target = free(path)
    with _beside(target) as folder:
        temporary = folder / "made"
        temporary.mkdir()
        yield temporary
        with taking_place():
            if os.path.lexists(target):
                raise RequestError(f"{path}: has appeared meanwhile; remove it or choose another name")
            temporary.rename(target)


def free(path: str | os.PathLike[str]) -> Path:
    """Where a new folder can be written; to be asked before the work that makes it.

    Raises
    ------
    RequestError
        if there is something, or no folder to put it in.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise RequestError(f"{target}: exists already; remove it or choose another name")
    _refuse_parent(target)
    return target


def is_no_file(path: str | os.PathLike[str]) -> bool:
    """Whether something else than a file has a path, such as a folder or a pipe, which reading would never end.

    The path is asked once, since another process may give the file its last name between two questions.
    """
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def writable(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None, mark: bytes = b"") -> Path:
    """Where a file would be written, links followed; to be asked before the work that makes it.

    Parameters
    ----------
    path : of the file
    inputs : files that are read for it, which it must not be: not by another path, nor by a link of either kind
    mark : a file that is there is replaced only if it has this, in whatever case, near its start: so a report takes no
        other file's place

    Raises
    ------
    RequestError
        if there is something else than a file, an input or another kind of file, or no folder that can be written in.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise RequestError(f"{path}: is a link that leads in a circle; choose another name")
    if is_no_file(target):
        raise RequestError(f"{path}: exists and is no file; choose another name")
    _refuse_parent(target)
    for each in inputs:
        if each and target.exists() and os.path.exists(each) and os.path.samefile(target, each):
            raise RequestError(f"{path}: is {each}, which is read; choose another name")
    if mark and target.exists() and target.stat().st_size:
        with open(target, "rb") as file:
            if mark not in file.read(_START).lower():
                raise RequestError(f"{path}: is a file of another kind, which a report does not replace; take it away")
    return target


def _refuse_parent(target: Path) -> None:
    if not target.parent.is_dir():
        raise RequestError(f"{target.parent}: is no folder to write into")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise RequestError(f"{target.parent}: may not be written to; give another path")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder of this process alone beside a target, on its file system; gone when the block ends."""
    from hashlib import sha256  # slow to import, and what only reads files needs it not

    start = f".{sha256(os.fsencode(target.name)).hexdigest()[:16]}."
    for other in target.parent.glob(f"{start}*{_SUFFIX}"):
        _remove_dead(other)
    folder = lock = None
    try:
        with held():
            while folder is None or not folder.exists():  # another one may take it for dead before it is locked
                folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=start, suffix=_SUFFIX))
                lock = _locked(folder)
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A lock on a folder, which the system opens when this process ends, however it ends; None where there is none."""
    if fcntl is None:
        return None
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        os.close(lock)
        return None
    return lock


def _remove_dead(folder: Path) -> None:
    """Take away what a killed process has left."""
    lock = _locked(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
