"""Write searches.md and its pictures: searches with a known optimum, the controller's settings, and a real search.

Usage: PYTHONPATH=. python docs/make_search.py FOLDER. The real searches keep their logs in FOLDER and go on with those
that are there; they take some minutes each, and their latencies are this machine's.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from refnet.cli import main as refnet
from refnet.search import proposers
from refnet.search.objective import LARGE, reward_of
from refnet.search.proposers import PROPOSERS
from refnet.search.space import DIGITS, Point, decisions

HERE = Path(__file__).parent
SEEDS = range(10)
BUDGET = 40  # of the real searches
Reward = Callable[[Point], float]

PAGE = """# Searches beside one another

Written by [make_search.py](make_search.py).

## Rewards whose optimum is known

The best reward found, mean over {seeds} seeds, and in how many of them it is better than that of random points.
*Secret point*: one of the {points:.1e} points of `DIGITS` is the optimum, with reward 1; half of the reward is for
decisions that agree with it, half for pairs of neighbours that do. *Objective*: accuracy and latency of three stages by
tables drawn at random, the latency of a stage also by the width before it, under the MnasNet objective; all
{small:,} points were tried, and the reward is divided by that of the best.

| reward | budget | {names} |
| --- | ---: | {lines} |
{rows}

## The controller's settings

Mean of the best reward over the seeds, secret point and objective, budget 120. What is shipped comes first, then one
setting changed at a time.

| learning rate | batch | entropy | decay | width | secret point | objective |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{settings}

## A search over the digits

Latencies are of this machine; each search tried {budget} networks.

```text
{real}
```
"""


def secret_point(seed: int) -> tuple[list[int], Reward]:
    """Options and a reward: agreement with a point that only the reward knows."""
    options = [len(decision.options) for decision in decisions(DIGITS)]
    secret = np.random.default_rng(900 + seed).integers(options)

    def reward(point: Point) -> float:
        right = np.array(point) == secret
        return float(0.5 * right.mean() + 0.5 * (right[1:] & right[:-1]).mean())

    return options, reward


SMALL_OPTIONS = [3, 2, 2, 3] * 3


def objective(seed: int) -> tuple[list[int], Reward]:
    """Options and a reward: the MnasNet objective over tables of accuracies and latencies, as a share of the best."""
    rng = np.random.default_rng(700 + seed)
    gains = rng.uniform(0, 0.8, (3, 3, 2, 2, 3))
    times = gains * rng.uniform(0.2, 1.8, (3, 3, 2, 2, 3)) + 0.05  # what is better is slower, mostly
    widths = np.array([0.7, 1.0, 1.4])

    def raw(point: Point) -> float:
        stages = [point[at : at + 4] for at in (0, 4, 8)]
        before = [1.0, *(widths[stage[3]] for stage in stages)]
        gain = sum(gains[(number, *stage)] for number, stage in enumerate(stages))
        ms = sum(times[(number, *stage)] * before[number] for number, stage in enumerate(stages))
        return reward_of(1 - np.exp(-gain), ms, 0.6, LARGE)

    top = max(map(raw, itertools.product(*map(range, SMALL_OPTIONS))))
    return SMALL_OPTIONS, lambda point: raw(point) / top


def best(by: str, options: list[int], reward: Reward, budget: int, seed: int) -> float:
    """The best reward within a budget."""
    points = PROPOSERS[by](options, np.random.default_rng(seed))
    point, found = next(points), 0.0
    for _ in range(budget):
        value = reward(point)
        found, point = max(found, value), points.send(value)
    return found


def known_optimum(cases: dict[str, list[tuple[list[int], Reward]]]) -> list[str]:
    """A row for each reward and budget."""
    rows = []
    for name, drawn in cases.items():
        for budget in (60, 120, 240):
            found = {by: [best(by, *drawn[s], budget, s) for s in SEEDS] for by in PROPOSERS}
            cells = [
                f"{np.mean(values):.3f} ({sum(map(float.__gt__, values, found['random']))} of {len(SEEDS)})"
                if by != "random"
                else f"{np.mean(values):.3f}"
                for by, values in found.items()
            ]
            rows.append(f"| {name} | {budget} | {' | '.join(cells)} |")
    return rows


def settings(cases: dict[str, list[tuple[list[int], Reward]]]) -> list[str]:
    """A row for each setting of the controller."""
    names = ("_RATE", "_BATCH", "_ENTROPY", "_DECAY", "_HIDDEN")
    shipped = {name: getattr(proposers, name) for name in names}
    others = {"_RATE": (0.005, 0.02), "_BATCH": (2, 8), "_ENTROPY": (0.0,), "_DECAY": (0.8,), "_HIDDEN": (16,)}
    changes: list[dict[str, float]] = [{}, *({name: value} for name, values in others.items() for value in values)]
    rows = []
    for change in changes:
        for name, value in (shipped | change).items():
            setattr(proposers, name, value)
        means = [np.mean([best("controller", *drawn[s], 120, s) for s in SEEDS]) for drawn in cases.values()]
        said = [f"{getattr(proposers, name):g}" for name in names]
        rows.append(f"| {' | '.join([*said, *(f'{mean:.3f}' for mean in means)])} |")
    for name, value in shipped.items():
        setattr(proposers, name, value)
    return rows


def real(folder: Path) -> str:
    """Search three times; draw and print the last with the others beside it."""
    logs = {by: folder / f"{by}.jsonl" for by in reversed(PROPOSERS)}
    for by, log in logs.items():
        words = ["search", "--by", by, "--budget", str(BUDGET), "--table", str(folder / "here.json"), "--log", str(log)]
        words += ["--resume"] if log.exists() else []
        if by == "controller":
            words += ["--beside", str(logs["evolution"]), str(logs["random"]), "-o", str(HERE / "search-front.svg")]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert refnet(words) == 0
    return out.getvalue().strip()


def main() -> None:
    """Make all of it."""
    assert refnet(["search", "--objective", str(HERE / "search-objective.svg")]) == 0
    cases = {"secret point": [secret_point(s) for s in SEEDS], "objective": [objective(s) for s in SEEDS]}
    page = PAGE.format(
        seeds=len(SEEDS),
        points=float(np.prod([len(decision.options) for decision in decisions(DIGITS)], dtype=float)),
        small=int(np.prod(SMALL_OPTIONS)),
        names=" | ".join(PROPOSERS),
        lines=" | ".join(["---:"] * len(PROPOSERS)),
        rows="\n".join(known_optimum(cases)),
        settings="\n".join(settings(cases)),
        budget=BUDGET,
        real=real(Path(sys.argv[1])),
    )
    (HERE / "searches.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
