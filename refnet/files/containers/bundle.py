"""TensorFlow's checkpoints: `model.ckpt.index`, a table of names, and `model.ckpt.data-00000-of-00001`, the numbers.

The table says of each array type, shape, file, offset and size; everything is checked against the files. A checkpoint
of objects (TensorFlow 2) names arrays by how objects hold each other, and says beside it what each variable is called;
the variable's own name is taken where all of them are different. Optimizers' state and counters are left out, arrays in
slices are refused, and so is the format before 2016 (`model.ckpt` in one file), whose table is compressed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers import sstable
from refnet.files.containers.archive import opened, shown
from refnet.files.containers.beside import Beside
from refnet.files.containers.protobuf import Message, message
from refnet.files.containers.structure import Contents
from refnet.files.containers.tensorflow_values import DTYPES, STRING, array_of, checked_size, shape_of
from refnet.files.containers.wire import varint

__all__ = ["Bundle", "is_aside", "read"]

Array = npt.NDArray[Any]

SUFFIX = ".index"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_TABLE = 8 << 20  # bytes of the table
_MOST_SHARDS = 1000
_MOST_OBJECTS = 8 << 20  # bytes of the description of the objects
# What training leaves beside the weights: names of arrays that inference does not read.
_ASIDE = re.compile(
    r"global_step|save_counter|local_step|biased|RMSProp(_\d)?|Momentum|Adam(_\d)?|beta[12]_power|_CHECKPOINTABLE\w*"
)
_ASIDE_OBJECTS = re.compile(r"^(optimizer|save_counter|keras_api/metrics|.*/\.OPTIMIZER_SLOT)/")
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class BundleEntry(NamedTuple):
    """Where an array lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the arrays of a checkpoint.

    Parameters
    ----------
    path : of the .index file, or that without '.index'; the data is looked for beside it

    Returns
    -------
    contents : arrays by the names of their variables

    Raises
    ------
    FormatError
        if it is no checkpoint, is damaged, or holds what this module refuses. One line: the file, what is wrong.
    """
    where = Path(path)
    if not where.exists() and where.with_name(where.name + SUFFIX).exists():
        where = where.with_name(where.name + SUFFIX)
    with opened(where) as file:
        data = file.read(_MOST_TABLE + 1)
        bundle = Bundle(data, Beside(where.parent), where.name.removesuffix(SUFFIX))
        names = bundle.names()
        return Contents("checkpoint", {names[key]: bundle.array(key) for key in names})


class Bundle:
    """A checkpoint: its table, and the files of its numbers.

    Parameters
    ----------
    data : bytes of the table
    files : the folder of the checkpoint, or one above it
    prefix : of the files of numbers, in that folder
    """

    def __init__(self, data: bytes, files: Beside, prefix: str) -> None:
        if len(data) > _MOST_TABLE:
            raise FormatError(f"a table of more than {_MOST_TABLE} bytes: no checkpoint has one")
        self.files, self.prefix = files, prefix
        self.entries: dict[str, BundleEntry] = {}
        self.shards = 0
        for key, value in sstable.entries(data):
            if not key:
                self._header(message(bytes(value)))
                continue
            name = _name(key)
            if not self.shards:
                raise FormatError("a table of arrays that does not say how many files they lie in: not a checkpoint")
            self.entries[name] = self._entry(message(bytes(value)), name)
        if not self.shards:
            raise FormatError("an empty table: not a checkpoint")

    def _header(self, header: Message) -> None:
        self.shards = header.integer(1)
        if not 1 <= self.shards <= _MOST_SHARDS:
            if 1 in header and self.shards > _MOST_SHARDS:
                raise FormatError(f"a checkpoint in {self.shards} files: only up to {_MOST_SHARDS} are read")
            raise FormatError("a table without a count of files: a checkpoint of before 2016, or none")
        if header.integer(2):
            raise FormatError("a big-endian checkpoint: save it again on another machine")

    def _entry(self, entry: Message, name: str) -> BundleEntry:
        shape = shape_of(entry.message(2))
        if shape is None or None in shape or 7 in entry:
            raise FormatError(f"{shown(name)} lies in slices, or has an open shape: only whole arrays are read")
        shard, offset, size = entry.integer(3), entry.integer(4), entry.integer(5)
        if not 0 <= shard < self.shards or min(offset, size) < 0:
            raise FormatError(f"{shown(name)} lies outside of the checkpoint's files: damaged")
        return BundleEntry(entry.integer(1), tuple(side for side in shape if side is not None), shard, offset, size)

    def array(self, key: str) -> Array:
        """The array of a key.

        Raises
        ------
        FormatError : there is none, or it is not as the table says
        """
        if key not in self.entries:
            raise FormatError(f"the checkpoint has no {shown(key)}: it is incomplete, or another model's")
        entry = self.entries[key]
        dtype = DTYPES.get(entry.dtype)
        if dtype is None:
            raise FormatError(f"{shown(key)} is of type {entry.dtype}: only numbers are read")
        size = checked_size(entry.shape, dtype, key)
        if entry.size != size:
            raise FormatError(f"{shown(key)} has {entry.size} bytes, its shape and type say {size}: damaged")
        return array_of(self._bytes(key, entry), dtype, entry.shape, key)

    def _bytes(self, key: str, entry: BundleEntry) -> bytes:
        location = f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}"
        return self.files.read(location, entry.offset, entry.size, key)

    def names(self) -> dict[str, str]:
        """What the arrays that inference reads are called, by key."""
        keys = [key for key, entry in self.entries.items() if entry.dtype in DTYPES]
        objects = self.entries.get(_OBJECTS)
        if objects is None:
            return {key: key for key in keys if not is_aside(key)}
        keys = [key for key in keys if not _ASIDE_OBJECTS.match(key)]
        known = self._variables(objects)
        called = {key: _keras(known[key]) for key in keys if known.get(key)}
        if len(called) < len(keys) or len(set(called.values())) < len(keys):
            return {key: key.removesuffix(_VALUE) for key in keys}
        return {key: name for key, name in called.items() if not is_aside(name)}

    def _variables(self, entry: BundleEntry) -> dict[str, str]:
        """Key -> name of the variable, as the description of the objects tells."""
        if entry.dtype != STRING or entry.shape or not 0 < entry.size <= _MOST_OBJECTS:
            return {}
        body = self._bytes(_OBJECTS, entry)
        length, at = varint(memoryview(body), 0, len(body))
        at += 4  # the checksum of the length
        if at + length != len(body):
            raise FormatError("the description of its objects is not as long as it says: damaged")
        found: dict[str, str] = {}
        for held in message(body[at:]).messages(1):
            for attribute in held.messages(2):
                found[attribute.text(3)] = attribute.text(2)
        return found


def is_aside(name: str) -> bool:
    """Whether a variable is training's, by the last part of its name."""
    return _ASIDE.fullmatch(name.rpartition("/")[2]) is not None


def _keras(name: str) -> str:
    """A variable's name with Keras 3's name of what it is, as `hdf5` has it."""
    layer, slash, last = name.rpartition("/")
    return f"{layer}{slash}{'kernel' if last == 'depthwise_kernel' else last}"


def _name(key: bytes) -> str:
    try:
        name = key.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"the name {shown(key)} is no UTF-8: damaged") from None
    if not name.isprintable():
        raise FormatError(f"the name {shown(name)} cannot be printed: damaged")
    return name
