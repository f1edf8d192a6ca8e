"""refnet draw: a network to scale."""

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
    say,
    write_text,
)
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.report.rows import network_picture, rows_document, rows_table
from refnet.study.rows import layer_rows


def _arguments(parser: argparse.ArgumentParser) -> None:
    network_arguments(parser)
    parser.add_argument("--classes", type=int, help="number of classes")
    part_arguments(parser)
    parser.add_argument("-o", "--write", metavar="FILE.svg", help="the picture; without it, the same as a table")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def _run(options: argparse.Namespace) -> int:
    """Write the picture, or print its table."""
    if options.write:
        if Path(options.write).suffix != ".svg":
            raise RequestError(f"{options.write}: the picture is written as .svg")
        writable(options.write)
    found = identified(options)
    graph = found.graph if found else model_of(options)
    rows = layer_rows(graph)
    title = f"{graph.recipe}, input {'x'.join(map(str, graph.input_shape))}"
    if options.write:
        write_text(options.write, network_picture(graph, rows, title))
    if options.json:
        print_json({"network": title, "rows": rows_document(rows)})
    elif not options.write:
        say(f"{title}\n\n{rows_table(rows)}")
    return 0


COMMAND = Command("draw", "draw a network to scale, as SVG, or list it row by row", _arguments, _run)
