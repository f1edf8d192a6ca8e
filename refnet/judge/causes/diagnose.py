"""Why is this segment wrong? Replay what ports get wrong on the candidate's own inputs, and see what fits.

A cause is accepted only when the residual falls inside the bound of the segment run that way: never because it is
merely closer. All that fit are listed. Where nothing fits, `describe` says what can be seen in the error instead.

A segment is looked at in steps, the likeliest mistakes first: `search` takes all segments through them, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from refnet.bugs.catalogue import BUGS, LATE, SHARED
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.probabilities import is_saturated
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.curves import Curve
from refnet.bugs.layers.knobs import KNOBS
from refnet.bugs.memory.stored import is_at_limits
from refnet.graph import SOURCE
from refnet.judge.causes.acceptance import Acceptance
from refnet.judge.causes.budget import OverBudgetError, SearchBudget
from refnet.judge.causes.cause import Cause, rank, says_the_same
from refnet.judge.causes.describe import describe
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.in_classes import class_offsets, in_classes
from refnet.judge.causes.in_part import in_part
from refnet.judge.causes.likely import FREQUENT, RARER
from refnet.judge.causes.pictured import cuts_of_pictures, kernels_of_pictures, usual_pictures
from refnet.judge.causes.short_runs import lone_short_runs, short_runs
from refnet.judge.causes.starts import MANY, begun, begun_soon
from refnet.judge.causes.ways import EXACT, LAST, LOOSE, SHORT, SHOWN, Way, Ways
from refnet.judge.measures.yardstick import judge_segment, useful_limit
from refnet.ops import CONVOLUTIONS
from refnet.readings.bounds import Precision

__all__ = ["Diagnosis", "diagnose"]

_POOLS = tuple(bug for bug in LATE if bug.id.startswith("pool-"))  # those of squeezes are written apart from the head's
# Of strided layers, which frameworks pad each in their own way.
_PADS = (BUGS["pad-split"], BUGS["pad-amount"], BUGS["pad-value"])
_STRIDED = ("strided", "strided layers", "strided kernel")
# Not those that read maps by other indices: of these each place takes a run of all that is before it.
_QUICK = tuple(bug for bug in LATE if bug.group != "flat_reads")
# What is written once for all batch norms, gates, squeezes, sums or resizes: at all places a run for each form.
_FUNCTIONS = ("gate-", "hsigmoid-", "hswish-")
_ONCE = (
    *(bug for bug in EXACT if bug.group == "norms" or bug.id.startswith(_FUNCTIONS)),
    *_POOLS,
    *(BUGS["join-weights"], BUGS["resize-corners"], BUGS["squeeze-narrower"], BUGS["widths-narrower"]),
)
_FUNCTION = BUGS["act-throughout"]  # of an activation inside a segment no tensor shows another function itself
_WRITTEN = ("layers", "act")  # the kinds of which each has code of its own
_OF_A_KIND = tuple(bug for bug in SHARED if bug.id != "hsigmoid-shared")  # which may be at places of one kind alone
# A run each at few places: blocks that are alike, and maps that are as wide or as high as they have channels.
_FEW = (*(bug for bug in LATE if bug.group == "loaded"), BUGS["vector-axis"])
# Of what a network answers, and of the order that it has, it is no more runs.
_AT_END = (*EXACT, *(bug for bug in LATE if bug.group in ("answers", "result_orders")))
_TAIL = 16  # nodes at the end: a head with a squeeze-and-excite or LR-ASPP's


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
    algorithms : the fast algorithms that explain it, where that is known

    Attributes
    ----------
    found : the causes so far
    ways : all that was run; None before the first step, and of a short segment behind the last one
    """

    def __init__(
        self,
        segment: Segment,
        precision: Precision,
        budget: SearchBudget,
        yardstick: str,
        algorithms: Sequence[str] | None = None,
    ) -> None:
        self.segment, self.precision, self.budget, self.yardstick = segment, precision, budget, yardstick
        self._algorithms = algorithms
        self._looked_for_formats = False
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
        made = useful_limit(self.segment, self.precision)
        if made.shape != self.segment.candidate.shape:
            return (), False
        error = np.empty_like(made.y)
        error[...] = self.segment.candidate
        error = np.abs(error - made.y)
        suspect, off = int(np.count_nonzero(error > made.expected)), int(np.count_nonzero(error))
        return describe(self.segment, self.precision, made, self._algorithms), 2 * suspect > off

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

    def steps(self, told: Callable[[], Iterable[Mistake]] = tuple) -> Iterator[None]:
        """Look, the likeliest first, until something fits; a pause after each step.

        Parameters
        ----------
        told : gives the mistakes that explain other tensors: their bugs are tried before each step, at all places

        Raises
        ------
        OverBudgetError
            where the time is over; what was found stays.
        """
        if self.long and is_saturated(self.segment):
            return
        self.ways = Ways(self.segment, self.budget, long=self.long)
        accepted = self._accepted(self.ways)
        steps = self._long(accepted, told) if self.long else self._short(accepted, told)
        as_told = self._as_told(accepted, told)
        try:
            while not self.found and self._take(as_told) and not self.found and self._take(steps):
                yield
        except OverBudgetError:
            self.found += self._nearest(accepted)
            raise
        if not self.long:  # nothing more is asked of them, and other segments need the memory
            self.ways = None

    def with_functions(self, told: Iterable[Mistake]) -> None:
        """Look at functions in an activation's place that other tensors show, beside what fits already.

        A limit shows only in tensors whose numbers go beyond it: in others no limit at all fits as well.
        """
        ways = Ways(self.segment, self.budget, long=False)
        self._add(self._accepted(ways).fitting(ways.curved(self._curves(told))))

    def _as_told(self, accepted: Acceptance, told: Callable[[], Iterable[Mistake]]) -> Iterator[Iterable[Cause]]:
        """Each time at all places what has come to explain other tensors since the last time; without end."""
        tried: set[str] = set()
        while True:
            bugs = dict.fromkeys(each.bug for each in told() if each.bug not in tried)
            tried |= {*bugs}
            ways = accepted.ways.everywhere(BUGS[bug] for bug in bugs)
            yield accepted.close([*ways]) if self.long else accepted.fitting(ways)

    def _take(self, steps: Iterator[Iterable[Cause]]) -> bool:
        """Take the next step, if there is one; of numbers beyond all that it makes nobody is warned."""
        with np.errstate(all="ignore"):
            step = next(steps, None)
            self._add(step or ())
        return step is not None

    def _add(self, causes: Iterable[Cause]) -> None:
        """Causes that say something new; other segments are told the first of all."""
        for cause in causes:
            if not any(says_the_same(cause, other) for other in self.found):
                self.found.append(cause)
        self.found.sort(key=rank)

    def _accepted(self, ways: Ways) -> Acceptance:
        return Acceptance(ways, self.precision, self.yardstick)

    def _nearest(self, accepted: Acceptance) -> Iterator[Cause]:
        """Where time is over before what was looked at has been judged, the nearest of it still is."""
        near = [way for way in accepted.ways.looked if way.residual < accepted.near * accepted.ways.before]
        if self.long and not self.found and near:
            best = min(near, key=lambda way: way.residual)
            yield from accepted.judged((best,), best, check=self.budget.check_behind)

    def _short(self, accepted: Acceptance, told: Callable[[], Iterable[Mistake]]) -> Iterator[Iterable[Cause]]:
        """A few nodes: every change at every place; then precision, what is everywhere, two at once."""
        ways, fitting = accepted.ways, accepted.fitting
        assert self.segment.candidate is not None
        if is_at_limits(self.segment.graph.nodes[-1].op, self.segment.candidate):  # which much would make
            yield ()
            yield fitting(ways.singles(dict.fromkeys(BUGS[each.bug] for each in told())))
            return
        many = len(self.segment.graph) > _TAIL
        if SOURCE in self.segment.given and many:  # as of the end alone: the input first
            yield from self._likely(self._accepted(Ways(self.segment, self.budget, long=True)), told)
        # That integers lie on one side of what they are made of, or follow another entry of a table, is no chance; and
        # much fits such an error by chance.
        rounding = BUGS["store-rounding"], BUGS["table-entry"]
        found = list(fitting(ways.singles(rounding)))
        pipelines = [bug for bug in SHOWN if bug.group == "pipelines"]
        yield found or fitting(ways.singles(bug for bug in SHOWN if bug not in (*rounding, *pipelines)))
        yield fitting(cuts_of_pictures(ways))
        yield fitting(kernels_of_pictures(ways))
        yield fitting(usual_pictures(ways))
        yield fitting(ways.singles(pipelines))
        yield () if many else fitting(ways.scaled())  # of many it was looked at with what is likely
        once = _ONCE if many else ()  # of many layers sooner than what each may have
        yield fitting(ways.everywhere(once))
        loose = list(ways.singles(SHORT))
        # What only widens the bound fits errors of any kind: it is asked last, and for more evidence.
        coarse = [each for each in loose if each.mistake.bug == "fp16-accumulate"]
        found = sorted(fitting([each for each in loose if each not in coarse]), key=rank)
        if any((each.bug, each.form) == ("fp16-storage", "float16") for cause in found for each in cause.mistakes):
            # Float16 values are what sums in float16 leave too, and a wider bound cannot tell: a tie, named last.
            self.found += found
            found = list(fitting(coarse))
        yield found
        several = len(self.segment.units) > 1  # of these what few ports have is in all sooner than in one
        rounded = several or self._makes_factors  # where what is multiplied is made, too
        if rounded:
            yield self._formats(ways, told())
        yield fitting([*ways.singles([_FUNCTION]), *ways.everywhere([_FUNCTION])])
        eps = (way for kinds in (False, True) for way in ways.solved(KNOBS[0], kinds=kinds))
        every = [bug for bug in (*EXACT, *SHARED) if bug not in once]
        yield fitting(
            [*ways.everywhere(every), *ways.of_kinds(EXACT), *ways.of_kinds(_OF_A_KIND, kinds=_WRITTEN), *eps]
        )
        yield fitting([*ways.everywhere(LOOSE), *ways.of_kinds(LOOSE)])
        if rounded:
            yield self._formats(ways)
        yield accepted.beside(told())
        if several:
            yield fitting([*_solved(ways), *ways.everywhere(LATE)])
        # A function that other tensors show comes beside what few ports do: at some places much fits it by chance.
        curves = self._curves(told())
        yield fitting([*ways.curved(curves), *ways.singles(LATE)])
        yield fitting(ways.curved(each for each in self._curves(told()) if each not in curves))
        if not several:
            yield fitting([*_solved(ways), *ways.everywhere(LATE)])
        yield in_part(ways, self.precision, told)
        yield fitting(in_classes(ways))
        yield fitting(ways.singles(LAST))
        yield accepted.pairs()
        if self.is_coarse or self._is_half:
            yield fitting(coarse)

    @property
    def _makes_factors(self) -> bool:
        """Whether a convolution reads what the segment makes: its last digits tell where that is rounded."""
        graph = self.segment.graph
        return any(name in graph for node in self.segment.nodes(*CONVOLUTIONS) for name in node.inputs)

    def _curves(self, told: Iterable[Mistake]) -> list[tuple[Curve, str]]:
        """The functions that other tensors show by now, with the activations that they take the place of."""
        found = {each.form: each for each in told if each.bug == "act-curve"}
        whole = self.segment.whole.by_name
        return [(each.facts["curve"], whole[each.node].op) for each in found.values() if each.node in whole]

    def _formats(self, ways: Ways, told: Iterable[Mistake] | None = None) -> Iterator[Cause]:
        """Short formats inside a segment, once; beside what explains other tensors only where factors in one do."""
        if not self._looked_for_formats and (told is None or any(each.bug == "factors-tf32" for each in told)):
            self._looked_for_formats = True
            yield from short_runs(ways, self.precision)

    def _likely(
        self, accepted: Acceptance, told: Callable[[], Iterable[Mistake]]
    ) -> Generator[Iterable[Cause], None, tuple[list[Way], list[Way]]]:
        """Many nodes: the ends, what is everywhere, the likeliest at one place; gives what was run at more than one."""
        ways, close = accepted.ways, accepted.close
        first = [*ways.ends()]
        yield close(first)
        cuts = [*cuts_of_pictures(ways)]
        yield close([way for way in cuts if not way.vague])  # what is vague is held beside all that is like it
        yield close([*cuts, *kernels_of_pictures(ways)])
        yield close([*ways.singles(_AT_END, at=self._last)])
        yield close([*in_classes(ways)])
        stores = ways.singles([BUGS["fp16-storage"]])  # as the numbers of the end show
        yield (cause for way in stores for cause in accepted.judged((way,), way))
        yield accepted.everywhere(first := [*first, *ways.everywhere((*FREQUENT, *SHARED))])
        yield self._formats(ways, told())
        once = dict.fromkeys((*_ONCE, *EXACT))
        more = [*ways.everywhere(bug for bug in once if bug not in FREQUENT), *ways.solved(KNOBS[0])]
        yield accepted.everywhere(more)
        kinds = [*ways.of_kinds((*FREQUENT, *_POOLS)), *ways.of_kinds(_PADS, kinds=_STRIDED)]
        kinds += ways.of_kinds(_OF_A_KIND, kinds=_WRITTEN)
        yield close([*kinds, *_solved(ways), *ways.solved(KNOBS[0], kinds=True)])
        short = [*ways.everywhere(SHORT), *ways.of_kinds(LOOSE, kinds=("convolutions",))]  # a run takes several times
        yield accepted.everywhere(short)
        yield accepted.one_by_one(FREQUENT, RARER)
        yield close([*ways.singles(_FEW)])
        yield close(list(ways.scaled()))  # of hundreds of inputs
        yield close([*usual_pictures(ways)])
        yield self._formats(ways)
        yield lone_short_runs(ways, self.precision)
        first += [*short, *more]
        yield accepted.foremost()
        return first, kinds

    @property
    def _last(self) -> set[str]:
        return {node.name for node in self.segment.graph.nodes[-_TAIL:]}

    def _long(self, accepted: Acceptance, told: Callable[[], Iterable[Mistake]]) -> Iterator[Iterable[Cause]]:
        """Many nodes: what is likely; then the rest, beside what explains other tensors, and the likeliest pairs."""
        ways, close = accepted.ways, accepted.close
        if class_offsets(self.segment):  # which nothing makes but what gives the classes
            yield close([*ways.ends()])
            yield close([*ways.singles((*_AT_END, *LATE), at=self._last)])
            yield close([*in_classes(ways)])
            return
        first, kinds = yield from self._likely(accepted, told)
        yield close([*ways.singles(LATE, at=self._last)])
        yield from map(close, begun_soon(ways, first))
        yield accepted.one_by_one(RARER, FREQUENT)
        quick = [bug for bug in _QUICK if bug not in _ONCE]
        yield close([*ways.everywhere(quick)])
        yield close([*ways.of_kinds(quick, kinds=_WRITTEN)])
        yield close([*ways.ends(("pipelines",))])
        kinds += (rarer := [*ways.of_kinds((*RARER, *LOOSE))])
        yield close([*rarer, *_solved(ways, kinds=True)])
        yield close(list(ways.singles(LOOSE)))
        first += [*ways.everywhere(bug for bug in LATE if bug not in _QUICK), *ways.slow()]
        yield close(first)
        yield accepted.beside(told())
        starts = map(close, begun(ways, [*first, *kinds]))
        yield from islice(starts, MANY)
        some = (way for way in ways.looked if way.extent is None or way.extent.scope.kind not in ("from", "until"))
        yield accepted.likeliest([way for way in some if way.is_exact])
        yield from starts


def _solved(ways: Ways, *, kinds: bool = False) -> Iterator[Way]:
    """Every number that is solved for, but eps."""
    return (way for knob in KNOBS[1:] for way in ways.solved(knob, kinds=kinds))
