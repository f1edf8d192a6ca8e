"""How long a network takes, as the sum of its layers' times: measured here once for each layer, or read from a table.

A table is JSON: what it was measured on, and milliseconds by the name of a layer (see `layers.layers`), for one image
in float32 on one thread. One of another machine, a porter's chip, is read in the same form. What a layer takes is the
median of processor time over runs of the layer by itself, after some that warm up.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import small_text
from refnet.files.containers.atomic import atomic_file
from refnet.files.containers.json_text import parse_json
from refnet.files.graph_text import json_field
from refnet.graph import Graph
from refnet.machine import blas_built, processor
from refnet.networks.random import random_input, random_params
from refnet.search.layers import Layer, alone, layers
from refnet.session import Session

__all__ = ["LatencyTable", "LayerTime", "layer_times", "measured", "read_latencies", "this_machine", "time_network"]

_FORMAT = "refnet latency table 1"
_WARM, _RUNS, _SECONDS = 2, 9, 0.02  # runs before the clock counts; then at least so many, and for so long
_ELSEWHERE = 12 << 20  # bytes touched before each run of a layer, as a network's other layers do: its weights are cold


@dataclass(frozen=True)
class LatencyTable:
    """Times of layers on a machine.

    Attributes
    ----------
    machine : what they were measured on
    layers : milliseconds by the name of a layer
    """

    machine: str
    layers: Mapping[str, float] = field(default_factory=dict)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as JSON, whole or not at all."""
        said = {"format": _FORMAT, "machine": self.machine, "unit": "ms", "layers": dict(self.layers)}
        with atomic_file(path) as file:
            file.write((json.dumps(said, indent=1) + "\n").encode())


class LayerTime(NamedTuple):
    """A layer of a network and the milliseconds that it takes."""

    layer: Layer
    ms: float


def this_machine() -> str:
    """The processor and the BLAS that times measured here hang on."""
    return f"{processor()}; {blas_built()}"


def read_latencies(path: str | os.PathLike[str]) -> LatencyTable:
    """Read a table of any machine.

    Raises
    ------
    FormatError
        if it is no table, or a time in it is no number from 0 on: names the layer.
    """
    file = Path(path)
    said = parse_json(small_text(file).encode(), str(file))
    if said.get("format") != _FORMAT:
        raise FormatError(f"{file}: its format is {str(said.get('format'))[:40]!r}, not {_FORMAT!r}")
    if said.get("unit") != "ms":
        raise FormatError(f"{file}: its unit is {str(said.get('unit'))[:40]!r}, not 'ms'")
    machine = json_field(said, "machine", (str,), str(file))
    times = json_field(said, "layers", (dict,), str(file))
    for name, ms in times.items():
        if isinstance(ms, bool) or not isinstance(ms, int | float) or not (math.isfinite(ms) and ms >= 0):
            raise FormatError(f"{file}: the layer {name!r} takes {str(ms)[:40]}: give milliseconds from 0 on")
    return LatencyTable(machine, {name: float(ms) for name, ms in times.items()})


def layer_times(graph: Graph, table: LatencyTable) -> list[LayerTime]:
    """The time of each layer of a network, by a table.

    Raises
    ------
    RequestError
        if the table has no time of one of them: names it.
    """
    found = []
    for layer in layers(graph):
        if layer.name not in table.layers:
            raise RequestError(f"the table of {table.machine} has no time of the layer {layer.name!r}: measure it")
        found.append(LayerTime(layer, table.layers[layer.name]))
    return found


def measured(
    graphs: Iterable[Graph],
    table: LatencyTable | None = None,
    after_layer: Callable[[int, int], object] = lambda done, total: None,
) -> LatencyTable:
    """A table with the times of all layers of some networks, those that it has not yet measured on this machine.

    Parameters
    ----------
    table : what has been measured before; by default nothing
    after_layer : called with (done, total) after each layer

    Raises
    ------
    RequestError
        if the table is of another machine.
    """
    table = LatencyTable(this_machine()) if table is None else table
    wanted = {layer.name: layer for graph in graphs for layer in layers(graph) if layer.name not in table.layers}
    if wanted and table.machine != this_machine():
        raise RequestError(f"the table is of {table.machine}, and this is {this_machine()}: begin another table here")
    times = dict(table.layers)
    for done, (name, layer) in enumerate(wanted.items(), 1):
        times[name] = round(_time_layer(layer), 6)
        after_layer(done, len(wanted))
    return replace(table, layers=times)


def time_network(graph: Graph) -> float:
    """Milliseconds that a whole network takes for one image on one thread: the median over runs, as of a layer."""
    return float(np.median(_run(_session(graph), graph).sum(axis=1)))


def _time_layer(layer: Layer) -> float:
    graph, names = alone(layer), {node.name for node in layer.nodes}
    session = _session(graph)
    own = [index for index, step in enumerate(session.steps) if step.end in names]
    return float(np.median(_run(session, graph, np.zeros(_ELSEWHERE // 8))[:, own].sum(axis=1)))


def _session(graph: Graph) -> Session:
    return Session(graph, random_params(graph), threads=1)


def _run(session: Session, graph: Graph, elsewhere: Any = None) -> Any:
    """Milliseconds of each step in each run, (runs, steps)."""
    x = random_input(graph, 1)
    session.times(x, time.process_time, _WARM)
    rows: list[Any] = []
    spent = 0.0
    while len(rows) < _RUNS or spent < _SECONDS:
        if elsewhere is not None:
            elsewhere += 1
        rows.append(session.times(x, time.process_time)[0])
        spent += rows[-1].sum()
    return 1e3 * np.array(rows)
