"""refnet bench: how fast refnet is beside other runtimes, in one run."""

from __future__ import annotations

import argparse

from refnet.bench.commands import CommandTime, time_commands
from refnet.bench.peers import PEERS, missing_package, timed_network
from refnet.bench.turns import Measured, Workload, machine, measure
from refnet.cli.common import Command, positive_argument, print_json, say, size_argument
from refnet.errors import RequestError
from refnet.machine import has_older_kernels
from refnet.shares import cores
from refnet.text import table

_MODELS = ("torchvision/mobilenet_v3_large", "torchvision/mobilenet_v3_small", "torchvision/mobilenet_v2")
_AVX2 = "refnet-avx2"
_ALL = (_AVX2, "torch", "onnxruntime", "onnx-reference")
_MIB = 2**20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names, or files (torchvision's V3 and V2)")
    parser.add_argument(
        "--batch", type=positive_argument, nargs="+", default=[1], metavar="N", help="images at once (1)"
    )
    parser.add_argument(
        "--threads", type=positive_argument, help="cores to use (all; for one image of refnet those that pay)"
    )
    parser.add_argument("--width", type=float, default=1.0, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images in pixels")
    parser.add_argument(
        "--against",
        type=_peers,
        default=_ALL,
        metavar="PEER,...",
        help=f"{', '.join(_ALL)} (all; {_AVX2} is refnet on BLAS's kernels for AVX2, where there are newer ones; "
        "torch stands for both of its memory formats), or none",
    )
    parser.add_argument(
        "--commands", action="store_true", help="time everyday commands instead: golden, compare, verify, check ..."
    )
    parser.add_argument("--busy", action="store_true", help="commands: also while a loop keeps each core busy")
    parser.add_argument("--rounds", type=positive_argument, help="turns of each peer (15), or runs of each command (3)")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which no further round begins (30)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print a table of medians and ratios, or JSON."""
    if options.busy and not options.commands:
        raise RequestError("--busy goes with --commands")
    if options.commands:
        return _run_commands(options)
    wanted = [
        peer for name in options.against for peer in (("torch", "torch-channels-last") if name == "torch" else (name,))
    ]
    wanted = [name for name in wanted if name != _AVX2 or has_older_kernels()]
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
    say(
        ", ".join(f"{name} {value}" for name, value in machine(peers).items())
        + f", threads {options.threads or cores()}"
    )
    for name, package in left_out.items():
        say(f"refnet bench: {name} is left out: {package} is not installed", aside=True)
    return 0


def _run_commands(options: argparse.Namespace) -> int:
    """Time everyday commands about one network."""
    if len(options.models) > 1 or options.width != 1 or options.batch != [1]:
        raise RequestError("--commands goes with one network at most, of width 1, and without --batch")
    rows = time_commands(model=options.models[0] if options.models else _MODELS[0], size=options.size,
                         rounds=options.rounds or 3, busy=options.busy)  # fmt: skip
    if options.json:
        print_json({"machine": machine([]), "commands": [row._asdict() for row in rows]})
        return 0
    header = ("what", "processor s", "clock s", *(("busy processor", "busy clock") if options.busy else ()), "command")
    say(table(header, [_command_line(row) for row in rows], left=1))
    say("\nprocessor: of all cores, user and system; the least of all runs, as with the clock.")
    if options.busy:
        say("busy: with one more program on each core, how many times as much.")
    say(", ".join(f"{name} {value}" for name, value in machine([]).items()))
    return 0


def _command_line(row: CommandTime) -> tuple[str, ...]:
    quiet = min(row.processor), min(row.clock)
    busy = [
        f"{min(seconds) / least:.2f} x" if least else ""
        for least, seconds in zip(quiet, (row.busy_processor, row.busy_clock), strict=True)
        if seconds
    ]
    return (row.name, *(f"{seconds:.2f}" for seconds in quiet), *busy, row.command)


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
