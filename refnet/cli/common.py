"""What several commands share: tables of text, sizes on the command line, which network a name or file means."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.golden.pack_formats import read_npy
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.text import table

if TYPE_CHECKING:
    from refnet.network import Network

__all__ = [
    "checkpoint_of",
    "load_array",
    "model_of",
    "print_json",
    "size_argument",
    "table",
    "writable",
    "write_array",
    "write_text",
]


def print_json(value: Any) -> None:
    """Print a value for programs: one JSON document."""
    print(json.dumps(value, indent=2))


def load_array(path: str | Path) -> npt.NDArray[Any]:
    """A .npy file of input that is ready for a network.

    Raises
    ------
    FormatError, RequestError
        if it is unreadable, or holds anything but float32 or float64.
    """
    x = read_npy(path)
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise RequestError(f"{path}: holds {x.dtype}; take float32 or float64, scaled as the network expects")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole or not at all."""
    _write(path, lambda file: file.write(text.encode("utf-8")))


def write_array(path: str | Path, x: npt.NDArray[Any]) -> None:
    """Write a .npy file whole or not at all."""
    _write(path, lambda file: np.save(file, x, allow_pickle=False))


def writable(path: str | Path) -> Path:
    """Where a file would be written, refused before the work that makes it.

    Raises
    ------
    RequestError
        if there is something else, or no folder.
    """
    path = Path(path).resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        raise RequestError(f"{path}: exists and is no file; choose another name")
    if not path.parent.is_dir():
        raise RequestError(f"{path.parent}: is no folder to write into")
    return path


def _write(path: str | Path, put: Callable[[IO[bytes]], object]) -> None:
    path = writable(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            put(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def size_argument(text: str) -> tuple[int, int]:
    """Read 'H,W' (or 'HxW', or one number for both).

    Raises
    ------
    argparse.ArgumentTypeError
        if it is none of these.
    """
    parts = text.replace("x", ",").split(",")
    if len(parts) not in (1, 2) or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not H,W in pixels, such as 224,224")
    return int(parts[0]), int(parts[-1])


def checkpoint_of(options: argparse.Namespace) -> Network | None:
    """The network in the checkpoint that `options.network` is the path of; None where it is the name of a model."""
    if not Path(options.network).is_file():
        return None
    from refnet.network import load

    if getattr(options, "classes", None) is not None:
        raise RequestError("--classes goes with the name of a model: a checkpoint has its own")
    return load(options.network, model=options.model, width=options.width, size=options.size)


def model_of(options: argparse.Namespace) -> Graph:
    """The graph of the model that `options.network` names, at the width, size and classes asked for."""
    width = 1.0 if options.width is None else options.width
    return build(options.network, width=width, size=options.size, classes=getattr(options, "classes", None))
