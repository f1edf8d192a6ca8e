"""A graph that refnet wrote beside the arrays that it needs, as a network, its names fit to be those of files."""

from __future__ import annotations

import numpy as np

from refnet.errors import FormatError, GraphError
from refnet.files.containers.structure import Contents
from refnet.files.graph_text import read_graph_text
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.tensor_names import free_name
from refnet.graph import SOURCE
from refnet.readings.limits import check_sizes

__all__ = ["import_stored"]


def import_stored(contents: Contents) -> ImportedGraph:
    """The graph, if the arrays are just those that it needs.

    Raises
    ------
    FormatError
        if the graph is malformed, or an array is missing, left over, of another shape or of no floats.
    """
    graph, arrays = read_graph_text(contents.graph), contents.arrays
    try:
        check_sizes(graph)
    except GraphError as error:
        raise FormatError(f"its graph: {error}") from None
    needed = graph.params()
    for name, shape in needed.items():
        if name not in arrays or arrays[name].shape != shape:
            there = f"has shape {arrays[name].shape}" if name in arrays else "is missing"
            raise FormatError(f"{name!r} {there}, the graph in the file needs {shape}")
        if arrays[name].dtype.kind != "f":
            raise FormatError(f"{name!r} holds {arrays[name].dtype}, not floating-point numbers")
    if extra := [name for name in arrays if name not in needed]:
        raise FormatError(f"{extra[0]!r} belongs to no node of the graph in the file")
    taken = {SOURCE}
    names = {node.name: free_name(node.name, taken) for node in graph.nodes}
    params = {name: np.asarray(a, np.float64 if a.dtype == np.float64 else np.float32) for name, a in arrays.items()}
    now = {f"{node.name}.{slot}": f"{names[node.name]}.{slot}" for node in graph.nodes for slot in node.params}
    keys = {now[name]: name for name in arrays}
    stored = {now[name]: contents.dtype(name) for name in arrays}
    return ImportedGraph.of(graph.renamed(names), {now[name]: a for name, a in params.items()}, keys, stored)
