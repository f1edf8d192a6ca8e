"""A mistake in a part of a tensor: what some images, channels or lines fit that others are right without.

Tails of loops leave such, and buffers of one image. Which channels these are other tensors may show better, of which
the same mistake explains a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import PART, Mistake, TensorPart
from refnet.bugs.language.regions import lines_off
from refnet.bugs.language.segments import limit
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.parts_off import part_off
from refnet.judge.causes.ways import Way, Ways
from refnet.judge.verdicts import Judgement, root_mean_square
from refnet.readings.bounds import Precision

__all__ = ["in_part"]

Mask = npt.NDArray[np.bool_]


def in_part(ways: Ways, precision: Precision, told: Callable[[], Iterable[Mistake]]) -> Iterator[Cause]:
    """The mistakes at one place that explain all elements of a part that is off; what few ports do only by itself.

    Parameters
    ----------
    ways : of a short segment, of which all at one place were run
    precision : that the candidate declares
    told : gives the mistakes that explain other tensors
    """
    honest = limit(ways.segment, precision)
    if honest.shape != ways.target.shape:
        return
    beyond: Mask = np.abs(ways.target - honest.y) > honest.expected
    part = part_off(beyond)
    own = {} if part is None or part.kind == "channels" else {(part.kind, tuple(part.facts.items())): beyond}
    tail = _tail_of(beyond)
    shown = {(each.bug, each.form): each.facts[PART] for each in told() if PART in each.facts}
    found = False
    for way in ways.nearly(honest.expected):
        ways.budget.check()
        if found and not way.is_exact:
            return
        run = _run_like(shown.get((way.mistake.bug, way.mistake.form)), ways.target.shape)
        for cause in _explained(ways, way, precision, own | run | tail, beyond):
            found = True
            yield cause


def _explained(
    ways: Ways, way: Way, precision: Precision, parts: Mapping[TensorPart, Mask], beyond: Mask
) -> Iterator[Cause]:
    """The way in the first of some parts outside of which nothing is off, and in which all is within its bound."""
    made = limit(ways.changed(way), precision)
    if made.shape != ways.target.shape:
        return
    error = ways.target - made.y
    within = np.abs(error) <= made.expected
    for part, where in parts.items():
        if within[where].all() and not (beyond & ~where).any():
            share = root_mean_square(error[where]) / max(made.rms, np.finfo(float).tiny)
            if share <= 1:
                mistake = way.mistake._replace(facts={**way.mistake.facts, PART: part})
                yield Cause((mistake,), Judgement("rounding", rms=share))
                return


def _tail_of(beyond: Mask) -> dict[TensorPart, Mask]:
    """From the first channel that is off to the end; of some that are not the mistake may change nothing."""
    if beyond.ndim < 2 or not beyond.any() or not (channels := lines_off(beyond, 1))[0]:
        return {}
    return _run(int(channels[0]), beyond.shape[1] - 1, beyond.shape)


def _run_like(part: TensorPart | None, shape: tuple[int, ...]) -> dict[TensorPart, Mask]:
    """The channels of a tensor that are a run as another tensor has one: from as many on to the end, or up to it."""
    kind, facts = part or ("", ())
    if kind != "channel-run" or len(shape) < 2:
        return {}
    run: Mapping[str, Any] = dict(facts)
    count, from_start = shape[1], run["first"] == 0
    first, last = (0, min(run["last"], count - 1)) if from_start else (run["first"], count - 1)
    if first > last or (from_start and last == count - 1):
        return {}
    return _run(first, last, shape)


def _run(first: int, last: int, shape: tuple[int, ...]) -> dict[TensorPart, Mask]:
    where = np.zeros(shape, bool)
    where[:, first : last + 1] = True
    return {("channel-run", (("first", first), ("last", last), ("of", shape[1]))): where}
