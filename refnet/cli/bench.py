"""refnet bench: how fast refnet is beside other runtimes, in one run."""

from __future__ import annotations

import argparse

from refnet.bench.commands import CommandTime, time_commands
from refnet.bench.peers import PEERS, missing_package, timed_network
from refnet.bench.turns import Measured, Workload, machine, measure
from refnet.cli.common import Command, positive_argument, print_json, say, size_argument
from refnet.errors import RequestError
from refnet.shares import cores
from refnet.text import table

_MODELS = ("torchvision/mobilenet_v3_large", "torchvision/mobilenet_v3_small", "torchvision/mobilenet_v2")
_ALL = ("torch", "onnxruntime", "onnx-reference")
_MIB = 2**20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names, or files (torchvision's V3 and V2)")
    parser.add_argument(
        "--batch", type=positive_argument, nargs="+", default=[1], metavar="N", help="images at once (1)"
    )
    parser.add_argument("--threads", type=positive_argument, default=cores(), help="cores to use (all)")
    parser.add_argument("--width", type=float, default=1.0, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images in pixels")
    parser.add_argument(
        "--against",
        type=_peers,
        default=_ALL,
        metavar="PEER,...",
        help=f"{', '.join(_ALL)} (all; torch stands for both of its memory formats), or none",
    )
    parser.add_argument(
        "--commands", action="store_true", help="time everyday commands instead: golden, compare, verify, check ..."
    )
    parser.add_argument("--rounds", type=positive_argument, help="turns of each peer (15), or runs of each command (3)")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which no further round begins (30)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print a table of medians and ratios, or JSON."""
    if options.commands:
        return _run_commands(options)
    wanted = [
        peer for name in options.against for peer in (("torch", "torch-channels-last") if name == "torch" else (name,))
    ]
    left_out = {name: package for name in wanted if (package := missing_package(name))}
    peers = [name for name in wanted if name not in left_out]
    workloads = [
        Workload(model, options.width, options.size, batch, options.threads)
        for model in options.models or _MODELS
        for batch in options.batch
    ]
    for workload in workloads:
        # Refuses what cannot be built before anything is measured.
        timed_network(workload.model, workload.width, workload.size)
    found = [(one, measure(one, peers, rounds=options.rounds or 15, seconds=options.seconds)) for one in workloads]
    if options.json:
        document = {
            "machine": machine(peers),
            "left_out": left_out,
            "cases": [{**one._asdict(), "peers": [_document(row) for row in rows]} for one, rows in found],
        }
        print_json(document)
        return 0
    header = (
        "network",
        "batch",
        "runtime",
        "ms",
        "quartiles",
        "refnet is",
        "quartiles",
        "first ms",
        "peak MiB",
    )
    say(table(header, [_line(one, row) for one, rows in found for row in rows], left=1))
    say(
        "\nms: median of a whole batch. refnet is: its median over the runtime's, less than 1 where refnet is faster.\n"
        "first: with all that prepares it. peak: memory of the process."
    )
    say(", ".join(f"{name} {value}" for name, value in machine(peers).items()) + f", threads {options.threads}")
    for name, package in left_out.items():
        say(f"refnet bench: {name} is left out: {package} is not installed", aside=True)
    return 0


def _run_commands(options: argparse.Namespace) -> int:
    """Time everyday commands about one network."""
    if len(options.models) > 1 or options.width != 1 or options.batch != [1]:
        raise RequestError("--commands goes with one network at most, of width 1, and without --batch")
    rows = time_commands(model=options.models[0] if options.models else _MODELS[0], size=options.size,
                         rounds=options.rounds or 3)  # fmt: skip
    if options.json:
        print_json({"machine": machine([]), "commands": [row._asdict() for row in rows]})
        return 0
    header = ("what", "processor s", "clock s", "command")
    say(table(header, [_command_line(row) for row in rows], left=1))
    say("\nprocessor: of all cores, user and system; the least of all runs, as with the clock.")
    say(", ".join(f"{name} {value}" for name, value in machine([]).items()))
    return 0


def _command_line(row: CommandTime) -> tuple[str, ...]:
    return row.name, f"{min(row.processor):.2f}", f"{min(row.clock):.2f}", row.command


def _line(workload: Workload, row: Measured) -> tuple[str, ...]:
    low, high = row.quartiles
    ours = row.peer == "refnet"
    return (
        workload.model,
        str(workload.batch),
        row.peer,
        f"{row.median * 1e3:.2f}",
        f"{low * 1e3:.2f}-{high * 1e3:.2f}",
        "" if ours else f"{row.ratio:.3f}",
        "" if ours else f"{row.ratios[0]:.3f}-{row.ratios[1]:.3f}",
        f"{row.first * 1e3:.0f}",
        f"{row.peak / _MIB:.0f}",
    )


def _document(row: Measured) -> dict[str, object]:
    return {**row._asdict(), "median": row.median, "quartiles": row.quartiles}


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name != "none")
    if unknown := [name for name in names if name not in PEERS or name == "refnet"]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_ALL)}")
    return names


COMMAND = Command("bench", "time refnet beside other runtimes, with the same weights", _arguments, _run)
