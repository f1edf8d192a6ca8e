"""A short format that most wrong tensors are stored in: it explains the others, which by themselves do not show it.

A tensor of a few different numbers, or of whole numbers, is in steps of any kind; what fits it by chance is none of the
port's mistakes if the store of all others fits it as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.precision import stored_as
from refnet.judge.causes.cause import Cause
from refnet.judge.measures.yardstick import fits, judge_segment
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded

__all__ = ["is_stored", "of_common_store"]

_STORE, _SUMS = "fp16-storage", ("fp16-accumulate",)  # which leave the same numbers in float16
_MOST = 0.5  # of the wrong tensors, more of which must be stored so


def of_common_store(
    found: Mapping[str, list[Cause]], failing: Mapping[str, tuple[Segment, Precision]]
) -> dict[str, list[Cause]]:
    """The same with that store alone for each tensor that it explains.

    Parameters
    ----------
    found : by wrong tensor, its causes, the likeliest first
    failing : by wrong tensor, its segment and what is declared for it
    """
    kinds = Counter(causes[0].mistakes[0].form for causes in found.values() if causes and causes[0].ids == (_STORE,))
    form, count = (kinds.most_common(1) or [("", 0)])[0]
    if count <= _MOST * len(failing):
        return dict(found)
    made = dict(found)
    for name, (segment, precision) in failing.items():
        if (causes := found.get(name)) and causes[0].ids == (_STORE,) and causes[0].mistakes[0].form == form:
            also = _SUMS if form == "float16" else ()
            made[name] = [cause for cause in causes if cause.ids in ((_STORE,), also)]
            continue
        y, change = segment.candidate, stored_as(segment, form)
        changed = segment.changed(change)
        if y is not None and np.array_equal(rounded(y, change.facts["store"]), y) and fits(changed, precision):
            made[name] = [Cause((change.of(_STORE),), judge_segment(changed, precision))]
    return made


def is_stored(causes: Sequence[Cause]) -> bool:
    """Whether the first cause is such a store: then a tensor is no worse dumped than computed."""
    return bool(causes) and causes[0].ids == (_STORE,)
