"""refnet fetch: the weights that vendors publish, by the name of the network."""

from __future__ import annotations

import argparse
import sys

from refnet.cli.common import Command, print_json, say, size_argument
from refnet.files.fetch import fetch
from refnet.files.published import PUBLISHED, find_published
from refnet.text import table


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="such as torchvision/mobilenet_v2; without it, list what there is")
    parser.add_argument("--release", help="V1 or V2, where the vendor has published several; by default the latest")
    parser.add_argument("--width", type=float, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images it was trained on")
    parser.add_argument("--to", metavar="FOLDER", help="the folder to put it in; by default $REFNET_CACHE or a cache")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Fetch, and print the path: `refnet run --weights "$(refnet fetch mobilenet_v2)"`."""
    if options.model is None:
        _list(options.json)
        return 0
    found = find_published(options.model, release=options.release, width=options.width, size=options.size)
    path = fetch(found, options.to, progress=not options.quiet and sys.stderr.isatty())
    if options.json:
        print_json({"path": str(path), **found._asdict()})
    else:
        say(str(path))
    return 0


def _list(as_json: bool) -> None:
    if as_json:
        print_json([entry._asdict() for entry in PUBLISHED])
        return
    rows = [
        (entry.model, entry.release, f"{entry.width:g}", f"{entry.size[0]}", entry.digest or "none", entry.file)
        for entry in PUBLISHED
    ]
    say(table(("model", "release", "width", "size", "hash", "file"), rows, left=6))


COMMAND = Command("fetch", "download the weights that a vendor publishes", _arguments, _run)
