"""A PyTorch checkpoint without PyTorch: a state dict of arrays, in the zip format that torch.load reads.

The pickle in it is put together opcode by opcode, protocol 2, and calls what torch.save has called: OrderedDict and the
function that rebuilds a tensor from its storage. Writes floating-point numbers and integers.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.files.containers.archive import shown
from refnet.files.containers.atomic import atomic_file
from refnet.files.containers.npz import member_info

__all__ = ["write"]

Array = npt.NDArray[Any]

_STORAGES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
}
_FOLDER = "archive"
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], version: int = 1) -> None:
    """Write a state dict, which then is there as a whole or, if writing fails, as it was before.

    Parameters
    ----------
    path : of the checkpoint; one that is there is replaced
    arrays : by key, written in this order
    version : of the network's own class, which some ask for when they load

    Raises
    ------
    RequestError
        if an array holds anything but numbers, or the file cannot be written.
    """
    for key, array in arrays.items():
        if str(array.dtype) not in _STORAGES:
            raise RequestError(f"{shown(key)} has dtype {array.dtype}: checkpoints take {', '.join(_STORAGES)}")
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:

        def put(member: str, data: bytes) -> None:
            archive.writestr(member_info(f"{_FOLDER}/{member}", compressed=False), data)

        put("data.pkl", _pickle(arrays, version))
        put("byteorder", b"little")
        for number, array in enumerate(arrays.values()):
            put(f"data/{number}", np.asarray(array, array.dtype.newbyteorder("<"), order="C").tobytes())
        put("version", b"3\n")


def _pickle(arrays: Mapping[str, Array], version: int) -> bytes:
    """OrderedDict(key=tensor, ...), with the attribute _metadata, which holds the version of the network's class."""
    items = b"".join(_text(key) + _tensor(number, array) for number, (key, array) in enumerate(arrays.items()))
    versions = b"}" + _text("version") + _integer(version) + b"s"
    metadata = b"}" + _text("_metadata") + _ORDERED_DICT + _text("") + versions + b"ss"
    return b"\x80\x02" + _ORDERED_DICT + b"(" + items + b"u" + metadata + b"b."


def _tensor(number: int, array: Array) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    kind = f"torch\n{_STORAGES[str(array.dtype)]}Storage\n".encode()
    identity = _text("storage") + b"c" + kind + _text(str(number)) + _text("cpu") + _integer(array.size)
    strides = [int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim)]
    view = _integer(0) + _integers(array.shape) + _integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + identity + b"tQ" + view + b"\x89" + _ORDERED_DICT + b"tR"


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _integers(numbers: Any) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"
