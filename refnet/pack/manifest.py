"""The manifest of a golden pack: what it says, how it is written, and every way in which it is refused.

It knows the graph and names of files, not what is in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, get_args

from refnet.errors import FormatError, GraphError
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.dialects import MODELS
from refnet.networks.preprocessing import Interpolation, Preprocessing
from refnet.pack.formats import FORMATS, Stored
from refnet.pack.limits import check_sizes
from refnet.readings.shapes import shapes, well_formed

__all__ = [
    "DTYPES",
    "FORMAT",
    "LAYOUTS",
    "MANIFEST",
    "Manifest",
    "graph_of",
    "head",
    "laid_out",
    "manifest_text",
    "parse_manifest",
]

Shape = tuple[int, ...]

FORMAT = "refnet pack 1"
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

    model = MODELS.get(graph.recipe.model)
    return {
        "format": FORMAT,
        "refnet": __version__,
        "recipe": asdict(graph.recipe),
        "dialect": None if model is None else asdict(model.dialect),
        "layout": layout,
        "dtype": dtype,
        "storage": form,
        "origin": dict(origin),
        "graph": [
            {
                "name": node.name,
                "op": node.op,
                "inputs": node.inputs,
                "attrs": dict(node.attrs),
                "params": dict(node.params),
            }
            for node in graph.nodes
        ],
        "returns": list(graph.outputs),
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
        if not file.is_file():
            raise FormatError("is missing: no golden pack, or one that was never finished")
        entries = _entries(_inside(folder, MANIFEST).read_bytes())
        graph = _graph(entries)
        params, tensors = (
            {
                name: _array(folder, name, entry, entries["dtype"])
                for name, entry in _take(entries, kind, dict, "manifest").items()
            }
            for kind in ("params", "tensors")
        )
        _compare(graph.params(), {name: stored.shape for name, stored in params.items()})
        return Manifest(entries, graph, params, _ordered(graph, tensors, entries["layout"]))
    except (FormatError, GraphError) as error:
        raise FormatError(f"{file}: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{file}: holds a value that nothing runs on: {error}") from None


def _entries(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data, object_pairs_hook=_once, parse_constant=_finite)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON, or cut short: {' '.join(str(error).split())[:200]}") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise FormatError(f"is of the format {str(found)[:60]!r}; this refnet reads {FORMAT!r}")
    for key, known in (("storage", FORMATS), ("dtype", DTYPES), ("layout", LAYOUTS)):
        if manifest.get(key) not in known:
            raise FormatError(f"{key} is {str(manifest.get(key))[:60]!r}; it is one of {', '.join(known)}")
    if manifest["storage"] == "c":
        raise FormatError("this pack is C source, to be compiled, not read: write it again in another format")
    return dict(manifest)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise FormatError("names an entry twice")
    return made


def _finite(constant: str) -> Any:
    raise FormatError(f"holds the number {constant}")


def _take(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A value of a JSON object, if it is there and of the kind it must be."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FormatError(f"{where}: {key!r} is missing or malformed")
    return value


def _shape(value: Any, where: str) -> Shape:
    if not isinstance(value, list) or not all(type(n) is int and 0 < n < 2**40 for n in value) or len(value) > 8:
        raise FormatError(f"{where}: its shape is malformed")
    return tuple(value)


def _graph(manifest: Mapping[str, Any]) -> Graph:
    """The graph, if it is well formed. A pack of before there were several outputs does not say what it returns."""
    return well_formed(graph_of(manifest))


def graph_of(manifest: Mapping[str, Any]) -> Graph:
    """The graph of a manifest, whose operations may be any.

    Raises
    ------
    FormatError
        where an entry is missing or malformed.
    """
    returns = _take(manifest, "returns", list, "manifest") if "returns" in manifest else []
    if not all(isinstance(each, str) for each in returns):
        raise FormatError("returns: is not a list of names")
    nodes = tuple(map(_node, _take(manifest, "graph", list, "manifest")))
    return Graph(_recipe(_take(manifest, "recipe", dict, "manifest")), nodes, tuple(returns))


def _recipe(recipe: Mapping[str, Any]) -> Recipe:
    """Packs of before they held preprocessing and labels lack these two."""
    size = _shape(recipe.get("size"), "recipe")
    if len(size) != 2:
        raise FormatError("recipe: its size is not (height, width)")
    preprocessing = recipe.get("preprocessing")
    return Recipe(
        _take(recipe, "model", str, "recipe"),
        float(_take(recipe, "width", (int, float), "recipe")),
        (size[0], size[1]),
        _take(recipe, "classes", int, "recipe"),
        _take(recipe, "channels", int, "recipe"),
        preprocessing=None if preprocessing is None else _preprocessing(preprocessing),
        labels=_take(recipe, "labels", str, "recipe") if "labels" in recipe else "",
    )


def _preprocessing(entry: Any) -> Preprocessing:
    where = "recipe: preprocessing"
    resize = entry.get("resize") if isinstance(entry, dict) else None
    (scale,) = _numbers([_take(entry, "scale", (int, float), where)], 1, f"{where}: 'scale'")
    std = _numbers(_take(entry, "std", list, where), 3, f"{where}: 'std'")
    if not scale or not all(std):
        raise FormatError(f"{where}: divides by zero")
    interpolation = _take(entry, "interpolation", str, where)
    if interpolation not in get_args(Interpolation):
        raise FormatError(f"{where}: no interpolation is called {interpolation[:60]!r}")
    kept = _pair(_take(entry, "keep", list, where), f"{where}: 'keep'")
    return Preprocessing(
        origin=_take(entry, "origin", str, where),
        resize=None if resize is None else _pair(resize, f"{where}: 'resize'"),
        interpolation=interpolation,
        scale=scale,
        mean=_numbers(_take(entry, "mean", list, where), 3, f"{where}: 'mean'"),
        std=std,
        keep=kept,
    )


def _numbers(value: list[Any], count: int, where: str) -> Any:
    """So many finite numbers, as a tuple."""
    if len(value) != count or not all(type(n) in (int, float) and math.isfinite(n) for n in value):
        raise FormatError(f"{where} is not {count} numbers")
    return tuple(map(float, value))


def _pair(value: Any, where: str) -> tuple[int, int]:
    """Two whole numbers from 1 on."""
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in value):
        raise FormatError(f"{where} is not two whole numbers")
    return value[0], value[1]


def _node(entry: Any) -> Node:
    name = _take(entry, "name", str, "graph")
    inputs = _take(entry, "inputs", list, name)
    if not all(isinstance(each, str) for each in inputs):
        raise FormatError(f"{name}: 'inputs' is malformed")
    params = {slot: _shape(shape, f"{name}.{slot}") for slot, shape in _take(entry, "params", dict, name).items()}
    attrs = {key: _tuples(value, name) for key, value in _take(entry, "attrs", dict, name).items()}
    return Node(name, _take(entry, "op", str, name), tuple(inputs), params, attrs)


def _tuples(value: Any, name: str) -> Any:
    """JSON's lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_tuples(each, name) for each in value)
    if not isinstance(value, int | float | str):
        raise FormatError(f"{name}: an attribute is neither number, text nor list")
    return value


def _array(folder: Path, name: str, entry: Any, dtype: str) -> Stored:
    """What the manifest says of one array, if it may be believed so far."""
    file = _take(entry, "file", str, name)
    _inside(folder, file)
    if entry.get("dtype") != dtype:
        raise FormatError(f"{name}: is of {str(entry.get('dtype'))[:60]!r} in a pack of {dtype}")
    shape = _shape(entry.get("shape"), name)
    return Stored(file, shape, dtype, _take(entry, "sha256", str, name))


def _inside(folder: Path, file: str) -> Path:
    """The path of a file that the manifest names, if that does not lead out of the folder."""
    pure = PurePosixPath(file)
    try:
        real = (folder / pure).resolve()
        there = real.is_file()
    except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, links in a circle
        raise FormatError(f"no file can be called {file[:60]!r}") from None
    if pure.is_absolute() or ".." in pure.parts or "\\" in file or not real.is_relative_to(folder.resolve()):
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
    check_sizes(graph, every)
    batch = stored[SOURCE].shape[:1]
    wanted = {name: laid_out((*batch, *shape), layout) for name, shape in every.items() if name in stored}
    _compare(wanted, {name: entry.shape for name, entry in stored.items()})
    return {name: stored[name] for name in wanted}
