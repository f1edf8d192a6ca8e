"""Bytes -> {name: array}. A container knows no network and trusts no file.

What a file is, its first bytes say, not its name. Whatever is wrong with it is one `FormatError`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers import npz, pth
from refnet.files.containers.messages import line

__all__ = ["read"]


def read(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a PyTorch checkpoint or an .npz archive.

    Raises
    ------
    FormatError
        if the file is neither, or a damaged or hostile one.
    FileNotFoundError
        if there is none.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError(f"{path}: is a folder; give the file with the weights")
    with open(path, "rb") as file:
        start = file.read(8192)
    if not start:
        raise FormatError(f"{path}: is empty")
    if not start.startswith(b"PK"):
        if pth.is_legacy(start):
            return pth.read(path)
        raise FormatError(f"{path}: is neither a PyTorch checkpoint nor an .npz archive; it begins with {start[:8]!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = all(name.endswith(".npy") for name in archive.namelist())
    except Exception as error:  # hostile bytes make zipfile raise nearly anything
        raise FormatError(f"{path}: a zip archive cut short or damaged: {line(error)}; fetch it again") from None
    return npz.read(path) if arrays else pth.read(path)
