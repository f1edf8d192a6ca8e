"""The small part of the pickle language that PyTorch checkpoints are written in.

A pickle is a program for a stack machine, and the standard machine calls whatever the program names. This one is a
machine of our own that knows the instructions which build numbers, text, tuples, lists and dicts, and the names of
`rebuilding`. Nothing is imported, no attribute is looked up or set; what else a program asks for is refused, by name.

`pickle.Unpickler` with a strict `find_class` is not enough: a dict key of tuples in tuples, two megabytes of them,
overflows the C stack, and eight bytes that name memo entry 2^28 make it clear gigabytes of memory. Here a key is text
or a small integer, and the memo is a dict.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, BinaryIO

from refnet.errors import FormatError
from refnet.files.containers import torch_objects as rebuilding
from refnet.files.containers.archive import shown
from refnet.files.containers.torch_objects import Storage, filled, known, refused

__all__ = ["unpickle"]

_LONGEST = 8 << 20  # bytes; a MobileNet with optimizer and running averages takes 200 thousand


def unpickle(file: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Run the pickle that begins where the file stands, and leave the file behind its end.

    Parameters
    ----------
    file : open for reading bytes

    Returns
    -------
    value : of numbers, text, bytes, None, tuples, lists, dicts, OrderedDicts and Tensors
    storages : key -> each storage that it speaks of

    Raises
    ------
    FormatError
        if the pickle is truncated or damaged, or asks for anything else: says for what.
    """
    machine = _Machine()
    for instruction, argument in _instructions(file):
        machine.step(instruction, argument)
    return machine.result(), machine.storages


def _instructions(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The names of the instructions up to STOP, each with the argument that is written behind it."""
    start = file.tell()
    instructions = pickletools.genops(file)
    while True:
        try:
            opcode, argument, _ = next(instructions)
        except StopIteration:
            return
        except Exception as error:  # genops raises many types on damaged bytes; it only decodes, and runs nothing
            raise FormatError("its pickle is truncated or damaged: fetch or save the file again") from error
        if file.tell() - start > _LONGEST:
            raise FormatError(f"its pickle is longer than {_LONGEST} bytes: refused, no network needs that")
        yield opcode.name, argument


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# These put their argument on the stack. Python 2 wrote text as STRING, BINSTRING and SHORT_BINSTRING.
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXT = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_LITERALS = _NUMBERS | _TEXT | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # heights of the stack
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def step(self, instruction: str, argument: Any) -> None:
        """Carry out one instruction; they are described in the standard library's pickletools."""
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append(_CONSTANTS[instruction])
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self.pop(int(instruction[-1]))))
            case "TUPLE":
                self.stack.append(tuple(self.pop_to_mark()))
            case "EMPTY_LIST":
                self.stack.append([])
            case "LIST":
                self.stack.append(self.pop_to_mark())
            case "APPEND" | "APPENDS":
                items = self.pop(1) if instruction == "APPEND" else self.pop_to_mark()
                self.top(list).extend(items)
            case "EMPTY_DICT":
                self.stack.append({})
            case "DICT":
                self.stack.append(filled({}, self.pop_to_mark()))
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if instruction == "SETITEM" else self.pop_to_mark()
                filled(self.top(dict), items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top(object)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top(object)
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.recall(argument))
            case "GLOBAL":
                self.stack.append(known(argument))
            case "STACK_GLOBAL":
                self.stack.append(_named(*self.pop(2)))
            case "REDUCE":
                self.stack.append(_called(*self.pop(2)))
            case "BUILD":
                # Sets attributes, which PyTorch asks for on a state dict only: versions of modules. They are dropped.
                self.pop(1)
                self.top(OrderedDict)
            case "BINPERSID":
                self.stack.append(self.storage(*self.pop(1)))
            case "INST":
                known(argument)
                raise refused("it makes an object by the instruction INST")
            case _ if instruction in _LITERALS:
                self.stack.append(argument)
            case _:
                raise refused(f"it has the instruction {instruction}")

    def pop(self, count: int) -> list[Any]:
        """The last values, taken off the stack, in the order in which they were put on."""
        floor = len(self.stack) - count
        if floor < (self.marks[-1] if self.marks else 0):
            raise _damaged("takes more values than there are")
        items = self.stack[floor:]
        del self.stack[floor:]
        return items

    def pop_to_mark(self) -> list[Any]:
        """All values down to the last mark, and the mark."""
        if not self.marks:
            raise _damaged("looks for a mark that is not there")
        items = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return items

    def top(self, kind: type) -> Any:
        """The last value, left where it is."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _damaged("takes more values than there are")
        if not isinstance(self.stack[-1], kind):
            raise refused(f"it uses {type(self.stack[-1]).__name__} as {kind.__name__}")
        return self.stack[-1]

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise _damaged("speaks of a value that it has not made")
        return self.memo[index]

    def storage(self, identity: object) -> Storage:
        """What a persistent id stands for; the same key always means the same storage."""
        storage = rebuilding.storage(identity)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise _damaged(f"describes storage {shown(storage.key)} in two ways")
        return storage

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise _damaged("does not end with one value")
        return self.stack[0]


def _named(module: object, name: object) -> object:
    if not isinstance(module, str) or not isinstance(name, str):
        raise refused("it names what to call by something else than text")
    return known(f"{module} {name}")


def _called(function: object, arguments: object) -> object:
    if not isinstance(function, FunctionType) or not isinstance(arguments, tuple):
        raise refused(f"it calls {type(function).__name__}")
    return function(*arguments)  # of `rebuilding`: no other function can be on the stack


def _damaged(what: str) -> FormatError:
    return FormatError(f"its pickle is damaged (it {what}): fetch or save the file again")
