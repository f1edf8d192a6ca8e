"""NumPy's .npz archives, read without pickles and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.messages import line

__all__ = ["read", "write"]

_LARGEST = 8 * 2**30  # bytes, unpacked: sixty times the largest network of the family in float64
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can state: equal arrays make equal bytes


def read(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an archive, by name.

    Raises
    ------
    FormatError
        if it is damaged, holds Python objects, names an array twice, or declares more than it could hold.
    """
    with open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            return {name: _array(archive, member) for name, member in _members(archive).items()}
        except FormatError as error:
            raise FormatError(f"{path}: {line(error)}") from None
        except Exception as error:  # hostile bytes make zipfile and NumPy's headers raise nearly anything
            raise FormatError(f"{path}: damaged or not an .npz archive: {line(error)}") from None


def write(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]], *, compressed: bool = False) -> None:
    """Write arrays in their order, under a temporary name first, so that no half-written file is left.

    Equal arrays make equal bytes, however they lie in memory.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                member.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
                with archive.open(member, "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members = archive.infolist()
    names = Counter(member.filename.removesuffix(".npy") for member in members)
    if twice := [name for name, count in names.items() if count > 1]:
        raise FormatError(f"names {twice[0]!r} twice")
    if sum(member.file_size for member in members) > _LARGEST:
        raise FormatError(f"declares more than {_LARGEST >> 30} GiB unpacked; refused")
    return dict(zip(names, members, strict=True))


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if dtype.hasobject:
            raise FormatError(f"{member.filename!r} holds Python objects; refused")
        # A header may promise any shape; the member's size, checked while it is unpacked, may not.
        if min(shape, default=0) < 0 or max(dtype.itemsize, 1) * int(np.prod(shape, dtype=object)) > member.file_size:
            raise FormatError(f"{member.filename!r} is cut short")
    with archive.open(member) as stream:
        array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        # Read to the end: only there is the checksum compared.
        if stream.read(1) or stream.tell() != member.file_size:
            raise FormatError(f"{member.filename!r} is not as long as its array")
    return array
