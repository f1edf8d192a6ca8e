"""What NetAdapt may do to a network next: each proposal shrinks one thing, as little as cuts latency by delta.

As the paper has it (Howard et al., arXiv 1905.02244, sec. 4.2): one expansion is shrunk, or the bottleneck of all
blocks that share its size, so that shortcuts survive. The widths at both ends, of the stem and before the classes, are
offered where they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from refnet.errors import RefnetError, RequestError
from refnet.graph import Graph
from refnet.search.widths import KINDS, ChannelWidth, channel_widths, shrunk

__all__ = [
    "ARTICLE",
    "LatencyOf",
    "Proposal",
    "Shrinkable",
    "asked_latency",
    "largest_count",
    "proposals",
    "shrinkables",
    "smallest",
]

LatencyOf = Callable[[Graph], float]

ARTICLE = ("expansion", "bottleneck")  # what the article shrinks


class Shrinkable(NamedTuple):
    """Widths that are shrunk together: one expansion, all bottlenecks of one size.

    Attributes
    ----------
    name : of the first of the widths
    kind : of them
    channels : of each
    widths : their names
    """

    name: str
    kind: str
    channels: int
    widths: tuple[str, ...]

    def at(self, graph: Graph, channels: int) -> Graph:
        """The graph with so many channels here."""
        return shrunk(graph, dict.fromkeys(self.widths, channels))


class Proposal(NamedTuple):
    """One change of a network.

    Attributes
    ----------
    what : is shrunk
    channels : that are left of it
    graph : that comes of it
    latency : of that, as the latency model says
    """

    what: Shrinkable
    channels: int
    graph: Graph
    latency: float

    def __str__(self) -> str:
        return f"{self.what.name} {self.what.channels} -> {self.channels}"


def asked_latency(latency: LatencyOf, graph: Graph, what: str) -> float:
    """The latency of a graph by the caller's model.

    Raises
    ------
    RequestError
        if the model raises, or says what is no time; names `what`, the proposal.
    """
    try:
        found = float(latency(graph))
    except RefnetError as error:
        raise RequestError(f"{what}: {error}") from error
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise RequestError(f"{what}: latency raised {type(error).__name__}: {said}") from error
    if not (math.isfinite(found) and found >= 0):
        raise RequestError(f"{what}: latency is {found:g}; give a number from 0 on")
    return found


def shrinkables(graph: Graph, kinds: Collection[str] = ARTICLE) -> list[Shrinkable]:
    """What may be shrunk, in the order in which the graph has it.

    Raises
    ------
    RequestError : there is no such kind

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> [each.widths for each in shrinkables(build("refnet/digits"), ["bottleneck"])]
    [('block1.project', 'block2.project'), ('block4.project',), ('block9.project',)]
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise RequestError(f"no kind of width is called {unknown[0]!r}: {', '.join(KINDS)}")
    groups: dict[tuple[str, int | str], list[ChannelWidth]] = {}
    for width in channel_widths(graph):
        if width.kind in kinds:
            key = width.channels if width.kind == "bottleneck" else width.name
            groups.setdefault((width.kind, key), []).append(width)
    return [
        Shrinkable(same[0].name, kind, same[0].channels, tuple(width.name for width in same))
        for (kind, _), same in groups.items()
    ]


def smallest(graph: Graph, kinds: Collection[str] = ARTICLE, divisor: int = 1) -> Graph:
    """The graph with as few channels everywhere as proposals could ever leave."""
    parts = shrinkables(graph, kinds)
    return shrunk(graph, {name: min(divisor, part.channels) for part in parts for name in part.widths})


def largest_count(
    part: Shrinkable, graph: Graph, latency: LatencyOf, most: float, *, divisor: int = 1, every: bool = False
) -> Proposal | None:
    """The largest number of channels with which the network's latency is at most `most`; None where none has.

    Parameters
    ----------
    part : what is shrunk
    latency : of a graph
    divisor : numbers of channels are multiples of it
    every : try every number from the top; else halve the range again and again, which asks for fewer latencies and
        finds the same number wherever latency never grows when channels are taken away
    """
    counts = range(divisor, part.channels, divisor)

    def tried(count: int) -> Proposal:
        smaller = part.at(graph, count)
        words = f"{part.name} {part.channels} -> {count}"
        return Proposal(part, count, smaller, asked_latency(latency, smaller, words))

    if every:
        return next((each for each in map(tried, reversed(counts)) if each.latency <= most), None)
    found, low, high = None, 0, len(counts)  # counts[:low] are known to be quick enough
    while low < high:
        middle = (low + high) // 2
        each = tried(counts[middle])
        if each.latency <= most:
            found, low = each, middle + 1
        else:
            high = middle
    return found


def proposals(
    graph: Graph,
    latency: LatencyOf,
    most: float,
    *,
    kinds: Collection[str] = ARTICLE,
    divisor: int = 1,
    every: bool = False,
) -> Iterator[Proposal]:
    """One proposal for each thing that may be shrunk, if it can bring latency down to `most`.

    Parameters are those of `shrinkables` and `largest_count`.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> from refnet.search.layers import multiply_adds
    >>> graph = build("refnet/digits")
    >>> first = next(proposals(graph, multiply_adds, 0.99 * multiply_adds(graph)))
    >>> first.what.name, first.what.channels, first.channels, first.latency
    ('block1.project', 8, 7, 343528.0)
    """
    for part in shrinkables(graph, kinds):
        found = largest_count(part, graph, latency, most, divisor=divisor, every=every)
        if found is not None:
            yield found
