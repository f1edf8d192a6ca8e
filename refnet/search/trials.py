"""A search: points are proposed, built, judged and rewarded until the budget is spent; and the best of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from refnet.errors import FormatError, RefnetError, RequestError
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.search.log import SearchLog, read_log
from refnet.search.objective import LARGE, Exponents, reward_of
from refnet.search.proposers import PROPOSERS
from refnet.search.space import Point, Space, decisions, stage_choices, table_of

__all__ = ["SearchRun", "SearchTrial", "best_trial", "front", "read_search", "search_space"]

_FORMAT = "refnet search log 1"


class SearchTrial(NamedTuple):
    """A point that was judged.

    Attributes
    ----------
    number : from 1 on
    point : of the space
    accuracy : a share
    ms : its latency
    reward : see `reward_of`
    """

    number: int
    point: Point
    accuracy: float
    ms: float
    reward: float


class SearchRun(NamedTuple):
    """What a search was asked, and what it tried.

    Attributes
    ----------
    by : a name in `PROPOSERS`
    target : milliseconds
    exponents : w of the reward
    trials : in order
    """

    by: str
    target: float
    exponents: Exponents
    trials: list[SearchTrial]


def search_space(
    space: Space,
    accuracy: Callable[[Graph], float],
    latency: Callable[[Graph], float],
    *,
    target: float,
    budget: int,
    size: tuple[int, int],
    classes: int,
    exponents: Exponents = LARGE,
    by: str = "controller",
    seed: int = 0,
    log: str | os.PathLike[str] | None = None,
    resume: bool = False,
    after_trial: Callable[[SearchTrial], object] = lambda trial: None,
) -> list[SearchTrial]:
    """Try `budget` points of a space.

    Parameters
    ----------
    accuracy, latency : of a graph: a share, and milliseconds; asked once for each point
    target : milliseconds
    size, classes : of the networks that are built
    exponents : w of the reward
    by : a name in `PROPOSERS`
    seed : of the proposals; with the same judgements they are the same
    log : a file of JSON lines that keeps each trial
    resume : go on with that log, to the same budget or a larger one
    after_trial : called after each, those of the log too

    Returns
    -------
    trials : in order, a point that was proposed again among them

    Raises
    ------
    RequestError
        if the request is none, or if `accuracy` or `latency` fails or gives what is none: names the trial and what it
        chose. The log keeps the trials before it.
    """
    _refuse(target, budget, by, seed, exponents)
    options = [len(decision.options) for decision in decisions(space)]
    run = {
        "format": _FORMAT,
        "by": by,
        "seed": seed,
        "target_ms": target,
        "exponents": list(exponents),
        "size": list(size),
        "classes": classes,
        "space": [stage._asdict() for stage in space.stages],
        "ends": [space.stem, space.stem_act, space.last, space.hidden, space.act],
    }
    judged: dict[Point, tuple[float, float]] = {}
    trials: list[SearchTrial] = []
    points = PROPOSERS[by](options, np.random.default_rng(seed))
    point = next(points)
    with nullcontext() if log is None else SearchLog(log, run, resume=resume) as kept:
        known = [] if kept is None else [_trial(record, str(log)) for record in kept.found]
        for number in range(1, budget + 1):
            if number <= len(known):
                trial = known[number - 1]
                if (trial.number, trial.point) != (number, point):
                    raise RequestError(f"{log}: trial {number} has not the point that this search proposes")
            else:
                if point not in judged:
                    judged[point] = _judged(space, point, number, accuracy, latency, size, classes)
                share, ms = judged[point]
                trial = SearchTrial(
                    number, point, share, ms, _rewarded(space, point, number, share, ms, target, exponents)
                )
                if kept is not None:
                    kept.add(_record(space, trial))
            judged[point] = trial.accuracy, trial.ms
            trials.append(trial)
            after_trial(trial)
            point = points.send(trial.reward)
    return trials


def read_search(path: str | os.PathLike[str]) -> SearchRun:
    """A search from its log, come to its end or not; the log stays as it is.

    Raises
    ------
    FormatError
        if it is no log of a search, or a line is no trial.
    RequestError
        if it has no trial.
    """
    said, records = read_log(path, _FORMAT)
    trials = [_trial(record, str(path)) for record in records]
    if not trials:
        raise RequestError(f"{path}: has no trial yet")
    try:
        met, missed = map(float, said["exponents"])
        return SearchRun(str(said["by"]), float(said["target_ms"]), Exponents(met, missed), trials)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}, line 1: does not say which search it is ({type(error).__name__} {error})") from None


def best_trial(trials: Sequence[SearchTrial]) -> SearchTrial:
    """The one with the largest reward, the first of equals."""
    return max(trials, key=lambda trial: (trial.reward, -trial.number))


def front(trials: Sequence[SearchTrial]) -> list[SearchTrial]:
    """Those that no other beats in accuracy without taking longer, from the quickest on; the first of equals.

    Examples
    --------
    >>> tried = [SearchTrial(n, (n,), *judged, 0.0) for n, judged in enumerate([(0.5, 1.0), (0.4, 2.0), (0.9, 3.0)], 1)]
    >>> [trial.number for trial in front(tried)]
    [1, 3]
    """
    found: list[SearchTrial] = []
    for trial in sorted(trials, key=lambda trial: (trial.ms, -trial.accuracy, trial.number)):
        if not found or trial.accuracy > found[-1].accuracy:
            found.append(trial)
    return found


def _refuse(target: float, budget: int, by: str, seed: int, exponents: Exponents) -> None:
    reward_of(1.0, 1.0, target, exponents)  # has the words
    if budget < 1:
        raise RequestError(f"the budget is {budget!r}: try at least one point")
    if seed < 0:
        raise RequestError(f"the seed is {seed!r}: take a whole number from 0 on")
    if by not in PROPOSERS:
        raise RequestError(f"nothing proposes by {by!r}: take {', '.join(PROPOSERS)}")


def _judged(
    space: Space,
    point: Point,
    number: int,
    accuracy: Callable[[Graph], float],
    latency: Callable[[Graph], float],
    size: tuple[int, int],
    classes: int,
) -> tuple[float, float]:
    """Accuracy and latency of a point."""
    found = []
    for what, judge in (("latency", latency), ("accuracy", accuracy)):
        try:
            found.append(float(judge(build(table_of(space, point), size=size, classes=classes))))
        except Exception as error:
            why = str(error) if isinstance(error, RefnetError) else f"{type(error).__name__}: {error}"
            raise RequestError(f"{_named(space, point, number)}: no {what}: {why}") from error
    return found[1], found[0]


def _rewarded(
    space: Space, point: Point, number: int, share: float, ms: float, target: float, exponents: Exponents
) -> float:
    try:
        return reward_of(share, ms, target, exponents)
    except RequestError as error:
        raise RequestError(f"{_named(space, point, number)}: {error}") from None


def _named(space: Space, point: Point, number: int) -> str:
    """A trial, for errors: its number, and each stage's choice in short."""
    stages = (
        f"{choice.layers} x {choice.filters} of kernel {choice.kernel} and factor {choice.operation}"
        + (", se" if choice.se else "")
        + ("" if choice.skip else ", no skip")
        for choice in stage_choices(space, point)
    )
    return f"trial {number} ({'; '.join(stages)})"


def _record(space: Space, trial: SearchTrial) -> dict[str, Any]:
    stages = [choice._asdict() for choice in stage_choices(space, trial.point)]
    return {
        "trial": trial.number,
        "point": list(trial.point),
        "accuracy": trial.accuracy,
        "ms": trial.ms,
        "reward": trial.reward,
        "stages": stages,
    }


def _trial(record: dict[str, Any], path: str) -> SearchTrial:
    """A trial from its line.

    Raises
    ------
    FormatError
        if the line is of none.
    """
    try:
        point = tuple(int(index) for index in record["point"])
        return SearchTrial(int(record["trial"]), point, *(float(record[key]) for key in ("accuracy", "ms", "reward")))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: a line of it is no trial ({type(error).__name__} {error})") from None
