"""A graph as JSON, and back: in the manifest of a golden pack, in the metadata of a file of weights.

What a document says is checked before it is believed: an operation, an attribute or a shape that nothing runs on is
refused by the name of its node.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from refnet.errors import FormatError, GraphError
from refnet.files.containers.json_text import bounded
from refnet.graph import Graph, Node, Recipe
from refnet.networks.preprocessing import INTERPOLATIONS, Preprocessing
from refnet.readings.shapes import well_formed

__all__ = ["graph_document", "graph_of", "graph_text", "json_field", "json_object", "positive_shape", "read_graph_text"]

Shape = tuple[int, ...]

_FORMAT = "refnet graph 1"


def graph_document(graph: Graph) -> dict[str, Any]:
    """A graph as values of JSON: its recipe, its nodes in order, and what it returns."""
    recipe = asdict(graph.recipe)
    if recipe["preprocessing"] is not None and not recipe["preprocessing"]["cut_first"]:
        del recipe["preprocessing"]["cut_first"]  # as before it was known
    return {
        "recipe": recipe,
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


def graph_text(graph: Graph) -> str:
    """A graph as one line of JSON.

    Examples
    --------
    >>> graph = Graph(Recipe("", 1.0, (8, 8), classes=3), (Node("act", "relu", ("input",)),))
    >>> read_graph_text(graph_text(graph)) == graph
    True
    """
    return json.dumps({"format": _FORMAT, **graph_document(graph)}, allow_nan=False)


def read_graph_text(text: str) -> Graph:
    """The graph that `graph_text` wrote.

    Raises
    ------
    FormatError
        if it is none, or one that nothing runs on: names the node.
    """
    entries = json_object(text)
    if entries.get("format") != _FORMAT:
        raise FormatError(f"its graph is of the format {str(entries.get('format'))[:60]!r}; take {_FORMAT!r}")
    try:
        return well_formed(graph_of(entries))
    except GraphError as error:
        raise FormatError(f"its graph: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"its graph holds a value that nothing runs on: {error}") from None


def json_object(text: str | bytes) -> dict[str, Any]:
    """An object of JSON whose entries are there once, and whose numbers are finite.

    Raises
    ------
    FormatError : it is none
    """
    try:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        found = json.loads(bounded(data, "it"), object_pairs_hook=_once, parse_constant=_finite)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON, or cut short: {' '.join(str(error).split())[:200]}") from None
    return dict(found) if isinstance(found, dict) else {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise FormatError("names an entry twice")
    return made


def _finite(constant: str) -> Any:
    raise FormatError(f"holds the number {constant}")


def json_field(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A value of a JSON object, if it is there and of the kind it must be."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FormatError(f"{where}: {key!r} is missing or malformed")
    return value


def positive_shape(value: Any, where: str) -> Shape:
    """A shape of a JSON document, if it is one."""
    if not isinstance(value, list) or not all(type(n) is int and 0 < n < 2**40 for n in value) or len(value) > 8:
        raise FormatError(f"{where}: its shape is malformed")
    return tuple(value)


def graph_of(document: Mapping[str, Any], where: str = "graph") -> Graph:
    """The graph of a document, whose operations may be any.

    One of before there were several outputs does not say what it returns.

    Parameters
    ----------
    where : what the document is called where something is missing from it

    Raises
    ------
    FormatError
        where an entry is missing or malformed.
    """
    returns = json_field(document, "returns", list, where) if "returns" in document else []
    if not all(isinstance(each, str) for each in returns):
        raise FormatError("returns: is not a list of names")
    nodes = tuple(map(_node, json_field(document, "graph", list, where)))
    return Graph(_recipe(json_field(document, "recipe", dict, where)), nodes, tuple(returns))


def _recipe(recipe: Mapping[str, Any]) -> Recipe:
    """Packs of before they held preprocessing and labels lack these two."""
    size = positive_shape(recipe.get("size"), "recipe")
    if len(size) != 2:
        raise FormatError("recipe: its size is not (height, width)")
    preprocessing = recipe.get("preprocessing")
    return Recipe(
        json_field(recipe, "model", str, "recipe"),
        float(json_field(recipe, "width", (int, float), "recipe")),
        (size[0], size[1]),
        json_field(recipe, "classes", int, "recipe"),
        json_field(recipe, "channels", int, "recipe"),
        preprocessing=None if preprocessing is None else _preprocessing(preprocessing),
        labels=_labels(recipe.get("labels", "")),
    )


def _labels(entry: Any) -> str | tuple[str, ...]:
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        raise FormatError("recipe: 'labels' is neither a name nor a list of names")
    return tuple(entry)


def _preprocessing(entry: Any) -> Preprocessing:
    where = "recipe: preprocessing"
    resize = entry.get("resize") if isinstance(entry, dict) else None
    (scale,) = _numbers([json_field(entry, "scale", (int, float), where)], 1, f"{where}: 'scale'")
    std = _numbers(json_field(entry, "std", list, where), 3, f"{where}: 'std'")
    if not scale or not all(std):
        raise FormatError(f"{where}: divides by zero")
    interpolation = json_field(entry, "interpolation", str, where)
    if interpolation not in INTERPOLATIONS:
        raise FormatError(f"{where}: no interpolation is called {interpolation[:60]!r}")
    kept = _pair(json_field(entry, "keep", list, where), f"{where}: 'keep'")
    cut_first = entry.get("cut_first", False)
    if not isinstance(cut_first, bool):
        raise FormatError(f"{where}: 'cut_first' is neither true nor false")
    return Preprocessing(
        origin=json_field(entry, "origin", str, where),
        resize=None if resize is None else _pair(resize, f"{where}: 'resize'"),
        interpolation=interpolation,
        scale=scale,
        mean=_numbers(json_field(entry, "mean", list, where), 3, f"{where}: 'mean'"),
        std=std,
        keep=kept,
        cut_first=cut_first,
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
    name = json_field(entry, "name", str, "graph")
    inputs = json_field(entry, "inputs", list, name)
    if not all(isinstance(each, str) for each in inputs):
        raise FormatError(f"{name}: 'inputs' is malformed")
    params = {
        slot: positive_shape(shape, f"{name}.{slot}") for slot, shape in json_field(entry, "params", dict, name).items()
    }
    attrs = {key: _tuples(value, name) for key, value in json_field(entry, "attrs", dict, name).items()}
    return Node(name, json_field(entry, "op", str, name), tuple(inputs), params, attrs)


def _tuples(value: Any, name: str) -> Any:
    """JSON's lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_tuples(each, name) for each in value)
    if not isinstance(value, int | float | str):
        raise FormatError(f"{name}: an attribute is neither number, text nor list")
    return value
