"""By what a segment is judged: by its bound, or where that says nothing by refnet's own spread; never by neither.

Comparison and diagnosis use the same yardstick, so that a cause is held to what the verdict was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, limit, run
from refnet.judge.verdicts import Judgement, judge
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.bounds import Bound, Precision
from refnet.readings.orders import ORDERS, rounded, short_rules
from refnet.readings.precision import FLOATS

__all__ = ["judge_segment"]

Array = npt.NDArray[Any]

# Until when a segment is judged by its bound. Tuned: a bound is a proof, a spread a measurement, so the bound is kept
# for as long as it finds 97 of 100 of the mistakes that the spread finds. On the table in tests/judge/test_yardstick.py
# each figure is the largest power of two, or of ten, for which that is so.
_SHORT = 8  # nodes: segments with fewer are always judged by their bound
_WIDE = 1000.0  # times the finest rounding: a bound as wide says nothing
_PART = 0.1  # of the result: nor does one as wide as that, in short formats


def judge_segment(segment: Segment, precision: Precision, *, dumped: bool = True) -> Judgement:
    """The verdict on a segment's tensor.

    Parameters
    ----------
    dumped : whether a port wrote the tensors, and may have computed wider than it wrote; not so for refnet's own runs

    A bound grows with every node that it is carried through. Where it says nothing, the yardstick is how far honest
    runs of the segment in the declared precision lie apart, in several orders of summation, folded and not; a
    candidate may be as far beyond the outermost of them as that: twice the distance is allowed. Where refnet has no
    such runs (sums in short formats, integers), nothing vouches for the tensor: it is suspect.
    """
    assert segment.candidate is not None
    own, made = segment.precision or precision, limit(segment, precision)
    if _says(len(segment.graph), made, own):
        found = judge(segment.candidate, made)
        if found.holds or not dumped or segment.candidate.shape != made.y.shape:
            return found
        # A port may compute wider than it dumps: then its own inputs are known to half a unit only.
        wider = judge(segment.candidate, limit(segment, precision, rounded=True))
        return wider if wider.holds else found
    runs = list(_runs(segment, own))
    if not runs or made.y.shape != segment.candidate.shape:
        found = judge(segment.candidate, made)
        return found._replace(verdict="suspect" if found.holds else found.verdict, yardstick="none")
    return judge(segment.candidate, _apart(made.y, runs))._replace(yardstick="spread")


def _says(nodes: int, made: Bound, precision: Precision) -> bool:
    """Whether a bound is narrow enough to tell honest from wrong."""
    if not np.isfinite(made.rms):
        return False
    size = float(np.sqrt(np.mean(np.square(made.y))))
    finest = max(precision.u, precision.u_store) * size + precision.step
    return nodes < _SHORT or made.rms < min(_WIDE * finest, _PART * size)


def _runs(segment: Segment, precision: Precision) -> Iterator[Array]:
    """Honest runs in the declared precision; none where refnet cannot compute in it."""
    formats = ("float64", "float32", "float16", "bfloat16")
    store = next((name for name in formats if precision.u_store < 2.5 * FLOATS[name].u), "")
    if precision.step or precision.levels or precision.u > 2 * FLOATS["float32"].u or precision.u_factor or not store:
        return
    short = store in ("float16", "bfloat16")
    dtype = np.float64 if store == "float64" else np.float32
    folded_graph, folded = fold_batch_norm(segment.graph, segment.params)
    for graph, params in ((segment.graph, segment.params), (folded_graph, {**segment.params, **folded})):
        if short:
            params = {name: rounded(np.asarray(params[name], np.float32), store) for name in graph.params()}
        for rules in ORDERS.values():
            one = replace(segment, graph=graph, params=params)
            yield run(one, dtype, short_rules(rules, store) if short else rules).astype(np.float64)


def _apart(y: Array, runs: list[Array]) -> Bound:
    """The distances between runs, and to the exact result, as a bound without a worst case."""
    pairs = list(itertools.combinations([y, *runs], 2))
    apart = max(float(np.abs(one - other).max()) for one, other in pairs)
    rms = max(float(np.sqrt(np.mean(np.square(one - other)))) for one, other in pairs)
    return Bound(y, np.full_like(y, np.inf), np.full_like(y, 2 * apart), 2 * rms)
