"""A width multiplier, which NetAdapt is to beat: every width by one factor, weights cut in the same way."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.search.proposals import LatencyOf, asked_latency
from refnet.search.widths import KINDS, channel_widths, shrunk

__all__ = ["uniform_graph"]

_HALVINGS = 16  # of the range of factors: finer than one channel of any network


def uniform_graph(graph: Graph, latency: LatencyOf, most: float, kinds: Collection[str] = KINDS) -> Graph:
    """The graph with all widths of some kinds times the largest factor with which latency is at most `most`.

    Raises
    ------
    RequestError
        if even one channel everywhere takes longer.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> from refnet.search.layers import multiply_adds
    >>> graph = build("torchvision/mobilenet_v3_small")
    >>> smaller = uniform_graph(graph, multiply_adds, 0.5 * multiply_adds(graph))
    >>> round(multiply_adds(smaller) / multiply_adds(graph), 2)
    0.5
    """
    widths = [width for width in channel_widths(graph) if width.kind in kinds]

    def fits(smaller: Graph) -> bool:
        return asked_latency(latency, smaller, "uniform scaling") <= most

    @cache  # many factors round to the same channels
    def tried(channels: tuple[int, ...]) -> tuple[Graph, bool]:
        smaller = shrunk(graph, dict(zip((width.name for width in widths), channels, strict=True)))
        return smaller, fits(smaller)

    def at(factor: float) -> tuple[Graph, bool]:
        return tried(tuple(max(1, round(width.channels * factor)) for width in widths))

    if fits(graph):
        return graph
    low, high = 0.0, 1.0
    found, small_enough = at(low)
    if not small_enough:
        raise RequestError("uniform scaling: one channel everywhere takes longer")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        smaller, small_enough = at(middle)
        if small_enough:
            low, found = middle, smaller
        else:
            high = middle
    return found
