"""A file as a network: the type that the translators make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.graph import Graph

__all__ = ["ImportedGraph"]


class ImportedGraph(NamedTuple):
    """A file as a network.

    Attributes
    ----------
    graph : nodes named after the file's tensors (made unique, fit to be names); its recipe has model '' and width 1
    params : by 'node.slot', in refnet's layout; float16 widened to float32, integers dequantised in float32
    keys : by 'node.slot', the file's own name of the array; none for what no file holds, such as a factor of 1
    stored : by 'node.slot', the dtype in the file: 'float32', 'float16', 'int8', ...
    left_out : the operations behind the last that is one of refnet's, in order
    """

    graph: Graph
    params: dict[str, npt.NDArray[Any]]
    keys: dict[str, str]
    stored: dict[str, str]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, graph: Graph, params: Mapping[str, Any], keys: Mapping[str, str], stored: Mapping[str, str]
    ) -> ImportedGraph:
        """A graph with what it needs of these tables."""
        needed = graph.params()
        return cls(
            graph,
            {name: params[name] for name in needed},
            {name: keys[name] for name in needed if name in keys},
            {name: stored[name] for name in needed if name in stored},
        )
