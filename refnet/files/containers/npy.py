"""NumPy's .npy files: one array behind a header that says its shape, order and dtype. Reads numbers, never pickles."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.atomic import is_no_file

__all__ = ["Header", "read", "read_header"]

_parsing = threading.Lock()  # Python 3.11's parser counts how deep it is for all threads at once


class Header(NamedTuple):
    """What a .npy file says of its array; `fortran` is whether the first axis varies fastest."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def read_header(file: IO[bytes]) -> Header:
    """Read the header; the file is then where the numbers begin.

    Raises
    ------
    FormatError
        if there is none, or one of another version than 1.0 and 2.0. What it says may still be false.
    """
    try:
        version = np.lib.format.read_magic(file)
    except Exception:  # a damaged header raises nearly anything; it is parsed, never run
        raise FormatError("is not a whole .npy file: it does not begin as one, with no .npy header") from None
    try:
        match version:
            case (1, 0):
                return _header(file, 2, np.lib.format.read_array_header_1_0)
            case (2, 0):
                return _header(file, 4, np.lib.format.read_array_header_2_0)
    except Exception:
        raise FormatError("is not a whole .npy file: its header is cut short or damaged") from None
    raise FormatError(f"is .npy version {version[0]}.{version[1]}: only 1.0 and 2.0 are read")


def _header(file: IO[bytes], size: int, parse: Callable[[BytesIO], Any]) -> Header:
    """The header behind its length, which takes so many bytes."""
    length = file.read(size)
    return _parsed(length + file.read(int.from_bytes(length, "little")), parse)


@lru_cache(maxsize=1024)
def _parsed(text: bytes, parse: Callable[[BytesIO], Any]) -> Header:
    """A header by its text; a network has hundreds of arrays of the same shapes, and parsing is slow."""
    with _parsing:
        return Header(*parse(BytesIO(text)))


def read(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read the array of a file.

    Raises
    ------
    FormatError
        if it is none, is cut short, or holds Python objects.
    FileNotFoundError
        if there is no such file.
    """
    if is_no_file(path):
        raise FormatError(f"{path}: is no file")
    with open(path, "rb") as file:
        try:
            shape, _, dtype = read_header(file)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or min(shape, default=0) < 0 or file.tell() + size > os.fstat(file.fileno()).st_size:
                raise FormatError("cut short, or holds Python objects")
        except FormatError as error:
            raise FormatError(f"{path}: not a readable .npy array: {error}") from None
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
