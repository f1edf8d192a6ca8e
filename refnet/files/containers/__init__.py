"""Bytes -> named arrays and, where the file tells, how they are used: one module for each kind of file.

They know no network. The first bytes and what an archive holds decide the kind, never the file's name.
"""

from __future__ import annotations

import importlib
import os
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from refnet.errors import FormatError
from refnet.files.containers.archive import Archive, is_legacy_torch, is_zip, opened, shown
from refnet.files.containers.class_texts import class_texts
from refnet.files.containers.json_text import LARGEST
from refnet.files.containers.shards import index_in, is_index, parts_beside, refuse_part
from refnet.files.containers.shards import read as read_shards
from refnet.files.containers.structure import GRAPH, Contents

__all__ = ["Contents", "is_folder", "kind", "read"]

_MODULES = {"keras": "hdf5", "checkpoint": "bundle"}  # of the kinds that are called otherwise than their reader
# What a folder holds -> its kind.
_FOLDERS = {"model.json": "tfjs", "saved_model.pb": "tensorflow"}
_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # a checkpoint's index ends so
_HDF5 = b"\x89HDF\r\n\x1a\n"
# The first byte of an ONNX file: a tag of its outermost message (ir_version, opset_import, producer_name, graph, ...).
_ONNX_TAGS = (0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def read(path: str | PathLike[str]) -> Contents:
    """Read everything that a file of weights holds, whichever kind of file it is.

    Parameters
    ----------
    path : a PyTorch checkpoint, an .npz archive, a safetensors, HDF5, Keras, ONNX or TFLite file, a TensorFlow.js model
        or a SavedModel (its folder, or model.json or saved_model.pb in it), a frozen TensorFlow graph, the index of a
        TensorFlow checkpoint or what stands before '.index', OpenVINO's .xml, ncnn's .param, or the index of a
        checkpoint in several files (model.safetensors.index.json), or their folder

    Returns
    -------
    contents : its kind, its arrays and, where the file tells it, its structure

    Raises
    ------
    FormatError
        if the file is of another kind, or damaged, or hostile: one line that names the file.
    RequestError
        if the parser of this kind of file is not installed: says how to install it.
    """
    name = kind(path)
    if name == "shards":
        return read_shards(path, _read_part)
    refuse_part(Path(path))
    return _read(path, name)


def _read(path: str | PathLike[str], name: str) -> Contents:
    """Read a file by the reader of its kind."""
    # Imported only here: a network in an .npz needs no reader of graphs.
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    held = module.read(path)
    if not isinstance(held, Contents):
        graph = held.pop(GRAPH, None)
        held = Contents(name, held, graph="" if graph is None else graph.tobytes().decode("utf-8", "replace"))
    return held._replace(labels={**held.labels, **class_texts(Path(path), name)})


def _read_part(path: Path) -> Contents:
    """A file of a checkpoint in parts: an index names no other one."""
    if (name := kind(path)) == "shards":
        raise FormatError(f"{path}: an index that an index names: refused")
    return _read(path, name)


_PICKLES = range(2, 6)  # protocols of Python's pickle
_PICKLED = (
    "a Python pickle, as Paddle's .pdparams are, is not read; where Paddle is, write it as .npz: "
    "numpy.savez('w.npz', **{k: v.numpy() for k, v in paddle.load('w.pdparams').items()})"
)


def kind(path: str | PathLike[str]) -> str:
    """Which kind of file of weights a file is, by how it begins, as `Contents.kind` calls it.

    Raises
    ------
    FormatError
        if it is none, or cannot be read.
    """
    where = Path(path)
    if where.is_dir():
        held = [kind for name, kind in _FOLDERS.items() if (where / name).is_file()]
        if not held and index_in(where) is not None:
            return "shards"
        if not held and (index := parts_beside(where)):
            raise FormatError(f"{where}: holds parts of a checkpoint, and not {index}, which says what is in them")
        if len(held) != 1:
            what = "and both" if held else "and none"
            raise FormatError(f"{where}: is a folder, not a file of weights, {what} of {' and '.join(_FOLDERS)} in it")
        return held[0]
    if not where.exists() and where.with_name(f"{where.name}.index").is_file():
        where = where.with_name(f"{where.name}.index")
    with opened(where) as file:
        return _kind(file)


def is_folder(path: str | PathLike[str]) -> bool:
    """Whether a path is a folder that is a model itself: TensorFlow.js', a SavedModel, or a checkpoint in parts."""
    folder = Path(path)
    if any((folder / name).is_file() for name in _FOLDERS):
        return True
    return folder.is_dir() and (index_in(folder) is not None or parts_beside(folder) != "")


def _kind(file: BinaryIO) -> str:
    if is_legacy_torch(file):
        return "pth"
    if is_zip(file):
        return _kind_of_archive(Archive(file))
    file.seek(0)
    start = file.read(24)
    file.seek(max(os.fstat(file.fileno()).st_size - len(_TABLE), 0))
    if file.read() == _TABLE:
        return "checkpoint"
    file.seek(len(start))
    if start.startswith(_HDF5):
        return "hdf5"
    if start[4:8] == b"TFL3":
        return "tflite"
    if start[8:9] == b"{" and start[4:8] == bytes(4):  # behind the length of the header
        return "safetensors"
    if start[:1] == b"{":
        return "shards" if is_index(start + file.read(LARGEST)) else "tfjs"
    if start.lstrip().startswith((b"<?xml", b"<net")):
        return "openvino"
    if start.startswith(b"7767517\n"):
        return "ncnn"
    if _is_tensorflow(start):
        return "tensorflow"
    if start[0] in _ONNX_TAGS:
        return "onnx"
    if start[:1] == b"\x80" and start[1] in _PICKLES:
        raise FormatError(_PICKLED)
    kinds = ".pth, .npz, .safetensors, .h5, .keras, .onnx, .tflite, .pb, .index, .xml, .param or model.json"
    raise FormatError(f"no weights are read from such a file: take {kinds}")


def _is_tensorflow(start: bytes) -> bool:
    """Whether a message begins with a node that has a name, or is format 1 of a SavedModel and then a graph's facts."""
    saved = start[:3] == b"\x08\x01\x12"
    if not saved and start[:1] != b"\n":
        return False
    at = 3 if saved else 1
    while at < len(start) - 1 and start[at] & 128:  # the length
        at += 1
    return start[at + 1 : at + 2] == b"\n"


def _kind_of_archive(archive: Archive) -> str:
    members = archive.members
    if any(name.split("/")[-1] == "data.pkl" for name in members):
        return "pth"
    if "config.json" in members and "model.weights.h5" in members:
        return "keras"
    if any(name.endswith(".npy") for name in members):
        return "npz"
    first = f"; its first member is {shown(next(iter(members)))}" if members else "; it is empty"
    raise FormatError(f"a zip archive, but neither a PyTorch checkpoint nor an .npz archive nor a .keras file{first}")
