"""NumPy's .npz archives: a zip archive with one .npy file for each array.

Reads numbers, bools and text; never pickles, so no arrays of objects. What a header promises is compared with the
size of its member before an array is made. Writes the same bytes for the same arrays, and never half a file.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers import npy
from refnet.files.containers.archive import Archive, largest, least_elements, opened, shown
from refnet.files.containers.atomic import atomic_file
from refnet.files.containers.structure import GRAPH

__all__ = ["Rows", "member_info", "read", "write"]

Array = npt.NDArray[Any]

_KINDS = "biufcSU"  # of dtypes: bool, integers, floating-point, complex, bytes, text
_WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can state


class Rows(NamedTuple):
    """An array that need not fit into memory: what it is as a whole, and its rows, some at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: Iterable[Array]


def read(path: str | os.PathLike[str], refused: dict[str, str] | None = None) -> dict[str, Array]:
    """Read every array of an archive.

    Parameters
    ----------
    path : of an archive that `write`, numpy.savez or numpy.savez_compressed wrote
    refused : is given the names of arrays that cannot be read, and why, which then are left out

    Returns
    -------
    arrays : by name, in the order of the file, each C-contiguous and in native byte order

    Raises
    ------
    FormatError
        if the file is not such an archive, is damaged, or holds arrays of objects or records. One line: the file,
        what is wrong, what to do.
    """
    with opened(path) as file:
        archive = Archive(file)
        arrays: dict[str, Array] = {}
        for member in archive.members:
            if not member.endswith(".npy"):
                raise FormatError(f"member {shown(member)} is not an array: not an .npz archive")
            name = member.removesuffix(".npy")
            try:
                arrays[name] = _array(archive.read(member), member, largest(file))
            except FormatError as error:
                if refused is None:
                    raise
                refused[name] = str(error)
        return arrays


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, npt.ArrayLike | Rows],
    *,
    compressed: bool = False,
    graph: str = "",
) -> None:
    """Write arrays to an archive, which then is there as a whole or, if writing fails, as it was before.

    Parameters
    ----------
    path : of the archive; one that is there is replaced
    arrays : by name, written in this order, little-endian; one that is `Rows` is asked for its rows when its turn is
    compressed : deflated; stored where False. Only stored archives are the same bytes with every version of zlib.
    graph : the text of the graph that the arrays belong to, written as the array `structure.GRAPH`

    Raises
    ------
    RequestError
        if an array holds objects or records, a name cannot be one of a member, or the file cannot be written.
    ValueError
        if the rows of `Rows` are not what they were said to be.
    """
    members = {f"{name}.npy": _parts(name, array) for name, array in arrays.items()}
    if graph:
        members[f"{GRAPH}.npy"] = _parts(GRAPH, np.frombuffer(graph.encode(), np.uint8))
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, parts in members.items():
            _put(archive, member_info(name, compressed), parts)


def _parts(name: str, array: npt.ArrayLike | Rows) -> Rows:
    """An array as it is written, or a refusal."""
    if not isinstance(array, Rows):
        whole = np.asarray(array)
        array = Rows(whole.shape, whole.dtype, (whole,))
    if array.dtype.kind not in _KINDS:
        raise RequestError(f"{shown(name)} has dtype {array.dtype}: only numbers, bools and text can be written")
    if not name or not name.isprintable():
        raise RequestError(f"{shown(name)} cannot be the name of an array: use printable characters")
    return array._replace(dtype=array.dtype.newbyteorder("<"))


def _put(archive: zipfile.ZipFile, info: zipfile.ZipInfo, parts: Rows) -> None:
    """Write an .npy file as a member."""
    head = BytesIO()
    descr = np.lib.format.dtype_to_descr(parts.dtype)
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": parts.shape})
    promised = len(head.getvalue()) + math.prod(parts.shape) * parts.dtype.itemsize
    info.file_size = promised  # beforehand, because it decides whether sizes take 64 bits
    with archive.open(info, "w") as member:
        written = member.write(head.getvalue())
        for rows in parts.rows:
            written += member.write(np.asarray(rows, parts.dtype, order="C").tobytes())
    if written != promised:
        raise ValueError(f"{info.filename}: rows that do not add up to the shape {parts.shape}")


def member_info(name: str, compressed: bool) -> zipfile.ZipInfo:
    """A member's heading, without a trace of the time and the machine."""
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    info.create_system = 3  # Unix, everywhere
    info.external_attr = 0o644 << 16
    return info


def _array(data: bytes, member: str, limit: int) -> Array:
    """Decode an .npy file, of which only the bytes are known so far."""
    file = BytesIO(data)
    try:
        shape, fortran, dtype = npy.read_header(file)
    except FormatError as error:
        raise FormatError(f"{shown(member)} {error}: fetch or save the file again") from None
    if dtype.hasobject:
        raise FormatError(f"{shown(member)} holds Python objects, which could run code: refused; save numbers")
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise FormatError(f"{shown(member)} holds records or a type that is not read: save plain numbers")
    body = data[file.tell() :]
    if not all(type(n) is int and n >= 0 for n in shape) or least_elements(shape) * dtype.itemsize > limit:
        raise FormatError(f"{shown(member)} has an impossible shape: the file is damaged")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise FormatError(f"{shown(member)} has another size than its shape and dtype say: the file is damaged")
    if 0 in shape:
        return np.zeros(shape, dtype.newbyteorder("="))
    order: Literal["F", "C"] = "F" if fortran else "C"
    if dtype.kind == "b":  # whose bytes may be any, but a NumPy bool must be 0 or 1
        return np.array(np.frombuffer(body, np.uint8).reshape(shape, order=order) != 0, order="C")
    return np.array(np.frombuffer(body, dtype).reshape(shape, order=order), dtype.newbyteorder("="), order="C")
