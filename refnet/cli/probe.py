"""refnet probe: an input that can reveal bugs, and what an input could have shown."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from refnet.bugs.probes import probe, report
from refnet.cli.common import (
    as_is_argument,
    checkpoint_of,
    load_array,
    model_of,
    print_json,
    size_argument,
    write_array,
)
from refnet.errors import RequestError
from refnet.network import Network
from refnet.networks.random import random_params
from refnet.text import table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", help="name of a model (its weights are drawn from their names), or a checkpoint")
    parser.add_argument("--model", help="with a checkpoint: which network it is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images in pixels")
    as_is_argument(parser)
    parser.add_argument("--batch", type=int, default=2, help="how many images (2)")
    parser.add_argument("--input", metavar="X.npy", help="report on this input instead of the probe")
    parser.add_argument("-o", "--output", metavar="X.npy", help="write the probe")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print for each bug at how many places it applies and at how many this input shows it."""
    if options.batch < 1:
        raise RequestError(f"--batch {options.batch}: take at least 1")
    net = _network(options)
    x = load_array(options.input) if options.input else probe(net.graph, options.batch)
    if options.input:
        net = net.at((x.shape[2], x.shape[3])) if x.ndim == 4 else net
        x = net.checked(x.astype(np.float32))
    if options.output:
        write_array(options.output, x)
    rows = report(net, x)
    if options.json:
        print_json(rows)
        return 0
    lines = [(row["id"], row["places"], row["visible"], _hidden(row)) for row in rows]
    print(table(("bug", "places", "shown", "  not shown at"), lines))
    places, shown = sum(row["places"] for row in rows), sum(row["visible"] for row in rows)
    print(f"{shown} of {places} bugs at their places would show: by over four times what rounding explains.")
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
        return trained.astype(np.float32)
    graph = model_of(options)
    return Network(graph, random_params(graph))
