"""Mutants of PyTorch files whose pickles are whole programs: instructions moved, aliased, nested, multiplied.

    PYTHONPATH=. python tests/fuzz.py modules --count 10000

Random bytes mostly break a pickle at once. Here a pickle is taken apart into its instructions, and these are changed: a
value of the memo for another (aliases, cycles), BUILD and calls where none belong, codes of extensions, names of
functions that run programs, numbers and texts that no file has, nests thousands deep, one row of instructions a hundred
thousand times. A mutant is then read as a network, too, and that must be done or refused in the same time and memory.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_records import changed_values, written

from refnet.files.containers.pickles import unpickle

__all__ = ["pickle_mutants", "read"]

_NAMES = [
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\ngetattr\n", b"cposix\nsystem\n", b"csubprocess\nPopen\n"),
    *(b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n", b"ctorch\nSize\n", b"cnowhere\nNet\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"c__builtin__\nset\n"),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"c__torch__.nowhere\nNet\n", b"c_dynamo\nOptimizedModule\n"),
]
_KEYS = ["_parameters", "_buffers", "_modules", "state_dict", "model", "ema", "optimizer", "weight", "features", "eps"]
_ROWS = [b"h\x00)\x81", b"]", b"}", b"(", b"N\x85", b"h\x00h\x00\x86", b")\x81", b"h\x00b", b"0", b"h\x01h\x02s"]
_ODD = [bytes([code]) for code in range(256)]
_NUMBERS = [0, 1, -1, 255, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63), 10**30]

Instructions = list[bytes]
Change = Callable[[Instructions, int, np.random.Generator], Instructions]


def pickle_mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Copies of a PyTorch file, zip archive or legacy, every second with changes in the program of its pickle.

    The others have a program that is right and makes other values, see `fuzz_records`.
    """
    rng = np.random.default_rng(seed)
    program, put = _program(data)
    instructions = list(_instructions(program))
    for index in range(count):
        if index % 2:
            yield put(written(changed_values(unpickle(io.BytesIO(program))[0], rng)))
            continue
        changed = list(instructions)
        for _ in range(int(rng.integers(1, 4))):
            change = _CHANGES[int(rng.integers(len(_CHANGES)))]
            changed = change(changed, int(rng.integers(1, max(2, len(changed) - 1))), rng)
        yield put(b"".join(changed))


def read(path: Path) -> Any:
    """The arrays of a file; every second is also read as a network, known or not, which takes ten times as long."""
    from refnet.errors import FormatError, RequestError
    from refnet.files import containers
    from refnet.files.checkpoint import identify

    contents = containers.read(path)
    if zlib.crc32(path.read_bytes()) % 2:
        return contents
    try:
        identify(path, contents=contents)
    except (FormatError, RequestError) as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            raise AssertionError("refused in several lines, or at length") from error
    return contents


# ---------------------------------------------------------------------------------------------------- taken apart, put


def _program(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The pickle that describes the tensors, and what puts another in its place."""
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = {name: source.read(name) for name in source.namelist()}
        (name,) = (name for name in members if name.endswith("/data.pkl"))
        return members[name], lambda program: _archive(members | {name: program})
    file = io.BytesIO(data)
    for _ in range(3):
        for _ in pickletools.genops(file):
            pass
    start = file.tell()
    for _ in pickletools.genops(file):
        pass
    end = file.tell()
    return data[start:end], lambda program: data[:start] + program + data[end:]


def _archive(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name, body in members.items():
            target.writestr(name, body)
    return made.getvalue()


def _instructions(program: bytes) -> Iterator[bytes]:
    places = [at for _, _, at in pickletools.genops(program)] + [len(program)]
    for start, end in pairwise(places):
        yield program[start:end]


# -------------------------------------------------------------------------------------------------------------- changes


def _left_out(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    return program[:at] + program[at + int(rng.integers(1, 20)) :]


def _again(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    end = at + int(rng.integers(1, 40))
    return program[:end] + program[at:end] * int(rng.integers(1, 4)) + program[end:]


def _moved(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    row, rest = program[at : at + 5], program[:at] + program[at + 5 :]
    to = int(rng.integers(1, max(2, len(rest))))
    return rest[:to] + row + rest[to:]


def _aliased(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """Values of the memo for other ones: what holds itself, what is held twice."""
    changed = list(program)
    for index in range(at, min(at + 400, len(program))):
        if program[index][:1] in (b"h", b"j") and rng.random() < 0.2:
            number = int(rng.integers(0, 300))
            changed[index] = b"j" + struct.pack("<I", number)
    return changed


def _inserted(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """An instruction, known or not, where none belongs."""
    odd = [
        *_ODD,
        *_NAMES,
        b"\x82\x01",
        b"\x83\x01\x00",
        b"\x84\x01\x00\x00\x00",
        b"r\xff\xff\xff\x7f",
        b"j\xff\xff\xff\x7f",
    ]
    return [*program[:at], odd[int(rng.integers(len(odd)))], *program[at:]]


def _called(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """A call, an object made or attributes set, of and with whatever is there."""
    ends = [b"R", b"\x81", b"b", b"Q", b")\x81b", b"N\x85R", b"N\x86R", b")}\x92", b"}b", b"N}\x86b"]
    name = _NAMES[int(rng.integers(len(_NAMES)))] if rng.random() < 0.5 else b""
    return [*program[:at], name, ends[int(rng.integers(len(ends)))], *program[at:]]


def _renamed(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """The next name of a function or class is another one's."""
    for index in range(at, len(program)):
        if program[index][:1] == b"c":
            return [*program[:index], _NAMES[int(rng.integers(len(_NAMES)))], *program[index + 1 :]]
    return program


def _said(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """The next text is another one: a key that means something, a long one, one that no terminal prints."""
    texts = [*_KEYS, "x" * 2000, "a\nb", "\x1b[31m", "", "Ключ", "0", "a" * 300_000]
    text = texts[int(rng.integers(len(texts)))].encode()
    for index in range(at, len(program)):
        if program[index][:1] == b"X":
            return [*program[:index], b"X" + struct.pack("<I", len(text)) + text, *program[index + 1 :]]
    return program


def _counted(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """The next number is one that no file has."""
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    raw = number.to_bytes(14, "little", signed=True)
    for index in range(at, len(program)):
        if program[index][:1] in (b"K", b"M", b"J", b"\x8a"):
            return [*program[:index], b"\x8a" + bytes([len(raw)]) + raw, *program[index + 1 :]]
    return program


def _nested(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """Thousands of values inside one another, of which nothing is left in the end."""
    pairs = [(b"]", b"a"), (b"(", b"t"), (b"h\x00)R", b"b"), (b"}X\x01\x00\x00\x00a", b"s"), (b"h\x00", b"\x85\x81")]
    opening, closing = pairs[int(rng.integers(len(pairs)))]
    depth = int(rng.choice([10, 1000, 20_000]))
    return [*program[:at], opening * depth, b"N", closing * depth, b"0", *program[at:]]


def _multiplied(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """One row of instructions a hundred thousand times; half of the time its values are taken off again."""
    row = _ROWS[int(rng.integers(len(_ROWS)))]
    held = b"(" + row * int(rng.choice([100, 10_000, 100_000], p=[0.5, 0.4, 0.1]))
    return [*program[:at], held, b"1" if rng.random() < 0.5 else b"t", *program[at:]]


def _shared(program: Instructions, at: int, rng: np.random.Generator) -> Instructions:
    """Modules that hold one another twice, so that names multiply, in place of the whole."""
    depth = int(rng.choice([3, 20, 60]))
    made = b"\x80\x02cnowhere\nNet\n)\x81q\x00"
    for level in range(depth):
        held = b"h%c" % level
        made += b"cnowhere\nNet\n)\x81}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_modules}("
        made += b"X\x01\x00\x00\x00a" + held + b"X\x01\x00\x00\x00b" + held + b"uubq%c" % (level + 1)
    return [made, b"."]


_CHANGES: list[Change] = [
    *(_left_out, _again, _moved, _aliased, _aliased, _inserted, _called, _called, _renamed, _said, _counted, _nested),
    *(_multiplied, _shared),
]
