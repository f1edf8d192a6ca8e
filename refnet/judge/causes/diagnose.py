"""Why is this segment wrong? Replay what ports get wrong on the candidate's own inputs, and see what fits.

A cause is accepted only when the residual falls inside the bound of the segment run that way: never because it is
merely closer. All that fit are listed. Where nothing fits, `describe` says what can be seen in the error instead.

A segment is looked at in steps, the likeliest mistakes first: `search` takes all segments through them, in turn.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import starmap
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS, LATE, SHARED, Bug
from refnet.bugs.language.changes import PART, Mistake
from refnet.bugs.language.segments import Segment, limit
from refnet.bugs.layers.knobs import KNOBS
from refnet.graph import SOURCE
from refnet.judge.causes.budget import OverBudgetError, SearchBudget
from refnet.judge.causes.cause import Cause, rank, says_the_same
from refnet.judge.causes.describe import Feature, describe, part_off, run_like
from refnet.judge.causes.likely import FREQUENT, RARER
from refnet.judge.causes.starts import begun, begun_soon
from refnet.judge.causes.together import beside, both_ways, likely_pairs, varied
from refnet.judge.causes.ways import EXACT, LAST, LOOSE, SHORT, SHOWN, Way, Ways, closest
from refnet.judge.measures.probabilities import is_saturated
from refnet.judge.measures.yardstick import NEAR, is_refuted, judge_cause, judge_segment
from refnet.judge.verdicts import Judgement, root_mean_square
from refnet.readings.bounds import Precision

__all__ = ["Diagnosis", "diagnose"]

Array = npt.NDArray[Any]

# How many changes are taken for the first of two. Tuned, on the table in
# tests/judge/test_pairs.py: of two bugs in a unit one is among so many that leave least of the error.
_PAIRED = 15
# In a long segment, what share of the error two effects must explain together to be run as a pair. Tuned, on the table
# in tests/judge/test_long.py: the largest tenth that keeps 19 of 20.
_PLANE = 0.4
_POOLS = tuple(bug for bug in LATE if bug.id.startswith("pool-"))  # those of squeezes are written apart from the head's
# Not those that read maps by other indices: of these each place takes a run of all that is before it.
_QUICK = tuple(bug for bug in LATE if bug.group != "flat_reads")
_TAIL = 16  # nodes at the end: a head with a squeeze-and-excite or LR-ASPP's
_MOST = 400  # pairs that are run


def diagnose(segment: Segment, precision: Precision, budget: SearchBudget | None = None) -> list[Cause]:
    """Every cause that fits: single ones; or where there is none those of precision, systematic ones, or pairs.

    Parameters
    ----------
    segment : with the candidate's tensor
    precision : that the candidate declares

    Returns
    -------
    causes : smallest residual first; more than one are ties that this input cannot tell apart
    """
    one = Diagnosis(segment, precision, budget or SearchBudget(), judge_segment(segment, precision).yardstick)
    for _ in one.steps():
        pass
    return one.found


class Diagnosis:
    """One segment, step by step.

    Parameters
    ----------
    segment : with the candidate's tensor
    yardstick : of the verdict on it; a segment that is not judged by its bound is long: what is everywhere in it, and
        what is at its ends, is looked at before what is at one place

    Attributes
    ----------
    found : the causes so far
    ways : all that was run; None before the first step, and of a short segment behind the last one
    """

    def __init__(self, segment: Segment, precision: Precision, budget: SearchBudget, yardstick: str) -> None:
        self.segment, self.precision, self.budget, self.yardstick = segment, precision, budget, yardstick
        self.found: list[Cause] = []
        self.ways: Ways | None = None

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What can be seen in the error."""
        return self._looked[0]

    @cached_property
    def _looked(self) -> tuple[tuple[Feature, ...], bool]:
        """That, and whether of the elements that are off most are suspect."""
        assert self.segment.candidate is not None
        made = limit(self.segment, self.precision)
        if made.shape != self.segment.candidate.shape:
            return (), False
        error = np.empty_like(made.y)
        error[...] = self.segment.candidate
        error = np.abs(error - made.y)
        suspect, off = int(np.count_nonzero(error > made.expected)), int(np.count_nonzero(error))
        return describe(self.segment, self.precision, made), 2 * suspect > off

    @property
    def is_coarse(self) -> bool:
        """Whether the error has the look of coarse sums: of no form, and of the elements off most are suspect."""
        return self._looked[1] and not self.features

    @property
    def _is_half(self) -> bool:
        """Whether the tensor is kept in float16 and off by little, of no form: sums may be kept so too."""
        target = self.segment.candidate
        return target is not None and target.dtype == np.float16 and not self.features

    @property
    def long(self) -> bool:
        """Whether the segment is too long for its bound to say anything."""
        return self.yardstick != "bound"

    def steps(
        self, shared: Callable[[], Iterable[str]] = tuple, told: Callable[[], Iterable[Mistake]] = tuple
    ) -> Iterator[None]:
        """Look, the likeliest first, until something fits; a pause after each step.

        Parameters
        ----------
        shared : gives the bugs that explain other tensors, which are tried first, at all places of a short segment
        told : gives the mistakes that explain other tensors

        Raises
        ------
        OverBudgetError
            where the time is over; what was found stays.
        """
        if self.long and is_saturated(self.segment):
            return
        self.ways = Ways(self.segment, self.budget, long=self.long)
        steps = self._long(self.ways, told) if self.long else self._short(self.ways, shared(), told)
        try:
            for step in steps:
                with np.errstate(all="ignore"):
                    for cause in step:
                        if not any(says_the_same(cause, other) for other in self.found):
                            self.found.append(cause)
                self.found.sort(key=rank)  # other segments are told the first
                yield
                if self.found:
                    break
        except OverBudgetError:
            self.found += self._nearest(self.ways)
            raise
        if not self.long:  # nothing more is asked of them, and other segments need the memory
            self.ways = None

    def _nearest(self, ways: Ways) -> Iterator[Cause]:
        """Where time is over before what was looked at has been judged, the nearest of it still is."""
        near = [way for way in ways.looked if way.residual < NEAR * ways.before]
        if self.long and not self.found and near:
            yield from self._judged(min(near, key=lambda way: way.residual), lambda: None)

    def _short(
        self, ways: Ways, shared: Iterable[str], told: Callable[[], Iterable[Mistake]]
    ) -> Iterator[Iterable[Cause]]:
        """A few nodes: every change at every place; then precision, what is everywhere, two at once."""
        if SOURCE in self.segment.given and len(self.segment.graph) > _TAIL:  # as of the end alone: the input first
            self.ways = Ways(self.segment, self.budget, long=True)
            yield from self._likely(self.ways)
            self.ways = ways
        # That integers lie on one side of what they are made of, or follow another entry of a table, is no chance; and
        # much fits such an error by chance.
        rounding = BUGS["store-rounding"], BUGS["table-entry"]
        found = list(self._fitting(ways.singles(rounding)))
        found = found or list(self._fitting(ways.everywhere([BUGS[bug] for bug in shared])))
        yield found or self._fitting(ways.singles(bug for bug in SHOWN if bug not in rounding))
        loose = list(ways.singles(SHORT))
        # What only widens the bound fits errors of any kind: it is asked last, and for more evidence.
        coarse = [each for each in loose if each.mistake.bug == "fp16-accumulate"]
        found = sorted(self._fitting([each for each in loose if each not in coarse]), key=rank)
        if any((each.bug, each.form) == ("fp16-storage", "float16") for cause in found for each in cause.mistakes):
            # Float16 values are what sums in float16 leave too, and a wider bound cannot tell: a tie, named last.
            self.found += found
            found = list(self._fitting(coarse))
        yield found
        eps = (way for kinds in (False, True) for way in ways.solved(KNOBS[0], kinds=kinds))
        yield self._fitting([*ways.everywhere(EXACT), *ways.of_kinds(EXACT), *eps])
        yield self._fitting([*ways.everywhere(LOOSE), *ways.of_kinds(LOOSE)])
        yield self._beside(ways, told())
        # A function that other tensors show comes beside what few ports do: at some places much fits it by chance.
        yield self._fitting([*ways.curved(self._curves(told())), *ways.singles(LATE)])
        yield self._fitting(ways.curved(self._curves(told())))
        yield self._fitting([*self._solved(ways), *ways.everywhere(LATE)])
        yield self._in_part(ways, told)
        yield self._fitting(ways.singles(LAST))
        yield self._pairs(ways)
        if self.is_coarse or self._is_half:
            yield self._fitting(coarse)

    def _curves(self, told: Iterable[Mistake]) -> Iterator[tuple[Any, str]]:
        """The functions that other tensors show, with the activations that they take the place of."""
        found = {each.form: each for each in told if each.bug == "act-curve"}
        whole = self.segment.whole.by_name
        yield from ((each.facts["curve"], whole[each.node].op) for each in found.values() if each.node in whole)

    def _likely(self, ways: Ways) -> Generator[Iterable[Cause], None, tuple[list[Way], list[Way]]]:
        """Many nodes: the ends, what is everywhere, the likeliest at one place; gives what was run at more than one."""
        first = [*ways.ends()]
        yield self._close(first)
        yield self._close([*ways.ends(("pictures",))])
        yield self._close([*ways.singles(EXACT, at=self._last)])
        yield self._everywhere(ways, first := [*first, *ways.everywhere((*FREQUENT, *SHARED))])
        kinds = [*ways.of_kinds(FREQUENT)]
        yield self._close(kinds)
        yield self._one_by_one(ways, FREQUENT, RARER)
        yield self._foremost(ways)
        return first, kinds

    @property
    def _last(self) -> set[str]:
        return {node.name for node in self.segment.graph.nodes[-_TAIL:]}

    def _long(self, ways: Ways, told: Callable[[], Iterable[Mistake]]) -> Iterator[Iterable[Cause]]:
        """Many nodes: what is likely; then the rest, beside what explains other tensors, and the likeliest pairs."""
        first, kinds = yield from self._likely(ways)
        yield self._close([*ways.singles(LATE, at=self._last)])
        first += [*ways.everywhere(bug for bug in EXACT if bug not in FREQUENT), *ways.solved(KNOBS[0])]
        yield self._everywhere(ways, first)
        yield from map(self._close, begun_soon(ways, first))
        first += [*ways.everywhere(LOOSE)]
        yield self._everywhere(ways, first)
        yield self._close(list(ways.scaled()))
        yield self._close([*self._solved(ways), *ways.everywhere(_QUICK), *ways.of_kinds(_POOLS)])
        yield self._close([*ways.ends(("pipelines",))])
        kinds += (rarer := [*ways.of_kinds((*RARER, *LOOSE))])
        yield self._close([*rarer, *self._solved(ways, kinds=True)])
        yield self._one_by_one(ways, RARER, FREQUENT)
        yield self._close(list(ways.singles(LOOSE)))
        first += [*ways.everywhere(bug for bug in LATE if bug not in _QUICK), *ways.slow()]
        yield self._close(first)
        yield self._beside(ways, told())
        yield from map(self._close, begun(ways, [*first, *kinds]))
        some = (way for way in ways.looked if way.extent is None or way.extent.scope.kind not in ("from", "until"))
        yield self._likeliest(ways, [way for way in some if _exact(way)])

    def _solved(self, ways: Ways, *, kinds: bool = False) -> Iterator[Way]:
        """Every number that is solved for, but eps."""
        return (way for knob in KNOBS[not kinds :] for way in ways.solved(knob, kinds=kinds))

    def _fitting(self, tried: Iterable[Way]) -> Iterator[Cause]:
        """Those that the yardstick accepts; of those that move no bound, only what comes closer can be one.

        Where nothing rounds, what makes the same numbers by sums and products may be one too: a ReLU of large values.
        """
        assert self.ways is not None
        for way in tried:
            self.budget.check()
            loose = way.changed is not None and way.changed.precision is not None
            same = way.residual == self.ways.before and self._is_unrounded
            if loose or same or way.residual < self.ways.before:
                yield from self._judged(way, self.budget.check)

    @cached_property
    def _is_unrounded(self) -> bool:
        """Whether a short segment makes exact numbers, of which any error is too much."""
        return not self.long and limit(self.segment, self.precision).rms == 0

    def _judged(self, way: Way, check: Callable[[], None]) -> Iterator[Cause]:
        assert self.ways is not None
        changed = replace(self.ways.changed(way), candidate=self.segment.candidate)
        judgement = judge_cause(changed, self.precision, self.yardstick, check, way.residual)
        if judgement is not None and judgement.holds:
            yield Cause((way.mistake,), judgement, (way.extent,))

    def _everywhere(self, ways: Ways, tried: list[Way]) -> Iterator[Cause]:
        """What fits at all places; and where that does, at all of a kind."""
        yield from (found := list(self._close(tried)))
        for bug in dict.fromkeys(mistake.bug for cause in found for mistake in cause.mistakes):
            forms = {mistake.form for cause in found for mistake in cause.mistakes if mistake.bug == bug}
            yield from self._close(list(ways.of_kinds([BUGS[bug]], forms)))

    def _foremost(self, ways: Ways) -> Iterator[Cause]:
        """The likeliest changes at one place."""
        fit: list[str] = []
        return self._until_fit(ways.foremost(fit), fit)

    def _one_by_one(self, ways: Ways, bugs: Sequence[Bug], others: Sequence[Bug]) -> Iterator[Cause]:
        """Every change of some bugs at one place; once one fits, those of the others at its place too."""
        fit: list[str] = []
        tied = (way for _ in (0,) if fit for way in ways.singles(others, at=fit))
        return self._until_fit(itertools.chain(ways.singles(bugs, at=fit), tied), fit)

    def _until_fit(self, tried: Iterable[Way], fit: list[str]) -> Iterator[Cause]:
        """Each way by itself; `fit` gets the nodes of one that fits, after which `tried` keeps to these."""
        for way in tried:
            for cause in self._close([way]):
                fit[:] = cause.nodes
                yield cause

    def _close(self, tried: list[Way]) -> Iterator[Cause]:
        """Of the ways in which a long segment may be run, only the closest are held to the spread."""
        assert self.ways is not None
        yield from self._fitting(closest(tried, self.ways.before, NEAR))

    def _in_part(self, ways: Ways, told: Callable[[], Iterable[Mistake]]) -> Iterator[Cause]:
        """What some images, channels or lines fit that others are right without: tails of loops, buffers of one image.

        Which channels these are other tensors may show better, of which the same mistake explains a part.
        """
        honest = limit(self.segment, self.precision)
        target = ways.target
        if honest.shape != target.shape:
            return
        beyond = np.abs(target - honest.y) > honest.expected
        part = part_off(beyond)
        own = {} if part is None or part.kind == "channels" else {(part.kind, tuple(part.facts.items())): beyond}
        shown = {(each.bug, each.form): each.facts[PART] for each in told() if PART in each.facts}
        for way in ways.nearly(honest.expected):
            self.budget.check()
            if self.found and not _exact(way):  # what few ports do comes after all else here, too
                return
            made = limit(ways.changed(way), self.precision)
            run = run_like(shown.get((way.mistake.bug, way.mistake.form)), target)
            for said, where in (own | run).items() if made.shape == target.shape else ():
                if (np.abs(target - made.y) <= made.expected)[where].all() and not (beyond & ~where).any():
                    share = root_mean_square((target - made.y)[where]) / max(made.rms, 1e-300)
                    if share <= 1:
                        facts = {**way.mistake.facts, PART: said}
                        yield Cause((way.mistake._replace(facts=facts),), Judgement("rounding", rms=share))
                        break

    def _pairs(self, ways: Ways) -> Iterator[Cause]:
        """Two bugs in one segment: on top of each that comes closer, every other; the same two are said once."""
        seen: set[frozenset[Any]] = set()
        closer = [way for way in ways.looked if way.residual < ways.before and way.extent is None and _exact(way)]
        for first in varied(closer)[:_PAIRED]:
            self.budget.expect(1)
            for cause in self._fitting(list(ways.on_top(first, EXACT, self._is_open))):
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

    def _beside(self, ways: Ways, told: Iterable[Mistake]) -> Iterator[Cause]:
        """What explains other tensors, and more."""
        known = Counter((mistake.bug, mistake.form) for mistake in told)
        most = NEAR * ways.before if self.long else math.inf
        return _first_found(starmap(self._all_of, some) for some in beside(ways, known, self._is_open, most))

    def _all_of(self, several: Sequence[Way], together: Way) -> Iterator[Cause]:
        """Several ways at once, where the yardstick accepts what they make together."""
        assert self.ways is not None
        own = replace(self.ways.changed(together), candidate=self.segment.candidate)
        judgement = judge_cause(own, self.precision, self.yardstick, self.budget.check, together.residual)
        if judgement is not None and judgement.holds:
            yield Cause(tuple(way.mistake for way in several), judgement, tuple(way.extent for way in several))

    def _likeliest(self, ways: Ways, alone: list[Way]) -> Iterator[Cause]:
        """Two ways at once, the likeliest first, until two fit."""
        pairs = list(likely_pairs(ways.error, alone, _PLANE, _MOST))
        self.budget.expect(len(pairs))
        for one, other in pairs:
            self.budget.passed()
            both = both_ways(ways, one, other)
            near = both is not None and both.residual < NEAR * ways.before
            if both is not None and near and (found := [*self._all_of((one, other), both)]):
                yield from found
                return


def _first_found(tried: Iterable[Iterable[Iterable[Cause]]]) -> Iterator[Cause]:
    """What the first of some attempts gives that gives anything."""
    for some in tried:
        if found := [cause for causes in some for cause in causes]:
            yield from found
            return


def _exact(way: Way) -> bool:
    return any(bug.id == way.mistake.bug for bug in EXACT)
