"""How many of a candidate's tensors are what the network makes of those before them, if they are these nodes'.

Of two ways to tell which node each tensor is, the one that leaves more layers right is right: a layer that is called by
another one's name computes nothing that its own weights make.
"""

from __future__ import annotations

import math
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
_IN_8_BITS = 0.05  # the same of what is rounded to 8 bits, which leaves 0.01 to 0.03


def layers_right(tables: Tables, network: Network, sources: Mapping[str, str]) -> tuple[int, int]:
    """How many tensors are what their nodes make of what the candidate has before them, at its own sizes.

    Parameters
    ----------
    sources : by node, the candidate's name of its tensor

    Returns
    -------
    right, near : but for rounding, and but for that of 8 bits
    """
    graph, right, near = network.graph, 0, 0
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    x, _ = _own(tables, SOURCE, sources, tables.golden(SOURCE))
    have = {SOURCE: np.asarray(x, np.float32)}
    for node in graph.nodes:
        try:
            y = _made(network, node, have)
        except ValueError:  # maps of sizes that are not summed
            y = tables.golden(node.name)
        own, distance = _own(tables, node.name, sources, y)
        right, near = right + (distance <= _RIGHT), near + (distance <= _IN_8_BITS)
        have[node.name] = np.asarray(own, np.float32)
        have = {name: each for name, each in have.items() if last.get(name) != node.name}
    return right, near


def _made(network: Network, node: Node, have: Mapping[str, Array]) -> Array:
    """What a node makes of tensors."""
    params = {name: np.asarray(network.params[name], np.float32) for name in (f"{node.name}.{s}" for s in node.params)}
    with np.errstate(all="ignore"):
        y: Array = interpret(
            Graph(network.graph.recipe, (node,)), fast, params, {name: have[name] for name in node.inputs}
        )
    return y


def _own(tables: Tables, node: str, sources: Mapping[str, str], y: Array) -> tuple[Array, float]:
    """The candidate's tensor of a node, if it has its channels, else what was made; and how far these lie apart."""
    source = sources.get(node)
    if source is None:
        return y, math.inf
    like = tables.like_made(source, y)
    if like is not None:
        return like.layout.nchw(np.asarray(tables.candidate[source]), y.shape), like.distance
    for order in (UNKNOWN, UNKNOWN_LAST):  # of another size
        if y.ndim == 4 == len(tables.found[source]) and has_channels(tables.found[source], y.shape, order.last):
            return order.nchw(np.asarray(tables.candidate[source]), y.shape), math.inf
    return y, math.inf
