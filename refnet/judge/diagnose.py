"""Why is this segment wrong? Replay what ports get wrong on the candidate's own inputs, and see what fits.

A cause is accepted only when the residual falls inside the bound of the segment run that way: never because it is
merely closer. All that fit are listed. Where nothing fits, `describe` says what can be seen in the error instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import REPLAYED, Bug
from refnet.bugs.changes import Mistake
from refnet.bugs.segments import Segment, limit, run
from refnet.judge.describe import describe
from refnet.judge.verdicts import Judgement
from refnet.judge.yardstick import judge_segment
from refnet.readings.bounds import Precision

__all__ = ["Cause", "diagnose", "misshapen"]

Array = npt.NDArray[Any]

# How many changes are taken for the first of two. Tuned, on the table in tests/judge/test_pairs.py: of two bugs in a
# unit one is among the ten that leave least of the error.
_PAIRED = 10
_EXACT = tuple(bug for bug in REPLAYED if bug.group != "precision")
_LOOSE = tuple(bug for bug in REPLAYED if bug.group == "precision")


class Cause(NamedTuple):
    """A way of running a segment that gives the candidate's tensor.

    Attributes
    ----------
    mistakes : one, or two at once
    judgement : of the candidate against that way of running it
    """

    mistakes: tuple[Mistake, ...]
    judgement: Judgement

    @property
    def ids(self) -> tuple[str, ...]:
        """The bugs."""
        return tuple(mistake.bug for mistake in self.mistakes)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where they are; two in one node are at one place."""
        return tuple(dict.fromkeys(mistake.node for mistake in self.mistakes))


class _Tried(NamedTuple):
    mistake: Mistake
    changed: Segment
    residual: float


def diagnose(segment: Segment, precision: Precision) -> list[Cause]:
    """Every cause that fits: single ones; or where there is none those of precision, or pairs.

    Parameters
    ----------
    segment : with the candidate's tensor
    precision : that the candidate declares

    Returns
    -------
    causes : smallest residual first; more than one are ties that this input cannot tell apart
    """
    tried = list(_tried(segment, _EXACT))
    found = list(_fitting(tried, segment, precision))
    if not found:
        loose = list(_tried(segment, _LOOSE))
        # What only widens the bound fits errors of any kind: it is asked last, and for more evidence.
        widened = [each for each in loose if each.mistake.bug == "fp16-accumulate"]
        found = list(_fitting([each for each in loose if each not in widened], segment, precision))
        if any((each.bug, each.form) == ("fp16-storage", "float16") for cause in found for each in cause.mistakes):
            # Float16 values are what sums in float16 leave too, and a wider bound cannot tell: a tie, named last.
            return [*sorted(found, key=_rank), *_fitting(widened, segment, precision)]
        found = (
            found
            or list(_pairs(tried, segment, precision))
            or (list(_fitting(widened, segment, precision)) if _is_coarse(segment, precision) else [])
        )
    return sorted(found, key=_rank)


def _rank(cause: Cause) -> tuple[int, float]:
    return len(cause.mistakes), cause.judgement.rms


def misshapen(segment: Segment, precision: Precision) -> list[Cause]:
    """Every cause of another shape than the reference's; one that can be replayed must give the values too."""
    assert segment.candidate is not None
    honest, found = replace(segment, candidate=None), []
    for bug in REPLAYED:
        for change in bug.changes(honest):
            if change.shape == segment.candidate.shape:
                changed = replace(honest.changed(change), candidate=segment.candidate)
                judgement = judge_segment(changed, precision)
                if judgement.holds or judgement.verdict == "shape":
                    found.append(Cause((change.of(bug.id),), judgement))
    return found


def _size(error: Array) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _tried(segment: Segment, bugs: Iterable[Bug]) -> Iterator[_Tried]:
    """Every change that runs and comes closer to the candidate than the reference does.

    A bug that explains an error, or a part of it, leaves less of it. One that moves the bound need not.
    """
    assert segment.candidate is not None
    target = segment.candidate.astype(np.float64)
    before = _size(target - run(segment))
    for bug in bugs:
        for change in bug.changes(segment):
            if change.shape is not None:
                continue
            changed = segment.changed(change)
            try:
                with np.errstate(all="ignore"):
                    y = run(changed)
            except (ValueError, IndexError):  # two bugs at once may leave shapes that nothing runs on
                continue
            if y.shape == target.shape and np.isfinite(y).all():
                residual = _size(target - y)
                if residual < before or changed.precision is not None:
                    yield _Tried(change.of(bug.id), changed, residual)


def _fitting(tried: Iterable[_Tried], segment: Segment, precision: Precision) -> Iterator[Cause]:
    for mistake, changed, _ in tried:
        judgement = judge_segment(replace(changed, candidate=segment.candidate), precision)
        if judgement.holds:
            yield Cause((mistake,), judgement)


def _pairs(tried: list[_Tried], segment: Segment, precision: Precision) -> Iterator[Cause]:
    """Two bugs in one segment: on top of each that comes closer, every other; the same two are said once."""
    seen: set[frozenset[Any]] = set()
    for first in sorted(tried, key=lambda each: each.residual)[:_PAIRED]:
        closer = list(_tried(first.changed, _EXACT))
        for cause in _fitting(closer, segment, precision):
            both = (first.mistake, *cause.mistakes)
            what = frozenset(mistake.what for mistake in both)
            if what not in seen and len(what) > 1:
                seen.add(what)
                yield Cause(both, cause.judgement)


def _is_coarse(segment: Segment, precision: Precision) -> bool:
    """Whether an error has the look of coarse sums: of no form, and of the elements that are off most are suspect."""
    assert segment.candidate is not None
    made = limit(segment, precision)
    error = np.abs(segment.candidate.astype(np.float64) - made.y)
    suspect, off = int(np.count_nonzero(error > made.expected)), int(np.count_nonzero(error))
    return 2 * suspect > off and not describe(segment, precision)
