"""The part of the pickle language that PyTorch checkpoints are written in, whole modules too.

A pickle is a program for a stack machine, and the standard machine calls whatever the program names. This one is a
machine of our own that knows the instructions which build numbers, text, tuples, lists and dicts, and the names of
`rebuilding`. Nothing is imported, no attribute is looked up or set: an object of any other class, or what any other
function would return, is an inert record of what the program asked for.

`pickle.Unpickler` with a strict `find_class` is not enough: a dict key of tuples in tuples, two megabytes of them,
overflows the C stack, and eight bytes that name memo entry 2^28 make it clear gigabytes of memory. Here only text and
small integers are hashed, and the memo is a dict.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from refnet.errors import FormatError
from refnet.files.containers import torch_objects as rebuilding
from refnet.files.containers.archive import shown
from refnet.files.containers.torch_objects import (
    Named,
    Record,
    Storage,
    Tensor,
    called,
    extended,
    filled,
    known,
    refused,
)

__all__ = ["LONGEST", "unpickle"]

LONGEST = 8 << 20  # bytes; a MobileNet with optimizer and running averages takes 200 thousand, and
_MOST = 500_000  # instructions; it takes 60 thousand


def unpickle(file: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Run the pickle that begins where the file stands, and leave the file behind its end.

    Parameters
    ----------
    file : open for reading bytes

    Returns
    -------
    value : of numbers, text, bytes, None, tuples, lists, dicts, OrderedDicts, Tensors; of all else Records and Named
    storages : key -> each storage that it speaks of

    Raises
    ------
    FormatError
        if the pickle is truncated or damaged, or asks for what no checkpoint needs: says for what.
    """
    machine = _Machine()
    for instruction, argument in _instructions(file):
        machine.step(instruction, argument)
    return machine.result(), machine.storages


def _instructions(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The names of the instructions up to STOP, each with the argument that is written behind it."""
    start = file.tell()
    instructions = pickletools.genops(file)
    count = 0
    while True:
        try:
            opcode, argument, _ = next(instructions)
        except StopIteration:
            return
        except Exception as error:  # genops raises many types on damaged bytes; it only decodes, and runs nothing
            raise FormatError("its pickle is truncated or damaged: fetch or save the file again") from error
        if file.tell() - start > LONGEST:
            raise FormatError(f"its pickle is longer than {LONGEST} bytes: refused, no network needs that")
        count += 1
        if count > _MOST:
            raise FormatError(f"its pickle has more than {_MOST} instructions: refused, no network needs that")
        yield opcode.name, argument


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# These put their argument on the stack. Python 2 wrote text as STRING, BINSTRING and SHORT_BINSTRING.
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXT = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_LITERALS = _NUMBERS | _TEXT | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_SET, _FROZEN_SET = Named("builtins", "set"), Named("builtins", "frozenset")


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
                extended(self.top(list, Record), items)
            case "EMPTY_SET":
                self.stack.append(Record(_SET))
            case "ADDITEMS":
                items = self.pop_to_mark()
                extended(self.top(Record), items)
            case "FROZENSET":
                self.stack.append(Record(_FROZEN_SET, elements=self.pop_to_mark()))
            case "EMPTY_DICT":
                self.stack.append({})
            case "DICT":
                self.stack.append(filled({}, self.pop_to_mark()))
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if instruction == "SETITEM" else self.pop_to_mark()
                filled(self.top(dict, Record), items)
            case "POP" | "POP_MARK":
                # Of a tuple that holds itself: it has been made already, by way of an object in it.
                self.drop(instruction == "POP")
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top(object)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top(object)
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.recall(argument))
            case "GLOBAL":
                self.stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(_named(*self.pop(2)))
            case "REDUCE" | "NEWOBJ":
                self.stack.append(called(*self.pop(2)))
            case "NEWOBJ_EX":
                function, arguments, _ = self.pop(3)  # arguments by name are dropped
                self.stack.append(called(function, arguments))
            case "OBJ":
                function, *rest = self.pop_to_mark() or (None,)
                self.stack.append(called(function, tuple(rest)))
            case "INST":
                self.stack.append(called(_named(*argument.split(" ", 1)), tuple(self.pop_to_mark())))
            case "BUILD":
                self.build(*self.pop(1))
            case "BINPERSID":
                self.stack.append(self.persistent(*self.pop(1)))
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

    def drop(self, one: bool) -> None:
        """Take off the last value, or a mark that nothing lies on, or all down to the last mark and the mark."""
        if one and not (self.marks and self.marks[-1] == len(self.stack)):
            self.pop(1)
        else:
            self.pop_to_mark()

    def build(self, state: object) -> None:
        """Keep the attributes of a record.

        Those of a dict and of a tensor are dropped: versions of modules, hooks.
        """
        made = self.top(OrderedDict, Record, Tensor)
        if isinstance(made, Record):
            made.state = state

    def top(self, *kinds: type) -> Any:
        """The last value, left where it is."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _damaged("takes more values than there are")
        if not isinstance(self.stack[-1], kinds):
            raise refused(f"it uses {type(self.stack[-1]).__name__} as {kinds[0].__name__}")
        return self.stack[-1]

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise _damaged("speaks of a value that it has not made")
        return self.memo[index]

    def persistent(self, identity: object) -> Storage | Named:
        """What a persistent id stands for; the same key always means the same storage."""
        found = rebuilding.persistent(identity)
        if isinstance(found, Storage) and self.storages.setdefault(found.key, found) != found:
            raise _damaged(f"describes storage {shown(found.key)} in two ways")
        return found

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise _damaged("does not end with one value")
        return self.stack[0]


def _named(module: object, name: object = "") -> object:
    if not isinstance(module, str) or not isinstance(name, str):
        raise refused("it names what to call by something else than text")
    return known(module, name)


def _damaged(what: str) -> FormatError:
    return FormatError(f"its pickle is damaged (it {what}): fetch or save the file again")
