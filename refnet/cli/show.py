"""refnet show: what a node makes, or weighs with, as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnet.cli.common import Command, print_json, say, write_text
from refnet.cli.one_run import look_arguments, looked_at
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.files.images import write_picture
from refnet.report.tiles import tiles_document, tiles_picture, tiles_pixels, tiles_table
from refnet.study.tiles import kernel_tiles, map_tiles


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", help="its name, as refnet summary --nodes gives it, such as block1.depthwise")
    parser.add_argument("--kernels", action="store_true", help="its weights, not the maps or gates that it makes")
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
    tiles = kernel_tiles(net, options.node) if options.kernels else map_tiles(net, x, options.node)
    title = f"{options.node}: {'weights' if options.kernels else 'what it makes'}"
    if options.write and Path(options.write).suffix == ".svg":
        write_text(options.write, tiles_picture(tiles, title))
    elif options.write:
        write_picture(options.write, tiles_pixels(tiles))
    if options.json:
        print_json(tiles_document(tiles))
    else:
        say(f"{title}\n\n{tiles_table(tiles)}")
    return 0


COMMAND = Command("show", "show the maps, gates or kernels of a node, as a picture and in figures", _arguments, _run)
