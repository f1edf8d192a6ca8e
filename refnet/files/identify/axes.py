"""The order in which a file keeps the axes of its filters, told by the shapes of all its filters together.

An axis of one may be left out, stand anywhere, or be one too many: (K, C) and (K, C, 1, 1) are the same filters. Axes
may be joined: (K, 27), or all of them in one. One filter alone may fit several orders, as a square one does; those of
one kind have one order, and of the orders of all kinds those count that come nearest to a framework's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.files.schemes import Entry
from refnet.graph import Graph
from refnet.ops import WINDOWED

__all__ = ["Filters", "fitting_entries", "layer_parts", "likeliest_entries"]

Axes = tuple[int, ...]
Shape = tuple[int, ...]

_COLUMNS = (3, 0, 1, 2)  # (C, R, S, K), which are joined to (C * R * S, K)

# By operation, the axes that make filters refnet's: of PyTorch, TensorFlow and TFLite, and of PyTorch's as a matrix of
# columns, which it multiplies from the right.
_FRAMEWORKS: tuple[Mapping[str, Axes], ...] = (
    {"conv2d": (0, 1, 2, 3), "depthwise_conv2d": (0, 1, 2), "pointwise_conv2d": (0, 1)},
    {"conv2d": (3, 2, 0, 1), "depthwise_conv2d": (2, 0, 1), "pointwise_conv2d": (1, 0)},
    {"conv2d": (0, 3, 1, 2), "depthwise_conv2d": (2, 0, 1), "pointwise_conv2d": (0, 1)},
    {"conv2d": _COLUMNS, "depthwise_conv2d": (2, 0, 1), "pointwise_conv2d": (1, 0)},
)


class Filters(NamedTuple):
    """Filters of one kind, which have one order of axes.

    Attributes
    ----------
    op : their operation
    fits : of each, by order of axes, the entries that it can be
    """

    op: str
    fits: list[dict[Axes, Entry]]


def fitting_entries(array: npt.NDArray[Any], op: str, shape: Shape, key: str) -> dict[Axes, Entry]:
    """What an array can be as the filters of a layer, by order of axes; nothing if it has other lengths.

    Parameters
    ----------
    op, shape : the layer's, as refnet has them
    key : the file's name of the array
    """
    found: dict[Axes, Entry] = {}
    for axes in dict.fromkeys(each[op] for each in _FRAMEWORKS if op in each):
        theirs = [0] * len(axes)
        for place, axis in enumerate(axes):
            theirs[axis] = shape[place]
        plain = Entry(key, tuple(theirs), axes)
        fitting = [each for each in (plain, plain._replace(joined=True)) if each.holds(array)]
        if fitting and (axes != _COLUMNS or not plain.holds(array)):
            found[axes] = fitting[0]
    return found


def likeliest_entries(kinds: Sequence[Filters]) -> list[list[Entry]]:
    """All filters, kind by kind, in the orders that come nearest to one framework's; several where nothing decides.

    Those of windows count first: who multiplies matrices may turn these whatever the framework.
    """
    orders = [[axes for axes in one.fits[0] if all(axes in each for each in one.fits)] for one in kinds]
    apart: list[tuple[int, int]] = []
    ways: list[list[list[Axes]]] = []
    for framework in _FRAMEWORKS:
        own = [framework[one.op] for one in kinds]
        other = [one.op in WINDOWED for axes, one, found in zip(own, kinds, orders, strict=True) if axes not in found]
        apart.append((sum(other), len(other)))
        ways.append([[axes] if axes in found else found for axes, found in zip(own, orders, strict=True)])
    nearest = [way for far, way in zip(apart, ways, strict=True) if far == min(apart)]
    every = dict.fromkeys(chosen for way in nearest for chosen in product(*way))
    return [[fits[axes] for axes, one in zip(chosen, kinds, strict=True) for fits in one.fits] for chosen in every]


def layer_parts(graph: Graph) -> dict[str, str]:
    """Which part each layer is of: 'map', 'gate' or 'head', which are pooled, or 'end', the last one."""
    pooled: set[str] = set()
    for node in graph.nodes:
        if node.op == "avg_pool2d" or all(name in pooled for name in node.inputs):
            pooled.add(node.name)
    layers = [node.name for node in graph.nodes if "w" in node.params]
    last = max((place for place, name in enumerate(layers) if name not in pooled), default=-1)
    behind = ["gate" if place < last else "head" for place in range(len(layers))][:-1]
    return {name: part if name in pooled else "map" for name, part in zip(layers, [*behind, "end"], strict=True)}
