"""refnet compare: which layer of a port is wrong by itself, and why."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from refnet.cli.common import Command, network_in, print_json, progress, say, seconds_argument, write_text
from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import small_text
from refnet.files.containers.atomic import writable
from refnet.files.containers.json_text import bounded
from refnet.graph import SOURCE
from refnet.judge.compare import TensorScale, compare
from refnet.judge.integers.nodes import compare_integers
from refnet.judge.tensors import Judged
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.integers import IntegerPack, is_integer_pack, read_integer_pack
from refnet.readings.bounds.algorithms import ALGORITHMS
from refnet.readings.precision import FLOATS, WEIGHTS
from refnet.report.comparison import comparison_document, comparison_pictures, verdict_line
from refnet.report.integer_page import integer_junit, integer_page
from refnet.report.integers import integer_document, integer_table
from refnet.report.junit import JUNIT_MARK
from refnet.report.page import PAGE_MARK, comparison_page
from refnet.report.table import comparison_junit, comparison_table
from refnet.runtimes.integers import RUNTIME_KERNELS, run_in_litert
from refnet.runtimes.models import is_model


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", help="a golden pack, from refnet golden")
    parser.add_argument(
        "candidate",
        help="a folder of .npy or raw floats, an .npz or a .safetensors file; or an .onnx or .tflite model, "
        "run by its own runtime (onnxruntime, ai-edge-litert)",
    )
    parser.add_argument("--map", metavar="FILE", help="JSON object: candidate's name -> node name")
    parser.add_argument(
        "--scales", metavar="FILE", help='JSON: {name: {"scale": s, "zero_point": z}} of integer tensors'
    )
    parser.add_argument("--weights", choices=tuple(WEIGHTS), help="what the port's weights are, if not the pack's own")
    parser.add_argument("--precision", choices=tuple(FLOATS), help="what the port stores in; by default as stored")
    parser.add_argument("--accumulate", choices=tuple(FLOATS), help="what the port sums in")
    parser.add_argument(
        "--kernels",
        metavar="NAME",
        help="of a pack of integers and a file of integers: reference, optimised or xnnpack run it in LiteRT "
        "(by default the pack's); the name of another arithmetic, such as tflite_2_12 or qnnpack, runs it in that",
    )
    parser.add_argument("--again", metavar="DUMP", help="a second dump of the same port: say what differs between both")
    parser.add_argument("--algorithm", choices=ALGORITHMS, help="the fast algorithm that the port's convolutions use")
    parser.add_argument("--image", metavar="FILE", help="the picture that the pack's input was made of")
    parser.add_argument("--partial", action="store_true", help="accept golden tensors that no segment covers")
    seconds_argument(parser, "how long it may take: causes are looked for in what time verdicts leave (60)")
    parser.add_argument("--no-causes", action="store_true", help="do not look for causes")
    parser.add_argument("--verbose", action="store_true", help="a line for every tensor")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--junit", metavar="FILE", help="also write JUnit XML")
    parser.add_argument("--report", metavar="FILE", help="also write a page with pictures")


def _run(options: argparse.Namespace) -> int:
    """Print a table or JSON; 1 if a tensor is wrong, suspect, missing or matches nothing; 130 after Ctrl-C."""
    read = (options.candidate, options.map, options.scales)
    targets = [
        writable(path, *read, mark=mark)
        for path, mark in ((options.junit, JUNIT_MARK), (options.report, PAGE_MARK))
        if path
    ]
    if len(set(targets)) < len(targets):
        raise RequestError(f"{options.report}: --junit and --report name the same file")
    if is_integer_pack(options.pack):
        return _compare_integers(options)
    if options.kernels is not None:
        raise RequestError("--kernels goes with a pack of integers, which refnet golden makes of a file of integers")
    with progress("way") as tell:
        found = compare(
            options.pack,
            options.candidate,
            names=_names(options.map),
            precision=options.precision,
            accumulate=options.accumulate,
            algorithm=options.algorithm,
            scales=_scales(options.scales),
            weights=options.weights,
            partial=options.partial,
            explain=not options.no_causes,
            image=options.image,
            again=options.again,
            seconds=options.seconds,
            spent=time.monotonic() - options.since,
            tell=tell,
            verdicts=_say_verdicts,
        )
    precision = options.precision or "as stored"
    made = comparison_document(found, pack=options.pack, candidate=options.candidate, precision=precision)
    if options.json:
        print_json(made)
    else:
        say(comparison_table(made, verbose=options.verbose))
    if options.junit:
        write_text(options.junit, comparison_junit(made))
    if options.report:
        write_text(options.report, comparison_page(made, *comparison_pictures(found)))
    if found.judged.search.ended == "interrupted":
        return 130
    return 0 if made["verdict"] == "holds" else 1


def _say_verdicts(found: Judged) -> None:
    """Tell who waits at a terminal for causes what is wrong, at once."""
    if sys.stderr.isatty() and (line := verdict_line(found)):
        say(line, aside=True)


def _compare_integers(options: argparse.Namespace) -> int:
    """Print what is wrong with a port's integers; 1 if a tensor is not exact."""
    for name in ("scales", "weights", "precision", "accumulate"):
        if getattr(options, name) is not None:
            raise RequestError(f"--{name} goes with a pack of floats: integers are equal or not")
    pack = read_integer_pack(options.pack)
    candidate = _integers_of(options, pack)
    explain = not options.no_causes
    found = compare_integers(pack, candidate, names=_names(options.map), partial=options.partial, explain=explain)
    made = integer_document(found, pack=options.pack, candidate=options.candidate)
    if options.json:
        print_json(made)
    else:
        say(integer_table(made, verbose=options.verbose))
    if options.junit:
        write_text(options.junit, integer_junit(made))
    if options.report:
        write_text(options.report, integer_page(made))
    return 0 if found.holds else 1


# What LiteRT runs a file in where nobody says it: the pack's own arithmetic, if it has that.
_IN_LITERT = {"tflite": "reference", "tflite_optimised": "optimised"}


def _integers_of(options: argparse.Namespace, pack: IntegerPack) -> Any:
    """A port's tensors, or the file of integers that makes them."""
    path, kernels = Path(options.candidate), options.kernels
    if not is_model(path):
        if kernels is not None:
            raise RequestError("--kernels goes with a file of integers as the candidate")
        return options.candidate
    if kernels in RUNTIME_KERNELS or (kernels is None and path.suffix == ".tflite"):
        if path.suffix != ".tflite":
            raise RequestError(
                f"--kernels {kernels} runs .tflite files; refnet's own arithmetic runs {path.suffix} files"
            )
        return run_in_litert(path, pack.tensor(SOURCE), kernels or _IN_LITERT.get(pack.net.kernels, "xnnpack"))
    net = network_in(path)
    if not isinstance(net, QuantisedNetwork):
        raise RequestError(f"{path}: is no file of integers")
    return net if kernels is None else net.under(kernels)


def _object(path: str) -> dict[str, Any]:
    """A JSON object from a file."""
    data = bounded(small_text(path).encode("utf-8"), path)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path}: holds no JSON object")
    return value


def _names(path: str | None) -> dict[str, str] | None:
    if path is None:
        return None
    names = _object(path)
    if wrong := [name for name, node in names.items() if not isinstance(node, str)]:
        raise FormatError(f"{path}: {wrong[0]!r} is mapped to something other than the name of a node")
    return names


def _scales(path: str | None) -> dict[str, TensorScale] | None:
    if path is None:
        return None
    found = {}
    for name, entry in _object(path).items():
        try:
            scale, zero = entry["scale"], entry.get("zero_point", 0)
            if type(scale) not in (int, float) or type(zero) is not int or entry.keys() - {"scale", "zero_point"}:
                raise TypeError
            found[name] = TensorScale(float(scale), zero)
            if not math.isfinite(found[name].scale):
                raise ValueError
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            raise FormatError(f'{path}: {name!r} is not {{"scale": number, "zero_point": whole number}}') from None
        if not found[name].scale > 0:
            raise RequestError(f"{path}: the scale of {name!r} is not positive")
    return found


COMMAND = Command("compare", "say which layer of a port is wrong by itself, and why", _arguments, _run)
