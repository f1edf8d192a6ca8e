"""PyTorch checkpoints without PyTorch: the zip format, and the pickles in a row from before 1.6.

A checkpoint is a pickle, which is a program. This reader runs only programs that rebuild tensors: every name that one
may call is in `_GLOBALS` and leads to a function of this file; anything else is refused before it is called, and
told by name. Nothing is imported because a file asks for it.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = ["is_legacy", "read"]

Array = npt.NDArray[Any]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema"),  # averaged weights only where there are no others
)
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_DTYPES = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": "u2",  # widened to float32 below
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


class _StorageType(NamedTuple):
    """What `torch.FloatStorage` stands for here."""

    name: str


class _Storage(NamedTuple):
    """A run of numbers in the file, not read yet."""

    type: str
    key: str
    count: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Dict(dict[Any, Any]):
    """An OrderedDict; what a file would set on it (PyTorch's _metadata) is dropped."""

    def __setstate__(self, state: object) -> None:
        pass


class _Callable(NamedTuple):
    """A name that a file may call. A tuple, so that no file can set anything on it."""

    run: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """`torch._utils._rebuild_tensor_v2`; what follows the strides (gradients, hooks) is of no use here."""
    whole = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in whole):
        raise FormatError("a tensor is described by something other than a storage and whole numbers")
    if len(size) != len(stride):
        raise FormatError("a tensor has another number of strides than of axes")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    """`torch._utils._rebuild_parameter`: the tensor itself."""
    return data


_GLOBALS: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Callable(_Dict),
    ("torch._utils", "_rebuild_tensor"): _Callable(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Callable(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Callable(_rebuild_parameter),
    ("torch", "Size"): _Callable(tuple),
    **{("torch", f"{name}Storage"): _StorageType(name) for name in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Runs pickles that do nothing but rebuild tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise FormatError(
                f"it wants to call {module}.{name}, which rebuilding tensors does not need; refused, nothing was run. "
                "Save the state_dict alone"
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(name), str(key), str(), int(count), *view) if (
                view in ([], [None]) and count >= 0
            ):
                return _Storage(name, key, count)
        raise FormatError("a storage is described in a way that PyTorch does not write")


def is_legacy(start: bytes) -> bool:
    """Whether a file begins with the magic number of PyTorch's format from before 1.6."""
    return start[:20].find(_LEGACY_MAGIC.to_bytes(10, "little")) >= 0


def read(path: str | Path) -> dict[str, Array]:
    """The tensors of a checkpoint's state dict, by key.

    A wrapper such as {'state_dict': ..., 'epoch': ...} is opened, a prefix `module.` on every key taken off. bfloat16
    becomes float32; every other type stays.

    Returns
    -------
    arrays : contiguous copies, in the order of the file

    Raises
    ------
    FormatError
        if the file is damaged, is no checkpoint of tensors, or wants to call anything but PyTorch's tensor rebuilding.
    """
    try:
        data = Path(path).read_bytes()
        tensors, storage = _from_zip(data) if data.startswith(b"PK") else _from_legacy(data)
        return _arrays(_plain_keys(_state_dict(tensors)), storage, len(data))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except OSError:
        raise
    except (RecursionError, MemoryError):
        raise FormatError(f"{path}: is nested too deeply or asks for too much memory; refused") from None
    except Exception as error:  # hostile bytes make zipfile, struct and pickle raise nearly anything
        raise FormatError(f"{path}: damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def _from_zip(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = [member.filename for member in archive.infolist()]
    if len(set(names)) != len(names):
        raise FormatError(f"names {next(name for name in names if names.count(name) > 1)!r} twice")
    for member in archive.infolist():
        # PyTorch stores members as they are, so that they can be mapped; no checkpoint needs unpacking.
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise FormatError(f"{member.filename!r} is compressed to expand to {member.file_size:,} bytes; refused")
    if sum(member.file_size for member in archive.infolist()) > len(data):
        raise FormatError("its members are larger than the file; refused")
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    folder = pickles[0].removesuffix("data.pkl") if pickles else ""
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise FormatError("is a TorchScript archive, which is a program; save model.state_dict() instead")
    if len(pickles) != 1:
        raise FormatError("a zip archive without a data.pkl: no PyTorch checkpoint")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        return _unpickled(archive.read(pickles[0])), lambda s: _swapped(archive.read(f"{folder}data/{s.key}"), s)
    return _unpickled(archive.read(pickles[0])), lambda s: archive.read(f"{folder}data/{s.key}")


def _from_legacy(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    stream = io.BytesIO(data)
    magic, protocol, system, tensors, keys = (_unpickled(_one_pickle(stream)) for _ in range(5))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise FormatError(f"a checkpoint of protocol {protocol!r}, not {_LEGACY_PROTOCOL}")
    types = {s.key: s for s in _storages(tensors)}
    order = "<" if system.get("little_endian", True) else ">"
    found: dict[str, bytes] = {}
    for key in keys:
        (count,) = struct.unpack(f"{order}q", stream.read(8))
        if key not in types or count != types[key].count:
            raise FormatError(f"storage {key!r} is not the one that its tensors describe")
        raw = stream.read(count * np.dtype(_DTYPES[types[key].type]).itemsize)
        found[key] = raw if order == "<" else _swapped(raw, types[key])
    return tensors, lambda s: found[s.key]


def _one_pickle(stream: io.BytesIO) -> bytes:
    """The bytes of the pickle that the stream stands at; moves behind it."""
    start = stream.tell()
    for _ in pickletools.genops(stream):
        pass
    return stream.getvalue()[start : stream.tell()]


def _unpickled(program: bytes) -> Any:
    for operation, argument, _ in pickletools.genops(program):
        # The memo is an array as long as its largest index: one operation could ask for any amount of memory.
        if operation.name.endswith("PUT") and int(argument) > len(program):
            raise FormatError("its pickle numbers more objects than it has bytes; refused")
    return _Unpickler(io.BytesIO(program)).load()


def _storages(value: Any, depth: int = 3) -> list[_Storage]:
    """Every storage that the tensors in nested dicts refer to."""
    if isinstance(value, _Tensor):
        return [value.storage]
    if isinstance(value, dict) and depth:
        return [storage for item in value.values() for storage in _storages(item, depth - 1)]
    return []


def _state_dict(loaded: Any, depth: int = 2) -> dict[str, _Tensor]:
    """Find the tensors by name, under at most two wrappers."""
    if not isinstance(loaded, dict):
        raise FormatError(f"holds {_kind(loaded)}, not a state dict; save model.state_dict()")
    if any(isinstance(value, _Tensor) for value in loaded.values()):
        for key, value in loaded.items():
            if not isinstance(key, str) or not isinstance(value, _Tensor):
                raise FormatError(f"{key!r} holds {_kind(value)} among tensors; save model.state_dict()")
        return loaded
    for name in _WRAPPERS:
        if depth and isinstance(loaded.get(name), dict):
            return _state_dict(loaded[name], depth - 1)
    raise FormatError(f"holds no tensors by name; its keys are {', '.join(map(repr, list(loaded)[:5])) or 'none'}")


def _kind(value: Any) -> str:
    return (
        "a single tensor"
        if isinstance(value, _Tensor)
        else f"a value of type {type(value).__name__.strip('_').lower()}"
    )


def _plain_keys(tensors: dict[str, _Tensor]) -> dict[str, _Tensor]:
    """Take off what wrappers of modules put before every key."""
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def _arrays(tensors: dict[str, _Tensor], storage: Callable[[_Storage], bytes], size: int) -> dict[str, Array]:
    """Read the storages and copy every tensor out of its own."""
    read_before: dict[_Storage, Array] = {}
    total, found = 0, {}
    for key, tensor in tensors.items():
        total += math.prod(tensor.size)
        if total > 16 * size:  # many names for one storage are fine, a file that swells is not
            raise FormatError(f"{key!r}: the tensors hold far more than the file; refused")
        if tensor.storage not in read_before:
            read_before[tensor.storage] = _numbers(key, tensor.storage, storage)
        found[key] = _copied(key, tensor, read_before[tensor.storage])
    return found


def _numbers(key: str, storage: _Storage, read_bytes: Callable[[_Storage], bytes]) -> Array:
    try:
        raw = read_bytes(storage)
    except KeyError:
        raise FormatError(f"{key!r}: its storage {storage.key!r} is not in the file") from None
    numbers = np.dtype(_DTYPES[storage.type]).newbyteorder("<")
    if len(raw) != storage.count * numbers.itemsize:
        raise FormatError(
            f"{key!r}: its storage {storage.key!r} has {len(raw)} bytes, not {storage.count} x {numbers.itemsize}"
        )
    array = np.frombuffer(raw, numbers)
    if storage.type == "BFloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.astype(numbers.newbyteorder("="))


def _copied(key: str, tensor: _Tensor, numbers: Array) -> Array:
    """A tensor's elements; refuses views beyond the storage and views that repeat elements."""
    count = math.prod(tensor.size)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.size, tensor.stride, strict=True))
    if count > len(numbers) or (count and last >= len(numbers)):
        raise FormatError(f"{key!r}: reaches beyond its storage of {len(numbers)} numbers")
    if not count:
        return np.empty(tensor.size, numbers.dtype)
    strides = tuple(stride * numbers.itemsize for stride in tensor.stride)
    return np.array(np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.size, strides), order="C")


def _swapped(raw: bytes, storage: _Storage) -> bytes:
    """The bytes of a big-endian machine, turned."""
    return np.frombuffer(raw, np.dtype(_DTYPES[storage.type])).byteswap().tobytes()
