"""Models of latency by name: counts that need no machine, this machine, a table of another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.search.latency import LatencyTable, layer_times, measured, read_latencies, this_machine
from refnet.search.layers import bytes_moved, multiply_adds
from refnet.search.proposals import LatencyOf

__all__ = ["COUNTS", "HERE", "LayerClock", "latency_model"]

COUNTS: Mapping[str, LatencyOf] = {"multiply-adds": multiply_adds, "bytes": bytes_moved}
HERE = "here"

Grown = Callable[[LatencyTable, Mapping[str, float]], object]


class LayerClock:
    """Milliseconds of a graph, the sum of its layers' times by a table.

    A layer that a table of this machine lacks is measured when it is first asked for, and never again. A table of
    another machine must have all layers.

    Parameters
    ----------
    table : by default an empty one of this machine
    grown : called with (table, times) when layers have been measured: the table with them, their milliseconds by name

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> from refnet.search.layers import layers
    >>> graph = build("refnet/digits")
    >>> chip = LatencyTable("a chip", {layer.name: 0.5 for layer in layers(graph)})
    >>> LayerClock(chip)(graph) == 0.5 * len(layers(graph))
    True
    """

    def __init__(self, table: LatencyTable | None = None, grown: Grown = lambda table, times: None) -> None:
        self.table = LatencyTable(this_machine()) if table is None else table
        self.grown = grown

    def __call__(self, graph: Graph) -> float:
        """The milliseconds of a graph.

        Raises
        ------
        RequestError
            if the table is of another machine and has no time of a layer.
        """
        if self.table.machine == this_machine():
            before, self.table = self.table.layers, measured([graph], self.table)
            times = {name: ms for name, ms in self.table.layers.items() if name not in before}
            if times:
                self.grown(self.table, times)
        return math.fsum(each.ms for each in layer_times(graph, self.table))


def latency_model(
    name: str, known: Mapping[str, float] = MappingProxyType({}), grown: Grown = lambda table, times: None
) -> LatencyOf:
    """The model of a name: one of `COUNTS`, 'here', or the path of a table.

    Parameters
    ----------
    known : milliseconds by the name of a layer, which the run measured on this machine before
    grown : see `LayerClock`

    Raises
    ------
    FormatError, RequestError
        if there is no such model or table, or the table is none.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> latency_model("multiply-adds")(build("torchvision/mobilenet_v3_small"))
    56510400
    """
    if name in COUNTS:
        return COUNTS[name]
    if name == HERE:
        return LayerClock(LatencyTable(this_machine(), known), grown)
    if not Path(name).is_file():
        raise RequestError(f"{name}: no such table; latency is one of {', '.join(COUNTS)}, {HERE}, or a table's path")
    table = read_latencies(name)
    return LayerClock(replace(table, layers={**known, **table.layers}), grown)
