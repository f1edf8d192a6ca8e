"""safetensors files: where each tensor lies, checked, and the numbers there.

The format: 8 bytes, the length of the header as a little-endian integer; the header, JSON in UTF-8, {name: {"dtype",
"shape", "data_offsets": [begin, end]}} and perhaps "__metadata__", texts by name; the data, which the tensors cover
without gap or overlap. Reads floating-point numbers and integers. Refuses whatever differs from that, and a name that
is used twice, of which the library keeps one. No library is needed to read or write it; the tests read with both.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import least_elements, opened, shown, widened
from refnet.files.containers.atomic import atomic_file
from refnet.files.containers.structure import GRAPH

__all__ = ["ByteRange", "byte_ranges", "header", "read", "read_stream", "write"]

Array = npt.NDArray[Any]

_GRAPH = "refnet.graph"  # the metadata that are the text of a graph
_LONGEST = 8 << 20  # bytes of a header: 60,000 tensors. The format allows 100 MB, which JSON would blow up to gigabytes
_MOST_AXES = 64  # NumPy's limit
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16"} | {
    f"{kind.upper()}{bits}": np.dtype(f"<{kind}{bits // 8}").str for kind in "iu" for bits in (8, 16, 32, 64)
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class ByteRange(NamedTuple):
    """Where a tensor lies in its file.

    Its dtype is as NumPy writes it, or 'bfloat16', which NumPy does not have; '' where it holds no numbers that are
    read.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every tensor of a file.

    Returns
    -------
    arrays : in the order of the header, in native byte order; bfloat16 becomes float32, which holds it exactly. A graph
        that refnet wrote into the metadata is the array `structure.GRAPH`

    Raises
    ------
    FormatError
        if the file is not as the format asks, or holds something else than numbers. One line: the file, what is wrong.
    """
    with opened(path) as file:
        arrays, metadata = read_stream(file)
    if _GRAPH in metadata:
        arrays[GRAPH] = np.frombuffer(metadata[_GRAPH].encode("utf-8", "replace"), np.uint8)
    return arrays


def read_stream(file: BinaryIO) -> tuple[dict[str, Array], dict[str, str]]:
    """Every tensor of an open file, as `read` returns them, and the texts in its __metadata__.

    Raises
    ------
    FormatError : see `read`
    """
    found, metadata = _parsed(file)
    return {name: _array(file, place) for name, place in found.items()}, metadata


def _array(file: BinaryIO, place: ByteRange) -> Array:
    file.seek(place.begin)
    data = file.read(place.end - place.begin)
    dtype = np.dtype("<u2" if place.dtype == "bfloat16" else place.dtype)
    flat: Array = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
    return (widened(flat) if place.dtype == "bfloat16" else flat).reshape(place.shape)


def byte_ranges(file: BinaryIO, unread: dict[str, str] | None = None) -> dict[str, ByteRange]:
    """Where the tensors of a file lie, in the order of its header; they fill the file to its end.

    Parameters
    ----------
    unread : takes why a tensor holds no numbers that are read here; None where such a tensor refuses the file

    Raises
    ------
    FormatError : see `read`
    """
    return {name: place for name, place in _parsed(file, unread)[0].items() if name not in (unread or ())}


def _parsed(file: BinaryIO, unread: dict[str, str] | None = None) -> tuple[dict[str, ByteRange], dict[str, str]]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise FormatError(f"is cut short or no safetensors file: {size} bytes, a header of {length}")
    if length > _LONGEST:
        raise FormatError(f"has a header of {length} bytes, the longest that is read has {_LONGEST}")
    entries, metadata = _header(file.read(length))
    found = {name: _place(name, entry, 8 + length, unread) for name, entry in entries.items()}
    reached = 8 + length
    for name, (_, _, begin, end) in sorted(found.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise FormatError(f"{shown(name)} {'overlaps' if begin < reached else 'leaves a gap after'} another tensor")
        reached = end
    if reached != size or not found:
        raise FormatError(
            f"{size - 8 - length} bytes of data for tensors of {reached - 8 - length}: cut short, padded or empty"
        )
    return found, metadata


def _header(text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise FormatError("the header is nested too deeply") from None
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the header is no JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict) or not text.startswith(b"{"):
        raise FormatError("the header is no JSON object")
    metadata = found.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("the header's __metadata__ holds something else than texts")
    return found, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise FormatError(f"the header names {shown(name)} twice")
        if not name.isascii() and not _is_text(name):
            raise FormatError(f"the header has the name {shown(name)}, which is no text")
        found[name] = value
    return found


def _is_text(name: str) -> bool:
    """Whether a name can be written at all: JSON may spell half a character."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _no_constant(name: str) -> float:
    raise FormatError(f"the header holds {name}, which is no JSON")


def _place(name: str, entry: Any, start: int, unread: dict[str, str] | None) -> ByteRange:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise FormatError(f"{shown(name)} lacks a dtype, a shape or its two offsets")
    if dtype not in _DTYPES:
        reason = f"{shown(name)} holds {shown(dtype)[1:-1]}; take {', '.join(_DTYPES)}"
        if unread is None:
            raise FormatError(reason)
        unread[name] = reason
    if len(shape) > _MOST_AXES or not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise FormatError(f"{shown(name)}: {shown(shape)[1:-1]} is no shape")
    if least_elements(shape) >= 2**60:
        raise FormatError(f"{shown(name)} has the impossible shape {shown(shape)[1:-1]}")
    if not (type(begin) is type(end) is int and 0 <= begin <= end):
        raise FormatError(f"{shown(name)}: {shown([begin, end])[1:-1]} are no offsets")
    own = _DTYPES.get(dtype)
    if own is not None and end - begin != math.prod(shape) * _itemsize(own):
        raise FormatError(f"{shown(name)}: offsets {begin} to {end} for shape {tuple(shape)} of {dtype}"[:300])
    return ByteRange(own or "", tuple(shape), start + begin, start + end)


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None) -> bytes:
    """What a file begins with, up to where the numbers of its tensors follow in the order given.

    Parameters
    ----------
    tensors : name -> (dtype as NumPy writes it, '<f4'; shape)
    metadata : texts that the file carries along

    Raises
    ------
    RequestError : a dtype is none of those that are read
    """
    described: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        if dtype not in _NAMES:
            raise RequestError(f"{shown(name)} has dtype {dtype}: safetensors take {', '.join(_DTYPES)}")
        begin, end = end, end + math.prod(shape) * _itemsize(dtype)
        described[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], *, graph: str = "") -> None:
    """Write arrays to a file, which then is there as a whole or, if writing fails, as it was before.

    Parameters
    ----------
    path : of the file; one that is there is replaced
    arrays : by name, written in this order
    graph : the text of the graph that the arrays belong to, written beside them

    Raises
    ------
    RequestError
        if an array holds anything but numbers, or the file cannot be written.
    """
    little = {name: np.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in arrays.items()}
    # Readers in PyTorch ask for the metadata 'format', which names the layout of the arrays.
    metadata = {"format": "pt"} | ({_GRAPH: graph} if graph else {})
    start = header({name: (array.dtype.str, array.shape) for name, array in little.items()}, metadata)
    with atomic_file(path) as file:
        file.write(start)
        for array in little.values():
            file.write(array.tobytes())
