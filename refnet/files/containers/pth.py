"""PyTorch checkpoints without PyTorch: the zip format, and the pickles in a row from before 1.6.

A checkpoint is a pickle, which is a program. This reader runs only programs that rebuild tensors: every name that one
may call is in `_GLOBALS` and leads to a function of this file; anything else is refused before it is called, and
told by name. Nothing is imported because a file asks for it, and Python's own unpickler never sees the file.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.messages import line

__all__ = ["is_legacy", "read"]

Array = npt.NDArray[Any]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema"),  # averaged weights only where there are no others
)
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_MOST_AXES = 32
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
)
_EMPTY: Mapping[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
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
    numel: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    """`collections.OrderedDict`; Python 2 gives it a list of pairs."""
    found: dict[Any, Any] = {}
    match pairs:
        case ():
            pass
        case (list(items),):
            _put(found, items)
            items.clear()  # nobody needs it twice, and a file that copies it a thousand times would swell
        case _:
            raise FormatError("an OrderedDict is made of something other than a list of pairs")
    return found


def _size(axes: Any) -> tuple[Any, ...]:
    """`torch.Size`."""
    if not isinstance(axes, tuple | list) or len(axes) > _MOST_AXES:
        raise FormatError("a torch.Size is not made of a few whole numbers")
    return tuple(axes)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """`torch._utils._rebuild_tensor_v2`; what follows the strides (gradients, hooks) is of no use here."""
    if not isinstance(storage, _Storage) or not _whole(offset, *_size(size), *_size(stride)):
        raise FormatError("a tensor is described by something other than a storage and whole numbers")
    if len(size) != len(stride):
        raise FormatError("a tensor has another number of strides than of axes")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    """`torch._utils._rebuild_parameter`: the tensor itself."""
    return data


_GLOBALS: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    **{("torch", f"{name}Storage"): _StorageType(name) for name in _DTYPES},
}


class _Machine:
    """Runs the operations that PyTorch writes, and no others, on a stack and a memo of its own.

    Not `pickle.Unpickler`, which a few megabytes can crash: it hashes any key, and hashing a tuple in a tuple in a
    tuple ... overflows the C stack. Here no operation costs more than its own bytes.
    """

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}

    def run(self, program: io.BytesIO) -> Any:
        """What the pickle that the stream stands at builds; moves behind it."""
        for operation, argument, _ in pickletools.genops(program):
            self.step(operation.name, argument)
        return self.stack.pop()

    def step(self, operation: str, argument: Any) -> None:
        stack = self.stack
        match operation:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[operation])
            case _ if operation in _LITERALS:
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append(_EMPTY[operation]())
            case "TUPLE":
                items = self.marked()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(operation[-1]) :] = [tuple(self.top(int(operation[-1])))]
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS":
                items = self.marked()
                _extend(self.stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _put(stack[-1], [(key, value)])
            case "SETITEMS":
                items = self.marked()
                _put(self.stack[-1], zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                stack.append(_named(module, name))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_named(module, name))
            case "BINPERSID":
                storage = _storage(stack.pop())
                self.storages[storage.key] = storage
                stack.append(storage)
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                if not callable(function) or not isinstance(arguments, tuple):
                    raise FormatError("its pickle calls what is no function")
                stack.append(function(*arguments))
            case "BUILD":  # PyTorch's _metadata on an OrderedDict: of no use here
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise FormatError(f"its pickle sets attributes of {_kind(stack[-1])}; refused")
            case _:
                raise FormatError(f"its pickle has the operation {operation}, which PyTorch does not write; refused")

    def marked(self) -> list[Any]:
        """Everything above the last mark; takes the mark away."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise FormatError("its pickle takes more from its stack than it holds")
        return self.stack[-count:]


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise FormatError(f"its pickle appends to {_kind(target)}")
    target.extend(items)


def _put(target: Any, pairs: Iterable[Any]) -> None:
    if not isinstance(target, dict):
        raise FormatError(f"its pickle sets items of {_kind(target)}")
    for key, value in pairs:
        if not isinstance(key, str | int | float | None):
            raise FormatError(f"a dict has {_kind(key)} for a key; refused")
        target[key] = value


def _named(module: Any, name: Any) -> Any:
    if not isinstance(module, str) or not isinstance(name, str):
        raise FormatError("its pickle calls something that has no name")
    if (module, name) not in _GLOBALS:
        raise FormatError(
            f"it wants to call {module}.{name}, which rebuilding tensors does not need; refused, nothing was run. "
            "Save the state_dict alone"
        )
    return _GLOBALS[module, name]


def _storage(pid: Any) -> _Storage:
    """What a persistent id stands for; old files add a view of it, which newer ones leave None."""
    match pid:
        case ("storage", _StorageType(name), str(key), str(), count, *view) if view in ([], [None]) and _whole(count):
            return _Storage(name, key, count)
    raise FormatError("a storage is described in a way that PyTorch does not write")


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


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
        raise FormatError(f"{path}: {line(error)}") from None
    except OSError:
        raise
    except (RecursionError, MemoryError):
        raise FormatError(f"{path}: is nested too deeply or asks for too much memory; refused") from None
    except Exception as error:  # hostile bytes make zipfile, struct and pickle raise nearly anything
        raise FormatError(f"{path}: damaged: {line(error)}") from None


def _from_zip(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = [member.filename for member in archive.infolist()]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise FormatError(f"names {twice[0]!r} twice")
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise FormatError("is a TorchScript archive, which is a program; save model.state_dict() instead")
    for member in archive.infolist():
        # PyTorch stores members as they are, so that they can be mapped; no checkpoint needs unpacking.
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise FormatError(f"{member.filename!r} is compressed to expand to {member.file_size:,} bytes; refused")
    if sum(member.file_size for member in archive.infolist()) > len(data):
        raise FormatError("its members are larger than the file; refused")
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    folder = pickles[0].removesuffix("data.pkl") if pickles else ""
    if len(pickles) != 1:
        raise FormatError("a zip archive without a data.pkl: no PyTorch checkpoint")
    order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in names else b"little"
    if order not in (b"little", b"big"):
        raise FormatError(f"its byte order is {order[:20]!r}, neither little nor big")
    tensors = _Machine().run(io.BytesIO(archive.read(pickles[0])))
    if order == b"big":
        return tensors, lambda s: _swapped(archive.read(f"{folder}data/{s.key}"), s)
    return tensors, lambda s: archive.read(f"{folder}data/{s.key}")


def _from_legacy(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    stream, machine = io.BytesIO(data), _Machine()
    magic, protocol, system = (_Machine().run(stream) for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise FormatError(f"a checkpoint of another protocol than {_LEGACY_PROTOCOL}")
    tensors, keys = machine.run(stream), _Machine().run(stream)
    order = "<" if system.get("little_endian", True) else ">"
    found: dict[str, bytes] = {}
    for key in keys:
        (count,) = struct.unpack(f"{order}q", stream.read(8))
        if not isinstance(key, str) or key not in machine.storages or count != machine.storages[key].numel:
            raise FormatError("its storages are not the ones that its tensors describe")
        type_ = machine.storages[key].type
        raw = stream.read(count * np.dtype(_DTYPES[type_]).itemsize)
        found[key] = raw if order == "<" else _swapped(raw, machine.storages[key])
    return tensors, lambda s: found[s.key]


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
    if isinstance(value, _Tensor):
        return "a single tensor"
    return f"a value of type {type(value).__name__.strip('_').lower()}"


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
        if tensor.storage not in read_before:
            read_before[tensor.storage] = _numbers(key, tensor.storage, storage)
        total += math.prod(tensor.size) * read_before[tensor.storage].itemsize
        if total > 16 * size:  # many names for one storage are fine, a file that swells is not
            raise FormatError(f"{key!r}: the tensors hold far more than the file; refused")
        found[key] = _copied(key, tensor, read_before[tensor.storage])
    return found


def _numbers(key: str, storage: _Storage, read_bytes: Callable[[_Storage], bytes]) -> Array:
    try:
        raw = read_bytes(storage)
    except KeyError:
        raise FormatError(f"{key!r}: its storage {storage.key!r} is not in the file") from None
    numbers = np.dtype(_DTYPES[storage.type]).newbyteorder("<")
    if len(raw) != storage.numel * numbers.itemsize:
        raise FormatError(
            f"{key!r}: its storage {storage.key!r} has {len(raw)} bytes, not {storage.numel} x {numbers.itemsize}"
        )
    array = np.frombuffer(raw, numbers)
    if storage.type == "BFloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.astype(numbers.newbyteorder("="))


def _copied(key: str, tensor: _Tensor, numbers: Array) -> Array:
    """A tensor's elements; refuses views beyond the storage and views of more elements than it has."""
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
