"""refnet models: every model that can be built."""

from __future__ import annotations

import argparse

from refnet.cli.common import Command, print_json, say
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.readings.cost import cost
from refnet.text import table


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="show only names that contain this")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    rows = []
    for name, model in MODELS.items():
        if options.filter.lower() in name.lower():
            costs = cost(build(name))
            params, macs = sum(row.trainable for row in costs), sum(row.macs for row in costs)
            rows.append((name, model.width, "x".join(map(str, model.size)), params, macs, model.table.source))
    if options.json:
        keys = ("name", "width", "size", "parameters", "macs", "source")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return 0
    shown = [(name, f"{w:g}", size, f"{p:,}", f"{macs:,}", src) for name, w, size, p, macs, src in rows]
    say(table(("model", "width", "size", "parameters", "multiply-adds", "  table"), shown))
    say(f"{len(rows)} models. Widths multiply: build(name, width=0.5). Parameters without batch-norm statistics.")
    return 0


COMMAND = Command("models", "list every model that refnet can build", _arguments, _run)
