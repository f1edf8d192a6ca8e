"""Tensors that are as a fast algorithm of convolution leaves them, which rounds more coarsely than plain sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from refnet.bugs.language.segments import Segment, limit
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.measures.yardstick import is_refuted, says, useful_limit
from refnet.judge.verdicts import judge
from refnet.ops import CONVOLUTIONS
from refnet.readings.bounds import Precision
from refnet.readings.bounds.algorithms import ALGORITHMS

__all__ = ["alike", "by_fast_algorithms", "fast_algorithms"]

_SAME = 3  # tensors that one fast algorithm explains, so that no bug is looked for in them


def by_fast_algorithms(
    failing: Mapping[str, tuple[Segment, Precision]], budget: SearchBudget
) -> dict[str, tuple[str, ...]]:
    """By the names of wrong tensors, the fast algorithms that explain each: of several, as far as time goes."""
    names: dict[str, tuple[str, ...]] = {}
    for name, each in failing.items() if len(failing) >= _SAME else ():
        if budget.over:
            break
        names[name] = fast_algorithms(*each)
    return names


def alike(names: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The tensors that are wrong as a fast algorithm would leave them, where that is so of several."""
    counts = Counter(algorithm for found in names.values() for algorithm in found)
    return {name for name, found in names.items() if any(counts[algorithm] >= _SAME for algorithm in found)}


def fast_algorithms(segment: Segment, precision: Precision) -> tuple[str, ...]:
    """The algorithms of convolution within whose rounding a tensor lies that plain sums do not explain.

    They stand as in `ALGORITHMS`, by how much of the map reaches an element: a tile, a larger one, all. A port of one
    that reaches farther is off where nothing near is large, which a smaller tile refutes; so the first is the closest.
    """
    assert segment.candidate is not None
    if precision.algorithm or not any(segment.nodes(*CONVOLUTIONS)):
        return ()
    open_ = [name for name in ALGORITHMS if _is_open(segment, precision._replace(algorithm=name))]
    if not open_:
        return ()
    plain, found = useful_limit(segment, precision), []
    if judge(segment.candidate, plain).holds or not says(len(segment.graph), plain, precision):
        return ()  # within such a bound lies anything
    for name in open_:
        own = precision._replace(algorithm=name)
        made = limit(segment, own)
        told = says(len(segment.graph), made, own) and not np.array_equal(made.worst, plain.worst)
        if told and judge(segment.candidate, made).holds:
            found.append(name)
    return tuple(found)


def _is_open(segment: Segment, precision: Precision) -> bool:
    """Whether an algorithm may explain a tensor: by its first channels, but of one that adds up those of several."""
    if precision.algorithm == "strassen":
        return any(segment.nodes("pointwise_conv2d"))
    return not is_refuted(segment, precision)
