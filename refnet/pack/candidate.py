"""A candidate's tensors in files: a folder of .npy or raw files, an .npz archive or a safetensors file.

All but an .npz is looked through when it is opened and read tensor by tensor when asked for, so that memory stays low.
The file knows no network, runs nothing that a file holds, and refuses what is cut short.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers import npy, npz, safetensors
from refnet.files.containers.archive import widened
from refnet.files.containers.atomic import is_no_file

__all__ = ["TensorPlace", "Tensors", "read_candidate"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_RAW = (".bin", ".raw")


class TensorPlace(NamedTuple):
    """Where a tensor lies in a file; dtype as NumPy writes it, or 'bfloat16', which NumPy does not have."""

    path: Path
    offset: int
    dtype: str
    shape: Shape
    order: str = "C"

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)


class Tensors(Mapping[str, Array]):
    """Tensors in files: each is read when asked for, and not kept. `shapes` are known without reading.

    `unread` says why some files of a folder, or tensors of a safetensors file, are none: they do not refuse the others.
    """

    def __init__(self, stored: Mapping[str, TensorPlace], unread: Mapping[str, str] | None = None) -> None:
        self._stored, self.unread = dict(stored), dict(unread or {})
        self.shapes = {name: place.shape for name, place in stored.items()}
        self.dtypes = {name: "float32" if place.dtype == "bfloat16" else place.dtype for name, place in stored.items()}

    def raw(self) -> dict[str, TensorPlace]:
        """Where the tensors of raw files lie, which say nothing of how they hold numbers."""
        return {name: place for name, place in self._stored.items() if place.path.suffix in _RAW}

    def retyped(self, dtype: str) -> Tensors:
        """The same with raw files read as of another format."""
        size = np.dtype(dtype).itemsize
        read = {n: place._replace(dtype=dtype, shape=(place.nbytes // size,)) for n, place in self.raw().items()}
        return Tensors({**self._stored, **read}, self.unread)

    def __getitem__(self, name: str) -> Array:
        path, offset, dtype, shape, order = self._stored[name]
        file_dtype = np.dtype("<u2" if dtype == "bfloat16" else dtype)
        try:
            flat: Array = np.fromfile(path, file_dtype, math.prod(shape), offset=offset)
            if flat.size != math.prod(shape):
                raise ValueError("cut short since it was opened")
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}: {_line(error).removeprefix(f'{path}: ')}") from None
        if dtype == "bfloat16":
            flat = widened(flat)
        return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(shape, order="F" if order == "F" else "C")

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def read_candidate(path: str | Path) -> Mapping[str, Array]:
    """Open a candidate: {name: tensor} in a stable order, numbers in names counted as numbers.

    Parameters
    ----------
    path : a folder of .npy files and of .bin or .raw files (little-endian float32, without a shape: they come out
        one-dimensional), or such a folder's parent where it is called tensors/, as in a golden pack; one such file; an
        .npz archive; a safetensors file. float16, bfloat16 (widened to float32), float32, float64 or integers.

    Returns
    -------
    Mapping; all but an .npz reads each tensor when it is asked for

    Raises
    ------
    FormatError
        in one line, if a file is damaged, cut short or of a dtype that is no number, or if there is nothing.
    FileNotFoundError
        if there is no such path.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return Tensors(*_folder(path))
        if is_no_file(path):
            raise FormatError("is neither a file nor a folder")
        with open(path, "rb") as file:
            start = file.read(9)
        if not start:
            raise FormatError("the file is empty")
        if path.suffix in _RAW or start.startswith(b"\x93NUMPY"):
            return Tensors({path.stem: _file(path)})
        if start.startswith(b"PK"):
            return _archived(path)
        if path.suffix == ".safetensors" or start[8:] == b"{":
            return _safetensors(path)
        raise FormatError("take a folder of .npy or .raw files, an .npz archive or a .safetensors file")
    except FileNotFoundError:
        raise
    except (FormatError, OSError, ValueError) as error:
        reason = _line(error)
        raise FormatError(reason if reason.startswith(str(path)) else f"{path}: {reason}") from None


class _Archived(dict[str, Array]):
    """Tensors of an archive; `unread` says why some of its members are none."""

    unread: Mapping[str, str] = {}


def _archived(path: Path) -> _Archived:
    """The tensors of an .npz archive: what is no number is told, and does not refuse the others."""
    unread: dict[str, str] = {}
    held = _Archived(npz.read(path, unread))
    for name, array in [*held.items()]:
        try:
            _allow(array.dtype, name)
        except FormatError as error:
            unread[name] = str(error)
            del held[name]
    if not held:
        raise FormatError(next(iter(unread.values()), "holds no tensors"))
    held.unread = unread
    return held


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())[:500] or type(error).__name__


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts '2' before '10'."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _allow(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        what = "Python objects" if dtype.hasobject else str(dtype)
        raise FormatError(f"{name!r} holds {what}; take float16, float32, float64 or integers")


def _folder(path: Path) -> tuple[dict[str, TensorPlace], dict[str, str]]:
    """Where the tensors of a folder lie, and why others cannot be read."""
    folder = path / "tensors" if (path / "tensors").is_dir() else path
    files = [file for file in folder.iterdir() if file.suffix in (".npy", *_RAW) and not file.name.startswith(".")]
    if not files:
        raise FormatError("holds no .npy, .bin or .raw file")
    found: dict[str, TensorPlace] = {}
    unread: dict[str, FormatError] = {}
    home = os.path.realpath(path)
    for file in sorted(files, key=lambda file: (_natural(file.stem), file.name)):
        if file.stem in found:
            raise FormatError(f"{found[file.stem].path.name} and {file.name} have one name; remove one")
        try:
            if not Path(os.path.realpath(file)).is_relative_to(home):
                raise FormatError(f"{file}: is a link that leads out of the folder; copy the file")
            found[file.stem] = _file(file)
        except FormatError as error:
            unread[file.stem] = error
    if not found:
        raise next(iter(unread.values()))
    return found, {name: str(error) for name, error in unread.items()}


def _file(path: Path) -> TensorPlace:
    """Where the tensor of a .npy or raw file lies."""
    if not path.is_file():
        raise FormatError(f"{path}: is no file")
    size = path.stat().st_size
    if path.suffix in _RAW:
        if size % 4 == 2:  # no float32: float16, as then the others are
            return TensorPlace(path, 0, "<f2", (size // 2,))
        if size == 0 or size % 4:
            raise FormatError(f"{path}: {size} bytes are no whole number of float32 values")
        return TensorPlace(path, 0, "<f4", (size // 4,))
    with open(path, "rb") as file:
        try:
            shape, fortran, dtype = npy.read_header(file)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None
        _allow(dtype, str(path))
        stored = TensorPlace(path, file.tell(), dtype.str, tuple(map(int, shape)), "F" if fortran else "C")
    if min(shape, default=0) < 0 or stored.nbytes != size - stored.offset:
        state = "cut short" if stored.nbytes > size - stored.offset else "not as long as its array"
        raise FormatError(f"{path}: is {state}: {size - stored.offset} bytes for shape {shape} of {dtype}")
    return stored


def _safetensors(path: Path) -> Tensors:
    """The tensors of a safetensors file, but those that hold no numbers."""
    unread: dict[str, str] = {}
    with open(path, "rb") as file:
        found = safetensors.byte_ranges(file, unread)
    if not found:
        raise FormatError(next(iter(unread.values())))
    places = {name: TensorPlace(path, found[name].begin, *found[name][:2]) for name in sorted(found, key=_natural)}
    return Tensors(places, unread)
