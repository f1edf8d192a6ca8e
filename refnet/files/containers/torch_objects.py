"""What the names in a PyTorch checkpoint stand for here: fifteen, and no other.

A checkpoint names functions to be called and types of storages. `known` answers with functions and marks of this
file; nothing is imported because a file asks for it, and the functions only describe tensors: no number is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refnet.errors import FormatError
from refnet.files.containers.archive import shown

__all__ = ["Storage", "StorageType", "Tensor", "filled", "known", "refused", "storage"]

_MOST = 1 << 48  # a size, stride, offset or count that no file reaches
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
class Tensor:
    """A view of a storage, counted in elements; nothing says yet that it stays inside."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def refused(what: str) -> FormatError:
    """The error for a checkpoint that wants more than tensors."""
    return FormatError(f"{what}; refused: only tensors are read, save model.state_dict() and nothing else")


def known(name: str) -> Callable[..., Any] | StorageType:
    """What a name stands for.

    Parameters
    ----------
    name : a module and what is in it, with a blank between: 'torch FloatStorage'

    Raises
    ------
    FormatError : it is none of those that describe tensors
    """
    found = _FUNCTIONS.get(name) or _TYPES.get(name)
    if found is None:
        raise refused(f"it wants to call {shown(name.replace(' ', '.'))[1:-1]}")
    return found


def storage(identity: object) -> Storage:
    """The storage that a persistent id means: ('storage', type, key, device, numel), before 1.6 with a None behind.

    Raises
    ------
    FormatError : the id is anything else
    """
    match identity if isinstance(identity, tuple) else ():
        case ("storage", StorageType(name), str(key), str(), numel) if _is_count(numel):
            return Storage(name, key, numel)
        case ("storage", StorageType(name), str(key), str(), numel, None) if _is_count(numel):
            return Storage(name, key, numel)
    raise refused("it names a storage in a way that is not PyTorch's")


def filled(mapping: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """The dict with more keys and values, which alternate in `items`.

    Raises
    ------
    FormatError : a value is missing, or a key is neither text nor a small integer
    """
    if len(items) % 2:
        raise refused("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (isinstance(key, str) or (isinstance(key, int) and abs(key) < _KEYS)):
            raise refused(f"it has {type(key).__name__} as a key, not text or a small integer")
        mapping[key] = value
    return mapping


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple) and all(_is_count(value) for value in values)


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


def _rebuild_parameter(*arguments: Any) -> Tensor:
    """A tensor, requires_grad and hooks: the tensor."""
    match arguments:
        case (Tensor() as tensor, bool(), _):
            return tensor
    raise refused("it describes a parameter by something else than a tensor")


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
    "torch._utils _rebuild_parameter": _rebuild_parameter,
}
_ELEMENTS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_TYPES = {f"torch {element}Storage": StorageType(element) for element in _ELEMENTS}
