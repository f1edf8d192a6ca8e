"""refnet latency: what each layer of a network takes, measured here or read from a table of any machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnet.cli.common import (
    Command,
    identified,
    model_of,
    network_arguments,
    part_arguments,
    print_json,
    progress,
    say,
)
from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.report.latency import latency_document, latency_lines
from refnet.search.latency import LatencyTable, layer_times, measured, read_latencies, this_machine, time_network
from refnet.search.layers import layers
from refnet.text import plain


def _arguments(parser: argparse.ArgumentParser) -> None:
    network_arguments(parser)
    part_arguments(parser)
    parser.add_argument("--table", metavar="FILE.json", help="milliseconds of layers, of this machine or another")
    parser.add_argument(
        "--measure", action="store_true", help="measure here what the table lacks, and keep it there (if one is named)"
    )
    parser.add_argument("--whole", action="store_true", help="measure the whole network too, here")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print each layer's costs and, with times, the sum."""
    found = identified(options)
    graph = found.graph if found else model_of(options)
    known = _table(options, graph)
    parts = layers(graph)
    times = None if known is None else [each.ms for each in layer_times(graph, known)]
    whole = time_network(graph) if options.whole else None
    machine = this_machine() if known is None else known.machine
    if options.json:
        print_json(latency_document(graph.recipe, parts, times, machine, whole))
        return 0
    say(f"{graph.recipe}, {' x '.join(map(str, graph.input_shape))}, one image, float32, one thread")
    if known is not None or whole is not None:
        say(f"on {plain(machine)}")
    say("\n".join(latency_lines(parts, times, whole)))
    return 0


def _table(options: argparse.Namespace, graph: Graph) -> LatencyTable | None:
    """The table that the user means, with what is missing measured if that is asked for."""
    there = options.table is not None and Path(options.table).exists()
    if options.table is not None and not there and not options.measure:
        raise RequestError(f"{options.table}: no such table; --measure makes one")
    known = read_latencies(options.table) if there else None
    if not options.measure:
        return known
    with progress("layer") as after_layer:
        known = measured([graph], known, after_layer)
    if options.table is not None:
        known.write(options.table)
    return known


COMMAND = Command(
    "latency", "list the milliseconds of each layer of a network, on this machine or another", _arguments, _run
)
