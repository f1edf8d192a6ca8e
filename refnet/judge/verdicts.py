"""One candidate tensor against one bound: exact, rounding, suspect or wrong."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.readings.bounds import Bound
from refnet.readings.bounds.pieces import BoundPiece, like

__all__ = ["FAILING", "Judgement", "failing_verdicts", "is_exact", "is_left_off", "judge", "root_mean_square"]

Array = npt.NDArray[Any]

FAILING = ("suspect", "wrong", "shape", "nonfinite", "missing")


class Judgement(NamedTuple):
    """A verdict and the figures behind it.

    Attributes
    ----------
    verdict : 'exact' (the float64 result rounded to the candidate's dtype), 'rounding' (within the expected bound, rms
        ratio at most 1), 'suspect' (beyond either, within the worst case), 'wrong' (beyond the worst case), 'shape',
        'nonfinite'
    worst, expected : the largest error of an element, in units of its bound
    rms : rms of the errors in units of the rms that rounding explains
    error : the largest absolute error
    yardstick : 'bound', or 'spread' where the segment is so long that its bound says nothing: then the largest
        distance between refnet's own runs of it in other orders of summation
    """

    verdict: str
    worst: float = 0.0
    expected: float = 0.0
    rms: float = 0.0
    error: float = 0.0
    yardstick: str = "bound"

    @property
    def holds(self) -> bool:
        """Whether rounding explains the tensor."""
        return self.verdict not in FAILING


def failing_verdicts(*, partial: bool) -> set[str]:
    """The verdicts with which a candidate fails; one that may be partial may lack tensors."""
    return {*FAILING} - ({"missing"} if partial else set())


def is_left_off(graph: Graph, name: str, known: Collection[str]) -> bool:
    """Whether a port ends before a softmax that makes the probabilities of what it has.

    Parameters
    ----------
    name : of a node
    known : the nodes of which the port has tensors
    """
    if name in known or name not in graph.outputs or graph[name].op != "softmax":
        return False
    (before,) = graph[name].inputs
    while before in graph and before not in known and graph[before].op == "flatten":
        (before,) = graph[before].inputs
    return before in known


def judge(candidate: npt.NDArray[Any], bound: Bound) -> Judgement:
    """Give a tensor its verdict.

    Parameters
    ----------
    candidate : of any float dtype
    bound : of the segment that made it, on its own inputs
    """
    if candidate.shape != bound.shape:
        return Judgement("shape")
    squares = like(bound.edge.y, bound.shape, np.float64)
    seen = []
    if bound.is_one:
        seen.append(_seen(candidate, bound.edge, squares))
        variance = bound.edge.variance
    else:
        variance = like(bound.edge.variance, bound.shape)
        for where, part in bound:
            seen.append(_seen(candidate[where], part, squares[where]))
            variance[where] = part.variance
    worst, expected, largest = (float(np.max(each)) for each in zip(*(each[:3] for each in seen), strict=True))
    size = float(np.sqrt(np.mean(squares)))
    if not np.isfinite(size) and not np.isfinite(candidate).all():
        return Judgement("nonfinite")
    explained = bound.rms if bound.is_measured else bound.measured(variance)
    rms = size / explained if explained > 0 else (np.inf if size else 0.0)
    if all(each.exact for each in seen):
        verdict = "exact"
    elif worst > 1:
        verdict = "wrong"
    else:
        verdict = "rounding" if expected <= 1 and rms <= 1 else "suspect"
    return Judgement(verdict, worst, expected, rms, largest)


class _Seen(NamedTuple):
    """What a part of a tensor says: the largest errors, in units of their bounds too, and whether it is exact."""

    worst: float
    expected: float
    error: float
    exact: bool


def _seen(candidate: Array, part: BoundPiece, squares: Array) -> _Seen:
    """Look at a part of a tensor, and write down the squares of its errors.

    The errors lie in memory as the exact result does, and so do its bounds: of arrays that lie otherwise each step
    would take twice as long, or eight times.
    """
    error = np.empty_like(part.y, dtype=np.float64)
    np.copyto(error, candidate)
    error -= part.y
    with np.errstate(over="ignore"):
        np.square(error, out=squares)
    np.abs(error, out=error)
    largest = float(error.max(initial=0.0))
    limits = part.limits if part.limits[0] is not part.limits[1] else part.limits[:1]
    ratios = [_ratio(error, limit, finite=bool(np.isfinite(largest))) for limit in limits]
    return _Seen(ratios[0], ratios[-1], largest, is_exact(candidate, part.y))


def is_exact(candidate: Array, y: Array) -> bool:
    """Whether a part of a tensor is the exact result, rounded: of one that is not its last column says so soonest."""
    last = (..., slice(-1, None))
    with np.errstate(over="ignore"):
        return all(np.array_equal(candidate[some], y[some].astype(candidate.dtype)) for some in (last, ...))


def root_mean_square(y: npt.NDArray[Any]) -> float:
    """The size of a tensor, or of an error: the root of the mean of its squares, summed in float64."""
    flat = y.astype(np.float64, copy=False).ravel(order="K")
    return float(np.sqrt(np.dot(flat, flat) / flat.size))


def _ratio(error: npt.NDArray[np.float64], limit: npt.NDArray[np.float64], *, finite: bool) -> float:
    """The largest error in units of its limit; an error where none is allowed is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = error / limit
        if finite:  # then only no error where none is allowed is no number
            return float(np.fmax.reduce(ratio, axis=None, initial=0.0))
    return float(np.where(error == 0, 0.0, ratio).max(initial=0.0))
