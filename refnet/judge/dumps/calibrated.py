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
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["without_calibrated"]

Array = npt.NDArray[Any]

_TOLD = ("map", "name", "structure")  # how a tensor found its node that is said to be it
_SAME = 64  # roundings by which a factor is not one, of logits that were summed in another order
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


def _are_alike(y: Array, z: Array) -> bool:
    """Whether two tensors are of one shape, of real numbers, and finite."""
    real = str(y.dtype) in FLOATS and str(z.dtype) in FLOATS and y.shape == z.shape
    return real and bool(np.isfinite(y).all() and np.isfinite(z).all())


def _unit(y: Array) -> float:
    """By how much a tensor's numbers are rounded: at least as those of float32 are, in which they were computed."""
    return max(FLOATS[str(y.dtype)].u, FLOATS["float32"].u)


def _is_multiple(y: Array, z: Array) -> bool:
    """Whether some numbers are others times one number, which is not 1: but for a few roundings of each."""
    if not _are_alike(y, z):
        return False
    u = max(_unit(y), _unit(z))
    y, z = y.astype(np.float64), z.astype(np.float64)
    square = float((z * z).sum())
    factor = float((z * y).sum()) / square if square else 1.0
    off = np.abs(y - factor * z)
    return factor > 0 and abs(factor - 1) > _SAME * u and bool((off <= _ROUNDINGS * u * np.abs(y)).all())


def _is_softmax(p: Array, z: Array) -> bool:
    """Whether probabilities are those of some logits: by the roundings of exponentials, of their sum, and of both."""
    if not _are_alike(p, z):
        return False
    u, stored, held = FLOATS["float32"].u, _unit(p), _unit(z)
    z, p = z.astype(np.float64), p.astype(np.float64)
    most, q = z.max(axis=1, keepdims=True), fast.softmax(z)
    off = _ROUNDINGS * stored + u * (np.abs(z - most) + z.shape[1]) + held * (np.abs(z) + np.abs(most))
    return bool((np.abs(p - q) <= off * q + stored * FLOATS["float32"].normal).all())
