"""Bytes -> {name: array}: one module for each kind of file. They know no network.

The kind is told by the first bytes and by what an archive holds, never by the file's name.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, BinaryIO

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers import npz, pth
from refnet.files.containers.opening import Archive, is_zip, opened, shown

__all__ = ["read"]

_Reader = Callable[[str | PathLike[str]], dict[str, npt.NDArray[Any]]]


def read(path: str | PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read every array of a file of weights, whichever kind of file it is.

    Parameters
    ----------
    path : a PyTorch checkpoint (`containers.pth`) or an .npz archive (`containers.npz`)

    Returns
    -------
    arrays : in the order of the file, C-contiguous, in native byte order

    Raises
    ------
    FormatError
        if the file is of another kind, or damaged, or hostile: one line that names the file.
    """
    with opened(path) as file:
        reader = _reader(file)
    return reader(path)


def _reader(file: BinaryIO) -> _Reader:
    if pth.is_legacy(file):
        return pth.read
    if not is_zip(file):
        raise FormatError("neither a PyTorch checkpoint nor an .npz archive: convert it to one of them")
    members = Archive(file).members
    if any(name.split("/")[-1] == "data.pkl" for name in members):
        return pth.read
    if any(name.endswith(".npy") for name in members):
        return npz.read
    first = f"; its first member is {shown(next(iter(members)))}" if members else "; it is empty"
    raise FormatError(f"a zip archive, but neither a PyTorch checkpoint nor an .npz archive{first}")
