"""refnet convert: a file of weights as another kind of file, in another vendor's names, folded, in float16."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from refnet.cli.common import Command, print_json, size_argument
from refnet.errors import RequestError
from refnet.files.checkpoint import identify, read_checkpoint
from refnet.files.identify.differences import Difference, grouped
from refnet.files.schemes import SCHEMES
from refnet.files.write import DTYPES, SUFFIXES, Written, write_weights
from refnet.text import plain

_MOST_LINES = 6


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a file of weights of any kind that refnet reads")
    parser.add_argument("target", metavar="DST", help=f"the file to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--names", choices=SCHEMES, help="whose names the arrays have; by default the vendor's own")
    parser.add_argument("--fold", action="store_true", help="work batch norm into the convolutions")
    parser.add_argument("--dtype", choices=DTYPES, help="by default the precision that SRC is read in")
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="convert a network that is almost a known one, and give a vendor's names to one that computes otherwise",
    )
    parser.add_argument("--model", help="which network SRC is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of its images, likewise")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    source, target = Path(options.source), Path(options.target)
    if source.exists() and target.exists() and source.samefile(target):
        raise RequestError(f"{target}: is the file to convert; write to another one")
    which = {"model": options.model, "width": options.width, "size": options.size}
    graph, params = read_checkpoint(source, **which, as_is=options.as_is)
    # Names and shapes are all that the new file tells: what it was that is almost a known network is said here.
    almost = identify(source, **which).differences if options.as_is else ()
    written = write_weights(
        graph,
        params,
        target,
        names=options.names,
        fold=options.fold,
        dtype=options.dtype,
        as_is=options.as_is,
    )
    dtype = options.dtype or str(next(iter(params.values())).dtype)
    if options.json:
        print_json({"file": str(target), "dtype": dtype, "bytes": target.stat().st_size, **_document(written, almost)})
        return 0
    folded = ", batch norm folded" if written.folded else ""
    print(
        f"{written.model}, {written.arrays} arrays in {dtype} by the names of {written.scheme}{folded}: {plain(target)}"
    )
    for line in _notes(written, almost):
        print(line)
    return 0


def _document(written: Written, almost: Sequence[Difference]) -> dict[str, object]:
    return {
        **{key: value for key, value in written._asdict().items() if key not in ("differences", "lost")},
        "source_differences": [str(difference) for difference in almost],
        "differences": [str(difference) for difference in written.differences],
        "lost": [lost._asdict() for lost in written.lost],
    }


def _notes(written: Written, almost: Sequence[Difference]) -> list[str]:
    """What the user should know of the file, a line each."""
    told = {
        "SRC is almost a known network, and the new file does not tell in what it is another one:": grouped(almost, 3),
        "the vendor's network of these names computes otherwise:": grouped(written.differences, 3),
        "in float16 some values become 0 or lose digits:": [
            f"{lost.name}: {lost.zeros} become 0, {lost.denormal} lose digits" for lost in written.lost
        ],
    }
    notes = []
    for head, lines in told.items():
        if lines:
            more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            notes += [head, *(f"  {line}" for line in [*lines[:_MOST_LINES], *more])]
    return notes


COMMAND = Command(
    "convert", "write a file of weights as another kind of file, in other names, folded, in float16", _arguments, _run
)
