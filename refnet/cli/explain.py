"""refnet explain: one number of a network in the open."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnet.cli.common import Command, print_json, say, write_text
from refnet.cli.one_run import look_arguments, looked_at
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.report.explained import explanation_document, explanation_lines, explanation_picture
from refnet.study.explain import explain_number


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", help="its name, as refnet summary gives it, such as block1.depthwise")
    parser.add_argument("--at", type=_place, metavar="C,P,Q", help="which number; by default the largest")
    look_arguments(parser)
    parser.add_argument("--terms", type=int, default=40, metavar="N", help="how many products to show (40)")
    parser.add_argument("-o", "--write", metavar="FILE.svg", help="draw it")
    parser.add_argument("--json", action="store_true", help="print JSON, with every product")


def _place(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no place such as 0,3,5: channel, row, column")
    return tuple(map(int, parts))


def _run(options: argparse.Namespace) -> int:
    """Print a table of products with what becomes of them, and draw it."""
    if options.terms < 1:
        raise RequestError(f"--terms {options.terms}: take at least 1")
    if options.write:
        if Path(options.write).suffix != ".svg":
            raise RequestError(f"{options.write}: the picture is written as .svg")
        writable(options.write)
    net, x = looked_at(options)
    found = explain_number(net, x, options.node, options.at)
    if options.write:
        write_text(options.write, explanation_picture(found, options.terms))
    if options.json:
        print_json(explanation_document(found))
    else:
        say("\n".join(explanation_lines(found, options.terms)))
    return 0


COMMAND = Command("explain", "take one number of a network apart: inputs, weights, products, sum", _arguments, _run)
