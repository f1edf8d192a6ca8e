"""The weights of a network for the same network with other widths: the channels of the largest norm are kept.

A channel's norm is that of the filters that make it, batch norm worked in, over all convolutions that make it: channels
that a shortcut ties are kept or dropped together. What stays keeps its order. What is new has the values that
`networks.random` gives to its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.networks.random import random_params
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.shapes import shapes
from refnet.search.widths import ChannelWidth, channel_widths

__all__ = ["channel_norms", "cut_params", "kept_channels"]

Array = npt.NDArray[Any]
Params = Mapping[str, Array]


def channel_norms(graph: Graph, params: Params, width: ChannelWidth) -> Array:
    """The Euclidean norm of the filters that make each channel, batch norm worked in: (channels,) float64."""
    _, arrays = fold_batch_norm(graph, params)
    return _norms(arrays, width)


def kept_channels(graph: Graph, params: Params, smaller: Graph) -> dict[str, Array]:
    """Which channels of each tensor stay in a graph with other widths: ascending indices, by the tensor's name.

    Of equal norms the channel that comes first stays.
    """
    sizes = shapes(smaller)
    _, arrays = fold_batch_norm(graph, params)
    found: dict[str, Array] = {}
    for width in channel_widths(graph):
        count = sizes[next(iter(width.tensors))][0]
        kept = np.arange(width.channels)
        if count < width.channels:
            kept = np.sort(np.argsort(-_norms(arrays, width), kind="stable")[:count])
        found |= dict.fromkeys(width.tensors, kept)
    return found


def cut_params(graph: Graph, params: Params, smaller: Graph) -> dict[str, Array]:
    """The params of `smaller`, a graph with the nodes of `graph` in other widths: cut out of those of `graph`.

    Parameters
    ----------
    graph, params : a network
    smaller : from `widths.shrunk`; where it has more channels or a node more, these are initialised at random

    Examples
    --------
    >>> from refnet.network import load
    >>> from refnet.search.widths import shrunk
    >>> net = load()
    >>> smaller = shrunk(net.graph, {"block3.expand": 20})
    >>> cut_params(net.graph, net.params, smaller)["block3.expand.w"].shape
    (20, 8)
    """
    kept = kept_channels(graph, params, smaller)
    cut: dict[str, Array] = {}
    for node in graph.nodes:
        for slot in node.params:
            name = f"{node.name}.{slot}"
            cut[name] = params[name]
            for axis, indices in _axes(node, slot, kept):
                cut[name] = cut[name].take(indices, axis)
    needed = smaller.params()
    if all(name in cut and cut[name].shape == shape for name, shape in needed.items()):
        return {name: cut[name] for name in needed}
    made = random_params(smaller, next(iter(params.values())).dtype)
    for name in needed.keys() & cut.keys():
        if made[name].ndim == cut[name].ndim:
            corner = tuple(map(slice, np.minimum(made[name].shape, cut[name].shape)))
            made[name][corner] = cut[name][corner]
    return made


def _norms(folded: Params, width: ChannelWidth) -> Array:
    total = np.zeros(width.channels)
    for name in width.makers:
        w = folded[f"{name}.w"].astype(np.float64)
        total += np.square(w).sum(axis=tuple(range(1, w.ndim)))
    return np.sqrt(total)


def _axes(node: Node, slot: str, kept: Mapping[str, Array]) -> list[tuple[int, Array]]:
    """Which axes of an array are channels, and which of these stay."""
    if node.op == "grouped_conv2d" or (slot == "alpha" and len(node.params[slot]) > 1):
        return []
    axes = [(0, kept[node.name])] if node.name in kept else []
    if slot == "w" and node.op != "depthwise_conv2d" and node.inputs[0] in kept:
        axes.append((1, kept[node.inputs[0]]))
    return axes
