"""How many of a candidate's tensors are what the network makes of those before them, if they are these nodes'.

Of two ways to tell which node each tensor is, the one that leaves more layers right is right: a layer that is called by
another one's name computes nothing that its own weights make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, Node, interpret
from refnet.network import Network
from refnet.pack.matching.layouts import UNKNOWN, UNKNOWN_LAST
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.sequence import has_channels
from refnet.readings import fast

__all__ = ["layers_right"]

Array = npt.NDArray[Any]

_RIGHT = 2e-3  # relative distance within which a tensor is what its node makes: no rounding of 8 bits


def layers_right(tables: Tables, network: Network, sources: Mapping[str, str]) -> int:
    """The count of tensors that are what their nodes make of what the candidate has before them, at its own sizes.

    Parameters
    ----------
    sources : by node, the candidate's name of its tensor
    """
    graph, count = network.graph, 0
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    x, _ = _own(tables, SOURCE, sources, tables.golden(SOURCE))
    have = {SOURCE: np.asarray(x, np.float32)}
    for node in graph.nodes:
        try:
            y = _made(network, node, have)
        except ValueError:  # maps of sizes that are not summed
            y = tables.golden(node.name)
        own, right = _own(tables, node.name, sources, y)
        count += right
        have[node.name] = np.asarray(own, np.float32)
        have = {name: each for name, each in have.items() if last.get(name) != node.name}
    return count


def _made(network: Network, node: Node, have: Mapping[str, Array]) -> Array:
    """What a node makes of tensors."""
    params = {name: np.asarray(network.params[name], np.float32) for name in (f"{node.name}.{s}" for s in node.params)}
    with np.errstate(all="ignore"):
        y: Array = interpret(
            Graph(network.graph.recipe, (node,)), fast, params, {name: have[name] for name in node.inputs}
        )
    return y


def _own(tables: Tables, node: str, sources: Mapping[str, str], y: Array) -> tuple[Array, bool]:
    """The candidate's tensor of a node, if it has its channels, else what was made; whether these are alike."""
    source = sources.get(node)
    if source is None:
        return y, False
    like = tables.like_made(source, y)
    if like is not None:
        return like.layout.nchw(np.asarray(tables.candidate[source]), y.shape), like.distance <= _RIGHT
    for order in (UNKNOWN, UNKNOWN_LAST):  # of another size
        if y.ndim == 4 == len(tables.found[source]) and has_channels(tables.found[source], y.shape, order.last):
            return order.nchw(np.asarray(tables.candidate[source]), y.shape), False
    return y, False
