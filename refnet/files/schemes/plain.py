"""refnet's own names: `block4.se.reduce.w`, in refnet's own layout."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry
from refnet.graph import Graph


def entries(graph: Graph) -> dict[str, Entry]:
    """Every parameter under its own name and shape."""
    return {name: Entry(name, shape, tuple(range(len(shape)))) for name, shape in graph.params().items()}
