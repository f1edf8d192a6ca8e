"""TensorFlow's values in messages and bytes: tensors, shapes, attributes of nodes, checked.

A tensor may say one number for many, so what it would take in memory is counted against a budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import least_elements, shown, widened
from refnet.files.containers.protobuf import Message

__all__ = ["DTYPES", "Budget", "array_of", "attribute", "shape_of", "tensor"]

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]

_MOST_AXES = 64  # NumPy's limit
STRING = 7
# DataType -> dtype of the bytes
DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    14: "bfloat16",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
# DataType -> field of TensorProto that holds its numbers where they are typed
_REALS = {1: (5, "<f4"), 2: (6, "<f8")}
_INTEGERS = {3: 7, 4: 7, 5: 7, 6: 7, 9: 10, 10: 11, 14: 13, 17: 7, 19: 13, 22: 16, 23: 17}


class Budget:
    """Bytes that may be made into arrays."""

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, size: int) -> None:
        """Count what is about to be made.

        Raises
        ------
        FormatError : it is more than the file is worth
        """
        self.left -= size
        if self.left < 0:
            raise FormatError("its arrays would need more memory than the file is worth: refused")


def itemsize(dtype: str) -> int:
    """Bytes of one number."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def array_of(body: bytes | memoryview, dtype: str, shape: Sequence[int], name: str) -> Array:
    """An array of its bytes, in this machine's order; bfloat16 becomes float32.

    Raises
    ------
    FormatError : bytes and shape do not agree
    """
    size = checked_size(shape, dtype, name)
    if len(body) != size:
        raise FormatError(f"{shown(name)} has {len(body)} bytes, its shape and type say {size}: damaged")
    if dtype == "bfloat16":
        return widened(np.frombuffer(body, "<u2")).reshape(shape)
    if dtype == "|b1":  # whose bytes may be any, but a NumPy bool must be 0 or 1
        return np.array(np.frombuffer(body, np.uint8).reshape(shape) != 0)
    return np.array(np.frombuffer(body, dtype).reshape(shape), np.dtype(dtype).newbyteorder("="))


def checked_size(shape: Sequence[int], dtype: str, name: str) -> int:
    """Bytes of an array of this shape.

    Raises
    ------
    FormatError : no array has this shape
    """
    if len(shape) > _MOST_AXES or min(shape, default=1) < 0 or least_elements(shape) >= 2**62:
        raise FormatError(f"{shown(name)} has an impossible shape: the file is damaged")
    return math.prod(shape) * itemsize(dtype)


def shape_of(message: Message | None) -> Shape | None:
    """A TensorShapeProto: lengths, None where they are open; None where even their number is."""
    if message is None or message.integer(3):
        return None
    sizes = tuple(side.integer(1) for side in message.messages(2))
    return tuple(size if size >= 0 else None for size in sizes)


def tensor(message: Message, name: str, budget: Budget) -> Array | tuple[str, ...]:
    """The numbers of a TensorProto, or its words.

    Raises
    ------
    FormatError : it is of another type, or its numbers do not fit its shape
    """
    kind, shape = message.integer(1), shape_of(message.message(2))
    if kind == STRING:
        return tuple(bytes(part[:1000]).decode("utf-8", "replace") for part in message.parts(8))
    dtype = DTYPES.get(kind)
    if dtype is None or shape is None or None in shape:
        raise FormatError(f"{shown(name)} is of type {kind}, or of an open shape: only numbers are read")
    sizes = tuple(size for size in shape if size is not None)
    size = checked_size(sizes, dtype, name)
    if 4 in message:
        budget.spend(size)
        return array_of(message.part(4), dtype, sizes, name)
    return _typed(message, kind, dtype, sizes, name, budget)


def _typed(message: Message, kind: int, dtype: str, shape: tuple[int, ...], name: str, budget: Budget) -> Array:
    """Numbers that are listed one by one; the last stands for all that are left out, none is 0."""
    count = math.prod(shape)
    budget.spend(count * max(itemsize(dtype), 4))
    if kind in _REALS:
        listed = message.reals(*_REALS[kind])
    else:
        field = _INTEGERS[kind]
        bits = {"<f2": "<u2", "bfloat16": "<u2", "|b1": "|u1"}.get(dtype, dtype)
        limits = np.iinfo(bits)
        numbers = message.integers(field)
        if kind == 23:
            numbers = tuple(number % 2**64 for number in numbers)
        if numbers and not limits.min <= min(numbers) <= max(numbers) <= limits.max:
            raise FormatError(f"{shown(name)} holds integers that its type does not: damaged")
        listed = np.array(numbers, bits)
    if len(listed) > count:
        raise FormatError(f"{shown(name)} has {len(listed)} numbers, its shape says {count}: damaged")
    made = np.zeros(count, listed.dtype)
    made[: len(listed)] = listed
    if len(listed):
        made[len(listed) :] = listed[-1]
    return array_of(made.tobytes(), dtype, shape, name)


def attribute(message: Message, what: str, budget: Budget) -> Any:
    """An AttrValue: a number, a word, a shape, a tensor, the name of a function, or a tuple of these.

    Types are the numbers of DataType.
    """
    if (listed := message.message(1)) is not None:
        for field in (2, 3, 4, 5, 6):
            if field in listed:
                if field == 2:
                    return tuple(bytes(part[:1000]).decode("utf-8", "replace") for part in listed.parts(2))
                if field == 4:
                    return tuple(listed.reals(4, "<f4").tolist())
                return listed.integers(field)
        return ()
    if 2 in message:
        return bytes(message.part(2)[:1000]).decode("utf-8", "replace")
    if 4 in message:
        return message.real(4)
    if 5 in message:
        return bool(message.integer(5))
    for field in (3, 6):
        if field in message:
            return message.integer(field)
    if 7 in message:
        return shape_of(message.message(7))
    if (value := message.message(8)) is not None:
        return tensor(value, what, budget)
    if (called := message.message(10)) is not None:
        return called.text(1)
    return None
