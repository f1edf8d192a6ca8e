"""Published weights, fetched into a folder: whole, checked, and going on where a broken download stopped.

What has come so far lies beside the file under its name and `.part`, locked by the process that is at it; others wait.
A file takes its name only once it has the hash that is known of it. Where none is, it must be as long as the server
said, be a whole file of weights, and go on only from a version that the server says is the same. A file that is there
already is checked and not fetched. Nothing is sent but the request.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.containers.atomic import is_no_file, writable
from refnet.files.published import Published, find_published
from refnet.interrupts import taking_place

try:
    import fcntl
except ImportError:  # Windows, where two processes at one file go unnoticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["fetch", "folder"]

_CONNECT, _STALL = 15.0, 30.0  # seconds to wait for an answer, and for the next bytes
_LONGEST = 3600.0  # seconds for all of a file, and to wait for another process that fetches it
_ATTEMPTS = 5  # as long as each brings something
_LARGEST = 256 << 20  # bytes; several times the largest published file
_CHUNK = 1 << 13  # bytes; of a broken answer, what is not a whole chunk is lost


def folder() -> Path:
    """Where fetched files are kept: the folder that REFNET_CACHE names, or the system's folder for such things.

    Raises
    ------
    RequestError : pooch is not installed, or this user has no home
    """
    try:
        return Path(os.environ.get("REFNET_CACHE") or _pooch().os_cache("refnet"))
    except (RuntimeError, KeyError):  # a number without an entry among the users, as in many containers
        raise RequestError("this user has no home to keep files in: set REFNET_CACHE, or say where with --to") from None


def fetch(
    model: str | Published,
    to: str | os.PathLike[str] | None = None,
    *,
    release: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | None = None,
    progress: bool = False,
    stall: float = _STALL,
) -> Path:
    """The path of published weights, fetched if they are not there.

    Parameters
    ----------
    model : 'torchvision/mobilenet_v2', or without the vendor where that is clear; or an entry of `published.PUBLISHED`
    to : the folder; by default `folder()`, which is made if need be
    release, width, size : which weights of that model, where several are published, as for `find_published`
    progress : show a bar on stderr
    stall : seconds without a byte after which the server is given up

    Returns
    -------
    path : of the file

    Raises
    ------
    RequestError
        if there are no such weights; if pooch is not installed; if the server cannot be reached, stalls or has no such
        file: says where to put the file by hand, and its hash; if a file of that name is there which is another.
    FormatError
        if what was fetched is not the file that the vendor published.

    Examples
    --------
    >>> from refnet.files import shipped
    >>> path = shipped.path("digits_weights.npz")  # a file that is there already is checked, and not fetched
    >>> fetch(Published("refnet/digits", path.name, url="", digest=""), path.parent) == path
    True
    """
    published = (
        model if isinstance(model, Published) else find_published(model, release=release, width=width, size=size)
    )
    path = (folder() if to is None else Path(to)) / published.file
    part = path.with_name(f"{path.name}.part")
    for each in (path, part):
        if is_no_file(each):
            raise RequestError(f"{each}: exists and is no file; take it away, or fetch to another folder")
    if _is_there(path, published):
        return path
    _made(path.parent)
    writable(path)
    with _alone(part, path) as file:
        if _is_there(path, published):  # another process has fetched it meanwhile
            part.unlink()
            return path
        try:
            _fetched(file, published, path, part, progress, stall)
        finally:
            if not file.seek(0, os.SEEK_END):
                part.unlink(missing_ok=True)
    return path


def _fetched(file: BinaryIO, published: Published, path: Path, part: Path, progress: bool, stall: float) -> None:
    """Bring what is missing, check the whole, and let it take its name."""
    whole = bool(published.digest) and file.seek(0, os.SEEK_END) and not _fault(part, published)  # only not renamed yet
    if not whole:
        _download(published, path, file, progress, stall)
    if fault := _fault(part, published):
        file.truncate(0)
        raise FormatError(f"{published.url}: what came {fault}; {_by_hand(published, path)}")
    with taking_place():
        os.replace(part, path)


def _is_there(path: Path, published: Published) -> bool:
    """Whether the file is there already; one that is another is refused."""
    if not path.exists():
        return False
    if fault := _fault(path, published):
        raise RequestError(f"{path}: {fault}; take it away, or fetch to another folder")
    return True


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be made ({error.strerror or error}); fetch to another folder") from None


@contextmanager
def _alone(part: Path, path: Path) -> Iterator[BinaryIO]:
    """The file of what has come so far, open and locked; whoever else fetches it is waited for."""
    until = time.monotonic() + _LONGEST
    while True:
        with open(part, "a+b") as file:
            if not _locks(file):
                if time.monotonic() > until:
                    raise RequestError(f"{path}: another process has been fetching it for an hour; stop that one")
            elif _is_at(file, part):
                yield file
                return
        time.sleep(0.05)  # what was locked has got its name, or is locked by another one


def _is_at(file: BinaryIO, part: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), part.stat())
    except FileNotFoundError:  # another process has just given it its name
        return False


def _locks(file: BinaryIO) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _fault(path: Path, published: Published) -> str:
    """What is wrong with a file, or nothing."""
    kind, _, digits = published.digest.partition(":")
    if digits:
        found = str(_pooch().file_hash(str(path), alg=kind))
        return "" if found.startswith(digits) else f"has the {kind} {found[: max(len(digits), 8)]}, not {digits}"
    try:
        containers.read(path)
    except FormatError as error:
        return f"is no file of weights ({str(error).removeprefix(f'{path}: ')})"
    except RequestError:  # what reads its kind is not installed
        pass
    return ""


def _download(published: Published, path: Path, file: BinaryIO, progress: bool, stall: float) -> None:
    requests, hand = _requests(), _by_hand(published, path)
    until = time.monotonic() + _LONGEST
    version = ""  # of the file, as the server calls it
    for _ in range(_ATTEMPTS):
        if not version and not published.digest:
            file.truncate(0)  # nothing would tell whether it is of the same file
        begin = file.seek(0, os.SEEK_END)
        attempt = _Attempt(file, begin, version, measured=not published.digest, until=until)
        try:
            attempt.run(published.url, progress, stall)
            return
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == 416 and begin:  # beyond the end: what is there is another file's
                file.truncate(0)
                continue
            reason = error.response.reason
            raise RequestError(f"{published.url}: the server says {status} {reason}; {hand}") from None
        except _TooLongError:
            file.truncate(0)
            raise FormatError(
                f"{published.url}: sends more than {_LARGEST >> 20} MiB, which no weights of this family have; {hand}"
            ) from None
        except (requests.RequestException, EOFError, TimeoutError, ValueError) as error:
            version = attempt.version
            if file.seek(0, os.SEEK_END) > begin and time.monotonic() < until:
                continue  # the connection broke, but brought something
            # In the middle of a body requests calls a timeout a broken connection, too.
            stalls = not isinstance(error, requests.ConnectTimeout) and "timed out" in str(error)
            why = "the server stalls" if stalls else "no connection, or it breaks"
            raise RequestError(f"{published.url}: {why}; {hand}") from None
    raise RequestError(f"{published.url}: the connection keeps breaking; fetch again, or {hand}")


class _TooLongError(Exception):
    """More came than any published file has."""


class _Attempt:
    """One request for what is missing behind the first `begin` bytes.

    Parameters
    ----------
    file : what comes is written at its end
    version : what the server called the file whose beginning is there, '' where nothing is known
    measured : the server must say how long the file is
    until : when to give up, however much comes
    """

    def __init__(self, file: BinaryIO, begin: int, version: str, *, measured: bool, until: float) -> None:
        self.file, self.begin, self.version, self.measured, self.until = file, begin, version, measured, until
        self.end: int | None = None  # of this answer
        self.total: int | None = None
        self.error: BaseException | None = None
        self.given_up, self.writing = False, threading.Lock()

    def run(self, url: str, progress: bool, stall: float) -> None:
        """Ask in another thread: a server that drips, or never ends its headers, would hold this one."""
        self.heard = time.monotonic() + _CONNECT
        asking = threading.Thread(target=self.ask, args=(url, progress, stall), daemon=True)
        asking.start()
        while asking.is_alive():
            asking.join(0.1)
            now = time.monotonic()
            if now > self.until or now - self.heard > 2 * stall:  # after what requests itself waits
                with self.writing:
                    self.given_up = True
                raise TimeoutError("timed out")
        if self.error is not None:
            raise self.error
        size = self.file.seek(0, os.SEEK_END)
        if size != (size if self.end is None else self.end) or size != (size if self.total is None else self.total):
            raise EOFError

    def ask(self, url: str, progress: bool, stall: float) -> None:
        headers = {"Accept-Encoding": "identity"}  # lengths are then those of the file
        if self.begin:
            headers["Range"] = f"bytes={self.begin}-"
            if self.version:
                headers["If-Range"] = self.version
        try:
            download = _pooch().HTTPDownloader(
                progressbar=progress,
                chunk_size=_CHUNK,
                timeout=(_CONNECT, stall),
                headers=headers,
                hooks={"response": self.answered},
            )
            download(url, self, None)
        except Exception as error:  # for the thread that waits
            self.error = error

    def write(self, data: bytes) -> None:
        """Take what pooch has read: in place of the file, for a server may go on for ever."""
        with self.writing:
            if self.given_up:
                raise TimeoutError
            self.file.write(data)
            self.heard = time.monotonic()
            if self.file.tell() > _LARGEST:
                raise _TooLongError

    def flush(self) -> None:
        """As pooch asks files to."""
        self.file.flush()

    def answered(self, response: Any, **_: Any) -> None:
        """Look at the answer before its body is written behind what is there."""
        length = response.headers.get("Content-Length", "")
        if length and not (length.isascii() and length.isdigit() and len(length) < 20):
            raise _requests().ConnectionError(f"no length: {length[:50]}")
        size = int(length) if length else None
        if self.begin + (size or 0) > _LARGEST:
            raise _TooLongError
        if response.status_code not in (200, 206):
            return
        if self.measured and not length and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise _requests().ConnectionError("no length")
        if response.status_code == 206:
            self.goes_on(response.headers.get("Content-Range", ""), size)
        else:  # the whole file, asked for or not
            self.file.truncate(0)
            self.begin, self.end, self.total = 0, size, size
            self.version = _version(response.headers)

    def goes_on(self, said: str, size: int | None) -> None:
        """Hold a range against the one that was asked for."""
        found = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", said, re.ASCII)
        begin, end, total = found.groups() if found else ("", "", "")
        if not found or int(begin) != self.begin or (size is not None and size != int(end) + 1 - self.begin):
            raise _requests().ConnectionError(f"another range than asked for: {said[:50]}")
        self.end = int(end) + 1
        self.total = None if total == "*" else int(total)
        if max(self.end, self.total or 0) > _LARGEST:
            raise _TooLongError


def _version(headers: Any) -> str:
    """What an answer calls its version, fit for If-Range: a strong ETag, or else a date; '' without either."""
    tag = headers.get("ETag", "")
    said: str = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    return said if said.isprintable() else ""


def _by_hand(published: Published, path: Path) -> str:
    kind, _, digits = published.digest.partition(":")
    known = f" (its {kind} begins with {digits})" if digits else ""
    return f"get it elsewhere and put it at {path}{known}"


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise RequestError("fetching weights needs pooch: pip install 'refnet[tools]'") from None
    return pooch


def _requests() -> Any:
    _pooch()  # which needs it
    import requests

    return requests
