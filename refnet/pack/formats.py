"""The arrays of a golden pack on disk: .npy, raw floats, safetensors or C source, one array at a time.

Writes little-endian, C order, rounded once. Reads only what it writes, and all of that but C source; NaN and infinity
it neither writes nor reads. It knows arrays and files, no networks; docs/pack-format.md is the same in prose.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers import npy, safetensors

__all__ = ["FORMATS", "Stored", "read_array", "stored_in", "writer"]

Array = npt.NDArray[Any]
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]  # 'params' and 'tensors': name -> shape as stored

FORMATS = ("npy", "raw", "safetensors", "c")

_ON_DISK: Mapping[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}
_CHUNK = 1 << 16  # elements converted at a time


class Stored(NamedTuple):
    """What a manifest says of one array: its file in the pack, its shape as stored, its precision, its hash."""

    file: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


def stored_in(kind: str, name: str, form: str) -> str:
    """The file of one array in a pack that has a file for each.

    Raises
    ------
    RequestError
        for a name that leads elsewhere.
    """
    if not name.isprintable() or any(letter in name for letter in "/\\:") or name.startswith("."):
        raise RequestError(f"{name!r} can be the name of no file: rename the node, or take another format")
    return f"{kind}/{name}.{'npy' if form == 'npy' else 'bin'}"


class Writer(Protocol):
    """Writes the arrays of a pack in the order in which they come."""

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        """Write one array, of 'params' or 'tensors'; return what the manifest says of it."""

    def close(self) -> None:
        """Finish the files."""


def writer(form: str, folder: Path, shapes: Shapes, dtype: str) -> Writer:
    """What writes arrays in one of `FORMATS`.

    Parameters
    ----------
    folder : exists and is empty
    shapes : of all that will be written, in that order
    dtype : 'float32' or 'float64'
    """
    if form == "c":
        return _CSource(folder, shapes, dtype)
    return _Safetensors(folder, shapes, dtype) if form == "safetensors" else _OneByOne(folder, shapes, dtype, form)


def _chunks(name: str, array: Array, dtype: str) -> Iterator[Array]:
    """The elements in C order, rounded to `dtype`, some at a time, so that no copy of the array is made."""
    flags: Any = ["external_loop", "buffered"]
    parts = np.nditer(array, flags, op_dtypes=[_ON_DISK[dtype]], order="C", casting="same_kind", buffersize=_CHUNK)
    with parts, np.errstate(over="ignore"):
        for part in parts:
            chunk = np.asarray(part)
            if not np.isfinite(chunk).all():
                raise RequestError(f"{name}: holds NaN or infinity in {dtype}: no golden tensor")
            yield chunk


class _OneByOne:
    """A file of its own for every array, with NumPy's header ('npy') or without ('raw')."""

    def __init__(self, folder: Path, shapes: Shapes, dtype: str, form: str) -> None:
        self.folder, self.dtype, self.form = folder, dtype, form
        for kind in shapes:
            (folder / kind).mkdir()

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        head = io.BytesIO()
        if self.form == "npy":
            descr = {"descr": _ON_DISK[self.dtype].str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(head, descr)
        file = stored_in(kind, name, self.form)
        digest = hashlib.sha256(head.getvalue())
        with open(self.folder / file, "xb") as stream:
            stream.write(head.getvalue())
            for chunk in _chunks(name, array, self.dtype):
                digest.update(data := chunk.tobytes())
                stream.write(data)
        return Stored(file, array.shape, self.dtype, digest.hexdigest())._asdict()

    def close(self) -> None:
        pass


class _Safetensors:
    """params.safetensors and tensors.safetensors: length of the header, JSON header, numbers."""

    def __init__(self, folder: Path, shapes: Shapes, dtype: str) -> None:
        self.dtype = dtype
        self.streams = {kind: open(folder / f"{kind}.safetensors", "xb") for kind in shapes}  # noqa: SIM115
        for kind, stream in self.streams.items():
            tensors = {name: (_ON_DISK[dtype].str, shape) for name, shape in shapes[kind].items()}
            stream.write(safetensors.header(tensors))

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        digest = hashlib.sha256()
        for chunk in _chunks(name, array, self.dtype):
            digest.update(data := chunk.tobytes())
            self.streams[kind].write(data)
        return Stored(f"{kind}.safetensors", array.shape, self.dtype, digest.hexdigest())._asdict()

    def close(self) -> None:
        for stream in self.streams.values():
            stream.close()


class _CSource:
    """golden.h and golden.c: an array for each, its shape and size as macros. For compiling, not for reading back."""

    def __init__(self, folder: Path, shapes: Shapes, dtype: str) -> None:
        self.dtype = dtype
        self.names: set[str] = set()
        self.header = open(folder / "golden.h", "x", encoding="ascii", newline="\n")  # noqa: SIM115
        self.source = open(folder / "golden.c", "x", encoding="ascii", newline="\n")  # noqa: SIM115
        self.header.write("/* Golden tensors, made by refnet golden: see manifest.json. */\n")
        self.header.write('#ifndef GOLDEN_H\n#define GOLDEN_H\n#ifdef __cplusplus\nextern "C" {\n#endif\n')
        self.source.write('#include "golden.h"\n')

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        symbol = "golden_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        if symbol in self.names:
            raise RequestError(f"{name}: another array is called {symbol} in C too; take another format")
        self.names.add(symbol)
        macro, ctype = symbol.upper(), {"float32": "float", "float64": "double"}[self.dtype]
        self.header.write(
            f"\n#define {macro}_RANK {array.ndim}\n#define {macro}_SHAPE {{{', '.join(map(str, array.shape))}}}\n"
            f"#define {macro}_SIZE {array.size}\nextern const {ctype} {symbol}[{macro}_SIZE];\n"
        )
        self.source.write(f"\nconst {ctype} {symbol}[{macro}_SIZE] = {{\n")
        digest = hashlib.sha256()
        for chunk in _chunks(name, array, self.dtype):
            digest.update(chunk.tobytes())
            for at in range(0, chunk.size, 8):
                line = [_literal(value, self.dtype) for value in chunk[at : at + 8].tolist()]
                self.source.write(", ".join(line) + ",\n")
        self.source.write("};\n")
        return {**Stored("golden.c", array.shape, self.dtype, digest.hexdigest())._asdict(), "array": symbol}

    def close(self) -> None:
        self.header.write("\n#ifdef __cplusplus\n}\n#endif\n#endif\n")
        self.header.close()
        self.source.close()


def _literal(value: float, dtype: str) -> str:
    """Digits enough to give the same number back: nine for float32, seventeen for float64."""
    text = f"{value:.9g}" if dtype == "float32" else f"{value:.17g}"
    if "." not in text and "e" not in text:
        text += ".0"
    return text + "f" if dtype == "float32" else text


def read_array(path: Path, name: str, stored: Stored, form: str) -> Array:
    """One array of a pack, as it is stored.

    Raises
    ------
    FormatError
        if the file is not what the manifest says of it, or holds NaN or infinity.
    """
    dtype = _ON_DISK[stored.dtype]
    with open(path, "rb") as file:
        size = math.prod(stored.shape) * dtype.itemsize
        try:
            if form == "npy":
                begin, end = _npy_place(file, stored, dtype)
            elif form == "safetensors":
                begin, end = _safetensors_place(file, name, stored, dtype)
            else:
                begin, end = 0, os.fstat(file.fileno()).st_size
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None
        if end - begin != size or end > os.fstat(file.fileno()).st_size:
            raise FormatError(
                f"{path}: {name} takes {size} bytes, and the file has {end - begin}: cut short or changed"
            )
        digest = hashlib.sha256()
        if form == "npy":  # the hash is of the whole file here, and of the numbers alone in the others
            file.seek(0)
            digest.update(file.read(begin))
        file.seek(begin)
        array = np.fromfile(file, dtype, math.prod(stored.shape))
    digest.update(array.view(np.uint8).data)
    if digest.hexdigest() != stored.sha256:
        raise FormatError(
            f"{path}: {name} does not have the hash that the manifest gives: changed since it was written"
        )
    if not np.isfinite(array).all():
        raise FormatError(f"{path}: {name} holds NaN or infinity")
    return array.reshape(stored.shape).astype(stored.dtype, copy=False)


def _npy_place(file: IO[bytes], stored: Stored, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Where the numbers begin and end, once the header has agreed with the manifest."""
    shape, fortran, found = npy.read_header(file)
    if shape != stored.shape:
        raise FormatError(f"has shape {shape}, in the manifest it has {stored.shape}")
    if found != dtype or fortran:
        order = "Fortran" if fortran else "C"
        raise FormatError(f"holds {found.str} in {order} order; the manifest asks for {dtype.str} in C order")
    return file.tell(), os.fstat(file.fileno()).st_size


@lru_cache(maxsize=2)
def _ranges(path: str, modified: int, size: int) -> Mapping[str, safetensors.ByteRange]:
    """Where all tensors of a file lie: every one of them asks."""
    with open(path, "rb") as file:
        return safetensors.byte_ranges(file)


def _safetensors_place(file: BinaryIO, name: str, stored: Stored, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Where the numbers of one tensor begin and end."""
    stat = os.fstat(file.fileno())
    found = _ranges(file.name, stat.st_mtime_ns, stat.st_size)
    if name not in found:
        raise FormatError(f"has no tensor called {name}")
    place = found[name]
    if (place.dtype, place.shape) != (dtype.str, stored.shape):
        wanted = f"{dtype.str} {stored.shape}"
        raise FormatError(f"{name} is {place.dtype} {place.shape}, in the manifest it is {wanted}")
    return place.begin, place.end
