"""A width multiplier, which NetAdapt is to beat: every width by one factor, weights cut in the same way."""

from __future__ import annotations

from collections.abc import Collection

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

    def at(factor: float) -> Graph:
        return shrunk(graph, {width.name: max(1, round(width.channels * factor)) for width in widths})

    def fits(smaller: Graph) -> bool:
        return asked_latency(latency, smaller, "uniform scaling") <= most

    if fits(graph):
        return graph
    low, high = 0.0, 1.0
    found = at(low)
    if not fits(found):
        raise RequestError("uniform scaling: one channel everywhere takes longer")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        smaller = at(middle)
        if fits(smaller):
            low, found = middle, smaller
        else:
            high = middle
    return found
