"""refnet probe: an input that can reveal bugs, and what an input could have shown."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from refnet.bugs.detectability import detectability
from refnet.cli.common import (
    Command,
    checkpoint_of,
    model_of,
    network_arguments,
    part_arguments,
    print_json,
    say,
    strict_argument,
    write_array,
)
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.inputs import read_input
from refnet.network import Network
from refnet.network.quantised import in_floats
from refnet.networks.random import random_params
from refnet.pack.probe import probe
from refnet.report.mistakes.bugs import detectability_rows
from refnet.text import table


def _arguments(parser: argparse.ArgumentParser) -> None:
    network_arguments(parser, "name of a model (its weights are drawn from their names), or a checkpoint")
    strict_argument(parser)
    part_arguments(parser)
    parser.add_argument("--batch", type=int, default=2, help="how many images (2)")
    parser.add_argument("--input", metavar="X.npy", help="report on this input instead of the probe")
    parser.add_argument("-o", "--write", metavar="X.npy", help="write the probe")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print for each bug at how many places it applies and at how many this input shows it."""
    if options.batch < 1:
        raise RequestError(f"--batch {options.batch}: take at least 1")
    if options.write:
        writable(options.write, options.network, options.input)
    net = _network(options)
    if options.input:
        net, x = read_input(net, options.input)
        x = net.checked(x.astype(np.float32))
    else:
        x = probe(net.graph, options.batch)
    rows = detectability_rows(detectability(net, x))
    if options.write:
        write_array(options.write, x)
    if options.json:
        print_json(rows)
        return 0
    lines = [(row["id"], row["places"], row["visible"], _hidden(row)) for row in rows]
    say(table(("bug", "places", "shown", "  not shown at"), lines))
    places, shown = sum(row["places"] for row in rows), sum(row["visible"] for row in rows)
    say(f"{shown} of {places} bugs at their places would show: by over four times what rounding explains.")
    return 0


def _hidden(row: dict[str, Any]) -> str:
    if not row["places"]:
        return "  (applies nowhere in this network)"
    hidden = row["hidden"]
    return "  " + "; ".join(hidden[:2]) + (f"; and {len(hidden) - 2} more" if len(hidden) > 2 else "") if hidden else ""


def _network(options: argparse.Namespace) -> Network:
    """The network with its own weights, or those drawn from their names; in float32."""
    trained = checkpoint_of(options)
    if trained is not None:
        return in_floats(trained).astype(np.float32)
    graph = model_of(options)
    return Network(graph, random_params(graph))


COMMAND = Command("probe", "make an input that can reveal bugs, and report what an input could show", _arguments, _run)
