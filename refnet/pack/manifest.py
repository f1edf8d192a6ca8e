"""The manifest of a golden pack: what it says, how it is written, and every way in which it is refused.

It knows the graph and names of files, not what is in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from refnet.errors import FormatError, GraphError
from refnet.files.containers.json_text import LARGEST
from refnet.files.graph_text import graph_document, graph_of, json_field, json_object, positive_shape
from refnet.graph import SOURCE, Graph
from refnet.networks.dialects import MODELS
from refnet.pack.formats import FORMATS, Stored
from refnet.readings.limits import check_sizes
from refnet.readings.shapes import shapes, well_formed

__all__ = [
    "DTYPES",
    "FORMAT",
    "INTEGER_FORMAT",
    "LAYOUTS",
    "MANIFEST",
    "Manifest",
    "PackFiles",
    "head",
    "laid_out",
    "manifest_object",
    "manifest_text",
    "parse_manifest",
]

Shape = tuple[int, ...]

FORMAT = "refnet pack 1"
INTEGER_FORMAT = "refnet integer pack 1"
DTYPES = ("float32", "float64")
LAYOUTS = ("nchw", "nhwc")
MANIFEST = "manifest.json"


class Manifest(NamedTuple):
    """A manifest that agrees with itself: all of it, the graph, and what is stored, by name."""

    entries: dict[str, Any]
    graph: Graph
    params: dict[str, Stored]
    tensors: dict[str, Stored]


def head(graph: Graph, dtype: str, layout: str, form: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says before its arrays are written."""
    from refnet import __version__  # here, for the package's own first lines import half the house

    model, document = MODELS.get(graph.recipe.model), graph_document(graph)
    return {
        "format": FORMAT,
        "refnet": __version__,
        "recipe": document["recipe"],
        "dialect": None if model is None else asdict(model.dialect),
        "layout": layout,
        "dtype": dtype,
        "storage": form,
        "origin": dict(origin),
        "graph": document["graph"],
        "returns": document["returns"],
    }


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """JSON with one entry of each list and object per line, so that a reader in C can go by lines."""
    parts = []
    for key, value in manifest.items():
        if isinstance(value, dict):
            lines = [f"{json.dumps(name)}: {json.dumps(entry, allow_nan=False)}" for name, entry in value.items()]
        elif isinstance(value, list):
            lines = [json.dumps(entry, allow_nan=False) for entry in value]
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
            continue
        start, end = "{}" if isinstance(value, dict) else "[]"
        parts.append(f"{json.dumps(key)}: {start}\n  " + ",\n  ".join(lines) + f"\n {end}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def laid_out(shape: Shape, layout: str) -> Shape:
    """(N, C, H, W) -> the shape that is stored; other ranks stay."""
    return (shape[0], *shape[2:], shape[1]) if layout == "nhwc" and len(shape) == 4 else shape


def parse_manifest(folder: Path) -> Manifest:
    """Read the manifest of a pack.

    Raises
    ------
    FormatError
        as for `pack.read_pack`.
    """
    file = folder / MANIFEST
    try:
        entries = _entries(manifest_object(folder))
        graph = check_sizes(well_formed(graph_of(entries, "manifest")))
        files = PackFiles(folder)
        params, tensors = (
            {
                name: _array(files, name, entry, entries["dtype"])
                for name, entry in json_field(entries, kind, dict, "manifest").items()
            }
            for kind in ("params", "tensors")
        )
        _compare(graph.params(), {name: stored.shape for name, stored in params.items()})
        return Manifest(entries, graph, params, _ordered(graph, tensors, entries["layout"]))
    except (FormatError, GraphError) as error:
        raise FormatError(f"{file}: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{file}: holds a value that nothing runs on: {error}") from None


def manifest_object(folder: Path) -> dict[str, Any]:
    """The manifest of a pack of either kind, as JSON has it.

    Raises
    ------
    FormatError : it is missing, leads elsewhere, is no JSON, or more than a manifest is
    """
    if not (folder / MANIFEST).is_file():
        raise FormatError("is missing: no golden pack, or one that was never finished")
    with open(PackFiles(folder).path(MANIFEST), "rb") as file:
        return json_object(file.read(LARGEST + 1))


def _entries(manifest: dict[str, Any]) -> dict[str, Any]:
    found = manifest.get("format")
    if found == INTEGER_FORMAT:
        raise FormatError(
            "is a pack of integers: refnet compare holds ports against it (compare_integers in Python); elsewhere give "
            "the file of integers that it was made of"
        )
    if found != FORMAT:
        raise FormatError(f"is of the format {str(found)[:60]!r}; this refnet reads {FORMAT!r}")
    for key, known in (("storage", FORMATS), ("dtype", DTYPES), ("layout", LAYOUTS)):
        if manifest.get(key) not in known:
            raise FormatError(f"{key} is {str(manifest.get(key))[:60]!r}; it is one of {', '.join(known)}")
    if manifest["storage"] == "c":
        raise FormatError("this pack is C source, to be compiled, not read: write it again in another format")
    return manifest


def _array(files: PackFiles, name: str, entry: Any, dtype: str) -> Stored:
    """What the manifest says of one array, if it may be believed so far."""
    file = json_field(entry, "file", str, name)
    files.path(file)
    if entry.get("dtype") != dtype:
        raise FormatError(f"{name}: is of {str(entry.get('dtype'))[:60]!r} in a pack of {dtype}")
    shape = positive_shape(entry.get("shape"), name)
    return Stored(file, shape, dtype, json_field(entry, "sha256", str, name))


class PackFiles:
    """The files of a pack's folder, whose real path and those of the folders in it are looked up once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder.resolve()
        self._folders: dict[PurePosixPath, Path] = {}

    def path(self, file: str) -> Path:
        """The path of a file that the manifest names.

        Raises
        ------
        FormatError : it leads out of the folder, or there is none
        """
        pure = PurePosixPath(file)
        try:
            if pure.parent not in self._folders:
                self._folders[pure.parent] = (self._folder / pure.parent).resolve()
            path = self._folders[pure.parent] / pure.name
            real = Path(os.path.realpath(path)) if "\0" in file or path.is_symlink() else path
            there = real.is_file()
        except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, links in a circle
            raise FormatError(f"no file can be called {file[:60]!r}") from None
        if pure.is_absolute() or ".." in pure.parts or "\\" in file or not real.is_relative_to(self._root):
            raise FormatError(f"the file {file!r} leads out of the pack; refused")
        if not there:
            raise FormatError(f"the file {file!r} is missing")
        return real


def _compare(wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    for name, shape in wanted.items():
        if name not in found:
            raise FormatError(f"{name} is missing, which the graph needs")
        if found[name] != shape:
            raise FormatError(f"{name} has shape {found[name]}, in the graph it has {shape}")
    if extra := [name for name in found if name not in wanted]:
        raise FormatError(f"{extra[0]} belongs to no node of the graph")


def _ordered(graph: Graph, stored: Mapping[str, Stored], layout: str) -> dict[str, Stored]:
    """The stored tensors in order of execution, if they have the shapes that the graph makes."""
    if SOURCE not in stored:
        raise FormatError("the input is not among the tensors")
    every = shapes(graph)
    batch = stored[SOURCE].shape[:1]
    wanted = {name: laid_out((*batch, *shape), layout) for name, shape in every.items() if name in stored}
    _compare(wanted, {name: entry.shape for name, entry in stored.items()})
    return {name: stored[name] for name in wanted}
