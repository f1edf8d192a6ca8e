"""How many of a candidate's tensors are what the network makes of those before them, if they are these nodes'.

Of two ways to tell which node each tensor is, the one that leaves more layers right is right: a layer that is called by
another one's name computes nothing that its own weights make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, interpret
from refnet.network import Network
from refnet.pack.matching.likeness import Tables
from refnet.readings import fast

__all__ = ["layers_right"]

_RIGHT = 2e-3  # relative distance within which a tensor is what its node makes: no rounding of 8 bits


def layers_right(tables: Tables, network: Network, sources: Mapping[str, str]) -> int:
    """The count of tensors that are what their nodes make of what the candidate has before them.

    Parameters
    ----------
    sources : by node, the candidate's name of its tensor
    """
    graph, count = network.graph, 0
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    have = {SOURCE: np.asarray(_own(tables, SOURCE, sources, tables.golden(SOURCE)), np.float32)}
    for node in graph.nodes:
        arrays = {f"{node.name}.{slot}": network.params[f"{node.name}.{slot}"] for slot in node.params}
        with np.errstate(all="ignore"):
            y = interpret(
                Graph(graph.recipe, (node,)),
                fast,
                {name: np.asarray(array, np.float32) for name, array in arrays.items()},
                {name: have[name] for name in node.inputs},
            )
        source = sources.get(node.name)
        if source is not None and tables.fits(source, node.name):
            count += tables.like(source, node.name, tables.sample(node.name, y)).distance <= _RIGHT
        have[node.name] = np.asarray(_own(tables, node.name, sources, y), np.float32)
        have = {name: each for name, each in have.items() if last.get(name) != node.name}
    return count


def _own(tables: Tables, node: str, sources: Mapping[str, str], made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The candidate's tensor of a node, where it has one of the node's shape; else what was made."""
    source = sources.get(node)
    if source is None or not tables.fits(source, node):
        return made
    return tables.array(source, node, tables.like(source, node, tables.sample(node, made)).layout)
