"""refnet netadapt: shrink a network in small steps until it takes a share of its latency."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from refnet.cli.common import Command, network_in, print_json, progress, say, weights_arguments, write_text
from refnet.errors import RequestError
from refnet.text import plain

if TYPE_CHECKING:
    from refnet.network import Network
    from refnet.report.adaptation import Compared
    from refnet.search.kept import KeptNetwork
    from refnet.search.netadapt import Adaptation, AdaptStep, AfterProposal, AfterStep, Run, Scored
    from refnet.search.proposals import LatencyOf

_POINTS = 5  # width multipliers that the picture shows


def _arguments(parser: argparse.ArgumentParser) -> None:
    weights_arguments(parser)
    parser.add_argument("--target", type=float, required=True, metavar="SHARE", help="of its latency, such as 0.7")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="the network that comes of it")
    parser.add_argument("--log", metavar="FILE.jsonl", help="every proposal, a line of JSON each (beside --out)")
    parser.add_argument("--draw", metavar="FILE.svg", help="accuracy against latency (beside --out)")
    parser.add_argument("--resume", action="store_true", help="go on with the run of that log")
    parser.add_argument(
        "--latency",
        default="multiply-adds",
        metavar="MODEL",
        help="multiply-adds, bytes, here (measured on this machine), or a table of milliseconds, FILE.json",
    )
    parser.add_argument("--delta", type=float, default=0.01, metavar="SHARE", help="of latency, cut at least (0.01)")
    parser.add_argument("--metric", default="ratio", help="ratio (gain in accuracy over cut in latency), or accuracy")
    parser.add_argument(
        "--kinds",
        default="expansion,bottleneck",
        metavar="KIND,...",
        help="what is shrunk: expansion, bottleneck, stem, head (the first two)",
    )
    parser.add_argument("--divisor", type=int, default=1, metavar="N", help="channels are multiples of it (1)")
    parser.add_argument("--every", action="store_true", help="try every number of channels, from the top")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes that try proposals (one for each core)")
    parser.add_argument("--quiet", action="store_true", help="tell no steps while the run goes on")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Shrink the network, write it, its log and the picture, and print the way there."""
    from refnet.network import Network
    from refnet.search.scan_task import reads_scans
    from refnet.shares import cores

    log, picture = _paths(options)
    jobs = cores() if options.jobs is None else options.jobs
    if jobs < 1:
        raise RequestError(f"--jobs {jobs}: take at least 1")
    net = network_in(options.weights, model=options.model, width=options.width, size=options.size)
    if not isinstance(net, Network):
        raise RequestError("the network is one of integers: shrink that of floats which it was made of")
    reads_scans(net)
    _adapted(options, net.on(1), log, picture, jobs)
    return 0


def _paths(options: argparse.Namespace) -> tuple[Path, Path]:
    """Where the log and the picture go; refuses what cannot be written before the work begins."""
    from refnet.files.containers.atomic import writable

    out = Path(options.out)
    if out.suffix != ".npz":
        raise RequestError(f"{out}: the network is written as .npz; convert makes other files of it")
    log = Path(options.log) if options.log else out.with_suffix(".jsonl")
    picture = Path(options.draw) if options.draw else out.with_suffix(".svg")
    if picture.suffix != ".svg":
        raise RequestError(f"{picture}: the picture is written as .svg")
    writable(out, options.weights)
    writable(picture, options.weights, mark=b"<svg")
    if len({out.resolve(), log.resolve(), picture.resolve()}) < 3:
        raise RequestError("--out, --log and --draw are to be three files")
    return log, picture


def _adapted(options: argparse.Namespace, net: Network, log: Path, picture: Path, jobs: int) -> None:
    """Run NetAdapt with its log, which is open until all is written: what is compared is measured too."""
    from refnet.search.log import SearchLog
    from refnet.search.models import latency_model
    from refnet.search.netadapt import Run, adapt, bound_to
    from refnet.search.processes import working
    from refnet.search.scan_task import ScanTuning, accuracy_on_scans

    asked = latency_model(options.latency)  # refused before there is a log
    tuning = ScanTuning(net)
    with (
        _telling(options.quiet) as (after, after_step),
        working(jobs) if jobs > 1 else nullcontext() as executor,
    ):

        def run_with(latency: LatencyOf) -> Run:
            return Run(
                options.target,
                accuracy_on_scans,
                latency,
                tuning,
                options.delta,
                options.metric,
                tuple(options.kinds.split(",")),
                options.divisor,
                options.every,
                executor,
                after,
                after_step,
            )

        words = {**bound_to(net, run_with(asked)), "latency": options.latency}
        with SearchLog(log, words, resume=options.resume) as opened:
            times = {record["layer"]: float(record["ms"]) for record in opened.found if "layer" in record}

            def grown(_: object, new: Mapping[str, float]) -> None:
                for layer, ms in new.items():
                    opened.add({"layer": layer, "ms": ms})

            model = latency_model(options.latency, times, grown)
            found = adapt(net, run_with(model), opened.found, opened.add, _kept(log))
            _finish(options, net, found, model, log, picture)


def _kept(log: Path) -> KeptNetwork:
    from refnet.search.kept import KeptNetwork

    return KeptNetwork(log.with_name(f"{log.name}.part"))


@contextmanager
def _telling(quiet: bool) -> Iterator[tuple[AfterProposal, AfterStep]]:
    """What moves a bar with each proposal, and tells each step on stderr."""
    from refnet.report.adaptation import step_line

    with progress("proposal") as move:

        def after(scored: Scored, done: int, total: int) -> None:
            move(done, total)

        def after_step(step: AdaptStep, number: int, whole: float) -> None:
            if not quiet:
                say(f"refnet: {step_line(step, number, whole)}", aside=True)

        yield after, after_step


def _finish(
    options: argparse.Namespace,
    net: Network,
    found: Adaptation,
    latency: LatencyOf,
    log: Path,
    picture: Path,
) -> None:
    """Write the picture and the network, and say how it is beside a width multiplier."""
    from refnet.files.write import write_weights
    from refnet.report.adaptation import adaptation_document, adaptation_lines, adaptation_picture

    unit = {"multiply-adds": "multiply-adds", "bytes": "bytes"}.get(options.latency, "ms")
    first, last = found.steps[0].latency, found.steps[-1].latency
    uniform = [_scaled(net, latency, last + (first - last) * part / _POINTS) for part in range(_POINTS)]
    compared = [
        _compared("as it was", net, latency),
        _compared("NetAdapt", found.net, latency),
        _scaled(net, latency, last, tuple(options.kinds.split(","))),
        uniform[0],
    ]
    write_text(picture, adaptation_picture(found.steps, found.tried, uniform, unit))
    write_weights(found.net.graph, found.net.params, options.out)
    _kept(log).remove()
    if options.json:
        print_json(adaptation_document(found.steps, compared, unit))
        return
    say("\n".join(adaptation_lines(found.steps, compared, unit)))
    say(f"\nthe network is in {plain(options.out)}, its proposals in {plain(log)}, the picture in {plain(picture)}")


def _scaled(net: Network, latency: LatencyOf, most: float, kinds: tuple[str, ...] = ()) -> Compared:
    """A width multiplier at a latency, its weights cut and fine-tuned as NetAdapt's are."""
    from refnet.network import Network
    from refnet.search.scan_task import ScanTuning
    from refnet.search.truncate import cut_params
    from refnet.search.uniform import uniform_graph
    from refnet.search.widths import KINDS

    graph = uniform_graph(net.graph, latency, most, kinds or KINDS)
    scaled = ScanTuning(net)(Network(graph, cut_params(net.graph, net.params, graph), net.threads))
    return _compared(f"all widths scaled ({', '.join(kinds)})" if kinds else "all widths scaled", scaled, latency)


def _compared(what: str, net: Network, latency: LatencyOf) -> Compared:
    from refnet.report.adaptation import Compared
    from refnet.search.scan_task import accuracy_held_out, accuracy_on_scans

    params = sum(array.size for array in net.arrays())
    return Compared(what, latency(net.graph), accuracy_on_scans(net), accuracy_held_out(net), params)


COMMAND = Command("netadapt", "shrink a network step by step to a share of its latency", _arguments, _run)
