"""Why a tensor is not finite though its inputs are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from refnet.bugs.changes import Mistake
from refnet.bugs.overflow import overflows
from refnet.bugs.regions import regions
from refnet.bugs.segments import Segment
from refnet.judge.diagnose import Cause
from refnet.judge.verdicts import Judgement
from refnet.judge.yardstick import fits
from refnet.readings.bounds import Precision

__all__ = ["overflown"]


def overflown(segment: Segment, precision: Precision) -> list[Cause]:
    """What explains the elements of a tensor that are not finite though its inputs are.

    Sums, of the shortest format; else a part that is never written.
    """
    assert segment.candidate is not None
    infinite = ~np.isfinite(segment.candidate)
    for store in ("float16", "float32"):
        those = (
            each.change
            for each in overflows(segment, store)
            if (each.surely <= infinite).all() and (infinite <= each.perhaps).all()
        )
        first = {change.node: change for change in reversed([*those])}  # by each node in the likeliest way
        if found := [Cause((change.of("sum-overflow"),), Judgement("nonfinite")) for change in first.values()]:
            return found[::-1]
    return list(_unset(segment, infinite, precision))[:1]


def _unset(segment: Segment, infinite: npt.NDArray[np.bool_], precision: Precision) -> Iterator[Cause]:
    """A part that is not finite at all, if what lies around it is right."""
    candidate = np.asarray(segment.candidate)
    for part in regions(infinite):
        if part.form != "all" and infinite[part.mask].all() and part.mask.shape == segment.result.shape:
            around = np.where(part.mask, segment.result, np.where(infinite, 0, candidate))
            if fits(replace(segment, candidate=around), precision):
                mistake = Mistake("never-written", segment.end, f"{part.form} nan", part.facts)
                yield Cause((mistake,), Judgement("nonfinite"))
