"""PyTorch checkpoints without PyTorch: .pth, .pt, .bin, as torch.save writes a state dict or a whole module.

Two formats. The zip archive (since 1.6) holds, in one folder, a pickle `data.pkl` that describes tensors as views of
storages, each storage as a member `data/<key>`, and `byteorder`. The legacy format (before 1.6) is five pickles in a
row: a magic number, a protocol, facts about the machine, the tensors, the keys of the storages; then for each key its
count of elements, as int64, and the elements. There everything is little-endian, on every machine.

A module saved whole, and a TorchScript archive, which is a zip archive of the same kind with a program in `code/`, are
read as the state dict that PyTorch would give of them: nothing of their classes is run, see `pickles`; strides and
pads are in that program, see `torchscript`. Of a wrapper's other entries (optimizer, epoch) nothing but the
description is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import (
    TORCH_MAGIC,
    Archive,
    is_legacy_torch,
    is_zip,
    largest,
    least_elements,
    opened,
    shown,
    widened,
)
from refnet.files.containers.pickles import LONGEST, unpickle
from refnet.files.containers.structure import Contents, IntegerScale
from refnet.files.containers.torch_modules import is_script
from refnet.files.containers.torch_objects import Storage, Tensor
from refnet.files.containers.torch_wrappers import unwrapped
from refnet.files.containers.torchscript import program_settings

__all__ = ["read"]

Array = npt.NDArray[Any]
_Load = Callable[[Storage], Array]  # the elements of a storage, 1-D, as they are stored

_PROTOCOL = 1001

# bfloat16 is the upper half of a float32 and read as the integer that it looks like; bool too, whose bytes may be any.
_DTYPES: dict[str, np.dtype[Any]] = {
    "Float": np.dtype("f4"),
    "Double": np.dtype("f8"),
    "Half": np.dtype("f2"),
    "BFloat16": np.dtype("u2"),
    "Long": np.dtype("i8"),
    "Int": np.dtype("i4"),
    "Short": np.dtype("i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("u1"),
    "QInt8": np.dtype("i1"),
    "QUInt8": np.dtype("u1"),
}

_STEPS = ":"  # between the key of a quantised tensor and what its scales are called here
_NO_CONSTANTS = 4  # bytes of the pickle of an empty tuple
_MOST_AXES = 64  # NumPy's and PyTorch's limit


def read(path: str | os.PathLike[str], entry: str | None = None) -> Contents:
    """Read the tensors of a state dict or of a module.

    Parameters
    ----------
    path : of the checkpoint. The network may be wrapped, once or twice: {'state_dict': ...}, {'model': ...}.
    entry : which of its entries holds the network; by default the likeliest

    Returns
    -------
    contents : arrays by key, in the order of the file, each a C-contiguous copy of its own in native byte order;
        bfloat16 becomes float32, which holds it exactly

    Raises
    ------
    FormatError
        if the file holds no network or several, is damaged, or would run programs in PyTorch. One line: the file, what
        is wrong, what to do.
    """
    with opened(path) as file:
        checkpoint, load, program = _from_zip(file) if is_zip(file) else (*_from_legacy(file), {})
        found = unwrapped(checkpoint, entry, program)
        parts = {f"{key}{_STEPS}{slot}": each for key, tensor in found.tensors.items() for slot, each in _steps(tensor)}
        arrays = _arrays({**found.tensors, **parts}, load, largest(file))
        contents = Contents("pth", arrays, None, found.submodules, found.wrappers, found.beside)
        return _in_floats(contents, found.tensors) if any(t.steps for t in found.tensors.values()) else contents


def _steps(tensor: Tensor) -> list[tuple[str, Tensor]]:
    """The tensors that say what a quantised tensor's integers stand for, where there are more than one."""
    if tensor.steps is None or not isinstance(tensor.steps.scales, Tensor):
        return []
    return [("scales", tensor.steps.scales), ("zero_points", tensor.steps.zero_points)]


def _in_floats(contents: Contents, tensors: Mapping[str, Tensor]) -> Contents:
    """A quantised state dict: arrays are the floats that integers stand for, the integers and scales beside them."""
    arrays, integers, steps = dict(contents.arrays), {}, dict[str, tuple[float, int]]()
    for key, tensor in tensors.items():
        if tensor.steps is None:
            continue
        own = (arrays.pop(f"{key}{_STEPS}{slot}", None) for slot in ("scales", "zero_points"))
        scales, zeros = (
            np.atleast_1d(a if a is not None else b)
            for a, b in zip(own, (tensor.steps.scales, tensor.steps.zero_points), strict=True)
        )
        scale = IntegerScale(scales.astype(np.float32), zeros.astype(np.int64), tensor.steps.axis)
        along = [1] * arrays[key].ndim
        if len(scales) > 1:
            if (
                tensor.steps.axis >= len(along)
                or arrays[key].shape[tensor.steps.axis] != len(scales)
                or len(zeros) != len(scales)
            ):
                raise FormatError(f"{shown(key)} has {len(scales)} scales along axis {tensor.steps.axis}: damaged")
            along[tensor.steps.axis] = -1
        integers[key] = (arrays[key], scale)
        arrays[key] = (arrays[key] - scale.zero_points.reshape(along)).astype(np.float32) * scale.scales.reshape(along)
    for key in [key for key in arrays if key.endswith(".scale") and key.removesuffix("scale") + "zero_point" in arrays]:
        path = key.removesuffix(".scale")
        scalar, zero = arrays.pop(key), arrays.pop(f"{path}.zero_point")
        if scalar.size == zero.size == 1:
            steps[path] = (float(scalar.item()), int(zero.item()))
    stored = {key: str(values.dtype) for key, (values, _) in integers.items()}
    return contents._replace(arrays=arrays, integers=integers, steps=steps, stored=stored)


def _from_zip(file: BinaryIO) -> tuple[Any, _Load, Mapping[str, Mapping[str, Any]]]:
    archive = Archive(file)
    found = [name for name in archive.members if name.split("/")[-1] == "data.pkl"]
    if len(found) != 1:
        raise FormatError(f"a zip archive with {len(found)} members data.pkl, not one: not a PyTorch checkpoint")
    folder = found[0].removesuffix("data.pkl")
    byteorder = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.members else b"little"
    if byteorder not in (b"little", b"big"):
        raise FormatError("its byteorder is neither little nor big: the file is damaged")
    checkpoint, storages = unpickle(BytesIO(archive.read(found[0], LONGEST)))
    if not storages and archive.members.get(f"{folder}constants.pkl", 0) > _NO_CONSTANTS:
        raise FormatError(
            "a frozen TorchScript archive, whose weights have no names: take the file from before torch.jit.freeze"
        )

    def load(storage: Storage) -> Array:
        name, dtype = f"{folder}data/{storage.key}", _DTYPES[storage.type]
        size = archive.members.get(name)
        if size is not None and size != storage.numel * dtype.itemsize:
            raise FormatError(f"member {shown(name)} has {size} bytes, not {storage.numel} x {dtype.itemsize}")
        return np.frombuffer(archive.read(name), dtype.newbyteorder("<" if byteorder == b"little" else ">"))

    return checkpoint, load, program_settings(archive, folder) if is_script(checkpoint) else {}


def _from_legacy(file: BinaryIO) -> tuple[Any, _Load]:
    if not is_legacy_torch(file):
        raise FormatError("not a PyTorch checkpoint: neither a zip archive nor the format from before 1.6")
    file.seek(0)
    (magic, _), (protocol, _), (machine, _) = unpickle(file), unpickle(file), unpickle(file)
    if magic != TORCH_MAGIC or protocol != _PROTOCOL or not isinstance(machine, dict):
        raise FormatError(f"not a PyTorch checkpoint of protocol {_PROTOCOL}: damaged, or older than PyTorch 0.1.10")
    (checkpoint, storages), (keys, _) = unpickle(file), unpickle(file)
    places = _places(file, keys, storages)

    def load(storage: Storage) -> Array:
        if storage.key not in places:
            raise FormatError(f"storage {shown(storage.key)} is missing: the file is incomplete")
        file.seek(places[storage.key])
        dtype = _DTYPES[storage.type]
        return np.frombuffer(file.read(storage.numel * dtype.itemsize), dtype.newbyteorder("<"))

    return checkpoint, load


def _places(file: BinaryIO, keys: object, storages: Mapping[str, Storage]) -> dict[str, int]:
    """Where in a legacy file the elements of each storage begin; they must fill the file to its end."""
    end = os.fstat(file.fileno()).st_size
    places: dict[str, int] = {}
    if not isinstance(keys, list):
        raise FormatError("has no list of its storages: the file is damaged")
    for key in keys:
        if not isinstance(key, str) or key not in storages or key in places:
            raise FormatError("its list of storages does not match its tensors: the file is damaged")
        count = file.read(8)
        places[key] = file.tell()
        file.seek(storages[key].numel * _DTYPES[storages[key].type].itemsize, os.SEEK_CUR)
        if len(count) < 8 or file.tell() > end:
            raise FormatError(f"truncated in or before storage {shown(key)}: fetch the file again")
        if struct.unpack("<q", count) != (storages[key].numel,):
            raise FormatError(f"storage {shown(key)} has another size than its tensors say: the file is damaged")
    if file.tell() != end:
        raise FormatError(f"has {end - file.tell()} bytes behind its last storage: the file is damaged")
    return places


def _arrays(tensors: Mapping[str, Tensor], load: _Load, limit: int) -> dict[str, Array]:
    """Every tensor as an array of its own; storages may be shared, so each is loaded once."""
    loaded: dict[str, Array] = {}
    arrays: dict[str, Array] = {}
    total = 0
    for key, tensor in tensors.items():
        # A view may repeat elements (stride 0), and thousands may share a storage: the sum counts.
        total += least_elements(tensor.size) * _result_size(tensor.storage.type)
        if total > limit or len(tensor.size) > _MOST_AXES:
            raise FormatError(f"{shown(key)} is too large for a file of this size: refused")
        reach = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.size, tensor.stride, strict=True)) + 1
        if 0 not in tensor.size and reach > tensor.storage.numel:
            raise FormatError(f"{shown(key)} reaches beyond its storage: the file is damaged")
        name = tensor.storage.key
        if name not in loaded:
            loaded[name] = load(tensor.storage)
        if loaded[name].size != tensor.storage.numel:
            raise FormatError(f"{shown(key)} has a storage of another size than it says: the file is damaged")
        arrays[key] = _array(loaded[name], tensor)
    return arrays


def _result_size(storage_type: str) -> int:
    return 4 if storage_type == "BFloat16" else _DTYPES[storage_type].itemsize


def _array(stored: Array, tensor: Tensor) -> Array:
    """Gather a tensor's elements: y[i, j] = stored[offset + i*stride[0] + j*stride[1]], all inside the storage."""
    if 0 in tensor.size:
        gathered = np.zeros(tensor.size, stored.dtype.newbyteorder("="))
    else:
        # An axis of one element may have any stride, even one that NumPy's integers cannot hold.
        steps = [s * stored.itemsize if n > 1 else 0 for n, s in zip(tensor.size, tensor.stride, strict=True)]
        view = np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.size, steps, writeable=False)
        gathered = np.array(view, stored.dtype.newbyteorder("="), order="C")
    if tensor.storage.type == "BFloat16":
        return widened(gathered)
    if tensor.storage.type == "Bool":
        return np.asarray(gathered != 0)
    return gathered
