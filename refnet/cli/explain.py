"""refnet explain: one number of a network in the open."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnet.cli.common import (
    Command,
    part_arguments,
    part_of,
    print_json,
    say,
    size_argument,
    strict_argument,
    write_text,
)
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.files.digits import digits
from refnet.inputs import read_input
from refnet.network import Network, load
from refnet.network.quantised import QuantisedNetwork
from refnet.report.explained import explanation_document, explanation_lines, explanation_picture
from refnet.study.explain import explain_number


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", help="its name, as refnet summary gives it, such as block1.depthwise")
    parser.add_argument("--at", type=_place, metavar="C,P,Q", help="which number; by default the largest")
    parser.add_argument("--input", metavar="FILE", help="an image or a .npy array; by default a scan of a digit")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; by default the digits network that ships")
    parser.add_argument("--model", help="which network the checkpoint is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size to run at; by default the vendor's")
    strict_argument(parser)
    part_arguments(parser)
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
    which = {"model": options.model, "width": options.width, "size": options.size, "strict": options.strict}
    loaded = load(options.weights, **which, **part_of(options))
    if isinstance(loaded, QuantisedNetwork):
        raise RequestError("explain takes a network of floats, and this is one of integers")
    net: Network = loaded
    if options.input is None and options.weights is None:
        _, x, _ = digits().example()
    elif options.input is None:
        raise RequestError("say on which image: --input FILE")
    else:
        net, x = read_input(net, options.input, options.size)
    found = explain_number(net, net.astype(x.dtype).checked(x), options.node, options.at)
    if options.write:
        write_text(options.write, explanation_picture(found, options.terms))
    if options.json:
        print_json(explanation_document(found))
    else:
        say("\n".join(explanation_lines(found, options.terms)))
    return 0


COMMAND = Command("explain", "take one number of a network apart: inputs, weights, products, sum", _arguments, _run)
