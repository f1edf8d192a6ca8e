"""Checkpoints in several files: an index in JSON says in which of them each array lies.

Hugging Face's libraries write `model.safetensors.index.json` or `pytorch_model.bin.index.json`, an object with
"weight_map", {name of an array: name of a file beside the index}. Each file is read as one by itself is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import opened, shown
from refnet.files.containers.beside import Beside
from refnet.files.containers.json_text import LARGEST, parse_json
from refnet.files.containers.structure import Contents

__all__ = ["index_in", "is_index", "parts_beside", "read", "refuse_part"]

_ENDING = ".index.json"
_MOST = 1000  # files
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.safetensors|\.bin)")


def is_index(data: bytes) -> bool:
    """Whether a JSON text is such an index."""
    return b'"weight_map"' in data


def index_in(folder: Path) -> Path | None:
    """The index that a folder holds, of safetensors where there are two; None where it holds none."""
    found = sorted(folder.glob(f"*{_ENDING}"), key=lambda path: "safetensors" not in path.name)
    return found[0] if found else None


def refuse_part(path: Path) -> None:
    """Refuse a file that is one of several, as its name says, and say which are wanted.

    Raises
    ------
    FormatError : it is such a file
    """
    found = _PART.fullmatch(path.name)
    if found is None or int(found[2]) < 2:
        return
    index = found[1] + found[3] + _ENDING
    there = (path.parent / index).is_file()
    what = f"take {index}, which names all of them" if there else f"take their folder, with all of them and {index}"
    raise FormatError(f"{path}: is one of the {int(found[2])} files of a checkpoint: {what}")


def parts_beside(folder: Path) -> str:
    """The name of the index that the parts of a checkpoint in a folder have; '' where there are no parts."""
    found = (_PART.fullmatch(path.name) for path in sorted(folder.glob("*-of-*")))
    return next((each[1] + each[3] + _ENDING for each in found if each is not None), "")


def read(path: str | os.PathLike[str], reader: Callable[[Path], Contents]) -> Contents:
    """Read every array that an index, or the one in a folder, tells the place of.

    Parameters
    ----------
    reader : reads one of the files

    Raises
    ------
    FormatError : the index is none, or a file is missing, of another kind, or without an array that should lie there
    """
    where = Path(path)
    index = (index_in(where) or where) if where.is_dir() else where
    with opened(index) as file:
        places = parse_json(file.read(LARGEST + 1), index.name).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise FormatError(f"{index.name} has no weight_map that names a file for each array")
    names = list(dict.fromkeys(places.values()))
    if len(names) > _MOST:
        raise FormatError(f"{index.name} names {len(names)} files: refused, no network has more than {_MOST}")
    beside, held = Beside(index.parent), dict[str, npt.NDArray[Any]]()
    for name in names:
        each = reader(beside.path(name, "a part of the checkpoint"))
        if each.kind not in ("safetensors", "pth"):
            raise FormatError(f"{shown(name)} holds no part of a checkpoint, but a file of the kind {each.kind}")
        held |= {key: array for key, array in each.arrays.items() if places.get(key) == name}
    if lacking := [key for key in places if key not in held]:
        raise FormatError(f"{shown(lacking[0])} is not in {shown(places[lacking[0]])}: fetch that file again")
    return Contents("shards", held)
