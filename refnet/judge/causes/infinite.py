"""Why a tensor is not finite though its inputs are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.regions import regions
from refnet.bugs.language.segments import Segment, ported
from refnet.bugs.layers.norm_forms import bn_root
from refnet.bugs.numbers.overflow import Overflow, overflows, sizes_of_sums
from refnet.bugs.systematic import ALL, everywhere
from refnet.judge.causes.budget import OverBudgetError, SearchBudget
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.search import halving
from refnet.judge.causes.ways import EXACT, Extent
from refnet.judge.measures.yardstick import fits
from refnet.judge.verdicts import Judgement
from refnet.readings.bounds import Precision
from refnet.readings.precision import FLOATS

__all__ = ["beginning", "overflown"]

_LONG = 8  # nodes, through which a mistake at all places may make numbers grow
_CHANCE = 1e-4  # that elements drawn at random are those of the largest sums
_LIKELIEST = ("pool", "product", "exponential", "result", "above", "below")  # what leaves a format, in this order


def beginning(segment: Segment) -> Feature:
    """How many elements of a tensor are not finite though its inputs are, and among which nodes that begins."""
    y, nodes = np.asarray(segment.candidate), segment.graph.nodes
    odd = ~np.isfinite(y)
    first = tuple(int(place) for place in np.unravel_index(int(odd.argmax()), y.shape))
    facts = {"count": int(odd.sum()), "nan": int(np.isnan(y).sum()), "of": y.size, "first": first}
    dump = halving(segment, Counter(range(len(nodes))))
    return Feature("not-finite", {**facts, "nodes": len(nodes), "from": nodes[0].name, "dump": dump})


def overflown(segment: Segment, precision: Precision, budget: SearchBudget | None = None) -> list[Cause]:
    """What explains the elements of a tensor that are not finite though its inputs are.

    In float32 a mistake at all places by which numbers grow; sums, of the shortest format; sums, or what a node reads,
    beyond another number; roots of variances below zero; else a part that is never written.

    Parameters
    ----------
    budget : of the search for mistakes at all places, by default endless
    """
    assert segment.candidate is not None
    infinite = ~np.isfinite(segment.candidate)
    if segment.candidate.dtype != np.float16 and (grown := [*_grown(segment, budget or SearchBudget())]):
        return grown
    for store in ("float16", "float32"):
        those = (
            each.change
            for each in overflows(segment, store)
            if (each.surely <= infinite).all() and (infinite <= each.perhaps).all() and _tells(each, segment, infinite)
        )
        first = {change.node: change for change in reversed([*those])}  # by each node in the likeliest way
        if found := [Cause((change.of("sum-overflow"),), Judgement("nonfinite")) for change in first.values()]:
            return found[::-1]
    ways = (
        _of_zeros(segment, infinite),
        _beyond(segment, infinite),
        _rootless(segment, infinite, precision),
        _unset(segment, infinite, precision),
    )
    return next((found[:1] for way in ways if (found := [*way])), [])


def _tells(overflow: Overflow, segment: Segment, infinite: npt.NDArray[np.bool_]) -> bool:
    """Whether an overflow in a long segment tells of each image that it is sure, or which elements it spares."""
    surely, perhaps, off = (each.reshape(len(each), -1) for each in (overflow.surely, overflow.perhaps, infinite))
    told = np.logical_or(surely.any(axis=1), ~perhaps.all(axis=1))
    return len(segment.graph) < _LONG or bool((told | ~off.any(axis=1)).all())


def _grown(segment: Segment, budget: SearchBudget) -> Iterator[Cause]:
    """A mistake at all of its places by which numbers grow beyond float32, in exactly those elements.

    Of elements that are all the same, such as NaN, that would say nothing.
    """
    target = segment.candidate
    if target is None or len(segment.graph) < _LONG or np.unique(target).size < 2:
        return
    if not np.isfinite(ported(segment)).all():
        return
    for bug in EXACT:
        for changes, changed in everywhere(bug, segment):
            try:
                budget.check()
                with np.errstate(all="ignore"):
                    y = ported(changed)
            except OverBudgetError:
                return
            except (ValueError, IndexError):  # shapes that nothing runs on
                continue
            if y.shape == target.shape and np.array_equal(y, target, equal_nan=True):
                extent = Extent(ALL, tuple(change.node for change in changes))
                yield Cause((changes[0].of(bug.id),), Judgement("nonfinite"), (extent,))


def _of_zeros(segment: Segment, infinite: npt.NDArray[np.bool_]) -> Iterator[Cause]:
    """A logarithm of probabilities that their format rounds to zero, where those that are no zeros are about right."""
    y, node = np.asarray(segment.candidate, np.float64), segment.graph.nodes[-1]
    z = segment.result.astype(np.float64)
    if node.op not in ("softmax", "flatten") or y.shape != z.shape or infinite.all() or (y[infinite] != -np.inf).any():
        return
    with np.errstate(all="ignore"):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = z if node.op == "softmax" else e / e.sum(axis=1, keepdims=True)
    store = "float16" if np.asarray(segment.candidate).dtype == np.float16 else "float32"
    # The exponential is rounded, and the quotient: of numbers of one digit either may be off by a factor of two.
    normal, least = FLOATS[store].normal, 2 * FLOATS[store].u * FLOATS[store].normal
    small = p[infinite].max() <= 4 * min(float(p[~infinite].min()), normal)
    if small and (np.abs(np.exp(y) - p) <= p / 2 + 2 * least)[~infinite].all():
        yield Cause((Mistake("sum-overflow", node.name, "logarithm", {"store": store}),), Judgement("nonfinite"))


def _beyond(segment: Segment, infinite: npt.NDArray[np.bool_]) -> Iterator[Cause]:
    """A number that a node's sums, or its inputs, exceed in exactly those elements; the likeliest first."""
    finite, count, of = ~infinite, int(infinite.sum()), infinite.size
    if count == of or math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1) < -math.log(_CHANCE):
        return
    found = []
    for node, form, sums in sizes_of_sums(segment):
        if sums.shape == infinite.shape and (most := sums[finite].max()) < (least := sums[infinite].min()):
            ends = (-least, -most) if form == "below" else (most, least)
            facts = dict(zip(("most", "least"), map(float, ends), strict=True))
            found.append(Mistake("sum-overflow", node.name, f"{form} from", facts))
    order = {form: place for place, form in enumerate(_LIKELIEST)}
    for mistake in sorted(found, key=lambda each: order[each.form.removesuffix(" from")]):
        yield Cause((mistake,), Judgement("nonfinite"))


def _rootless(segment: Segment, infinite: npt.NDArray[np.bool_], precision: Precision) -> Iterator[Cause]:
    """A batch norm that makes no numbers of some channels, if all others are right, or right with another eps."""
    if infinite.all() or infinite.shape != segment.result.shape:
        return
    around = replace(segment, candidate=np.where(infinite, segment.result, np.asarray(segment.candidate)))
    for change in bn_root(segment):
        if fits(around, precision):
            yield Cause((change.of("bn-root"),), Judgement("nonfinite"))
        ((name, _),) = change.params.items()
        var = segment.params[name]
        zero = not var[[*change.facts["channels"]]].any()
        finite = replace(segment, params={**segment.params, name: np.where(var == 0, 1, var)}) if zero else segment
        for other in BUGS["bn-eps"].changes(segment):  # one that is left out is missed where a variance is zero
            beside = finite.changed(other)
            around = replace(beside, candidate=np.where(infinite, beside.result, np.asarray(segment.candidate)))
            if fits(around, precision):
                root = replace(change, form="zero") if zero else change
                yield Cause((root.of("bn-root"), other.of("bn-eps")), Judgement("nonfinite"))


def _unset(segment: Segment, infinite: npt.NDArray[np.bool_], precision: Precision) -> Iterator[Cause]:
    """A part of which no element is finite, if all around it is right."""
    candidate = np.asarray(segment.candidate)
    for part in regions(infinite):
        if part.form != "all" and infinite[part.mask].all() and part.mask.shape == segment.result.shape:
            around = np.where(part.mask, segment.result, np.where(infinite, 0, candidate))
            if fits(replace(segment, candidate=around), precision):
                mistake = Mistake("never-written", segment.end, f"{part.form} nan", part.facts)
                yield Cause((mistake,), Judgement("nonfinite"))
