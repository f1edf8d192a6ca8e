"""Which vector of a file is missing, or is too many, where its filters are those of a known network in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any

import numpy.typing as npt

from refnet.files.identify.order import listings
from refnet.graph import Graph, Node
from refnet.networks.rewrite import fold_graph

__all__ = ["is_filter", "other_vector", "parted_words"]

Arrays = Mapping[str, npt.NDArray[Any]]
_Row = tuple[bool, int]  # whether it is a filter, and how many there are; of a vector how many numbers


def is_filter(array: npt.NDArray[Any]) -> bool:
    """Whether an array is the filters of a layer, and no vector."""
    return array.ndim in (2, 3, 4) and sum(side > 1 for side in array.shape) > 1


def other_vector(arrays: Arrays, graph: Graph, own: Callable[[str], str]) -> str:
    """The first array that is missing or too many, in words; '' where there is none.

    Parameters
    ----------
    graph : of the network, with the file's number of classes; a file may have its batch norms worked in
    own : from a vendor's name to the file's
    """
    keys = [key for key, array in arrays.items() if array.ndim]
    held = [(is_filter(arrays[key]), arrays[key].shape[0]) for key in keys]
    kinds = [_rows(nodes) for each in (graph, fold_graph(graph)) for nodes in listings(each)]
    matched = {
        place: SequenceMatcher(None, [row for _, row in rows], held, autojunk=False) for place, rows in enumerate(kinds)
    }
    best = max(matched, key=lambda place: matched[place].ratio())
    change = next((each for each in matched[best].get_opcodes() if each[0] != "equal"), None)
    if change is None:
        return ""
    what, first, _, here, _ = change
    found = f"{own(keys[here])!r} {arrays[keys[here]].shape}" if here < len(keys) else "the end"
    if first == len(kinds[best]):
        return f"{found} is one more"
    name, (_, count) = kinds[best][first]
    known, (layer, _, slot) = f"{name}, {count} numbers", name.rpartition(".")
    alike = "" if slot in ("w", "b") else f", or another array of {layer}"
    words = parted_words(what, known, found)
    return f"before {found} {words}{alike}" if what == "delete" else words


def parted_words(what: str, known: str, found: str) -> str:
    """Where two orders part, as difflib calls it: what one has there, and the other."""
    return {
        "delete": f"nothing is {known}",
        "insert": f"{found} stands before {known}",
        "replace": f"{found} stands for {known}",
    }[what]


def _rows(nodes: Iterable[Node]) -> list[tuple[str, _Row]]:
    """The arrays of layers by their names, as all frameworks list them."""
    return [(f"{node.name}.{slot}", (slot == "w", shape[0])) for node in nodes for slot, shape in node.params.items()]
