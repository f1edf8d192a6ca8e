"""Probabilities: how far from one they may add up, whether they tell anything, and how they are looked at as logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.readings.carried import LAMBDA
from refnet.readings.orders import rounded
from refnet.readings.precision import FLOATS

__all__ = ["apart_from_one", "are_saturated", "as_it_is", "is_saturated", "lens", "levelled"]

Array = npt.NDArray[Any]

_ALIKE = 4  # classes that are off by one number by no chance
_LEAST = FLOATS["float32"].normal  # of a smaller number float32 does not keep all digits, so its logarithm says little


def apart_from_one(p: Array) -> float:
    """How far from one the probabilities of an image may add up, (N, classes), by the format that holds them.

    A softmax is p = e / s with s the sum of all e: whatever is wrong with an e is wrong with s too. What is left are
    the roundings of that sum, by the expected bound, and of the division, in float32, and of the store.
    """
    u, count = FLOATS["float32"].u, int(p.shape[1])
    store = next((name for name in ("bfloat16", "float16") if np.array_equal(rounded(p, name), p)), "float32")
    return FLOATS[store].u + u * (1 + min(LAMBDA * math.sqrt(count), count))


def are_saturated(p: Array) -> bool:
    """Whether the probabilities of every image, (N, classes), are zeros and a one, as far as float32 tells."""
    if p.ndim != 2 or p.min(initial=1.0) < 0:
        return False
    slack = apart_from_one(p)
    if p.max(initial=0.0) > 1 + slack:
        return False
    return int(np.count_nonzero((p > _LEAST) & (p < 1 - slack))) < len(p)


def is_saturated(segment: Segment) -> bool:
    """Whether a port's probabilities are zeros and ones, which mistakes of any kind may make."""
    y = segment.candidate
    return y is not None and segment.graph.nodes[-1].op == "softmax" and are_saturated(y)


def lens(segment: Segment) -> Callable[[Array], Array]:
    """How the result of a long segment is looked at: probabilities as logits, up to a constant; all else as it is.

    In probabilities nearly all of an error lies in the likeliest classes; undone, the softmax shows it in each. Their
    logarithms are logits up to a constant as they are.
    """
    if segment.centred:
        return _centred
    y, last = segment.candidate, segment.whole.by_name.get(segment.end)
    if y is None or last is None or last.op != "softmax" or y.ndim != 2 or not y.min(initial=1.0) > _LEAST:
        return as_it_is
    off = np.abs(y.sum(axis=1, dtype=np.float64) - 1)
    return _logits if bool((off <= apart_from_one(y)).all()) else as_it_is


def levelled(segment: Segment, target: Array) -> tuple[Array, Array]:
    """A port's tensor and the segment's result; of probabilities as logits, on the level on which most classes agree.

    A softmax hides a number for each image, and a mean would spread what is off in some classes over all of them.
    """
    seen, y = lens(segment), segment.result
    if seen is as_it_is or y.ndim != 2 or y.shape[1] <= _ALIKE:
        return target, y
    target, y = seen(target.astype(np.float64)), seen(y)
    off = np.sort(target - y, axis=1)
    spans = off[:, _ALIKE:] - off[:, :-_ALIKE]
    first = spans.argmin(axis=1)[:, None]
    level = np.take_along_axis(off, first + _ALIKE // 2, axis=1)
    return target - level, y


def as_it_is(y: Array) -> Array:
    """A result that is looked at as it is."""
    return y


def _centred(z: Array) -> Array:
    made: Array = z - z.mean(axis=1, keepdims=True)
    return made


def _logits(p: Array) -> Array:
    """What a softmax made these probabilities of, less its mean."""
    return _centred(np.log(np.maximum(p.astype(np.float64), _LEAST)))
