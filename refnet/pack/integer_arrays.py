"""The arrays of a pack of integers on disk: .npy files, raw numbers or C source, of any dtype.

Writes little-endian, C order, one array at a time. Reads .npy and raw back and checks their hashes.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers import npy
from refnet.files.graph_text import positive_shape
from refnet.pack.formats import stored_in

__all__ = ["INTEGER_FORMATS", "ArrayWriter", "array_writer", "read_stored"]

Array = npt.NDArray[Any]

INTEGER_FORMATS = ("npy", "raw", "c")
DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "float64")
_C_TYPES = {"float32": "float", "float64": "double"} | {name: f"{name}_t" for name in DTYPES[:5]}
_HEAD = 1 << 16  # bytes before the numbers of a .npy file
_LINE = 16  # numbers in a line of C


class ArrayWriter(Protocol):
    """Writes the arrays of a pack in the order in which they come."""

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        """Write one array; return what the manifest says of it."""

    def close(self) -> None:
        """Finish the files."""


def array_writer(form: str, folder: Path) -> ArrayWriter:
    """What writes arrays in one of `INTEGER_FORMATS`."""
    return _CArrays(folder) if form == "c" else _Files(folder, form)


def _entry(file: str, array: Array, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"file": file, "shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}


def _little(array: Array) -> Array:
    array = np.asarray(array)
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


class _Files:
    """A file of its own for every array."""

    def __init__(self, folder: Path, form: str) -> None:
        self.folder, self.form = folder, form

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        (self.folder / kind).mkdir(exist_ok=True)
        file = stored_in(kind, name, self.form)
        stream = io.BytesIO()
        if self.form == "npy":
            np.lib.format.write_array(stream, _little(array), version=(1, 0), allow_pickle=False)
        else:
            stream.write(_little(array).tobytes())
        (self.folder / file).write_bytes(stream.getvalue())
        return _entry(file, array, stream.getvalue())

    def close(self) -> None:
        pass


class _CArrays:
    """golden.h and golden.c: an array for each, its shape and size as macros. For compiling, not for reading back."""

    def __init__(self, folder: Path) -> None:
        self.names: set[str] = set()
        self.header = open(folder / "golden.h", "x", encoding="ascii", newline="\n")  # noqa: SIM115
        self.source = open(folder / "golden.c", "x", encoding="ascii", newline="\n")  # noqa: SIM115
        self.header.write("/* Golden integers, made by refnet golden: see manifest.json.\n")
        self.header.write("   A shift above zero is one to the left. */\n")
        self.header.write("#ifndef GOLDEN_H\n#define GOLDEN_H\n#include <stdint.h>\n")
        self.header.write('#ifdef __cplusplus\nextern "C" {\n#endif\n')
        self.source.write('#include "golden.h"\n')

    def add(self, kind: str, name: str, array: Array) -> dict[str, Any]:
        short = {"tensors": "", "params": "", "accumulators": "accumulators_", "constants": ""}[kind]
        symbol = f"golden_{short}" + re.sub(r"\W", "_", name, flags=re.ASCII)
        if symbol in self.names:
            raise RequestError(f"{name}: another array is called {symbol} in C too; take another format")
        self.names.add(symbol)
        macro, ctype, size = symbol.upper(), _C_TYPES[str(array.dtype)], max(array.size, 1)
        shape = ", ".join(map(str, array.shape or (1,)))
        self.header.write(
            f"\n#define {macro}_RANK {max(array.ndim, 1)}\n#define {macro}_SHAPE {{{shape}}}\n"
            f"#define {macro}_SIZE {size}\nextern const {ctype} {symbol}[{macro}_SIZE];\n"
        )
        self.source.write(f"\nconst {ctype} {symbol}[{macro}_SIZE] = {{\n")
        numbers = array.reshape(-1).tolist()
        for at in range(0, len(numbers), _LINE):
            line = [_literal(number, str(array.dtype)) for number in numbers[at : at + _LINE]]
            self.source.write(", ".join(line) + ",\n")
        self.source.write("};\n")
        return {**_entry("golden.c", array, _little(array).tobytes()), "array": symbol}

    def close(self) -> None:
        self.header.write("\n#ifdef __cplusplus\n}\n#endif\n#endif\n")
        self.header.close()
        self.source.close()


def _literal(number: float, dtype: str) -> str:
    if dtype not in ("float32", "float64"):
        lowest = {"int32": -(2**31), "int64": -(2**63)}.get(dtype)
        if number == lowest:  # C has no negative literals: what stands behind the minus must fit by itself
            return f"({number + 1} - 1)"
        return f"{number}LL" if dtype == "int64" else str(number)
    text = f"{number:.9g}" if dtype == "float32" else f"{number:.17g}"
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"{text}f" if dtype == "float32" else text


def read_stored(folder: Path, form: str, name: str, entry: dict[str, Any]) -> Array:
    """One array of a pack.

    Raises
    ------
    FormatError
        if the file is not what the manifest says of it.
    """
    path = folder / str(entry["file"])
    if entry["dtype"] not in DTYPES:
        raise FormatError(f"{name}: is of {str(entry['dtype'])[:60]!r}; take one of {', '.join(DTYPES)}")
    shape, dtype = positive_shape(entry["shape"], name), np.dtype(entry["dtype"]).newbyteorder("<")
    most = math.prod(shape) * dtype.itemsize + _HEAD
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise FormatError(
            f"{path}: {name} does not have the hash that the manifest gives: changed since it was written"
        )
    stream = io.BytesIO(data)
    try:
        if form == "npy" and (found := npy.read_header(stream)) != (shape, False, dtype):
            raise FormatError(f"holds {found[2]} of shape {found[0]}, and the manifest says {shape} {dtype}")
    except FormatError as error:
        raise FormatError(f"{path}: {name}: {error}") from None
    size = len(data) - stream.tell()
    if size != math.prod(shape) * dtype.itemsize:
        raise FormatError(f"{path}: {name} has {size} bytes, and the manifest says {shape} {dtype}")
    array = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
    return np.asarray(array, dtype.newbyteorder("="))
