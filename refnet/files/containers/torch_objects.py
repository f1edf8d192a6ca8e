"""What the names in a PyTorch checkpoint stand for here: tensors and dicts for some, inert records for all others.

A checkpoint names functions to be called, classes to be made and types of storages. `known` answers with functions and
marks of this file; nothing is imported because a file asks for it, and the functions only describe tensors: no number
is read. Of any other name nothing is known but its text, and to call it, or to make an object of it, gives a `Record`
of what was asked for. A file whose calls would run programs in PyTorch is refused all the same, so that its owner is
told; that nothing runs here does not depend on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from refnet.errors import FormatError
from refnet.files.containers.archive import shown

__all__ = [
    "Named",
    "Other",
    "Record",
    "Steps",
    "Storage",
    "StorageType",
    "Tensor",
    "called",
    "extended",
    "filled",
    "known",
    "persistent",
    "refused",
]

_MOST = 1 << 48  # a size, stride, offset or count that no file reaches
_LONGEST = 1000  # letters of a name, and numbers that describe one tensor's shape: a hostile file repeats long ones
_KEYS = 1 << 31  # integers below it hash to themselves; a hostile file could make larger ones collide


@dataclass(frozen=True)
class StorageType:
    """What elements a storage has: 'Float' for torch.FloatStorage."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers elsewhere in the file: of which type, under which key, and how many."""

    type: str
    key: str
    numel: int


@dataclass(frozen=True)
class Steps:
    """What a quantised tensor's integers stand for: one scale and zero point, or tensors of them along an axis."""

    scales: Any
    zero_points: Any
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, counted in elements; nothing says yet that it stays inside. `steps` of quantised ones."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    steps: Steps | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Named:
    """A function, a class or a value that a file names: its text and nothing else."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Record:
    """What a file asks to be made of something that is only `Named`: inert, equal to itself alone.

    Attributes
    ----------
    kind : the class to make it of, or the function to call
    arguments : what to call that with
    state : the object's attributes as the file gives them, mostly a dict; None for none
    entries : what it holds as a dict does; None for nothing
    elements : what it holds as a list or a set does; None for nothing
    """

    kind: Named
    arguments: tuple[Any, ...] = ()
    state: Any = None
    entries: dict[Any, Any] | None = None
    elements: list[Any] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Other:
    """A key of a dict that is neither text nor a small integer: never hashed, so equal to itself alone."""

    key: Any


def refused(what: str) -> FormatError:
    """The error for a checkpoint that wants what no network needs."""
    return FormatError(f"{what}; refused: save model.state_dict() and nothing else")


def known(module: str, name: str) -> Callable[..., Any] | StorageType | Named:
    """What a name stands for: one of our functions, a type of storage, or the text that it is.

    Raises
    ------
    FormatError : it is longer than any name is
    """
    if len(module) + len(name) > _LONGEST:
        raise refused(f"it names something by {len(module) + len(name)} letters, {shown(module)[1:-1]}")
    text = f"{module} {name}"
    return _FUNCTIONS.get(text) or _TYPES.get(text) or Named(module, name)


def called(function: object, arguments: object) -> Any:
    """What calling something by its name gives: a tensor or dict of ours, else a record that it was asked for.

    Raises
    ------
    FormatError : it is not to be called, or with something else than a tuple, or would run programs in PyTorch
    """
    if not isinstance(arguments, tuple) or not isinstance(function, FunctionType | Named | Record):
        raise refused(f"it calls {type(function).__name__}")
    if isinstance(function, FunctionType):
        return function(*arguments)  # of this file: no other function can be on the stack
    kind = function.kind if isinstance(function, Record) else function
    if _runs(kind):
        raise refused(f"it wants to call {shown(kind)[1:-1]}")
    return Record(kind, arguments)


def _runs(kind: Named) -> bool:
    """Whether to call it means to run what the file says, and not to make an object of a network."""
    if kind.module in ("builtins", "__builtin__"):
        return kind.name.partition(".")[0] not in _PLAIN
    return kind.module.partition(".")[0] in _RUNNERS


def persistent(identity: object) -> Storage | Named:
    """What a persistent id means.

    Storages are ('storage', type, key, device, numel), before 1.6 with a None behind; there a module's class is
    ('module', class, path of its source, its source).

    Raises
    ------
    FormatError : the id is anything else
    """
    match identity if isinstance(identity, tuple) else ():
        case ("storage", StorageType(name), str(key), str(), numel) if _is_count(numel):
            return Storage(name, key, numel)
        case ("storage", StorageType(name), str(key), str(), numel, None) if _is_count(numel):
            return Storage(name, key, numel)
        case ("module", Named() as kind, str() | None, str() | None):
            return kind
    raise refused("it names a storage in a way that is not PyTorch's")


def filled(holder: dict[Any, Any] | Record, items: list[Any]) -> dict[Any, Any]:
    """A dict, or what stands for one, with more keys and values, which alternate in `items`: returns the dict.

    Raises
    ------
    FormatError : a value is missing
    """
    if len(items) % 2:
        raise refused("it has a key without a value")
    if isinstance(holder, Record):
        holder.entries = mapping = {} if holder.entries is None else holder.entries
    else:
        mapping = holder
    for key, value in zip(items[::2], items[1::2], strict=True):
        plain = isinstance(key, str) or (isinstance(key, int) and abs(key) < _KEYS)
        mapping[key if plain else Other(key)] = value
    return mapping


def extended(holder: list[Any] | Record, items: list[Any]) -> None:
    """Put more elements into a list, or into what stands for a list or a set."""
    if isinstance(holder, Record):
        holder.elements = [] if holder.elements is None else holder.elements
        holder = holder.elements
    holder.extend(items)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple) and len(values) <= _LONGEST and all(_is_count(value) for value in values)


def _ordered_dict(*arguments: Any) -> OrderedDict[Any, Any]:
    """Empty, to be filled; Python 2 gave a list of pairs."""
    made: OrderedDict[Any, Any] = OrderedDict()
    match arguments:
        case ():
            return made
        case (list(pairs),) if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            filled(made, [item for pair in pairs for item in pair])
            pairs.clear()  # moved, not copied: one list, given again and again, would fill the memory
            return made
    raise refused("it makes an OrderedDict of something else than pairs")


def _rebuild_tensor(*arguments: Any) -> Tensor:
    """Storage, offset, size, stride; then requires_grad and hooks, which are dropped.

    A seventh is there where the sign of the numbers is still to be changed (or their conjugate to be taken).
    """
    match arguments:
        case (_, _, _, _, _, _, marks) if marks:
            raise FormatError("has a tensor whose sign is still to be changed: save tensor.resolve_neg()")
        case (Storage() as base, offset, size, stride) | (Storage() as base, offset, size, stride, bool(), _, *_):
            if _is_count(offset) and _are_counts(size) and _are_counts(stride) and len(size) == len(stride):
                return Tensor(base, offset, size, stride)
    raise refused("it describes a tensor by something else than a storage, an offset, sizes and strides from 0 up")


def _rebuild_qtensor(*arguments: Any) -> Tensor:
    """As `_rebuild_tensor`, with what the integers stand for behind the strides."""
    match arguments:
        case (base, offset, size, stride, (Named("torch", "per_tensor_affine"), float(scale), int(zero)), *rest):
            return replace(_rebuild_tensor(base, offset, size, stride, *rest), steps=Steps(scale, zero, 0))
        case (base, offset, size, stride, (Named("torch", kind), Tensor() as scales, Tensor() as zeros, axis), *rest):
            if kind.startswith("per_channel_affine") and _is_count(axis):
                return replace(_rebuild_tensor(base, offset, size, stride, *rest), steps=Steps(scales, zeros, axis))
    raise refused("it describes a quantised tensor by something else than scales and zero points")


def _rebuild_parameter(*arguments: Any) -> Tensor:
    """A tensor, requires_grad, hooks and attributes of the object: the tensor. Before 0.4 the tensor alone."""
    match arguments:
        case (Tensor() as tensor, bool(), _) | (Tensor() as tensor, bool(), _, _) | (Tensor() as tensor,):
            return tensor
    raise refused("it describes a parameter by something else than a tensor")


def _rebuild_of_type(*arguments: Any) -> Any:
    """A function, the class of the tensor, the function's arguments, the object's attributes, which are dropped."""
    match arguments:
        case (function, _, tuple(inner), _) if function is not _rebuild_of_type:
            return called(function, inner)
    raise refused("it describes a tensor of another class by something else than a function and its arguments")


def _getattr(*arguments: Any) -> Named | Record:
    """A class inside another, or a method of an object: neither is looked up."""
    match arguments:
        case (Named(module, name), str(inner)):
            found = known(module, f"{name}.{inner[:_LONGEST]}")
            return found if isinstance(found, Named) else Named(module, name)
    return Record(Named("builtins", "getattr"), arguments)


def _size(*arguments: Any) -> tuple[Any, ...]:
    """A torch.Size is a tuple."""
    match arguments:
        case (tuple(sizes),) if _are_counts(sizes):
            return sizes
    raise refused("it describes a size by something else than numbers from 0 up")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch Size": _size,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_qtensor": _rebuild_qtensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    "torch._utils _rebuild_parameter_with_state": _rebuild_parameter,
    "torch.nn.parameter Parameter": _rebuild_parameter,
    "torch._tensor _rebuild_from_type_v2": _rebuild_of_type,
    "builtins getattr": _getattr,
    "__builtin__ getattr": _getattr,
}
_ELEMENTS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "QInt8", "QUInt8")
_TYPES = {f"torch {element}Storage": StorageType(element) for element in _ELEMENTS}

# Calls of `builtins` that make plain values; of the modules below, whose calls run programs, none do.
_PLAIN = (
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long"),
    *("object", "property", "range", "set", "slice", "str", "tuple", "type", "unicode", "xrange"),
)
_RUNNERS = (
    *("asyncio", "bdb", "cProfile", "ctypes", "importlib", "multiprocessing", "nt", "os", "pdb", "pickle", "_pickle"),
    *("popen2", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys", "timeit", "webbrowser"),
)
