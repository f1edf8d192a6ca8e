"""NetAdapt: a network is shrunk in small steps, each the best of several proposals, until its latency is small enough.

In each step every proposal cuts latency by at least delta; it takes over the weights of the network before, cut to its
widths, and is fine-tuned for a while. The one that is kept gains the most accuracy per latency that it cuts (Howard et
al., arXiv 1905.02244, sec. 4.2), or has the highest accuracy (Yang et al., NetAdapt, arXiv 1804.03230). What accuracy,
latency and fine-tuning are is the caller's business.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from refnet.errors import FormatError, RequestError
from refnet.graph import Graph
from refnet.network import Network
from refnet.search.attempts import AccuracyOf, Attempt, FineTune, Outcome, outcomes_of, tried
from refnet.search.kept import KeptNetwork
from refnet.search.latency import this_machine
from refnet.search.layers import multiply_adds
from refnet.search.log import SearchLog
from refnet.search.proposals import ARTICLE, LatencyOf, Proposal, asked_latency, proposals, shrinkables, smallest
from refnet.search.scan_task import ScanTuning, accuracy_on_scans

__all__ = ["FORMAT", "METRICS", "AdaptStep", "Adaptation", "Run", "Scored", "adapt", "best_of", "bound_to", "netadapt"]

AfterProposal = Callable[["Scored", int, int], object]
AfterStep = Callable[["AdaptStep", int, float], object]

FORMAT = "refnet netadapt log 1"
METRICS = ("ratio", "accuracy")


class Scored(NamedTuple):
    """A proposal that has been fine-tuned and judged; the words are those of the log.

    Attributes
    ----------
    step : from 1 on
    proposal, kind, widths : what it shrinks, see `Shrinkable`
    before, channels : of each width
    latency, accuracy : of the network that comes of it
    """

    step: int
    proposal: str
    kind: str
    widths: tuple[str, ...]
    before: int
    channels: int
    latency: float
    accuracy: float

    def __str__(self) -> str:
        return f"{self.proposal} {self.before} -> {self.channels}"


class AdaptStep(NamedTuple):
    """A network on the way.

    Attributes
    ----------
    kept : the proposal that made it; None of the network that it began with
    latency, accuracy : of it
    """

    kept: Scored | None
    latency: float
    accuracy: float


@dataclass(frozen=True)
class Adaptation:
    """What a run has come to.

    Attributes
    ----------
    net : the last network
    steps : the networks on the way, the first and the last one included
    tried : every proposal, those that the log had included
    """

    net: Network
    steps: tuple[AdaptStep, ...]
    tried: tuple[Scored, ...]


@dataclass(frozen=True)
class Run:
    """What a run is to do: see `netadapt`."""

    target: float
    accuracy: AccuracyOf
    latency: LatencyOf
    fine_tune: FineTune
    delta: float
    metric: str
    kinds: tuple[str, ...]
    divisor: int
    every: bool
    executor: Any
    after: AfterProposal = lambda scored, done, total: None
    after_step: AfterStep = lambda step, number, whole: None

    def __post_init__(self) -> None:
        for name in ("target", "delta"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < 1):
                raise RequestError(f"{name} {value!r}: take a share of the latency between 0 and 1, such as 0.7")
        if self.metric not in METRICS:
            raise RequestError(f"no metric is called {self.metric!r}: {', '.join(METRICS)}")
        if not isinstance(self.divisor, int) or self.divisor < 1:
            raise RequestError(f"divisor {self.divisor!r}: take a whole number from 1 on")


def netadapt(
    net: Network,
    target: float,
    *,
    accuracy: AccuracyOf = accuracy_on_scans,
    latency: LatencyOf = multiply_adds,
    fine_tune: FineTune | None = None,
    delta: float = 0.01,
    metric: str = "ratio",
    kinds: Collection[str] = ARTICLE,
    divisor: int = 1,
    every: bool = False,
    executor: Any = None,
    log: str | os.PathLike[str] | None = None,
    resume: bool = False,
    after: AfterProposal = lambda scored, done, total: None,
    after_step: AfterStep = lambda step, number, whole: None,
) -> Adaptation:
    """Shrink a network until it takes no more than a share of its latency.

    Parameters
    ----------
    net : a network with floats
    target : share of the latency of `net`, such as 0.7
    accuracy : of a network, on images that no fine-tuning sees; by default of the digits that ship, see `scan_task`
    latency : of a graph, in whatever unit; by default its multiply-adds
    fine_tune : a network with cut weights -> the same one fine-tuned; by default in closed form on the digits, see
        `ScanTuning`
    delta : share of the latency of `net` that every proposal cuts at least
    metric : 'ratio', gain in accuracy over cut in latency; 'accuracy' alone, as NetAdapt had it first
    kinds : of widths that are shrunk, see `channel_widths`; by default those of the article
    divisor : channels are multiples of it
    every : see `largest_count`
    executor : fine-tunes the proposals of a step at the same time: has `submit`, as executors of concurrent.futures and
        clients of Dask have, or `map`; callables must be fit to be pickled then
    log : file of JSON lines to write, one for each proposal
    resume : go on with the run of that log
    after : called with (scored, done, of how many in this step) after each proposal
    after_step : called with (step, its number, the latency of `net`) after each step

    Returns
    -------
    adaptation : the last network, the steps to it, and every proposal

    Raises
    ------
    RequestError
        if the target cannot be met, or a callable raises or returns no number: names the step and the proposal. The log
        has all that was found before.

    Examples
    --------
    >>> from refnet.network import load
    >>> net = load()
    >>> found = netadapt(net, 0.985, kinds=["bottleneck"])
    >>> str(found.steps[1].kept), found.steps[-1].latency / found.steps[0].latency
    ('block4.project 16 -> 14', 0.9847134931049566)
    """
    fine_tune = ScanTuning(net) if fine_tune is None else fine_tune
    run = Run(
        target, accuracy, latency, fine_tune, delta, metric, tuple(kinds), divisor, every, executor, after, after_step
    )
    if log is None:
        return adapt(net, run)
    calls = {name: _named(getattr(run, name)) for name in ("accuracy", "latency", "fine_tune")}
    with SearchLog(log, {**bound_to(net, run), **calls}, resume=resume) as opened:
        kept = KeptNetwork(Path(f"{log}.part"))
        found = adapt(net, run, opened.found, opened.add, kept)
        kept.remove()
    return found


def bound_to(net: Network, run: Run) -> dict[str, Any]:
    """What a run hangs on, callables left out: by name, values of JSON; the first line of its log."""
    weights = hashlib.sha256(str(net.graph).encode())
    for array in net.arrays():
        weights.update(np.ascontiguousarray(array).data)
    said = {name: getattr(run, name) for name in ("target", "delta", "metric", "divisor", "every")}
    here = {"numpy": np.__version__, "machine": this_machine()}
    return {"format": FORMAT, "weights": weights.hexdigest(), **said, "kinds": list(run.kinds), **here}


def adapt(
    net: Network,
    run: Run,
    found: Sequence[Mapping[str, Any]] = (),
    add: Callable[[Mapping[str, Any]], object] = lambda record: None,
    kept: KeptNetwork | None = None,
) -> Adaptation:
    """As `netadapt`, with a log that the caller has opened.

    Parameters
    ----------
    found : the records of the log
    add : appends a record
    kept : takes the network of each step
    """
    steps = [_first(net, run, found, add)]
    goal, cut = run.target * steps[0].latency, run.delta * steps[0].latency
    _refuse_hopeless(net.graph, run, goal, steps[0].latency)
    known = {(record["step"], record["proposal"]): _scored(record) for record in found if "proposal" in record}
    choices = {record["step"]: record["kept"] for record in found if "kept" in record}
    resumed = None if kept is None else kept.get()
    if resumed is not None and all((number, choices.get(number)) in known for number in range(1, resumed[0] + 1)):
        net = resumed[1]
        steps += [_after(known[number, choices[number]]) for number in range(1, resumed[0] + 1)]
    while steps[-1].latency > goal:
        number = len(steps)
        try:
            best, net = _step(net, number, steps[-1], steps[-1].latency - cut, run, add, known)
        except RequestError as error:
            raise RequestError(f"step {number}: {error}") from error
        steps.append(_after(best))
        if number not in choices:
            add({"step": number, "kept": best.proposal})
        if kept is not None:
            kept.put(number, net)
        run.after_step(steps[-1], number, steps[0].latency)
    return Adaptation(net, tuple(steps), tuple(known.values()))


def best_of(scored: Sequence[Scored], before: AdaptStep, metric: str = "ratio") -> Scored:
    """The proposal with the largest gain in accuracy over cut in latency, or the largest accuracy.

    Of equal ones it is that which cuts most latency; of those still equal, the first.

    Parameters
    ----------
    before : the network that they are proposed for
    metric : see `netadapt`

    Examples
    --------
    >>> before = AdaptStep(None, latency=100.0, accuracy=0.90)
    >>> little = Scored(1, "a", "expansion", ("a",), 8, 7, latency=98.0, accuracy=0.89)
    >>> much = Scored(1, "b", "expansion", ("b",), 8, 2, latency=90.0, accuracy=0.88)
    >>> best_of([little, much], before).proposal, best_of([little, much], before, "accuracy").proposal
    ('b', 'a')
    """

    def worth(each: Scored) -> tuple[float, float]:
        cut = before.latency - each.latency
        return (each.accuracy if metric == "accuracy" else (each.accuracy - before.accuracy) / cut), cut

    return max(scored, key=worth)


def _after(scored: Scored) -> AdaptStep:
    return AdaptStep(scored, scored.latency, scored.accuracy)


def _scored(record: Mapping[str, Any]) -> Scored:
    """A proposal as the log has it."""
    try:
        return Scored(**{**record, "widths": tuple(record["widths"])})
    except (TypeError, KeyError):
        raise FormatError("the log has a proposal that is none; begin another run") from None


def _first(
    net: Network, run: Run, found: Sequence[Mapping[str, Any]], add: Callable[[Mapping[str, Any]], object]
) -> AdaptStep:
    """The network that the run begins with, which the log may have judged before."""
    for record in found:
        if record.get("step") == 0:
            return AdaptStep(None, record["latency"], record["accuracy"])
    latency = asked_latency(run.latency, net.graph, "the network as it is")
    if not latency > 0:
        raise RequestError(f"the network as it is: its latency is {latency:g}, of which there is no share")
    outcome = tried(Attempt(net, net.graph, None, run.accuracy))
    if outcome.error:
        raise RequestError(f"the network as it is: {outcome.error}")
    add({"step": 0, "latency": latency, "accuracy": outcome.accuracy})
    return AdaptStep(None, latency, outcome.accuracy)


def _refuse_hopeless(graph: Graph, run: Run, goal: float, whole: float) -> None:
    """Say at once that a target cannot be met, where the latency of the smallest network is known."""
    try:
        least = asked_latency(run.latency, smallest(graph, run.kinds, run.divisor), "every width at its smallest")
    except RequestError:  # a table may well lack that
        return
    if least > goal:
        kinds = " and ".join(run.kinds)
        raise RequestError(
            f"the target {run.target:g} cannot be met: with every {kinds} at its smallest {least / whole:.1%} "
            "of the latency is left; take a higher target or more kinds of widths"
        )


def _step(
    net: Network,
    number: int,
    before: AdaptStep,
    most: float,
    run: Run,
    add: Callable[[Mapping[str, Any]], object],
    known: dict[tuple[int, str], Scored],
) -> tuple[Scored, Network]:
    """Make the proposals of a step, judge those that are not known, keep the best."""
    made = list(proposals(net.graph, run.latency, most, kinds=run.kinds, divisor=run.divisor, every=run.every))
    if not made:
        _refuse_all(net.graph, before, most, run)
    new = [each for each in made if (number, each.what.name) not in known]
    outcomes = outcomes_of([Attempt(net, each.graph, run.fine_tune, run.accuracy) for each in new], run.executor)
    scored: list[Scored] = []
    weights: dict[str, Any] = {}  # of the best so far, if it was fine-tuned now
    for each in made:
        one, outcome = known.get((number, each.what.name)), None
        if one is None:
            outcome = next(outcomes)
            one = _judged(number, each, outcome)
            add(one._asdict())
            known[number, one.proposal] = one
        elif (one.channels, one.latency) != (each.channels, each.latency):
            raise RequestError(f"{each}: the log has {one} in {one.latency:g}: latencies are others than they were")
        scored.append(one)
        if outcome is not None and best_of(scored, before, run.metric) is one:
            weights = {one.proposal: outcome.params}
        run.after(one, len(scored), len(made))
    best = best_of(scored, before, run.metric)
    graph = next(each.graph for each in made if each.what.name == best.proposal)
    if best.proposal not in weights:  # the log has its accuracy and not its weights
        again = tried(Attempt(net, graph, run.fine_tune, run.accuracy))
        if again.error or again.accuracy != best.accuracy:
            why = again.error or f"its accuracy is {again.accuracy!r} now, and was {best.accuracy!r}"
            raise RequestError(f"{best}: {why}; fine-tuning must give the same every time")
        weights = {best.proposal: again.params}
    return best, Network(graph, weights[best.proposal], net.threads)


def _judged(number: int, proposal: Proposal, outcome: Outcome) -> Scored:
    if outcome.error:
        raise RequestError(f"{proposal}: {outcome.error}")
    what, latency = proposal.what, proposal.latency
    return Scored(
        number, what.name, what.kind, what.widths, what.channels, proposal.channels, latency, outcome.accuracy
    )


def _refuse_all(graph: Graph, before: AdaptStep, most: float, run: Run) -> NoReturn:
    """No proposal cuts enough: name the one that cuts most."""
    cuts = []
    for part in shrinkables(graph, run.kinds):
        count = min(run.divisor, part.channels)
        words = f"{part.name} {part.channels} -> {count}"
        cuts.append((before.latency - asked_latency(run.latency, part.at(graph, count), words), words))
    cut, words = max(cuts, default=(0.0, "nothing"))
    raise RequestError(
        f"the target {run.target:g} cannot be met: latency is {before.latency:g} and no proposal cuts the "
        f"{before.latency - most:g} of delta; {words} cuts {cut:g}; take a smaller delta or a higher target"
    )


def _named(call: Any) -> str:
    """What a callable is called, as far as it says."""
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return f"{getattr(call, '__module__', '')}.{name}"
