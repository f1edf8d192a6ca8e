"""Published weights, fetched into a folder: whole, checked, and going on where a broken download stopped.

What has come so far lies beside the file under its name and `.part`. A file takes its name only once it has the hash
that is known of it, or, where none is, the length that the server said and the form of a file of weights. A file that
is there already is checked and not fetched. Nothing is sent but the request.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.published import Published, find_published

__all__ = ["fetch", "folder"]

_CONNECT, _STALL = 15.0, 30.0  # seconds to wait for an answer, and for the next bytes
_ATTEMPTS = 5  # as long as each brings something
_LARGEST = 256 << 20  # bytes; several times the largest published file
_CHUNK = 1 << 13  # bytes; of a broken answer, what is not a whole chunk is lost


def folder() -> Path:
    """Where fetched files are kept: the folder that REFNET_CACHE names, or the system's folder for such things.

    Raises
    ------
    RequestError : pooch is not installed
    """
    return Path(os.environ.get("REFNET_CACHE") or _pooch().os_cache("refnet"))


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
        if each.exists() and not each.is_file():  # a pipe would never end
            raise RequestError(f"{each}: exists and is no file; take it away, or fetch to another folder")
    if path.exists():
        if fault := _fault(path, published):
            raise RequestError(f"{path}: {fault}; take it away, or fetch to another folder")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = bool(published.digest) and part.exists() and not _fault(part, published)  # stopped before it was renamed
    if not whole:
        _download(published, path, part, progress, stall)
    if fault := _fault(part, published):
        part.unlink()
        raise FormatError(f"{published.url}: what came {fault}; {_by_hand(published, path)}")
    os.replace(part, path)
    return path


def _fault(path: Path, published: Published) -> str:
    """What is wrong with a file, or nothing."""
    kind, _, digits = published.digest.partition(":")
    if digits:
        found = str(_pooch().file_hash(str(path), alg=kind))
        return "" if found.startswith(digits) else f"has the {kind} {found[: max(len(digits), 8)]}, not {digits}"
    try:
        containers.kind(path)
    except FormatError as error:
        return f"is no file of weights ({str(error).removeprefix(f'{path}: ')})"
    return ""


def _download(published: Published, path: Path, part: Path, progress: bool, stall: float) -> None:
    requests = _requests()
    for _ in range(_ATTEMPTS):
        begin = part.stat().st_size if part.exists() else 0
        try:
            with open(part, "ab") as file:
                _Attempt(file, begin).run(published.url, progress, stall)
            return
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == 416 and begin:  # beyond the end: what is there is another file's
                part.unlink()
                continue
            if not begin:
                part.unlink()
            raise RequestError(
                f"{published.url}: the server says {status} {error.response.reason}; {_by_hand(published, path)}"
            ) from None
        except _TooLongError:
            part.unlink()
            raise FormatError(
                f"{published.url}: sends more than {_LARGEST >> 20} MiB, which no weights of this family have; "
                f"{_by_hand(published, path)}"
            ) from None
        except (requests.RequestException, EOFError) as error:
            if part.stat().st_size > begin:
                continue  # the connection broke, but brought something
            # In the middle of a body requests calls a timeout a broken connection, too.
            stalls = not isinstance(error, requests.ConnectTimeout) and "timed out" in str(error)
            why = "the server stalls" if stalls else "no connection, or it breaks"
            raise RequestError(f"{published.url}: {why}; {_by_hand(published, path)}") from None
    raise RequestError(f"{published.url}: the connection keeps breaking; fetch again, or {_by_hand(published, path)}")


class _TooLongError(Exception):
    """More came than any published file has."""


class _Attempt:
    """One request for what is missing behind the first `begin` bytes."""

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self.file, self.begin = file, begin
        self.end: int | None = None

    def run(self, url: str, progress: bool, stall: float) -> None:
        headers = {"Accept-Encoding": "identity"}  # lengths are then those of the file
        if self.begin:
            headers["Range"] = f"bytes={self.begin}-"
        download = _pooch().HTTPDownloader(
            progressbar=progress,
            chunk_size=_CHUNK,
            timeout=(_CONNECT, stall),
            headers=headers,
            hooks={"response": self.answered},
        )
        download(url, self, None)
        if self.end is not None and self.file.tell() != self.end:
            raise EOFError

    def write(self, data: bytes) -> None:
        """Take what pooch has read: in place of the file, for a server may go on for ever."""
        self.file.write(data)
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
        if response.status_code == 206:
            said = response.headers.get("Content-Range", "")
            if not said.startswith(f"bytes {self.begin}-"):
                raise _requests().ConnectionError(f"another range than asked for: {said[:50]}")
            self.end = None if size is None else self.begin + size
        elif response.status_code == 200:  # the whole file, asked for or not
            self.file.truncate(0)
            self.begin, self.end = 0, size


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
