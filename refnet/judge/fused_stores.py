"""Integers that a layer's bound has room for, and that one mistake explains to within half a step.

Where a runtime stores what an activation reads, half a step of that joins the bound, and a curve near the right one
lies within it; where it keeps more than it dumps, half a step of each input does, and integers that are cut off do. A
port that stores nothing between, and reads what it dumped, lies within half a step of what it computes: if with another
curve it does, or with another rounding of most of its integers, that is what the port has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.segments import Segment
from refnet.judge.yardstick import fits
from refnet.ops import ACTIVATIONS
from refnet.readings.precision import Precision

__all__ = ["stored_otherwise"]

_SEVERAL = 3  # tensors whose integers are rounded alike: one or two may be so by chance
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
