"""What NetAdapt did, step by step and against a width multiplier: in lines, as a document, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from refnet.report.pictures.axes import Axes, axes_parts, spanned
from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_dot, svg_line, svg_text
from refnet.search.netadapt import AdaptStep, Scored
from refnet.text import table

__all__ = ["Compared", "adaptation_document", "adaptation_lines", "adaptation_picture", "step_line"]

_GREY = "#777777"


class Compared(NamedTuple):
    """A network beside others.

    Attributes
    ----------
    what : it is, in words
    latency : as the model says
    accuracy : on the images that choices were made by
    held_out : on images that no choice saw; None where nobody has such
    params : numbers in its arrays
    """

    what: str
    latency: float
    accuracy: float
    held_out: float | None
    params: int


def step_line(step: AdaptStep, number: int, whole: float) -> str:
    """A step in a line, as it is told while the run goes on."""
    return f"step {number}: {step.kept}, {step.latency / whole:.1%} of the latency, accuracy {step.accuracy:.1%}"


def adaptation_lines(steps: Sequence[AdaptStep], compared: Sequence[Compared], unit: str) -> list[str]:
    """A line for each step that was kept, and the networks side by side.

    Parameters
    ----------
    compared : the first is that which the run began with
    unit : of latency
    """
    whole = steps[0].latency
    rows = []
    for number, step in enumerate(steps):
        kept = step.kept
        what = ("", "", "") if kept is None else (kept.proposal, kept.kind, f"{kept.before} -> {kept.channels}")
        rows.append((number, *what, _amount(step.latency), f"{step.latency / whole:.1%}", f"{step.accuracy:.1%}"))
    lines = table(("step", "shrunk", "kind", "channels", unit, "share", "accuracy"), rows, left=3).splitlines()
    beside = [
        (
            each.what,
            _amount(each.latency),
            f"{each.latency / whole:.1%}",
            f"{each.accuracy:.1%}",
            "-" if each.held_out is None else f"{each.held_out:.1%}",
            f"{each.params:,}",
        )
        for each in compared
    ]
    header = ("network", unit, "share", "accuracy", "held out", "parameters")
    return [*lines, "", *table(header, beside).splitlines()]


def adaptation_document(steps: Sequence[AdaptStep], compared: Sequence[Compared], unit: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "unit": unit,
        "steps": [
            {
                "step": number,
                "kept": None if step.kept is None else step.kept._asdict(),
                "latency": step.latency,
                "accuracy": step.accuracy,
            }
            for number, step in enumerate(steps)
        ],
        "networks": [each._asdict() for each in compared],
    }


def adaptation_picture(
    steps: Sequence[AdaptStep], tried: Sequence[Scored], uniform: Sequence[Compared], unit: str
) -> str:
    """Accuracy against latency as SVG: the networks on the way, the proposals beside them, width multipliers below.

    Parameters
    ----------
    tried : every proposal that was judged
    uniform : width multipliers, in any order
    """
    whole = steps[0].latency
    every: list[AdaptStep | Scored | Compared] = [*steps, *tried, *uniform]
    points = [(each.latency / whole, each.accuracy) for each in every]
    axes = Axes((60, 34, 520, 300), spanned([x for x, _ in points]), spanned([y for _, y in points]))
    last = steps[-1]
    said = (
        f"{len(steps) - 1} steps of NetAdapt, from {_amount(whole)} {unit} and accuracy {steps[0].accuracy:.1%} to "
        f"{last.latency / whole:.1%} of that and {last.accuracy:.1%}; {len(tried)} proposals; "
        + "; ".join(f"{each.what}: {each.latency / whole:.1%} and {each.accuracy:.1%}" for each in uniform)
    )
    return svg_document(600, 400, "accuracy against latency", said, _drawn(axes, steps, tried, uniform, whole, unit))


def _drawn(
    axes: Axes,
    steps: Sequence[AdaptStep],
    tried: Sequence[Scored],
    uniform: Sequence[Compared],
    whole: float,
    unit: str,
) -> Iterator[str]:
    yield from axes_parts(axes, f"latency ({unit}), share of what it was", "accuracy")
    for one in tried:
        words = f"step {one.step}: {one}, {one.latency / whole:.1%}, accuracy {one.accuracy:.1%}"
        yield svg_dot(*axes.at(one.latency / whole, one.accuracy), 2, "#c8c8c0", hover=words)
    ordered = sorted(uniform, key=lambda each: each.latency)
    begin = [(whole, steps[0].accuracy)]
    path = [axes.at(x / whole, y) for x, y in (*((each.latency, each.accuracy) for each in ordered), *begin)]
    yield svg_line(path, NEGATIVE, dashed=True)
    for each in ordered:
        place = axes.at(each.latency / whole, each.accuracy)
        yield svg_dot(*place, 3.5, NEGATIVE, hover=f"{each.what}: {each.latency / whole:.1%}, {each.accuracy:.1%}")
    yield svg_line([axes.at(step.latency / whole, step.accuracy) for step in steps], POSITIVE, width=1.5)
    for number, step in enumerate(steps):
        words = step_line(step, number, whole) if step.kept else "the network as it was"
        yield svg_dot(*axes.at(step.latency / whole, step.accuracy), 3.5, POSITIVE, hover=words)
    for row, (colour, words) in enumerate(
        ((POSITIVE, "NetAdapt"), (NEGATIVE, "width multiplier"), (_GREY, "proposals"))
    ):
        yield svg_dot(70 + 150 * row, 386, 4, colour)
        yield svg_text(80 + 150 * row, 390, words)


def _amount(latency: float) -> str:
    """A latency with the digits that mean something: counts whole, milliseconds to four places."""
    return f"{latency:,.0f}" if latency >= 1000 else f"{latency:.4f}"
