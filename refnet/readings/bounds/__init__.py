"""How far rounding alone can move each element of a tensor.

A reading like `fast`, but what flows along the edges is a `Value`: the exact result and how far from it an honest
implementation may land. A *segment* (any connected run of nodes) is judged given its own inputs, taken as exact.
Through a whole network these bounds explode and say nothing: they are for one segment at a time.

Three yardsticks, for arithmetic of unit roundoff u and a sum whose longest path has K roundings. With A the sum of
absolute terms, B^2 the sum of squared terms and S the result:

worst      gamma_K A, gamma_K = K u / (1 - K u): holds for every order of summation, with or without fused
           multiply-adds, since each term is multiplied by at most K factors (1 + d), abs(d) <= u
           (Higham, Accuracy and Stability of Numerical Algorithms, sec. 3.1). Infinite when K u >= 1.
expected   6 sqrt(K) u A: if the d are independent with mean zero, Hoeffding's inequality gives
           sqrt(K) lambda u A with probability at least 1 - 2 exp(-lambda^2 / 2); lambda = 6 leaves 3e-8 an element
           (Higham and Mary, SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4).
rms        u sqrt(K) rms(hypot(B, S)) over the tensor: K independent factors on each term move the sum by
           u sqrt(K) B; S is for plain loops over terms of one sign, whose partial sums, each rounded, are as large as
           the result.

To each, every node adds what storing its result costs: u_store abs(y), and an underflow for the store and for each of
the K roundings, since a product may underflow. Operations that round nothing (relu, max pool, flatten, pad) add
nothing. Errors that enter an operation are carried through it: worst and expected through absolute weights and largest
slopes, rms in quadrature. A port that stores tensors in a format shorter than float32 stores its params in it too, once
each, before or after batch norm was folded: see `sums`.

The reference is float64 and rounds too: 2^-53 is added to every u, which doubles the bounds of a float64 candidate
and is invisible in any other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, interpret
from refnet.ops import BY_ELEMENT
from refnet.readings.bounds.activations import (
    clip,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    prelu,
    relu,
    relu6,
    sigmoid,
    swish,
    tanh,
    thresholded_relu,
)
from refnet.readings.bounds.maps import (
    concat,
    flatten,
    max_pool2d,
    pad,
    resize_bilinear,
    resize_legacy,
    resize_nearest,
)
from refnet.readings.bounds.pieces import Bound, Where
from refnet.readings.bounds.sums import (
    add,
    affine,
    avg_pool2d,
    batch_norm,
    conv2d,
    depthwise_conv2d,
    grouped_conv2d,
    pointwise_conv2d,
    scale,
    softmax,
)
from refnet.readings.carried import Loose, Value, nothing, stored
from refnet.readings.precision import Precision

__all__ = [
    "Bound",
    "Precision",
    "Value",
    "add",
    "affine",
    "avg_pool2d",
    "batch_norm",
    "bound",
    "by_element",
    "clip",
    "concat",
    "conv2d",
    "depthwise_conv2d",
    "flatten",
    "grouped_conv2d",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "max_pool2d",
    "pad",
    "pointwise_conv2d",
    "prelu",
    "relu",
    "relu6",
    "resize_bilinear",
    "resize_legacy",
    "resize_nearest",
    "scale",
    "sigmoid",
    "softmax",
    "source",
    "swish",
    "tanh",
    "thresholded_relu",
    "within",
]

Array = npt.NDArray[np.float64]


def source(x: Array, precision: Precision, *, rounded: bool = False, slack: Array | None = None) -> Value:
    """An input of a segment: exact as the candidate has it, or a rounded copy of what it went on with.

    One that is known to within a slack may lie anywhere in it; then its variance is a third of the slack's square.
    """
    zero = nothing(x)
    worst, var = (zero, zero) if slack is None else (slack, slack**2 / 3)
    if not rounded:
        return Value(x, (worst, worst, var), precision)
    found = stored(x, None, worst, worst, var, precision.dumped)
    return found if precision.printed is None else Value(x, found.held, precision)


def bound(
    graph: Graph,
    params: Mapping[str, npt.NDArray[Any]],
    given: Mapping[str, npt.NDArray[Any]],
    precision: Precision,
    *,
    rounded: bool = False,
    slack: Mapping[str, npt.NDArray[Any]] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> Bound:
    """How far rounding alone may move the last tensor of a segment.

    Parameters
    ----------
    graph : the segment, see `refnet.graph.segment`
    params : of the segment's nodes, the candidate's own precision or float64
    given : the segment's inputs as the candidate has them
    precision : of the candidate
    rounded : whether the inputs are rounded copies of what the candidate went on with
    slack : by the name of an input, or of a convolution's param, how far the candidate's own may lie from it
    dtype : of the arithmetic; float32, where the size of a bound is all that is asked for, takes half the memory

    Returns
    -------
    Bound
    """
    slack = slack or {}
    loose = {name: np.asarray(slack[name], dtype) for name in (*graph.params(), *given) if name in slack}
    exact = {name: np.asarray(params[name], dtype) for name in graph.params()}
    arrays = {name: Loose(array, loose[name]) if name in loose else array for name, array in exact.items()}
    rules = sys.modules[__name__]
    plain = all(node.op in BY_ELEMENT and not node.params for node in graph.nodes)

    inner = precision._replace(step=0.0) if precision.fused else precision

    def made(inputs: Mapping[str, npt.NDArray[Any]]) -> Value:
        laid = {n: np.asarray(x, dtype) if plain else _channels_last(x, dtype) for n, x in inputs.items()}
        sources = {n: source(x, inner, rounded=rounded, slack=loose.get(n)) for n, x in laid.items()}
        found: Value = interpret(graph, rules, arrays, sources)
        return found if inner is precision.dumped else found.held_in(precision.dumped)

    shape = None if loose else by_element(graph, given)
    if shape is not None:
        return Bound(shape, lambda where: made({n: x[within(x, where)] for n, x in given.items()}), precision.span)
    with np.errstate(over="ignore", invalid="ignore"):  # through many nodes a bound may grow beyond all numbers
        return Bound.of(made(given))


def _channels_last(x: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A tensor as `fast` lays out what it makes, once, so that no operation need do so again."""
    if x.ndim != 4:
        return np.asarray(x, dtype)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1), dtype).transpose(0, 3, 1, 2)


def by_element(graph: Graph, given: Mapping[str, npt.NDArray[Any]]) -> tuple[int, ...] | None:
    """The shape of a result of which each element is made of those at its own place alone, or None."""
    if any(node.op not in BY_ELEMENT or len(node.params.get("alpha", (1,))) > 1 for node in graph.nodes):
        return None
    if len(graph.outputs) > 1 or any(x.ndim != 4 for x in given.values()):
        return None
    shape = np.broadcast_shapes(*(x.shape for x in given.values()))
    return shape if all(x.shape[1] == shape[1] for x in given.values()) else None


def within(x: npt.NDArray[Any], where: Where) -> Where:
    """The part of an input that a part of the result is made of; of a gate, the same for all pixels."""
    return tuple(slice(0, 1) if side == 1 else part for side, part in zip(x.shape, where, strict=True))
