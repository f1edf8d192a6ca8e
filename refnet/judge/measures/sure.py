"""What a float32 tensor is, said in half of the time where that is beyond doubt; figures are left to `verdicts`.

Its error is taken in float64. The bound, which only has to be wide enough, is made in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.judge.verdicts import is_exact
from refnet.ops import CONVOLUTIONS, OPS
from refnet.readings import bounds, fast
from refnet.readings.bounds.pieces import BoundPiece, Where, pieces
from refnet.readings.carried import Sum, Value, is_nothing, nothing, stored
from refnet.readings.precision import Precision

__all__ = ["sure_verdict"]

Array = npt.NDArray[Any]

_FLOAT32 = Precision.of("float32")
# Of a bound that is made in float32. It is made of sums of positive terms: those of ten thousand terms are off by 6e-4,
# and the squares of results, which are in the rms, by a hundred times as much at the very most.
_WELL = 0.9


def sure_verdict(graph: Graph, params: Mapping[str, Array], given: Mapping[str, Array], y: Array) -> str:
    """'exact' or 'rounding' where a segment's tensor is well within its bound; '' where that is not certain.

    Parameters
    ----------
    graph, params, given : of a short segment, as of `readings.bounds.bound`
    y : the tensor that it made, in float32 from inputs in float32
    """
    if any(each.dtype != np.float32 for each in (y, *given.values())):
        return ""
    narrow = {name: np.asarray(params[name], np.float32) for name in graph.params()}
    wide = {name: np.asarray(params[name], np.float64) for name in graph.params()}
    parts: Sequence[Where | None] = pieces(y.shape) if bounds.by_element(graph, given) == y.shape else [None]
    squares = variance = 0.0
    exact = True
    for where in parts:
        some, seen = given, y
        if where is not None:
            some, seen = {name: x[bounds.within(x, where)] for name, x in given.items()}, y[where]
        result, value = _made(graph, narrow, wide, some)
        if result.shape != seen.shape:
            return ""
        exact = exact and is_exact(seen, result)
        result -= seen
        error = np.abs(result, dtype=np.float32, casting="same_kind")
        bound = BoundPiece(value, _FLOAT32.span)
        if not (error <= _WELL * bound.limits[1]).all():
            return ""
        flat = error.ravel(order="K")
        squares += float(np.dot(flat, flat))
        variance += float(bound.variance.sum(dtype=np.float64))
    if not math.sqrt(squares) <= _WELL * math.sqrt(variance):
        return ""
    return "exact" if exact else "rounding"


def _made(
    graph: Graph, narrow: Mapping[str, Array], wide: Mapping[str, Array], given: Mapping[str, Array]
) -> tuple[Array, Value]:
    """The exact result, and how far it may move; of a convolution without the squares of terms, which only widen that.

    Parameters
    ----------
    narrow, wide : the params in float32 and in float64
    """
    exact = {name: x.astype(np.float64) for name, x in given.items()}
    values = {name: bounds.source(x, _FLOAT32) for name, x in given.items()}
    for node in graph.nodes:
        slots = [f"{node.name}.{slot}" if slot in node.params else "" for slot in OPS[node.op].params]
        run, own = getattr(fast, node.op), [narrow[name] if name else None for name in slots]
        weights = [wide[name] if name else None for name in slots]
        exact[node.name] = y = run(*(exact[name] for name in node.inputs), *weights, **node.attrs)
        inputs = [values[name] for name in node.inputs]
        if node.op in CONVOLUTIONS and is_nothing(inputs[0].total[0]):
            A = run(np.abs(inputs[0].y), *(None if w is None else np.abs(w) for w in own), **node.attrs)
            zero, K = nothing(A), math.prod(node.params["w"][1:]) + ("b" in node.params)
            values[node.name] = stored(y.astype(np.float32), Sum(K, A, zero), zero, zero, zero, _FLOAT32)
        else:
            values[node.name] = getattr(bounds, node.op)(*inputs, *own, **node.attrs)
    return exact[graph.output], values[graph.output]
