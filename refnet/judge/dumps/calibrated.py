"""Logits that were multiplied by one number, and the softmax of these: probabilities that are calibrated.

They are made beside the network where the candidate has the logits as they are too, and say nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.judge.dumps.ends import PROBABILITIES, logits_of
from refnet.pack.matching.extras import Extra
from refnet.pack.matching.match import Assignment
from refnet.readings.precision import FLOATS

__all__ = ["without_calibrated"]

Array = npt.NDArray[Any]

_U = FLOATS["float32"].u
_TOLD = ("map", "name", "structure")  # how a tensor found its node that is said to be it
_SAME = 64 * _U  # a factor that is one but for what other orders of summation make of logits
_ROUNDINGS = 8  # of an exponential, of what it is taken of, and of a quotient


def without_calibrated(graph: Graph, matching: Assignment, candidate: Mapping[str, Array]) -> Assignment:
    """The same, in which logits times one number, and their softmax, are beside the logits that are there too.

    Parameters
    ----------
    candidate : by its own names
    """
    ends = logits_of(graph) or {graph.output}
    node = next((name for name in graph.by_name if name in ends and name in matching.tensors), None)
    if node is None:
        return matching
    z = _rows(matching.tensors[node].array)
    made = {source: y for source in matching.unmatched if _is_multiple(y := _rows(candidate[source]), z)}
    beside = [Extra(source, "scaled", node) for source in made]
    soft = matching.tensors.get(PROBABILITIES)
    tensors = dict(matching.tensors)
    if soft is not None and soft.how not in _TOLD and any(_is_softmax(_rows(soft.array), y) for y in made.values()):
        del tensors[PROBABILITIES]
        beside.append(Extra(soft.source, "scaled-softmax", node))
    left = [source for source in matching.unmatched if source not in made]
    return matching._replace(tensors=tensors, unmatched=left, extras=(*matching.extras, *beside))


def _rows(y: Array) -> Array:
    y = np.asarray(y)
    return y.reshape(len(y), -1) if y.ndim and y.size else y


def _is_multiple(y: Array, z: Array) -> bool:
    """Whether some numbers are others times one number, which is not 1: but for a rounding of each."""
    if y.dtype.kind != "f" or y.shape != z.shape or not (np.isfinite(y).all() and np.isfinite(z).all()):
        return False
    y, z = y.astype(np.float64), z.astype(np.float64)
    square = float((z * z).sum())
    factor = float((z * y).sum()) / square if square else 1.0
    off = np.abs(y - factor * z)
    return factor > 0 and abs(factor - 1) > _SAME and bool((off <= _ROUNDINGS * _U * np.abs(y)).all())


def _is_softmax(p: Array, z: Array) -> bool:
    """Whether probabilities are those of some logits, in float32: by the roundings of an exponential and of the sum."""
    if p.shape != z.shape or p.dtype.kind != "f":
        return False
    z, p = z.astype(np.float64), p.astype(np.float64)
    below = z - z.max(axis=1, keepdims=True)
    q = np.exp(below)
    q /= q.sum(axis=1, keepdims=True)
    off = _U * (_ROUNDINGS + np.abs(below) + z.shape[1])
    return bool((np.abs(p - q) <= off * q + FLOATS["float32"].normal).all())
