"""refnet diff: two networks side by side: what is another in the second, and what it saves, node by node."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnet.alignment.costs import diff_graphs
from refnet.cli.common import Command, identified, model_of, print_json, say, size_argument, write_text
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.graph import Graph
from refnet.networks.resize import resize
from refnet.report.costs import diff_document, diff_lines
from refnet.report.side_by_side import diff_picture


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("one", help="name of a model, or path of a checkpoint")
    parser.add_argument("other", help="likewise")
    parser.add_argument("--width", type=float, help="width multiplier of the first")
    parser.add_argument("--other-width", type=float, metavar="WIDTH", help="of the second; by default the first's")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="of both; by default that of the first")
    parser.add_argument("--classes", type=int, help="number of classes, with names of models")
    parser.add_argument("-o", "--svg", metavar="FILE.svg", help="draw both, layer by layer, with what differs")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print both networks' costs where they differ; 1 if they do."""
    if options.svg:
        if Path(options.svg).suffix != ".svg":
            raise RequestError(f"{options.svg}: the picture is written as .svg")
        writable(options.svg, options.one, options.other)
    one = _graph(options, options.one, options.width)
    other = _graph(options, options.other, options.width if options.other_width is None else options.other_width)
    if one.recipe.size != other.recipe.size:
        other = resize(other, one.recipe.size)
    found = diff_graphs(one, other)
    if options.svg:
        write_text(options.svg, diff_picture(one, other, found))
    if options.json:
        print_json(diff_document(found, one.recipe, other.recipe))
    else:
        say("\n".join(diff_lines(found, one.recipe, other.recipe)))
    return 1 if found.differences else 0


def _graph(options: argparse.Namespace, network: str, width: float | None) -> Graph:
    """A model by its name, or what a file is."""
    asked = argparse.Namespace(
        network=network,
        model=None,
        width=width,
        size=options.size,
        classes=None,
        prefix=None,
        head=None,
        output=None,
    )
    found = identified(asked)
    if found is not None:
        return found.graph
    asked.classes = options.classes
    return model_of(asked)


COMMAND = Command("diff", "say in what two networks differ, and what each node costs in both", _arguments, _run)
