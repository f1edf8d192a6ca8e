"""refnet verify: is this file still the network that it came from?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refnet.cli.common import (
    Command,
    network_in,
    print_json,
    progress,
    say,
    seconds_argument,
    size_argument,
    write_text,
)
from refnet.errors import RefnetError, RequestError
from refnet.files import containers
from refnet.files.containers import Contents
from refnet.files.containers.atomic import writable
from refnet.files.quantised import read_quantised
from refnet.network import Network
from refnet.network.quantised import QuantisedNetwork, in_floats
from refnet.pack.probe import probe
from refnet.report.integer_page import quantisation_cases, quantisation_page
from refnet.report.junit import JUNIT_MARK, suite
from refnet.report.page import PAGE_MARK
from refnet.report.quantisation import not_run_text, quantisation_document, quantisation_text
from refnet.report.verification import verification_document, verification_junit, verification_text
from refnet.verification.policy import DEFAULT, WORDS, policy
from refnet.verification.quantisation import QuantisationReport, examine_quantisation
from refnet.verification.verify import Verified, verify


def _arguments(parser: argparse.ArgumentParser) -> None:
    words = "; ".join(f"{word}: {meaning}" for word, meaning in WORDS.items())
    parser.add_argument("file", help="a file of weights in any container, or a golden pack")
    parser.add_argument("--against", metavar="FILE2", help="the file to hold against it; without, identity and health")
    parser.set_defaults(second="against")
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
    parser.add_argument("--output", metavar="NODE,...", help="hold only what leads to these tensors against each other")
    seconds_argument(parser)
    parser.add_argument("--verbose", action="store_true", help="a line for every tensor and finding")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--junit", metavar="FILE", help="also write JUnit XML")
    parser.add_argument(
        "--report", metavar="FILE", help="of a file of integers: also write a page, the noise of every layer drawn"
    )


def _run(options: argparse.Namespace) -> int:
    """Print a report or JSON; 1 if the two differ in anything that was not meant, or a file is not healthy."""
    marks = ((options.junit, JUNIT_MARK), (options.report, PAGE_MARK))
    targets = [writable(path, options.file, options.against, mark=mark) for path, mark in marks if path]
    if len(set(targets)) < len(targets):
        raise RequestError(f"{options.report}: --junit and --report name the same file")
    paths = [path for path in (options.file, options.against) if path is not None and Path(path).is_file()]
    contents = {path: containers.read(path) for path in paths}
    alone = None if options.output else _of_refnet(options, contents)
    if alone is not None:
        return _said_alone(options, quantisation_document(alone), quantisation_text(alone, verbose=options.verbose))
    with progress("tensor") as tell:
        found = verify(
            options.file,
            options.against,
            allow=policy(options.allow),
            model=options.model,
            width=options.width,
            size=options.size,
            output=() if options.output is None else options.output.split(","),
            contents=contents,
            seconds=options.seconds,
            spent=time.monotonic() - options.since,
            tell=tell,
        )
    integers, why = None, ""
    try:
        integers = None if options.output else _integers(options, found, contents)
    except RefnetError as error:  # what they stand for was read, and is judged
        why = str(error)
    document = None if integers is None else quantisation_document(integers)
    if options.report and document is None:
        raise RequestError("--report draws the noise of integers: neither file holds a network of integers")
    if options.json:
        more = {"integers": {"remark": why}} if why else {} if document is None else {"integers": document}
        print_json(verification_document(found) | more)
    else:
        say(verification_text(found, verbose=options.verbose))
        if integers is not None:
            say(quantisation_text(integers, verbose=options.verbose))
        elif why:
            say(not_run_text(why))
    if options.junit:
        write_text(options.junit, verification_junit(found, quantisation_cases(document) if document else ()))
    if options.report and document is not None:
        write_text(options.report, quantisation_page(document, _head(options), verification_text(found, verbose=True)))
    if found.search.ended == "interrupted":
        return 130
    return 0 if found.holds and (integers is None or integers.holds) else 1


def _said_alone(options: argparse.Namespace, document: dict[str, Any], text: str) -> int:
    """Print and write what is known of integers that have no file's structure around them."""
    if options.json:
        print_json({"integers": document})
    else:
        say(text)
    if options.junit:
        write_text(options.junit, suite(f"refnet verify {options.file}", "integers", quantisation_cases(document)))
    if options.report:
        write_text(options.report, quantisation_page(document, _head(options)))
    return 0 if document["holds"] else 1


def _head(options: argparse.Namespace) -> str:
    return " against ".join(str(path) for path in (options.file, options.against) if path)


def _of_refnet(options: argparse.Namespace, contents: Mapping[str, Contents]) -> QuantisationReport | None:
    """What is to be said of integers that `refnet quantise` wrote, which are nothing but integers; None of others."""
    for path, other in ((options.file, options.against), (options.against, options.file)):
        held = None if path is None or not _is_npz(path, contents) else read_quantised(path, contents=contents[path])
        if held is None:
            continue
        if other is None:
            raise RequestError(f"{path}: holds integers alone: hold them --against the network that they are of")
        real = in_floats(network_in(other, model=options.model, width=options.width, size=options.size))
        return examine_quantisation(QuantisedNetwork(*held), real, probe(real.graph)[1:])
    return None


def _is_npz(path: str | None, contents: Mapping[str, Contents]) -> bool:
    return path is not None and path in contents and contents[path].kind == "npz"


def _integers(
    options: argparse.Namespace, found: Verified, contents: Mapping[str, Contents]
) -> QuantisationReport | None:
    """What is to be said of a file of integers, against the other file or its own twin; None where there is none.

    Of two such files the first is looked at, and not its weights, which are half a step of either off: values say that.
    """

    def of_integers(path: str | None) -> tuple[Any, ...] | None:
        passed = path is None or path not in contents or _is_npz(path, contents)  # `_of_refnet` has seen those
        return None if passed else read_quantised(str(path), model=options.model, contents=contents[str(path)])

    both = [of_integers(path) for path in (options.file, options.against)]
    for held, other in zip(both, (options.against, options.file), strict=True):
        if held is None:
            continue
        net = QuantisedNetwork(*held)
        side = found.file if found.sides is None else next(
            (each for each in (found.sides.original, found.sides.copy) if each.path == str(other)), None
        )  # fmt: skip
        if side is None or net.graph.input_shape != side.graph.input_shape or (other is None and net.twin is None):
            return None
        own = other is None or None not in both
        return examine_quantisation(net, Network(side.graph, side.params), probe(side.graph)[1:], own=own)
    return None


COMMAND = Command("verify", "say whether a file is still the network that it came from", _arguments, _run)
