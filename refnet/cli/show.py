"""refnet show: what a node makes, or weighs with, as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.cli.common import Command, print_json, say, write_text
from refnet.cli.one_run import look_arguments, looked_at
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.files.images import write_picture
from refnet.network import Network
from refnet.report.pictures.histograms import histogram_document, histogram_picture, histogram_pixels, histogram_table
from refnet.report.pictures.tiles import tiles_document, tiles_picture, tiles_pixels, tiles_table
from refnet.study.histograms import node_histogram
from refnet.study.tiles import kernel_tiles, map_tiles

Array = npt.NDArray[Any]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", help="its name, as refnet summary --nodes gives it, such as block1.depthwise")
    parser.add_argument("--kernels", action="store_true", help="its weights, not the maps or gates that it makes")
    parser.add_argument("--histogram", action="store_true", help="how often it has numbers of each size")
    look_arguments(parser)
    parser.add_argument("-o", "--write", metavar="FILE", help="the picture, .svg or .png; without it, figures alone")
    parser.add_argument("--json", action="store_true", help="print JSON, with the numbers")


def _run(options: argparse.Namespace) -> int:
    """Print figures of each map or kernel, and draw them."""
    if options.write:
        if Path(options.write).suffix not in (".svg", ".png"):
            raise RequestError(f"{options.write}: the picture is written as .svg or .png")
        writable(options.write)
    net, x = looked_at(options)
    title = f"{options.node}: {'weights' if options.kernels else 'what it makes'}"
    shown = _histogram(net, x, options) if options.histogram else _tiles(net, x, options)
    if options.write and Path(options.write).suffix == ".svg":
        write_text(options.write, shown.picture(title))
    elif options.write:
        write_picture(options.write, shown.pixels())
    if options.json:
        print_json(shown.document)
    else:
        say(f"{title}\n\n{shown.words}")
    return 0


class _Shown(NamedTuple):
    """One thing, as picture, pixels, JSON and a table."""

    picture: Callable[[str], str]
    pixels: Callable[[], Array]
    document: Any
    words: str


def _histogram(net: Network, x: Array, options: argparse.Namespace) -> _Shown:
    found = node_histogram(net, x, options.node, kernels=options.kernels)
    drawn = partial(histogram_picture, found), partial(histogram_pixels, found)
    return _Shown(*drawn, histogram_document(found), histogram_table(found))


def _tiles(net: Network, x: Array, options: argparse.Namespace) -> _Shown:
    found = kernel_tiles(net, options.node) if options.kernels else map_tiles(net, x, options.node)
    drawn = partial(tiles_picture, found), partial(tiles_pixels, found)
    return _Shown(*drawn, tiles_document(found), tiles_table(found))


COMMAND = Command(
    "show", "show the maps, gates, kernels or a histogram of a node, as a picture and in figures", _arguments, _run
)
