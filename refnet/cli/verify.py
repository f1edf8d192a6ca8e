"""refnet verify: is this file still the network that it came from?"""

from __future__ import annotations

import argparse

from refnet.cli.common import Command, print_json, size_argument, write_text
from refnet.files.containers.atomic import writable
from refnet.report.verification import verification_document, verification_junit, verification_text
from refnet.verification.policy import DEFAULT, WORDS, policy
from refnet.verification.verify import verify


def _arguments(parser: argparse.ArgumentParser) -> None:
    words = "; ".join(f"{word}: {meaning}" for word, meaning in WORDS.items())
    parser.add_argument("file", help="a file of weights in any container, or a golden pack")
    parser.add_argument("--against", metavar="FILE2", help="the file to hold against it; without, identity and health")
    parser.add_argument(
        "--allow",
        metavar="WORDS",
        help=f"which differences are meant, by default {','.join(DEFAULT)}. {words}; or none",
    )
    parser.add_argument("--model", help="which network it is, where a file cannot tell")
    parser.add_argument("--width", type=float, help="width multiplier, where a file cannot tell")
    parser.add_argument(
        "--size", type=size_argument, metavar="H,W", help="size of the images, where a file cannot tell"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for every tensor and finding")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--junit", metavar="FILE", help="also write JUnit XML")


def _run(options: argparse.Namespace) -> int:
    """Print a report or JSON; 1 if the two differ in anything that was not meant, or a file is not healthy."""
    if options.junit:
        writable(options.junit)
    found = verify(
        options.file,
        options.against,
        allow=policy(options.allow),
        model=options.model,
        width=options.width,
        size=options.size,
    )
    if options.json:
        print_json(verification_document(found))
    else:
        print(verification_text(found, verbose=options.verbose))
    if options.junit:
        write_text(options.junit, verification_junit(found))
    return 0 if found.holds else 1


COMMAND = Command("verify", "say whether a file is still the network that it came from", _arguments, _run)
