"""Integers that a layer's bound has room for, and that one mistake explains to within half a step.

Where a runtime stores what an activation reads, half a step of that joins the bound, and a curve near the right one
lies within it; where it keeps more than it dumps, half a step of each input does, and integers that are cut off do. A
port that stores nothing between, and reads what it dumped, lies within half a step of what it computes: if with another
curve it does, or with another rounding of most of its integers, that is what the port has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.language.segments import Segment, limit_of
from refnet.graph import Graph
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.feature import Feature
from refnet.judge.measures.yardstick import fits, judge_segment
from refnet.ops import ACTIVATIONS
from refnet.readings.precision import BYTE_STEPS, Precision

__all__ = ["inner_stores", "stored_otherwise"]

_SEVERAL = 3  # tensors whose integers are rounded alike: one or two may be so by chance
_FEW = 256  # numbers, of which several causes explain fewer by chance
_CALIBRATED = 1.25  # times the range of one input: what a port is calibrated on has more
_LOOKED = 3  # segments in which no curve fits, after which no more are looked at
_CURVES = ("activations", "curves")


def stored_otherwise(
    segments: Mapping[str, Segment], manners: Mapping[str, tuple[str, ...]], precision: Callable[[str], Precision]
) -> Iterator[tuple[str, Precision]]:
    """The tensors that one mistake explains to within half a step, and the precision that says so.

    Parameters
    ----------
    segments : of tensors that are right within the bound that has room for more
    manners : how each tensor's integers may be rounded, where that is not to the nearest
    precision : of a tensor
    """
    counts = Counter(manner for name in segments for manner in manners.get(name, ()))
    several = {manner for manner, count in counts.items() if count >= _SEVERAL}
    cut = [name for name in segments if several & {*manners.get(name, ())}]
    yield from ((name, precision(name)._replace(fused=True)) for name in cut)
    yield from _other_curves({name: each for name, each in segments.items() if name not in cut}, precision)


def _other_curves(
    segments: Mapping[str, Segment], precision: Callable[[str], Precision]
) -> Iterator[tuple[str, Precision]]:
    """Those of an activation that has another curve."""
    bugs, left = [bug for bug in BUGS.values() if bug.group in _CURVES], _LOOKED
    for name, segment in segments.items():
        own = precision(name)._replace(fused=True)
        if (
            not own.step
            or segment.graph.nodes[-1].op not in ACTIVATIONS
            or len(segment.graph) < 2
            or fits(segment, own)
        ):
            continue
        fitting = next((bug for bug in bugs if _fits(bug, segment, own)), None)
        if fitting is not None:
            bugs, left = [fitting], len(segments)  # a port has one curve in the place of another
            yield name, own
        left -= fitting is None
        if not left:
            return


def _fits(bug: Bug, segment: Segment, own: Precision) -> bool:
    return any(fits(segment.changed(change), own) for change in bug.changes(segment))


def inner_stores(
    failing: Mapping[str, tuple[Segment, Precision]], causes: Mapping[str, list[Cause]]
) -> dict[str, tuple[Feature, ...]]:
    """The tensors of integers that a store of 8 bits of what their last node reads has room for, and nothing explains.

    Its steps are unknown: they are taken for those of 8 bits over the range of what is stored. What explains small
    errors of any kind is no better than such a store, nor is what explains a few numbers at one place.
    """
    counts = Counter(ids for each in causes.values() for ids in {cause.ids for cause in each})
    found: dict[str, tuple[Feature, ...]] = {}
    for name, (segment, precision) in failing.items():
        kept = [cause for cause in causes.get(name, []) if not _is_small(cause)]
        few = segment.result.size < _FEW and all(counts[cause.ids] < _SEVERAL for cause in kept)
        if precision.step and (few or not kept) and (node := _stored_inside(segment, precision)):
            found[name] = (Feature("inner-store", {"node": node}),)
    return found


def _is_small(cause: Cause) -> bool:
    """Whether a cause explains small errors of any kind."""
    return all(BUGS[bug].group == "precision" for bug in cause.ids)


def _stored_inside(segment: Segment, precision: Precision) -> str:
    """The tensor inside a segment whose store has room for the error; '' where none is there, or it has not."""
    last = segment.graph.nodes[-1]
    inside = [name for name in last.inputs if name not in segment.given]
    if len(inside) != 1 or segment.view is not None or segment.candidate is None:
        return ""
    ((name, y),) = segment.values({inside[0]})
    step = _CALIBRATED * (max(float(y.max()), 0.0) - min(float(y.min()), 0.0)) / BYTE_STEPS
    slack = {**segment.slack, name: np.broadcast_to(step / 2, y.shape) + limit_of(segment, name)}
    given = {each: array for each, array in segment.given.items() if each in last.inputs} | {name: y}
    alone = replace(segment, graph=Graph(segment.graph.recipe, (last,)), given=given, slack=slack)
    return name if judge_segment(alone, precision).holds else ""
