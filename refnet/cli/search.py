"""refnet search: networks that weigh accuracy against latency, found over the shipped digits."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from refnet.cli.common import Command, print_json, say, write_text
from refnet.errors import RequestError
from refnet.files.containers.atomic import writable
from refnet.interrupts import on_the_way
from refnet.text import plain

if TYPE_CHECKING:
    from refnet.search.latency import LatencyTable
    from refnet.search.models import LayerClock
    from refnet.search.trials import SearchRun, SearchTrial

_SIZE, _CLASSES = (32, 32), 10


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", type=float, metavar="MS", help="milliseconds; by default what the shipped digits network takes"
    )
    parser.add_argument("--budget", type=int, default=100, metavar="N", help="how many networks to try (100)")
    parser.add_argument("--by", default="controller", help="who proposes: controller, evolution or random (controller)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the proposals (0)")
    weight = parser.add_mutually_exclusive_group()
    weight.add_argument("--exponent", type=float, default=-0.07, metavar="W", help="w of the reward (-0.07)")
    weight.add_argument("--hard", action="store_true", help="w = 0 where the target is met, -1 where it is missed")
    parser.add_argument(
        "--table",
        metavar="FILE.json",
        help="milliseconds of layers: of this machine, added to; or of another, with all of them. By default measured "
        "here, and kept beside the log",
    )
    parser.add_argument("--layers", action="store_true", help="print as JSON what layers there can be, and leave")
    parser.add_argument("--log", metavar="FILE.jsonl", help="keep every trial here, as a line of JSON")
    parser.add_argument("--resume", action="store_true", help="go on with the search of that log")
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="FILE.jsonl", help="logs of other searches, to be shown beside this"
    )
    parser.add_argument("-o", "--write", metavar="FILE.svg", help="draw accuracy against latency")
    parser.add_argument(
        "--objective", metavar="FILE.svg", help="draw instead what the reward asks of a latency, and leave"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Search, and print what was found."""
    for path in filter(None, (options.write, options.objective)):
        if Path(path).suffix != ".svg":
            raise RequestError(f"{path}: the picture is written as .svg")
        writable(path)
    if options.objective:
        from refnet.report.search import objective_picture

        write_text(options.objective, objective_picture())
        return 0
    if options.layers:
        print_json(_layers())
        return 0
    return _searched(options)


def _searched(options: argparse.Namespace) -> int:
    from refnet.report.search import front_picture, search_lines, searches_document
    from refnet.search.objective import HARD, Exponents
    from refnet.search.on_digits import proxy_accuracy
    from refnet.search.space import DIGITS
    from refnet.search.trials import SearchRun, read_search, search_space

    if options.resume and options.log is None:
        raise RequestError("--resume goes with --log: name the log to go on with")
    beside = [read_search(path) for path in options.beside]
    clock = _clock(options)
    target = _target(clock) if options.target is None else options.target
    exponents = HARD if options.hard else Exponents(options.exponent, options.exponent)
    trials = search_space(
        DIGITS,
        proxy_accuracy,
        clock,
        target=target,
        budget=options.budget,
        size=_SIZE,
        classes=_CLASSES,
        exponents=exponents,
        by=options.by,
        seed=options.seed,
        log=options.log,
        resume=options.resume,
        after_trial=_progress(options.budget),
    )
    runs = [SearchRun(options.by, target, exponents, trials), *beside]
    held_out = _held_out(runs)
    if options.write:
        write_text(options.write, front_picture(runs, clock.table.machine))
    if options.json:
        print_json(searches_document(DIGITS, runs, held_out))
    else:
        say(f"on {plain(clock.table.machine)}")
        say("\n".join(search_lines(DIGITS, runs, held_out)))
    return 0


def _clock(options: argparse.Namespace) -> LayerClock:
    """The latency of networks by the table that the user means."""
    from refnet.search.latency import read_latencies
    from refnet.search.models import LayerClock

    path = options.table
    if path is None and options.log is not None:
        path = Path(options.log).with_suffix(".layers.json")
    if path is None:
        return LayerClock()
    there = Path(path).exists()
    if not there:
        writable(path)

    def grown(table: LatencyTable, _: object) -> None:
        with on_the_way():  # the table is no answer: the search can still be ended
            table.write(path)

    return LayerClock(read_latencies(path) if there else None, grown)


def _target(clock: LayerClock) -> float:
    """What the network that ships takes."""
    from refnet.networks.build import build

    return clock(build("refnet/digits"))


def _layers() -> dict[str, object]:
    """What a table of another machine is filled in by."""
    from refnet.networks.build import build
    from refnet.search.layers import layers
    from refnet.search.on_digits import layers_of_space
    from refnet.search.space import DIGITS

    found = {layer.name: layer for layer in layers_of_space(DIGITS, _SIZE, _CLASSES)}
    found |= {layer.name: layer for layer in layers(build("refnet/digits"))}  # which says the target
    return {"layers": [{"layer": each.name, "macs": each.macs, "bytes": each.moved} for each in found.values()]}


def _progress(budget: int) -> Callable[[SearchTrial], None]:
    """A line on stderr where a trial is better than those before, and now and then."""
    best = -math.inf

    def after_trial(trial: SearchTrial) -> None:
        nonlocal best
        if trial.reward > best or trial.number % 20 == 0:
            best = max(best, trial.reward)
            here = f"{trial.accuracy:.1%} in {trial.ms:.3f} ms, reward {trial.reward:.4f}"
            say(f"refnet: trial {trial.number} of {budget}: {here}; best {best:.4f}", aside=True)

    return after_trial


def _held_out(runs: list[SearchRun]) -> dict[SearchTrial, float]:
    """The accuracy of the front on the scans that no choice saw."""
    from refnet.networks.build import build
    from refnet.search.on_digits import held_out_accuracy
    from refnet.search.space import DIGITS, table_of
    from refnet.search.trials import front

    found = front([trial for run in runs for trial in run.trials])
    graphs = {trial: build(table_of(DIGITS, trial.point), size=_SIZE, classes=_CLASSES) for trial in found}
    return {trial: held_out_accuracy(graph) for trial, graph in graphs.items()}


COMMAND = Command("search", "search for networks that weigh accuracy against latency", _arguments, _run)
