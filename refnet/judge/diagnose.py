"""Why is this segment wrong? Replay what ports get wrong on the candidate's own inputs, and see what fits.

A cause is accepted only when the residual falls inside the bound of the segment run that way: never because it is
merely closer. All that fit are listed. Where nothing fits, what can be seen in the error is said instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import HYPOTHESES, Hypothesis
from refnet.bugs.ends import SHORT_STORE
from refnet.bugs.segments import Segment, Variation, limit, run
from refnet.judge.verdicts import Judgement
from refnet.judge.yardstick import judged
from refnet.readings.bounds import Precision

__all__ = ["Cause", "describe", "diagnose", "misshapen"]

Array = npt.NDArray[Any]

_CLOSER = 0.9  # a bug that explains part of an error leaves less of it; only such are tried in pairs
_PAIRED = 10  # how many of them


class Cause(NamedTuple):
    """A way of running a segment that gives the candidate's tensor.

    Attributes
    ----------
    ids : one hypothesis, or two for a pair
    node : where
    detail : in words, to follow 'it equals the reference when'
    links : where ports did it
    judgement : of the candidate against that way of running it
    """

    ids: tuple[str, ...]
    node: str
    detail: str
    links: tuple[str, ...]
    judgement: Judgement


class _Tried(NamedTuple):
    hypothesis: Hypothesis
    variation: Variation
    residual: float


def diagnose(segment: Segment, precision: Precision) -> list[Cause]:
    """Every cause that fits: single ones; or where there is none those of precision, or pairs.

    Parameters
    ----------
    segment : with the candidate's tensor
    precision : that the candidate declares

    Returns
    -------
    causes : smallest residual first; more than one are ties that this input cannot tell apart
    """
    exact = [h for h in HYPOTHESES.values() if not h.precision]
    tried = list(_tried(segment, exact))
    found = list(_fitting(tried, segment, precision))
    if not found:
        loose = list(_tried(segment, [h for h in HYPOTHESES.values() if h.precision]))
        # What only widens the bound fits errors of any kind: it is asked last, and for more evidence.
        widened = [each for each in loose if each.hypothesis.id == "fp16-accumulate"]
        found = list(_fitting([each for each in loose if each not in widened], segment, precision))
        if any(cause.detail == SHORT_STORE for cause in found):
            # Float16 values are what sums in float16 leave too, and a wider bound cannot tell: a tie, named last.
            return [*sorted(found, key=_rank), *_fitting(widened, segment, precision)]
        found = (
            found
            or list(_pairs(tried, segment, precision, exact))
            or (list(_fitting(widened, segment, precision)) if _everywhere(segment, precision) else [])
        )
    return sorted(found, key=_rank)


def _rank(cause: Cause) -> tuple[int, float]:
    return len(cause.ids), cause.judgement.rms


def misshapen(segment: Segment, precision: Precision) -> list[Cause]:
    """Every cause of another shape than the reference's; one that can be replayed must give the values too."""
    assert segment.candidate is not None
    found = []
    for hypothesis in HYPOTHESES.values():
        for variation in hypothesis.vary(replace(segment, candidate=None)):
            if variation.shape != segment.candidate.shape:
                continue
            judgement = judged(replace(variation.segment, candidate=segment.candidate), precision)
            if judgement.holds or judgement.verdict == "shape":
                links = (hypothesis.link,) if hypothesis.link else ()
                found.append(Cause((hypothesis.id,), variation.node, variation.detail, links, judgement))
    return found


def _size(error: Array) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _target(segment: Segment) -> Array:
    assert segment.candidate is not None
    return segment.candidate.astype(np.float64)


def _tried(segment: Segment, hypotheses: list[Hypothesis]) -> Iterator[_Tried]:
    """Every variation that runs and comes closer to the candidate than the reference does."""
    target = _target(segment)
    before = _size(target - run(segment))
    for hypothesis in hypotheses:
        for variation in hypothesis.vary(segment):
            if variation.shape is not None:
                continue
            try:
                with np.errstate(all="ignore"):
                    y = run(variation.segment)
            except (ValueError, IndexError):  # two bugs at once may leave shapes that nothing runs on
                continue
            if y.shape == target.shape and np.isfinite(y).all():
                residual = _size(target - y)
                if residual < _CLOSER * before or variation.segment.precision is not None:
                    yield _Tried(hypothesis, variation, residual)


def _fitting(tried: list[_Tried], segment: Segment, precision: Precision) -> Iterator[Cause]:
    for hypothesis, variation, _ in tried:
        judgement = judged(replace(variation.segment, candidate=segment.candidate), precision)
        if judgement.holds:
            links = (hypothesis.link,) if hypothesis.link else ()
            yield Cause((hypothesis.id,), variation.node, variation.detail, links, judgement)


def _pairs(
    tried: list[_Tried], segment: Segment, precision: Precision, hypotheses: list[Hypothesis]
) -> Iterator[Cause]:
    """Two bugs in one segment: on top of each that comes closer, every other."""
    seen: set[frozenset[str]] = set()
    for first in sorted(tried, key=lambda each: each.residual)[:_PAIRED]:
        closer = list(_tried(first.variation.segment, hypotheses))
        for cause in _fitting(closer, segment, precision):
            words = frozenset((first.variation.detail, cause.detail))
            if words in seen or len(words) == 1:
                continue
            seen.add(words)
            own = (first.hypothesis.link,) if first.hypothesis.link else ()
            yield Cause(
                (first.hypothesis.id, *cause.ids),
                first.variation.node if first.variation.node == cause.node else f"{first.variation.node}, {cause.node}",
                f"{first.variation.detail}, and {cause.detail}",
                (*own, *cause.links),
                cause.judgement,
            )


def _everywhere(segment: Segment, precision: Precision) -> bool:
    """Whether an error has the look of coarse sums: beyond float32's expectation in most elements, and of no form."""
    made = limit(segment, precision)
    error = np.abs(_target(segment) - made.y)
    return float(np.mean(error > made.expected)) > 0.25 and not describe(segment, precision)


def describe(segment: Segment, precision: Precision) -> str:
    """What can be seen in an error that no hypothesis explains, in words; '' where nothing stands out."""
    target, made = _target(segment), limit(segment, precision)
    y, before = made.y, _size(_target(segment) - made.y)
    if y.shape != target.shape or not before:
        return ""
    beyond = np.abs(target - y) > made.expected
    facts = [_cut_off(beyond, target, y), _channels(beyond), _border(beyond), _ratio(target, y, before)]
    facts += [_affine(target, y, before), _shift(target, y, before), _permuted(target, y, before)]
    return "; ".join(fact for fact in facts if fact)


def _cut_off(beyond: Array, target: Array, y: Array) -> str:
    """All that is off lies beyond the largest or smallest value that the port has: a scale that does not reach."""
    least, most = target.min(), target.max()
    over, under = beyond & (y > most) & (target == most), beyond & (y < least) & (target == least)
    if not beyond.any() or not np.array_equal(beyond, over | under):
        return ""
    ends = {f"above {most:.6g}": over, f"below {least:.6g}": under}
    return f"what the reference has {' or '.join(end for end, there in ends.items() if there.any())} is cut off"


def _channels(beyond: Array) -> str:
    if beyond.ndim < 2 or beyond.shape[1] < 2:
        return ""
    channels = np.flatnonzero(beyond.any(axis=tuple(axis for axis in range(beyond.ndim) if axis != 1)))
    if 0 < len(channels) <= min(3, beyond.shape[1] - 1):
        return f"only channel {', '.join(map(str, channels))} of {beyond.shape[1]} is off"
    return ""


def _border(beyond: Array) -> str:
    if beyond.ndim != 4 or min(beyond.shape[2:]) < 5:
        return ""
    if beyond.any() and not beyond[:, :, 2:-2, 2:-2].any():
        sides = {
            "top": beyond[:, :, :2],
            "bottom": beyond[:, :, -2:],
            "left": beyond[..., :2],
            "right": beyond[..., -2:],
        }
        return f"only the border is off: {', '.join(side for side, part in sides.items() if part.any())}"
    return ""


def _ratio(target: Array, y: Array, before: float) -> str:
    factor = float((target * y).sum() / max(float((y * y).sum()), 1e-300))
    if _size(target - factor * y) < 1e-3 * before:
        return f"it is {factor:.7g} times the reference throughout"
    return ""


def _affine(target: Array, y: Array, before: float) -> str:
    """One slope and one offset a channel."""
    if y.ndim != 4 or y.shape[2] * y.shape[3] * y.shape[0] < 8:
        return ""
    axes = (0, 2, 3)
    centred = y - y.mean(axis=axes, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=axes, keepdims=True), 1e-300)
    slope = (target * centred).sum(axis=axes, keepdims=True) / spread
    offset = target.mean(axis=axes, keepdims=True) - slope * y.mean(axis=axes, keepdims=True)
    if _size(target - slope * y - offset) < 1e-3 * before:
        return "every channel is a slope and an offset away (batch norm, a bias, or weights scaled by channel)"
    return ""


def _shift(target: Array, y: Array, before: float) -> str:
    if y.ndim != 4 or min(y.shape[2:]) < 7:
        return ""
    inner = (..., slice(2, -2), slice(2, -2))
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            moved = np.roll(y, (dy, dx), axis=(2, 3))[inner]
            if (dy, dx) != (0, 0) and _size(target[inner] - moved) < 1e-3 * before:
                return f"it is the reference shifted by {(dy, dx)} pixels"
    return ""


def _permuted(target: Array, y: Array, before: float) -> str:
    if (
        y.size > 1
        and before > 1e-3 * _size(y)
        and _size(np.sort(target, axis=None) - np.sort(y, axis=None)) < 1e-5 * _size(y)
    ):
        return "it holds the reference's values in another order"
    return ""
