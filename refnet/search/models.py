"""Models of latency by name: counts that need no machine, this machine, a table of another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.search.latency import LatencyTable, layer_times, measured, read_latencies, this_machine
from refnet.search.layers import bytes_moved, multiply_adds
from refnet.search.proposals import LatencyOf

__all__ = ["COUNTS", "HERE", "MeasuredLatency", "TableLatency", "latency_model"]

COUNTS: Mapping[str, LatencyOf] = {"multiply-adds": multiply_adds, "bytes": bytes_moved}
HERE = "here"


class TableLatency:
    """Milliseconds of a graph by a table of any machine, which must have all of its layers."""

    def __init__(self, table: LatencyTable) -> None:
        self.table = table

    def __call__(self, graph: Graph) -> float:
        """The milliseconds of a graph."""
        return math.fsum(each.ms for each in layer_times(graph, self.table))


class MeasuredLatency:
    """Milliseconds of a graph on this machine: each layer is measured when it is first asked for, and never again.

    Parameters
    ----------
    known : milliseconds by the name of a layer, measured on this machine before
    told : called with (layer, ms) of each layer that is measured, so that it can be stored with the run
    """

    def __init__(self, known: Mapping[str, float], told: Callable[[str, float], object]) -> None:
        self.table, self.told = LatencyTable(this_machine(), dict(known)), told

    def __call__(self, graph: Graph) -> float:
        """The milliseconds of a graph."""
        before = self.table
        self.table = measured([graph], before)
        for name, ms in self.table.layers.items():
            if name not in before.layers:
                self.told(name, ms)
        return math.fsum(each.ms for each in layer_times(graph, self.table))


def latency_model(
    name: str, known: Mapping[str, float] | None = None, told: Callable[[str, float], object] = lambda layer, ms: None
) -> LatencyOf:
    """The model of a name: one of `COUNTS`, 'here', or the path of a table.

    Parameters
    ----------
    known, told : see `MeasuredLatency`

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
        return MeasuredLatency(known or {}, told)
    if not Path(name).is_file():
        raise RequestError(f"{name}: no such table; latency is one of {', '.join(COUNTS)}, {HERE}, or a table's path")
    return TableLatency(read_latencies(name))
