"""refnet convert: a file of weights as another kind of file, in another vendor's names, folded, in float16."""

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
    tell_note,
)
from refnet.files.schemes import SCHEMES
from refnet.files.write import DTYPES, SUFFIXES, Converted, convert
from refnet.report.differences import grouped, line, network_words
from refnet.text import plain

_MOST_LINES = 6


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a file of weights of any kind that refnet reads")
    parser.add_argument("target", metavar="DST", help=f"the file to write: {', '.join(SUFFIXES)}")
    parser.add_argument(
        "--names", choices=SCHEMES, help="whose names the arrays have; by default the vendor's own, in ONNX the graph's"
    )
    parser.add_argument("--fold", action="store_true", help="work batch norm into the convolutions")
    parser.add_argument("--dtype", choices=DTYPES, help="by default the precision that SRC is read in")
    parser.add_argument(
        "--force",
        action="store_true",
        help="give a vendor's names to a network that this vendor's own computes otherwise",
    )
    strict_argument(parser)
    parser.add_argument("--model", help="which network SRC is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of its images, likewise")
    part_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    made = convert(
        options.source,
        options.target,
        names=options.names,
        fold=options.fold,
        dtype=options.dtype,
        force=options.force,
        strict=options.strict,
        model=options.model,
        width=options.width,
        size=options.size,
        **part_of(options),
    )
    for each in made.notes:
        tell_note(each)
    if options.json:
        print_json(_document(made, Path(options.target)))
        return 0
    written = made.written
    folded = ", batch norm folded" if written.folded else ""
    say(
        f"{network_words(written.model)}, {written.arrays} arrays in {made.dtype} by the names of "
        f"{written.scheme}{folded}: {plain(Path(options.target))}"
    )
    for note in _notes(made):
        say(plain(note))
    return 0


def _document(made: Converted, target: Path) -> dict[str, object]:
    written = made.written
    return {
        "file": str(target),
        "dtype": made.dtype,
        "bytes": target.stat().st_size,
        **{key: value for key, value in written._asdict().items() if key not in ("differences", "lost")},
        "source_differences": [line(difference) for difference in made.differences],
        "differences": [line(difference) for difference in written.differences],
        "lost": [lost._asdict() for lost in written.lost],
    }


def _notes(made: Converted) -> list[str]:
    """What the user should know of the file, a line each."""
    written = made.written
    groups = {
        "SRC is not quite a known network, and the new file does not tell in what it is another one:": grouped(
            made.differences, 3
        ),
        "the vendor's network of these names computes otherwise:": grouped(written.differences, 3),
        "in float16 some values become 0 or lose digits:": [
            f"{lost.name}: {lost.zeros} become 0, {lost.denormal} lose digits" for lost in written.lost
        ],
    }
    notes = []
    if not (written.graph or written.model):
        notes.append("such a file does not tell the graph: .npz, .safetensors and .onnx do")
    for head, lines in groups.items():
        if lines:
            more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            notes += [head, *(f"  {each}" for each in [*lines[:_MOST_LINES], *more])]
    return notes


COMMAND = Command(
    "convert", "write a file of weights as another kind of file, in other names, folded, in float16", _arguments, _run
)
