"""Files and zip archives, opened with distrust: what all containers share.

A file must be a regular one and not empty. A zip archive must hold each name once, nothing encrypted, members stored
or deflated, and must not claim to unpack to more than `largest` allows; no member is unpacked beyond its declared
size, and every member that is read must have that size and its checksum. Nothing is unpacked to disk.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = [
    "TORCH_MAGIC",
    "Archive",
    "allowed",
    "is_legacy_torch",
    "is_zip",
    "largest",
    "least_elements",
    "opened",
    "shown",
    "small_text",
    "widened",
]

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_ALWAYS_ALLOWED = 64 << 20  # bytes; any machine that runs a network has them
_AGAIN = "fetch or save the file again"
_EXPANSION = 4  # trained weights hardly deflate; float16 stored and float32 returned, or a tied tensor, make 2

_REASONS = (
    ("Bad CRC-32", "its checksum is wrong"),
    ("File is not a zip file", "it does not end as one does: it was cut short, or its end is overwritten"),
    ("Bad magic number for central directory", "its table of contents, at its end, is overwritten"),
    ("Bad magic number for file header", "what stands before its bytes is overwritten"),
    ("File name in directory", "the name before its bytes is not that in the table of contents"),
    ("Overlapped entries", "its bytes are those of another member, too"),
    ("Truncated", "it is cut short"),
)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading; what the `with` block finds wrong with it is raised with the file's name.

    Parameters
    ----------
    path : of the file

    Yields
    ------
    file : open for reading bytes

    Raises
    ------
    FormatError
        if there is no such file, it is a folder, empty or unreadable, or the block raises FormatError.
    """
    where = Path(path)
    try:
        _refuse_unless_file(where)
        with where.open("rb") as file:
            yield file
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None
    except OSError as error:
        raise FormatError(f"{where}: cannot be read ({error.strerror or 'input/output error'})") from error
    except (MemoryError, RecursionError) as error:
        raise FormatError(f"{where}: needs more memory than there is") from error


def small_text(path: str | os.PathLike[str], most: int = 8 << 20) -> str:
    """The text of a file that people write: names, classes, a table in JSON.

    Raises
    ------
    FormatError
        as `opened` does; if it has more than `most` bytes, or is no UTF-8.
    """
    with opened(path) as file:
        data = file.read(most + 1)
        if len(data) > most:
            raise FormatError(f"has more than {most} bytes: no text of this kind does")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"cannot be read as text: {error}") from None


def _refuse_unless_file(path: Path) -> None:
    if not path.exists():
        raise FormatError("No such file")
    if path.is_dir():
        raise FormatError("is a folder, not a file of weights")
    if not path.is_file():
        raise FormatError("not a regular file")
    if path.stat().st_size == 0:
        raise FormatError("the file is empty")


def largest(file: BinaryIO) -> int:
    """How many bytes a file may unpack to: 64 MiB, or four times its own size where that is more."""
    return allowed(os.fstat(file.fileno()).st_size)


def allowed(size: int) -> int:
    """The same of a file's size in bytes."""
    return max(_ALWAYS_ALLOWED, _EXPANSION * size)


def least_elements(shape: Sequence[int]) -> int:
    """The product of a shape's sizes, a size of 0 taken as 1: NumPy limits it for arrays without elements too."""
    return math.prod(max(size, 1) for size in shape)


def shown(text: object) -> str:
    """Words from a file as part of a message: quoted, on one line, not too long."""
    # A slice first: a hostile name may be as long as the file.
    quoted = ascii(str(text)[:100])
    return quoted if len(quoted) <= 100 else f"{quoted[:96]}...'"


def widened(halves: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """bfloat16, read as the integers that its bits look like, as float32, of which it is the upper half."""
    wide = halves.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def is_zip(file: BinaryIO) -> bool:
    """Whether a file begins as a zip archive does, whole or not."""
    file.seek(0)
    return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_legacy_torch(file: BinaryIO) -> bool:
    """Whether a file begins as checkpoints did before PyTorch 1.6: with a pickle of the magic number."""
    file.seek(0)
    return TORCH_MAGIC.to_bytes(10, "little") in file.read(32)  # protocols 2 to 5 differ in what comes before it


class Archive:
    """A zip archive whose table of contents has been checked.

    Parameters
    ----------
    file : open for reading bytes

    Attributes
    ----------
    members : name -> declared size in bytes, in the order of the table of contents

    Raises
    ------
    FormatError : the archive is truncated or damaged, or breaks a rule of this module
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:  # zipfile raises a dozen types on damaged bytes; none of our code runs in there
            raise FormatError(f"a truncated or damaged zip archive ({_reason(error)}): {_AGAIN}") from error
        self.members: dict[str, int] = {}
        for info in self._zip.infolist():
            if info.filename in self.members:
                raise FormatError(f"member {shown(info.filename)} is there twice: refused, one would hide the other")
            _refuse_member(info)
            self.members[info.filename] = info.file_size
        if sum(self.members.values()) > largest(file):
            raise FormatError(f"would unpack to more than {largest(file)} bytes: refused as a zip bomb")

    def read(self, name: str, most: int | None = None) -> bytes:
        """One member's bytes, of which there may be `most`.

        Raises
        ------
        FormatError : it is missing, damaged or larger
        """
        if name not in self.members:
            raise FormatError(f"member {shown(name)} is missing: the file is incomplete, {_AGAIN}")
        size = self.members[name]
        if most is not None and size > most:
            raise FormatError(f"member {shown(name)} has {size} bytes; no network's is longer than {most}")
        try:
            with self._zip.open(name) as member:
                # Asked for one byte more, zipfile inflates no further, but sees the end and checks the sum.
                data = member.read(size + 1)
        except Exception as error:  # as above
            raise FormatError(f"member {shown(name)} is damaged ({_reason(error)}): {_AGAIN}") from error
        if len(data) != size:
            raise FormatError(f"member {shown(name)} is damaged (its size is not the declared {size}): {_AGAIN}")
        return data


def _refuse_member(info: zipfile.ZipInfo) -> None:
    name = shown(info.filename)
    if info.flag_bits & 1:
        raise FormatError(f"member {name} is encrypted: save the file without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"member {name} is neither stored nor deflated: save the file again")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise FormatError(f"member {name} is stored, but with two different sizes: the file is damaged")


def _reason(error: Exception) -> str:
    """What is wrong, in our words: the library's are about its own steps."""
    if isinstance(error, zlib.error):
        return "its compressed bytes cannot be unpacked"
    return next((ours for theirs, ours in _REASONS if str(error).startswith(theirs)), "its bytes cannot be read as one")
