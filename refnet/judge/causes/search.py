"""Why a candidate is wrong: all of its wrong segments, step by step, within one budget; and how sure that is.

Every segment takes its first step before any takes its second, the short ones first, so that where time ends the
likeliest mistakes have been looked at everywhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.segments import Segment
from refnet.judge.causes.budget import OverBudgetError, SearchBudget
from refnet.judge.causes.cause import Cause, rank
from refnet.judge.causes.diagnose import Diagnosis
from refnet.judge.causes.in_classes import class_offsets
from refnet.judge.causes.refit import has_points
from refnet.judge.causes.stores import is_stored
from refnet.judge.causes.varying import kind_of
from refnet.judge.causes.ways import Extent
from refnet.judge.measures.yardstick import NEAR, fits
from refnet.readings.bounds import Precision

__all__ = ["Evidence", "agreed", "evidence", "explain", "halving"]

_SEVERAL = 3  # layers of a kind: fewer may look so by chance

_Own = tuple[Segment, Precision]
_Open = list[tuple[Diagnosis, Iterator[None]]]


class Evidence(NamedTuple):
    """How sure the causes of a long segment are.

    Attributes
    ----------
    looked : how many ways were run
    left, rest : the share of the error that the best cause leaves, and the least that a way which does not fit leaves
    dump : the tensor whose dump would tell most: it halves what is left; '' where none would
    nearest : of a segment without a cause the mistake that leaves least of the error, and at which places, where that
        is as little as a cause may leave; it is not all, or was not made as refnet makes it
    """

    looked: int
    left: float
    rest: float
    dump: str
    nearest: tuple[Mistake, Extent | None] | None = None


def explain(diagnoses: Sequence[Diagnosis], budget: SearchBudget) -> None:
    """Look for the causes of each wrong segment until all is looked at, time ends, or the user interrupts.

    What explains one of them is tried in the others, at all places, before they take their next step.
    """

    def told() -> list[Mistake]:
        return [mistake for one in diagnoses for cause in one.found[:1] for mistake in cause.mistakes]

    open_ = [(each, each.steps(told)) for each in sorted(diagnoses, key=lambda each: each.long)]
    try:
        open_ = _but_other_weights(_stepped(open_))
        while open_:
            open_ = _stepped(open_)
        _with_functions(diagnoses, told())
    except OverBudgetError:
        pass
    except KeyboardInterrupt:
        budget.ended = "interrupted"


def _stepped(open_: _Open) -> _Open:
    """Those that are open behind one more step of each."""
    return [(each, steps) for each, steps in open_ if next(steps, steps) is not steps]


def _but_other_weights(open_: _Open) -> _Open:
    """Those that are open but for layers that have other weights, where several of their kind have, and nothing else.

    These are looked at to the end before the others, whose errors then have the same look and no more to tell.
    """
    kinds: dict[tuple[str, ...], _Open] = defaultdict(list)
    for one in open_:
        kinds[tuple(node.op for node in one[0].segment.graph.nodes)].append(one)
    closed: set[int] = set()
    for of_kind in kinds.values():
        ordered = sorted(of_kind, key=lambda one: one[0].segment.result.size)  # the quickest first
        first = [one for one in ordered if closed or has_points(one[0].segment) is not False][:_SEVERAL]
        if not len(of_kind) > len(first) == _SEVERAL or not all(_has_other_weights(each) for each, _ in first):
            continue
        left = first
        while left := _stepped(left):
            pass
        looked = {id(each) for each, _ in first}
        closed |= looked
        if not any(each.found for each, _ in first):
            like = [each for each, _ in of_kind if id(each) not in looked and _has_other_weights(each)]
            closed |= {*map(id, like)}
            for each in like:
                each.ways = None
    return [one for one in open_ if id(one[0]) not in closed]


def _with_functions(diagnoses: Iterable[Diagnosis], told: Sequence[Mistake]) -> None:
    """Look at the functions that most tensors show in an activation's place where fewer show something else."""
    votes = Counter(map(kind_of, told))
    shown = [mistake for mistake in told if mistake.bug == "act-curve"]
    for one in diagnoses if shown else ():
        kinds = {kind_of(mistake) for cause in one.found for mistake in cause.mistakes}
        most = max((votes[kind] for kind in kinds), default=len(told))
        if not one.long and (more := [each for each in shown if votes[kind_of(each)] > most]):
            one.with_functions(more)


def _has_other_weights(one: Diagnosis) -> bool:
    """Whether other weights, or another batch norm, are all that can be seen in an error; or it is of few points."""
    if one.long:
        return False
    one.budget.check()
    kinds = {each.kind for each in one.features}
    return kinds in ({"weights"}, {"norms"}) or (not kinds and has_points(one.segment) is False)


def agreed(found: Mapping[str, list[Cause]], beside: Callable[[str], Iterable[_Own]]) -> dict[str, list[Cause]]:
    """Of causes that one tensor cannot tell apart, those first that the others agree with.

    First come those by which no tensor that is right would be wrong, then those that explain most of the wrong ones.
    Of those that explain the same ones, that comes first in all of them which leaves least.

    Parameters
    ----------
    beside : by the name of a wrong tensor, the segments of right ones that have nodes in common with its own
    """
    votes = Counter(kind for causes in found.values() for kind in {_kind(cause) for cause in causes})
    left = defaultdict[object, float](float)
    for cause in chain(*found.values()):
        left[_kind(cause)] += cause.judgement.rms

    def place(name: str, cause: Cause) -> tuple[bool, int, bool, int, int, float, float]:
        coarse, many, some, rms = rank(cause)
        return coarse, many, _is_denied(cause, beside(name)), -votes[_kind(cause)], some, left[_kind(cause)], rms

    tied = {name: causes for name, causes in found.items() if len(causes) > 1}
    return {**found, **{name: sorted(causes, key=partial(place, name)) for name, causes in tied.items()}}


def _is_denied(cause: Cause, beside: Iterable[_Own]) -> bool:
    """Whether a tensor that is right would be wrong if the cause was true: they share the node where it is."""
    if len(cause.mistakes) > 1 or any(extent is not None for _, extent in cause.parts):
        return False
    (mistake,) = cause.mistakes
    return any(
        not fits(segment.changed(change), precision)
        for segment, precision in beside
        for change in BUGS[mistake.bug].changes(segment)
        if (change.form, change.node) == (mistake.form, mistake.node) and change.shape is None
    )


def _kind(cause: Cause) -> tuple[tuple[str, str], ...]:
    return tuple(kind_of(mistake) for mistake in cause.mistakes)


def evidence(one: Diagnosis, causes: Sequence[Cause]) -> Evidence | None:
    """How sure the causes of a segment are, and what to dump.

    None of a short one, whose bound says it; nor of what is stored in a short format, which leaves what it leaves; nor
    of what other biases of the classes explain.
    """
    if not one.long or one.ways is None or is_stored(causes) or (not causes and class_offsets(one.segment)):
        return None
    fit = {mistake.what for cause in causes for mistake in cause.mistakes}
    looked, before = one.ways.looked, one.ways.before or 1.0
    left = min((way.residual for way in looked if way.mistake.what in fit), default=before)
    others = [way for way in looked if way.mistake.what not in fit]
    rest = min((way.residual for way in others), default=before)
    close = (way for way in others if way.residual <= 2 * rest < 2 * NEAR * before and not causes)  # the likeliest
    nearest = next(((way.mistake, way.extent) for way in close), None)
    return Evidence(len(looked), min(left / before, 1.0), min(rest / before, 1.0), _dump(one, causes), nearest)


def _dump(one: Diagnosis, causes: Sequence[Cause]) -> str:
    """What halves the ways that are left: the causes that fit, or where none does all ways.

    A cause at many places shows from the first of them on.
    """
    assert one.ways is not None
    order = {node.name: index for index, node in enumerate(one.segment.graph.nodes)}
    firsts = [min((order.get(node, 0) for node in cause.nodes), default=0) for cause in causes]
    counts = Counter(firsts) if causes else Counter({order.get(name, 0): n for name, n in one.ways.counts.items()})
    return halving(one.segment, counts)


def halving(segment: Segment, counts: Counter[int]) -> str:
    """The tensor inside a segment before and behind which there is most nearly as much; '' where there is none.

    Parameters
    ----------
    counts : by the index of a node in the segment, how much there is
    """
    graph, parts = segment.graph, segment.parts
    total, passed, best = sum(counts.values()), 0, (float("inf"), "")
    between = {block.exit if block.add is None else block.add.name for block in parts.blocks}
    for index, node in enumerate(graph.nodes[:-1]):
        passed += counts[index]
        unit = parts.unit(node.name)
        if passed and (unit is None or unit.output == node.name):
            uneven = abs(2 * passed - total) / total + (0.0 if node.name in between else 0.01)
            best = min(best, (uneven, node.name), key=lambda each: each[0])
    return best[1]
