"""How a search judges networks without a framework: the shipped digits, features at random.

Weights are `random_params`; batch norm is measured and the last layer solved for on some scans, and what is right of
others is the accuracy. So it says how good a network's features are before training, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.random import random_params
from refnet.search.head import proportion_right, refitted, split_scans
from refnet.search.layers import Layer, layers
from refnet.search.space import Point, Space, decisions, table_of

__all__ = ["held_out_accuracy", "layers_of_space", "proxy_accuracy"]


_EVERY = 2  # of the scans that there are to fit to: half are as telling, in half the time


def proxy_accuracy(graph: Graph) -> float:
    """The share of the scans to judge by that a network gets right once its last layer is solved for."""
    return proportion_right(graph, _fitted(graph), *split_scans().judged)


def held_out_accuracy(graph: Graph) -> float:
    """The same share of the scans that no choice saw."""
    return proportion_right(graph, _fitted(graph), *split_scans().held_out)


def _fitted(graph: Graph) -> dict[str, Any]:
    scans = split_scans().fitted
    return refitted(graph, random_params(graph), scans.x[::_EVERY], scans.labels[::_EVERY])


def layers_of_space(space: Space, size: tuple[int, int], classes: int) -> list[Layer]:
    """Every layer that a point of a space can have, each once: what a table of another machine has to hold.

    Examples
    --------
    >>> from refnet.search.space import Stage
    >>> space = Space((Stage(1, (8,), (1, 2), (1,), (3,), (False,), (True,)),), stem=8)
    >>> for layer in layers_of_space(space, (16, 16), 10)[:2]:
    ...     print(layer.name)
    3x16x16: conv2d 8 3x3 stride 2x2 pad 1,1,1,1 b, relu
    8x8x8: depthwise_conv2d 8 3x3 pad 1,1,1,1 b, relu, pointwise_conv2d 8 b, add
    """
    found: dict[str, Layer] = {}
    for point in _covering(space):
        for layer in layers(build(table_of(space, point), size=size, classes=classes)):
            found.setdefault(layer.name, layer)
    return list(found.values())


def _covering(space: Space) -> Iterator[Point]:
    """Points with every choice of each stage behind every width that it can read, and in front of the head."""
    every = decisions(space)
    each = len(every) // len(space.stages)
    lengths = [max(range(len(d.options)), key=d.options.__getitem__) if d.what == "layers" else 0 for d in every]
    for stage in range(len(space.stages)):
        open_ones = [at for at in range(stage * each, (stage + 1) * each) if every[at].what != "layers"]
        open_ones += [at for at in range((stage - 1) * each, stage * each) if at >= 0 and every[at].what == "filters"]
        points = [list(lengths)]
        for at in open_ones:
            points = [[*p[:at], option, *p[at + 1 :]] for p in points for option in range(len(every[at].options))]
        yield from map(tuple, points)
