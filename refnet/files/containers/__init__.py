"""Bytes -> named arrays and, where the file tells, how they are used: one module for each kind of file.

They know no network. The first bytes and what an archive holds decide the kind, never the file's name.
"""

from __future__ import annotations

import importlib
from os import PathLike
from typing import BinaryIO

from refnet.errors import FormatError
from refnet.files.containers import pth
from refnet.files.containers.archive import Archive, is_zip, opened, shown
from refnet.files.containers.structure import Contents

__all__ = ["Contents", "kind", "read"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
# The first byte of an ONNX file: a tag of its outermost message (ir_version, opset_import, producer_name, graph, ...).
_ONNX_TAGS = (0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def read(path: str | PathLike[str]) -> Contents:
    """Read everything that a file of weights holds, whichever kind of file it is.

    Parameters
    ----------
    path : a PyTorch checkpoint, an .npz archive, a safetensors, HDF5, Keras, ONNX or TFLite file

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
    # Imported only here: a network in an .npz needs no reader of graphs.
    module = importlib.import_module(f"{__name__}.{'hdf5' if name == 'keras' else name}")
    held = module.read(path)
    return held if isinstance(held, Contents) else Contents(name, held)


def kind(path: str | PathLike[str]) -> str:
    """Which kind of file of weights a file is, by how it begins, as `Contents.kind` calls it.

    Raises
    ------
    FormatError
        if it is none, or cannot be read.
    """
    with opened(path) as file:
        return _kind(file)


def _kind(file: BinaryIO) -> str:
    if pth.is_legacy(file):
        return "pth"
    if is_zip(file):
        return _kind_of_archive(Archive(file))
    file.seek(0)
    start = file.read(9)
    if start.startswith(_HDF5):
        return "hdf5"
    if start[4:8] == b"TFL3":
        return "tflite"
    if start[8:] == b"{":  # behind the length of the header
        return "safetensors"
    if start[0] in _ONNX_TAGS:
        return "onnx"
    kinds = ".pth, .npz, .safetensors, .h5, .keras, .onnx or .tflite"
    raise FormatError(f"no weights are read from such a file: take {kinds}")


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
