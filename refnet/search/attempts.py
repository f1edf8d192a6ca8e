"""One proposal tried: weights cut, fine-tuned, judged; in this process or in whatever the caller runs tasks with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.network import Network
from refnet.search.truncate import cut_params

__all__ = ["AccuracyOf", "Attempt", "FineTune", "Outcome", "outcomes_of", "tried"]

AccuracyOf = Callable[[Network], float]
FineTune = Callable[[Network], Network]


class Attempt(NamedTuple):
    """What is to be tried.

    Attributes
    ----------
    net : the network before
    graph : of the proposal
    fine_tune : the callable; None leaves the network as it is
    accuracy : the callable
    """

    net: Network
    graph: Graph
    fine_tune: FineTune | None
    accuracy: AccuracyOf


class Outcome(NamedTuple):
    """What came of it: an accuracy and weights, or what went wrong."""

    accuracy: float
    params: dict[str, npt.NDArray[Any]]
    error: str = ""


def outcomes_of(trials: Sequence[Attempt], executor: Any) -> Iterator[Outcome]:
    """Outcomes in the order of trials, by whatever runs them."""
    if executor is None:
        yield from map(tried, trials)
        return
    try:
        if hasattr(executor, "submit"):
            waiting = [executor.submit(tried, trial) for trial in trials]
            yield from (each.result() for each in waiting)
        else:
            yield from executor.map(tried, trials)
    except Exception as error:  # a worker that is lost, callables that cannot be pickled
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"the executor gave up: {why}; run again to go on") from error


def tried(trial: Attempt) -> Outcome:
    """Cut, fine-tune and judge a proposal, in this process or another; what goes wrong is told as words."""
    net, graph, fine_tune, accuracy = trial
    call = "fine_tune"
    try:
        if fine_tune is not None:
            made = fine_tune(Network(graph, cut_params(net.graph, net.params, graph), net.threads))
            if not isinstance(made, Network) or made.graph.params() != graph.params():
                return Outcome(math.nan, {}, "fine_tune returned no network of the widths that it was given")
            net = Network(graph, made.params, net.threads)
        call = "accuracy"
        found = float(accuracy(net))
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        return Outcome(math.nan, {}, f"{call} raised {type(error).__name__}: {said}")
    if not math.isfinite(found):
        return Outcome(math.nan, {}, f"accuracy is {found}")
    return Outcome(found, dict(net.params))
