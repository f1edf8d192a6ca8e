"""What a node makes, or weighs with, as matrices to look at: maps, kernels, gates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.network import Network
from refnet.ops import WINDOWED

__all__ = ["Tile", "kernel_tiles", "map_tiles"]

Array = npt.NDArray[Any]


class Tile(NamedTuple):
    """A matrix with its title: one channel of a map, one kernel, a vector as a row."""

    title: str
    values: Array


def map_tiles(net: Network, x: Array, name: str) -> list[Tile]:
    """Every channel of what a node makes of the first image; a vector, or gates, as one row.

    Raises
    ------
    RequestError
        if there is no such node.
    """
    _known(net, name)
    y = next(np.array(y[0]) for node, y in net.steps(x[:1]) if node.name == name)
    if y.ndim != 3 or y.shape[1:] == (1, 1):
        return [Tile(name, y.reshape(1, -1))]
    return [Tile(f"channel {c}", y[c]) for c in range(len(y))]


def kernel_tiles(net: Network, name: str) -> list[Tile]:
    """Every kernel of a convolution; of a pointwise one its matrix, outputs by inputs.

    Raises
    ------
    RequestError
        if there is no such node, or it has no kernels.
    """
    _known(net, name)
    node = net.graph[name]
    if "w" not in node.params:
        raise RequestError(f"{name}: {node.op} has no weights; show what it makes")
    w = net.params[f"{name}.w"]
    if node.op not in WINDOWED:
        return [Tile("outputs by inputs", w)]
    if w.ndim == 3:
        return [Tile(f"channel {c}", w[c]) for c in range(len(w))]
    return [Tile(f"{k}, {c}", w[k, c]) for k in range(len(w)) for c in range(w.shape[1])]


def _known(net: Network, name: str) -> None:
    if name not in net.graph:
        raise RequestError(f"the network has no node {name!r}; see refnet summary --nodes")
