"""Mutants of PyTorch files whose pickles are right and whose values are not: modules that hold themselves or one
another, tables that are lists, settings that no layer has, tensors beyond their storages, wrappers in wrappers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refnet.files.containers.torch_objects import Named, Other, Record, Storage, StorageType, Tensor

__all__ = ["changed_values", "written"]

_NET = Named("nowhere", "Net")
_KEYS = ["_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "state_dict", "model", "ema", "weight"]
_KEYS += ["bias", "eps", "stride", "padding", "0", "features", "module", "optimizer", "a\nb", "x" * 1500, "total_ops"]
_NUMBERS = [0, 1, -1, 2, 7, 2**31 - 1, 2**40, -(2**63), 0.0, 1e-5, 1.0, -1.0, float("nan"), float("inf"), True, None]


def changed_values(root: Any, rng: np.random.Generator) -> Any:
    """A checkpoint's values, one to four of them replaced by others of the same file or by odd ones."""
    for _ in range(int(rng.integers(1, 5))):
        places = list(_places(root))
        holder, key = places[int(rng.integers(len(places)))]
        others = places[int(rng.integers(len(places)))]
        match int(rng.integers(8)):
            case 0:
                del holder[key]
            case 1 | 2:
                holder[key] = others[0][others[1]]
            case 3:
                holder[key] = others[0]
            case 4 if isinstance(holder, dict):
                holder[_KEYS[int(rng.integers(len(_KEYS)))]] = holder[key]
            case 5 if isinstance(holder[key], Tensor):
                holder[key] = _view(holder[key], rng)
            case 6:
                root = {_KEYS[int(rng.integers(len(_KEYS)))]: root, "epoch": 3, "optimizer": others[0]}
            case _:
                holder[key] = _odd(rng)
    return root


def _places(root: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a dict or list where a value stands, each holder once."""
    waiting, seen = [root], set[int]()
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if isinstance(holder, Record):
            waiting += [holder.state, holder.entries, holder.elements, *holder.arguments]
        elif isinstance(holder, tuple):
            waiting += holder
        elif isinstance(holder, dict | list):
            for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
                waiting.append(value)
                yield holder, key


def _view(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    sizes = [(), (0,), (1,), (2**40,), (3, 0), (1,) * 70, tensor.size[::-1], (*tensor.size, 2), tensor.size[:1]]
    size = sizes[int(rng.integers(len(sizes)))]
    stride = tuple(int(rng.choice([0, 1, 2, 2**40])) for _ in size)
    return replace(tensor, size=size, stride=stride, offset=int(rng.choice([0, 1, 2**40, tensor.offset])))


def _odd(rng: np.random.Generator) -> Any:
    bare = Record(_NET, state={"_parameters": {}, "_modules": {}})
    odd: list[Any] = [*_NUMBERS, "", "same", "x" * 5000, b"bytes", [], {}, [[]], {"": {}}, {"weight": {}}, ("2", "2")]
    odd += [(), (1,), (1, 2), (0, 0), (-1, 1), (2**40, 1), (2, 2, 2), _NET, Record(_NET), Record(_NET, state={}), bare]
    odd += [Record(_NET, state={**bare.state, "_buffers": []}), Record(_NET, ({"_modules": {}, "_parameters": []},))]
    odd += [Record(Named("__torch__.a", "B"), state={"w": 1}), Record(Named("a", "OptimizedModule"), (bare,))]
    odd += [StorageType("Float"), Record(Named("__torch__.a", "B"), state={"c": bare})]
    return odd[int(rng.integers(len(odd)))]


# ------------------------------------------------------------------------------------------------------- values written


def written(root: Any) -> bytes:
    """The program that makes the values."""
    return b"\x80\x02" + b"".join(_Writer().program(root)) + b"."


class _Writer:
    def __init__(self) -> None:
        self.memo: dict[int, int] = {}
        self.alive: list[Any] = []

    def program(self, value: Any) -> Iterator[bytes]:
        if id(value) in self.memo:
            yield b"j" + struct.pack("<I", self.memo[id(value)])
            return
        match value:
            case None | True | False:
                yield {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int():
                raw = value.to_bytes(12, "little", signed=True)
                yield b"\x8a" + bytes([len(raw)]) + raw
            case float():
                yield b"G" + struct.pack(">d", value)
            case str():
                raw = value.encode("utf-8", "surrogatepass")
                yield b"X" + struct.pack("<I", len(raw)) + raw
            case bytes():
                yield b"B" + struct.pack("<I", len(value)) + value
            case Tensor():
                yield from self.tensor(value)
            case StorageType(name):
                yield b"ctorch\n%sStorage\n" % name.encode()
            case Named():
                yield f"c{value.module}\n{value.name}\n".encode()
            case Other(key):
                yield from self.program(key)
            case tuple():
                yield from (b"(", *(part for item in value for part in self.program(item)), b"t")
            case list() | dict() | Record():
                yield from self.held(value)
            case _:  # a function of ours
                yield b"ccollections\nOrderedDict\n"

    def held(self, value: Any) -> Iterator[bytes]:
        """What may hold itself: made empty, put into the memo, then filled."""
        if isinstance(value, Record):
            yield from self.program(value.kind)
            yield from self.program(value.arguments)
        yield b"\x81" if isinstance(value, Record) else b"}" if isinstance(value, dict) else b"]"
        self.memo[id(value)] = number = len(self.memo)
        self.alive.append(value)
        yield b"r" + struct.pack("<I", number)
        entries = value if isinstance(value, dict) else getattr(value, "entries", None)
        elements = value if isinstance(value, list) else getattr(value, "elements", None)
        if entries:
            yield b"("
            for key, one in list(entries.items()):
                yield from self.program(key)
                yield from self.program(one)
            yield b"u"
        if elements:
            yield from (b"(", *(part for item in elements for part in self.program(item)), b"e")
        if isinstance(value, Record) and value.state is not None:
            yield from self.program(value.state)
            yield b"b"

    def tensor(self, value: Tensor) -> Iterator[bytes]:
        storage: Storage = value.storage
        yield b"ctorch._utils\n_rebuild_tensor_v2\n(("
        for part in ("storage", StorageType(storage.type), storage.key, "cpu", storage.numel):
            yield from self.program(part)
        yield b"tQ"
        for part in (value.offset, value.size, value.stride, False, {}):
            yield from self.program(part)
        yield b"tR"
