"""Searches as lines, as a document, and as pictures: what was tried, the front, and what a latency has to buy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from refnet.report.pictures.axes import Axes, axes_parts, spanned
from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_dot, svg_line, svg_rect, svg_text
from refnet.search.objective import HARD, LARGE, SMALL, Exponents, worth
from refnet.search.space import Space, StageChoice, stage_choices
from refnet.search.trials import SearchRun, SearchTrial, best_trial, front
from refnet.text import table

__all__ = ["front_picture", "objective_picture", "search_lines", "searches_document", "stage_words"]

_GREY = "#777777"
_COLOURS = {"controller": POSITIVE, "evolution": NEGATIVE, "random": _GREY}

# Top-1 on ImageNet and milliseconds on a Pixel 1, as the authors' page of checkpoints has them (TF-slim, mobilenet).
_PUBLISHED = {"Small": {0.75: (12.8, 65.4), 1.0: (15.8, 67.5)}, "Large": {0.75: (39.8, 73.3), 1.0: (51.2, 75.2)}}


def stage_words(choice: StageChoice) -> str:
    """A stage in short: how many blocks, kernel, factor, width, squeeze-and-excite, no shortcut.

    Examples
    --------
    >>> stage_words(StageChoice(operation=6, kernel=5, se=True, skip=False, filters=24, layers=2))
    '2x k5 e6 24 se, no skip'
    """
    head = f"{choice.layers}x k{choice.kernel} e{choice.operation} {choice.filters}"
    return head + (" se" if choice.se else "") + ("" if choice.skip else ", no skip")


def search_lines(space: Space, runs: Sequence[SearchRun], held_out: dict[SearchTrial, float]) -> list[str]:
    """A line for each search, and the front of all of them.

    Parameters
    ----------
    runs : over `space`
    held_out : accuracy of trials on images that no choice saw, of those that have it
    """
    rows = []
    for run in runs:
        best = best_trial(run.trials)
        different = len({trial.point for trial in run.trials})
        found = f"{best.reward:.4f}", f"{best.accuracy:.1%}", f"{best.ms:.3f}", best.number
        rows.append((run.by, len(run.trials), different, *found))
    header = ("by", "trials", "different", "best reward", "accuracy", "ms", "at trial")
    first = runs[0]
    w = "w" if first.exponents.met == first.exponents.missed else "w met, missed"
    values = ", ".join(f"{value:g}" for value in dict.fromkeys(first.exponents))
    said = [f"target {first.target:.3f} ms, {w} = {values}", "", table(header, rows), "", "the front of all:"]
    lines = []
    for trial in _front_of(runs):
        held = f"{held_out[trial]:.1%}" if trial in held_out else "-"
        stages = "; ".join(map(stage_words, stage_choices(space, trial.point)))
        lines.append((f"{trial.ms:.3f}", f"{trial.accuracy:.1%}", held, f"{trial.reward:.4f}", stages))
    wide = ("ms", "accuracy", "held out", "reward", "stages")
    body = table(wide[:-1], [row[:-1] for row in lines], left=0).split("\n")
    return [*said, *(f"{line}  {end}" for line, end in zip(body, (wide[-1], *(row[-1] for row in lines)), strict=True))]


def searches_document(space: Space, runs: Sequence[SearchRun], held_out: dict[SearchTrial, float]) -> dict[str, Any]:
    """The same for programs, every trial of it."""
    return {
        "target_ms": runs[0].target,
        "exponents": list(runs[0].exponents),
        "searches": [
            {
                "by": run.by,
                "best": best_trial(run.trials).number,
                "trials": [_said(space, t, held_out) for t in run.trials],
            }
            for run in runs
        ],
        "front": [_said(space, trial, held_out) for trial in _front_of(runs)],
    }


def front_picture(runs: Sequence[SearchRun], machine: str) -> str:
    """Accuracy against latency: every trial, each search's front, the target, and what is worth as much as the best.

    Parameters
    ----------
    runs : the first one's target and exponents are drawn
    machine : whose latency it is
    """
    trials = [trial for run in runs for trial in run.trials]
    target, exponents = runs[0].target, runs[0].exponents
    best = max((best_trial(run.trials) for run in runs), key=lambda trial: trial.reward)
    shares = spanned([100 * trial.accuracy for trial in trials])
    axes = Axes((56, 44, 600, 360), spanned([target, *(t.ms for t in trials)], log=True), shares, log=True)
    parts = list(axes_parts(axes, "milliseconds for an image", "% right"))
    parts += _equal(axes, exponents, target, best.reward)
    across, top = axes.at(target, axes.y[1])
    parts.append(svg_line([(across, top), (across, axes.at(target, axes.y[0])[1])], "#1c1e21", dashed=True))
    parts.append(svg_text(across + 4, top + 10, "target", "faint"))
    for number, run in enumerate(runs):
        colour = _COLOURS.get(run.by, _GREY)
        for trial in run.trials:
            hover = f"{run.by} {trial.number}: {trial.accuracy:.1%}, {trial.ms:.3f} ms, reward {trial.reward:.4f}"
            parts.append(_mark(run.by, *axes.at(trial.ms, 100 * trial.accuracy), colour, hover))
        parts.append(svg_line(_stairs(axes, front(run.trials)), colour, width=1.5, dashed=run.by == "random"))
        parts.append(_mark(run.by, 70 + 150 * number, 446, colour, ""))
        parts.append(svg_text(80 + 150 * number, 450, f"{run.by}, {best_trial(run.trials).reward:.4f}"))
    words = (
        f"{len(trials)} networks of {len(runs)} searches on {machine}; the line that falls to the left joins what is "
    )
    words += f"worth as much as the best one, {best.accuracy:.1%} in {best.ms:.3f} ms. Numbers are the best rewards."
    return svg_document(680, 464, "Accuracy against latency of what was tried", words, parts)


def objective_picture() -> str:
    """Why w is lowered for small networks: what a latency must buy, and what V3's own widths buy."""
    parts = [*_bought(Axes((56, 44, 250, 250), (1.0, 4.0), (0.0, 30.0), log=True))]
    parts += _published(Axes((400, 44, 300, 250), (9.5, 95.0), (62.0, 78.0), log=True))
    gains = {}
    for name, ((quick, low), (slow, high)) in ((name, found.values()) for name, found in _PUBLISHED.items()):
        gains[name] = math.log(high / low) / math.log(slow / quick)
    words = (
        f"Left: what more latency must buy, in percent of the accuracy: twice the latency {worth(2, LARGE.met):.1%} at "
        f"w = {LARGE.met:g} and {worth(2, SMALL.met):.1%} at w = {SMALL.met:g}. Right: published networks, and through "
        "the wider ones what is worth as much. From width 0.75 to 1.0 accuracy grows as latency to the power of "
        f"{gains['Large']:.2f} for Large and {gains['Small']:.2f} for Small: at w = {LARGE.met:g} a wider Small always "
        f"looks better, at w = {SMALL.met:g} it looks as good."
    )
    return svg_document(720, 345, "What a latency must buy", words, parts)


def _bought(axes: Axes) -> Iterator[str]:
    yield from axes_parts(axes, "times the latency", "% more accuracy needed")
    for exponents, colour in ((LARGE, NEGATIVE), (SMALL, POSITIVE), (HARD, _GREY)):
        ratios = [1 + 3 * step / 60 for step in range(61)]
        places = [(ratio, 100 * worth(ratio, exponents.missed)) for ratio in ratios]
        yield svg_line([axes.at(*p) for p in places if p[1] <= axes.y[1]], colour, width=1.5, dashed=exponents == HARD)
    for exponents, colour in ((LARGE, NEGATIVE), (SMALL, POSITIVE)):
        x, y = axes.at(2, 100 * worth(2, exponents.met))
        yield svg_dot(x, y, 3.5, colour)
        yield svg_text(x + 6, y + 13, f"{worth(2, exponents.met):.1%} at w = {exponents.met:g}")
    x, y = axes.at(1.25, 25)
    yield svg_text(x + 4, y - 4, "hard form, past the target", "faint")


def _published(axes: Axes) -> Iterator[str]:
    yield from axes_parts(axes, "milliseconds, Pixel 1", "top-1 %")
    for found in _PUBLISHED.values():
        ms, share = found[1.0]
        for exponents, colour in ((LARGE, NEGATIVE), (SMALL, POSITIVE)):
            yield from _equal(axes, exponents, ms, share / 100, colour, (ms / 1.6, ms * 1.2))
    for name, found in _PUBLISHED.items():
        for width, (ms, share) in found.items():
            x, y = axes.at(ms, share)
            yield svg_dot(x, y, 4, "#1c1e21", hover=f"{name} {width}: {share:g} % in {ms:g} ms")
            yield svg_text(x + 8, y + 14, f"{name} {width}, {share:g}")


def _equal(
    axes: Axes,
    exponents: Exponents,
    target: float,
    reward: float,
    colour: str = "#1c1e21",
    span: tuple[float, float] | None = None,
) -> Iterable[str]:
    """The accuracies that have a reward at each latency."""
    low, high = span or axes.x
    ratios = [low * (high / low) ** (step / 80) for step in range(81)]
    shares = [(x, 100 * reward * (x / target) ** -(exponents.met if x <= target else exponents.missed)) for x in ratios]
    inside = [axes.at(x, share) for x, share in shares if axes.y[0] <= share <= axes.y[1]]
    return [svg_line(inside, colour, width=1.2)] if len(inside) > 1 else []


def _mark(by: str, x: float, y: float, colour: str, hover: str) -> str:
    """A full dot, a ring or a square: which search it is of."""
    if by == "random":
        return svg_rect((x - 2, y - 2, 4, 4), colour, hover=hover)
    return svg_dot(x, y, 3, colour if by == "controller" else "none", line=colour, hover=hover)


def _stairs(axes: Axes, trials: Sequence[SearchTrial]) -> Iterator[tuple[float, float]]:
    """The edge of what the trials leave unbeaten."""
    before = axes.y[0]
    for trial in trials:
        yield axes.at(trial.ms, before)
        before = 100 * trial.accuracy
        yield axes.at(trial.ms, before)
    yield axes.at(axes.x[1], before)


def _front_of(runs: Sequence[SearchRun]) -> list[SearchTrial]:
    return front([trial for run in runs for trial in run.trials])


def _said(space: Space, trial: SearchTrial, held_out: dict[SearchTrial, float]) -> dict[str, Any]:
    stages = [choice._asdict() for choice in stage_choices(space, trial.point)]
    return {**trial._asdict(), "point": list(trial.point), "held_out": held_out.get(trial), "stages": stages}
