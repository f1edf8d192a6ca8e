"""Which ways of running a segment are causes: those that the yardstick of the verdict on it accepts.

Of ways at one place and at many, of the closest alone, and of two or more at once.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import starmap

import numpy as np

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.segments import Segment, limit
from refnet.graph import SOURCE
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.together import beside, both_ways, likely_pairs, varied
from refnet.judge.causes.ways import EXACT, VAGUE, Way, Ways, closest
from refnet.judge.measures.yardstick import is_refuted, judge_cause, near
from refnet.readings.bounds import Precision

__all__ = ["Acceptance"]

# How many changes are taken for the first of two. Tuned, on the table in
# tests/judge/test_pairs.py: of two bugs in a unit one is among so many that leave least of the error.
_PAIRED = 18
# In a long segment, what share of the error two effects must explain together to be run as a pair. Tuned, on the table
# in tests/judge/test_long.py: the largest tenth that keeps 19 of 20.
_PLANE = 0.4
_MOST = 400  # pairs that are run


class Acceptance:
    """The ways of one segment, held to a yardstick.

    Each method is lazy: a way is run and judged when the next cause is asked for.

    Parameters
    ----------
    ways : of the segment, with the budget of the search
    precision : that the candidate declares
    yardstick : of the verdict on the segment; where that is its bound, its causes are held to bounds

    Raises
    ------
    OverBudgetError
        by every method, where the time is over.
    """

    def __init__(self, ways: Ways, precision: Precision, yardstick: str) -> None:
        self.ways, self.precision, self.yardstick = ways, precision, yardstick
        self.segment, self.budget = ways.segment, ways.budget

    def fitting(self, tried: Iterable[Way]) -> Iterator[Cause]:
        """Those that the yardstick accepts; of those that move no bound, only what comes closer can be one.

        Where nothing rounds, what makes the same numbers by sums and products may be one too: a ReLU of large values.
        """
        for way in tried:
            self.budget.check()
            loose = way.changed is not None and way.changed.precision is not None
            same = way.residual == self.ways.before and self._is_unrounded
            # Pixels that may be rounded otherwise have room for errors of other kinds.
            most = VAGUE if way.vague and way.mistake.node == SOURCE else 1.0
            if loose or same or way.residual < most * self.ways.before:
                yield from self.judged((way,), way)

    @cached_property
    def near(self) -> float:
        """What share of the error of a long segment a way may leave."""
        return near(self.segment, self.precision, self.ways.before, self.ways.rounding)

    @cached_property
    def _is_unrounded(self) -> bool:
        """Whether a short segment makes exact numbers, of which any error is too much."""
        return self.yardstick == "bound" and limit(self.segment, self.precision).rms == 0

    def judged(self, several: Sequence[Way], together: Way, check: Callable[[], None] | None = None) -> Iterator[Cause]:
        """One way or several at once, where the yardstick accepts what they make together.

        Parameters
        ----------
        check : called before each run; may end the search. By default the budget's
        """
        own = replace(self.ways.changed(together), candidate=self.segment.candidate)
        judgement = judge_cause(own, self.precision, self.yardstick, check or self.budget.check, together.residual)
        if judgement is not None and judgement.holds:
            yield Cause(tuple(way.mistake for way in several), judgement, tuple(way.extent for way in several))

    def close(self, tried: list[Way]) -> Iterator[Cause]:
        """Of the ways in which a long segment may be run, only the closest are held to the spread."""
        yield from self.fitting(closest(tried, self.ways.before, self.near))

    def everywhere(self, tried: list[Way]) -> Iterator[Cause]:
        """What is close at all places; and where that fits, at all of a kind."""
        yield from (found := list(self.close(tried)))
        for bug in dict.fromkeys(mistake.bug for cause in found for mistake in cause.mistakes):
            forms = {mistake.form for cause in found for mistake in cause.mistakes if mistake.bug == bug}
            yield from self.close(list(self.ways.of_kinds([BUGS[bug]], forms)))

    def foremost(self) -> Iterator[Cause]:
        """The likeliest changes at one place."""
        fit: list[str] = []
        return self._until_fit(self.ways.foremost(fit), fit)

    def one_by_one(self, bugs: Sequence[Bug], others: Sequence[Bug]) -> Iterator[Cause]:
        """Every change of some bugs at one place; once one fits, those of the others at its place too."""
        fit: list[str] = []
        tied = (way for _ in (0,) if fit for way in self.ways.singles(others, at=fit))
        return self._until_fit(itertools.chain(self.ways.singles(bugs, at=fit), tied), fit)

    def _until_fit(self, tried: Iterable[Way], fit: list[str]) -> Iterator[Cause]:
        """Each way by itself; `fit` gets the nodes of one that fits, after which `tried` keeps to these."""
        for way in tried:
            for cause in self.close([way]):
                fit[:] = cause.nodes
                yield cause

    def pairs(self) -> Iterator[Cause]:
        """Two bugs in one segment: on top of each that comes closer, every other; the same two are said once."""
        seen: set[frozenset[object]] = set()
        looked = self.ways.looked
        closer = [way for way in looked if way.residual < self.ways.before and way.extent is None and way.is_exact]
        for first in varied(closer)[:_PAIRED]:
            self.budget.expect(1)
            for cause in self.fitting(list(self.ways.on_top(first, EXACT, self._is_open))):
                both = (first.mistake, *cause.mistakes)
                what = frozenset(mistake.what for mistake in both)
                if what not in seen and len(what) > 1:
                    seen.add(what)
                    yield Cause(both, cause.judgement)
            self.budget.passed()

    def _is_open(self, changed: Segment) -> bool:
        """Whether the first channels of a segment run in another way leave open that it is the candidate's."""
        with np.errstate(all="ignore"):
            try:
                return not is_refuted(changed, self.precision)
            except (ValueError, IndexError):  # two bugs at once may leave shapes that nothing runs on
                return False

    def beside(self, told: Iterable[Mistake]) -> Iterator[Cause]:
        """What explains other tensors, and more: of the first attempt that gives any cause, all of its causes."""
        known = Counter((mistake.bug, mistake.form) for mistake in told)
        most = self.near * self.ways.before if self.ways.long else math.inf
        for some in beside(self.ways, known, self._is_open, most):
            if found := [*itertools.chain.from_iterable(starmap(self.judged, some))]:
                yield from found
                return

    def likeliest(self, alone: list[Way]) -> Iterator[Cause]:
        """Two ways at once, the likeliest first, until two fit."""
        pairs = list(likely_pairs(self.ways.error, alone, _PLANE, _MOST))
        self.budget.expect(len(pairs))
        for one, other in pairs:
            self.budget.passed()
            both = both_ways(self.ways, one, other)
            is_near = both is not None and both.residual < self.near * self.ways.before
            if both is not None and is_near and (found := [*self.judged((one, other), both)]):
                yield from found
                return
