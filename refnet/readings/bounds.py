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
each, before or after batch norm was folded: see `_convolved` and `batch_norm`.

The reference is float64 and rounds too: 2^-53 is added to every u, which doubles the bounds of a float64 candidate
and is invisible in any other.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from refnet.graph import Graph, interpret
from refnet.readings import fast
from refnet.readings.carried import LAMBDA, Sum, Value, channel, gamma, moved, norms_moved, nothing, stored
from refnet.readings.precision import Precision

__all__ = ["Bound", "Precision", "Value", "bound", "source"]

Array = npt.NDArray[np.float64]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_NO_PAD = ((0, 0), (0, 0))


class Bound(NamedTuple):
    """A segment's exact result and its three yardsticks; `rms` is one number for the tensor."""

    y: Array
    worst: Array
    expected: Array
    rms: float


def source(x: Array, precision: Precision, *, rounded: bool = False) -> Value:
    """An input of a segment: exact as the candidate has it, or a rounded copy of what it went on with."""
    zero = nothing(x)
    return stored(x, None, zero, zero, zero, precision) if rounded else Value(x, zero, zero, zero, precision)


def bound(
    graph: Graph,
    params: Mapping[str, npt.NDArray[Any]],
    given: Mapping[str, npt.NDArray[Any]],
    precision: Precision,
    *,
    rounded: bool = False,
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
    dtype : of the arithmetic; float32, where the size of a bound is all that is asked for, takes half the memory

    Returns
    -------
    Bound
    """
    arrays = {name: np.asarray(params[name], dtype) for name in graph.params()}
    sources = {name: source(np.asarray(x, dtype), precision, rounded=rounded) for name, x in given.items()}
    with np.errstate(over="ignore", invalid="ignore"):  # through many nodes a bound may grow beyond all numbers
        value = interpret(graph, sys.modules[__name__], arrays, sources)
        worst, expected, var = map(_known, value.total)
        y = value.y if np.isinf(precision.span).all() else value.y.clip(*precision.span)  # which widens no error
        return Bound(y, worst, np.minimum(expected, worst), float(np.sqrt(var.mean())))


def _known(each: Array) -> Array:
    """Infinity where it is not known how far a value may have moved."""
    unknown = np.isnan(each)
    return np.where(unknown, np.inf, each) if unknown.any() else each


def conv2d(x: Value, w: Array, b: Array | None, **geometry: Any) -> Value:
    """K = C R S, and one for the bias; A = sum abs(w x) + abs(b); B^2 alike."""
    return _convolved(fast.conv2d, w[0].size, x, w, b, **geometry)


def depthwise_conv2d(x: Value, w: Array, b: Array | None, **geometry: Any) -> Value:
    """K = R S, and one for the bias."""
    return _convolved(fast.depthwise_conv2d, w[0].size, x, w, b, **geometry)


def pointwise_conv2d(x: Value, w: Array, b: Array | None) -> Value:
    """K = C, and one for the bias."""
    return _convolved(fast.pointwise_conv2d, w[0].size, x, w, b)


def _convolved(run: Any, terms: int, x: Value, w: Array, b: Array | None, **geometry: Any) -> Value:
    """A sum of products; where weights are stored in a short format, each is off by d = u_store abs(w) + tiny / 2.

    The worst case is the sum of d abs(x). The d are independent of each other, though not of position: an element
    sums each once, so Hoeffding's inequality, without a factor sqrt(K), leaves lambda sqrt(sum of (d x)^2).

    Where weights are integers, symmetric and scaled by filter, each is off by half a step more: the filter's largest
    over twice the levels, folded or not, since folding scales a filter as a whole. If tensors are integers too, the
    bias, its own or that of the batch norm behind, is counted in steps of the weights times steps of x.
    """
    worst, expected, var = x.total
    carried = bool(worst.any())
    magnitude, square = np.abs(w), w**2
    largest = np.abs(x.y) + worst
    A = run(largest, magnitude, None if b is None else np.abs(b), **geometry)
    B2 = run(x.y**2, square, None if b is None else b**2, **geometry)
    zero = nothing(A)
    worst = run(worst, magnitude, None, **geometry) if carried else zero
    expected = run(expected, magnitude, None, **geometry) if carried else zero
    var = run(var, square, None, **geometry) if carried else zero
    if u := x.precision.u_factor:  # both factors of every product, independently: A and B^2 bound the products
        most = 2 * u * (1 + u) * A
        worst, expected = worst + most, expected + np.minimum(most, LAMBDA * u * np.sqrt(2 * B2))
        var = var + 2 * u**2 * B2
    if x.precision.short or x.precision.levels:
        d, d_b = moved(x, w, b)
        most = run(largest, d, d_b, **geometry)
        spread = run(largest**2, d**2, d_b**2, **geometry)
        worst, expected = worst + most, expected + np.minimum(most, LAMBDA * np.sqrt(spread))
        var = var + spread
    total = Sum(terms + (b is not None), A, B2)
    return stored(run(x.y, w, b, **geometry), total, worst, expected, var, x.precision)


def batch_norm(x: Value, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Value:
    """Six more roundings, of terms as large as abs(s x), abs(m s) and abs(beta), with s = gamma / sqrt(var + eps).

    gamma * (x - m) / sqrt(v + eps) + beta rounds the difference, v + eps (half as much after the root), the root, the
    quotient, the product and the sum; s x + (beta - m s) rounds s x and m s separately and cancels only at the end.
    The forms cancel differently, so no fewer and no smaller terms cover them all. A port may fold s into the weights
    (three roundings a weight) and sum everything at once: the open sum of the convolution goes on.

    Stored in a short format, the params move: s by at most d_s, where gamma is largest and var + eps smallest; then
    s (x - m) + beta by d_s abs(x - m) + (abs(s) + d_s) d_m + d_beta. Folded and then stored, s w is off by as much as
    the convolution's own weights are in `_convolved`, times s, and the bias by u_store abs(beta - m s), which is less
    than abs(s) d_m + d_beta.
    """
    s = channel(gamma / np.sqrt(var + eps))
    m, offset = channel(mean), channel(beta)
    own = norms_moved(x, s, gamma, beta, mean, var, eps) if x.precision.short else 0.0
    K, A, B2 = x.open or Sum(0, np.abs(x.y), x.y**2)
    A, B2 = np.abs(s) * A, s**2 * B2
    A += np.abs(m * s) + np.abs(offset)
    B2 += (m * s) ** 2 + offset**2
    worst = np.abs(s) * x.worst
    worst += own
    expected = worst
    if x.expected is not x.worst:
        expected = np.abs(s) * x.expected
        expected += own
    carried = s**2 * x.var
    carried += np.square(own)
    y = fast.batch_norm(x.y, gamma, beta, mean, var, eps=eps)
    return stored(y, Sum(K + 6, A, B2), worst, expected, carried, x.precision)


def affine(x: Value, *, slope: float, offset: float) -> Value:
    """Three roundings: of the slope as a constant, of the product, of the sum.

    Stored in a short format, the constants move as params do: by u_store abs(slope x) and u_store abs(offset).
    """
    worst, expected, var = (abs(slope) ** power * each for power, each in zip((1, 1, 2), x.total, strict=True))
    if x.precision.short:
        own = x.precision.u_store * (np.abs(slope * x.y) + abs(offset))
        worst, expected, var = worst + own, expected + own, var + own**2
    total = Sum(3, np.abs(slope * x.y) + abs(offset), (slope * x.y) ** 2 + offset**2)
    return stored(fast.affine(x.y, slope=slope, offset=offset), total, worst, expected, var, x.precision)


def relu(x: Value) -> Value:
    """Rounds nothing; slope at most 1."""
    return _activated(x, fast.relu(x.y), 1.0, None)


def relu6(x: Value) -> Value:
    """Rounds nothing; slope at most 1."""
    return _activated(x, fast.relu6(x.y), 1.0, None)


def hard_sigmoid(x: Value, *, slope: float, offset: float) -> Value:
    """2 u absolute: slope, product, sum and quotient round values that are at most 1 where the result is not cut."""
    y = fast.hard_sigmoid(x.y, slope=slope, offset=offset)
    return _activated(x, y, abs(slope), 2 * x.precision.u)


def hard_swish(x: Value) -> Value:
    """4 u abs(x) min(abs(x) / 6 + 1/2, 1): never relative to y, which vanishes at -3 while x + 3 keeps its error.

    Covers x * (relu6(x + 3) / 6), (x * relu6(x + 3)) / 6, * (1/6) in either place, and x * clip(x / 6 + 1/2): at most
    four roundings of factors bounded by abs(x) and by min(abs(x) / 6 + 1/2, 1). The slope is largest at 3: 3/2.
    """
    magnitude = np.abs(x.y)
    return _activated(x, fast.hard_swish(x.y), 1.5, 4 * x.precision.u * magnitude * np.minimum(magnitude / 6 + 0.5, 1))


def sigmoid(x: Value) -> Value:
    """4 u absolute: exponential, sum and quotient of values at most 1 (or cut where they are larger)."""
    return _activated(x, fast.sigmoid(x.y), 0.25, 4 * x.precision.u)


def swish(x: Value) -> Value:
    """As the sigmoid, times abs(x), and the product; the slope is at most 1.1."""
    return _activated(x, fast.swish(x.y), 1.1, 5 * x.precision.u * np.abs(x.y))


def _activated(x: Value, y: Array, slope: float, own: Array | float | None) -> Value:
    """An activation with a largest slope and an absolute error of its own; None rounds and stores nothing new."""
    worst, expected, var = x.total
    if slope != 1:
        worst, expected, var = slope * worst, slope * expected, slope**2 * var
    if own is None:
        return _kept(y, worst, expected, var, x.precision)
    return _closed(y, worst + own, expected + own, var + np.square(own), x.precision)


def avg_pool2d(x: Value, *, kernel: Pair, stride: Pair, pad: Pad) -> Value:
    """A sum of K equal-weight terms, and one rounding of the quotient.

    Equal terms round alike: while a plain loop adds one value again and again, every step errs in the same direction,
    and maps are often flat (padding, ReLU6). Where a value comes m times, its m errors are taken as one error m times
    as large: in the expected and in the rms bound the sum of m^2 over the values stands for K, which it is where all
    differ.
    """
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "pad": pad}
    count, u = kernel[0] * kernel[1], x.precision.u
    worst, expected, var = x.total
    y = fast.avg_pool2d(x.y, **window)
    A = fast.avg_pool2d(np.abs(x.y) + worst, **window)
    inside = fast.avg_pool2d(_inside(x.y, pad), kernel=kernel, stride=stride, pad=_NO_PAD) * count  # terms of each sum
    B2 = fast.avg_pool2d(x.y**2, **window) / inside
    K = _repeats(x.y) + 1 if kernel == x.y.shape[2:] else float(count**2 + 1)
    own = gamma(count + 1, u) * A
    return _closed(
        y,
        fast.avg_pool2d(worst, **window) + own,
        fast.avg_pool2d(expected, **window) + np.minimum(own, LAMBDA * np.sqrt(K) * u * A),
        fast.avg_pool2d(var, **window) / inside + K * u**2 * (B2 + y**2),
        x.precision,
    )


def max_pool2d(x: Value, *, kernel: Pair, stride: Pair, pad: Pad) -> Value:
    """Rounds nothing; the largest of a window moves by no more than its elements do."""
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "pad": pad}
    worst, expected, var = (fast.max_pool2d(each, **window) for each in x.total)
    return _kept(fast.max_pool2d(x.y, **window), worst, expected, var, x.precision)


def pad(x: Value, *, pad: Pad, mode: str, value: float) -> Value:
    """Rounds nothing; a constant border is exact."""
    worst, expected, var = (fast.pad(each, pad=pad, mode=mode, value=0.0) for each in x.total)
    return _kept(fast.pad(x.y, pad=pad, mode=mode, value=value), worst, expected, var, x.precision)


def scale(x: Value, gate: Value) -> Value:
    """One rounding; (x + dx)(g + dg) - x g = x dg + g dx + dx dg."""
    y = x.y * gate.y
    (wx, ex, vx), (wg, eg, vg) = x.total, gate.total
    magnitude, factor = np.abs(x.y), np.abs(gate.y)
    return stored(
        y,
        Sum(1, np.abs(y), nothing(y)),
        magnitude * wg + factor * wx + wx * wg,
        magnitude * eg + factor * ex + ex * eg,
        x.y**2 * vg + gate.y**2 * vx,
        x.precision,
    )


def add(x: Value, y: Value) -> Value:
    """One rounding of the sum."""
    total = x.y + y.y
    worst, expected, var = (one + other for one, other in zip(x.total, y.total, strict=True))
    once = Sum(1, np.abs(total), nothing(total))
    return stored(total, once, worst, expected, var, x.precision)


def flatten(x: Value) -> Value:
    """Rounds nothing."""
    worst, expected, var = (fast.flatten(each) for each in x.total)
    return _kept(fast.flatten(x.y), worst, expected, var, x.precision)


def resize_bilinear(x: Value, *, size: Pair, align_corners: bool) -> Value:
    """4 u (A + n r): four roundings of the weighted terms; and coordinates up to n, the input's size, round too.

    A coordinate that moves by 4 u n moves the result by at most that times r, the range of the 3x3 neighbourhood.
    """
    to: dict[str, Any] = {"size": size, "align_corners": align_corners}
    reach = (1, 1, 3, 3)
    spread = ndimage.maximum_filter(x.y, reach, mode="nearest") - ndimage.minimum_filter(x.y, reach, mode="nearest")
    own = fast.resize_bilinear(np.abs(x.y) + max(x.y.shape[2:]) * spread, **to) * 4 * x.precision.u
    worst, expected, var = (fast.resize_bilinear(each, **to) for each in x.total)
    return _closed(fast.resize_bilinear(x.y, **to), worst + own, expected + own, var + own**2, x.precision)


def softmax(x: Value) -> Value:
    """u p (abs(z - z_max) + N + 4): rounding z - z_max moves the exponential by as much, relatively; then a sum of N.

    The expected bound takes 6 sqrt(N) for N. Errors of z: dp_i = p_i (dz_i - sum of p_j dz_j). The exponential may
    underflow, and so may the quotient.
    """
    p, u, tiny = fast.softmax(x.y), x.precision.u, x.precision.tiny
    distance, count = x.y.max(axis=1, keepdims=True) - x.y, x.y.shape[1]
    worst, expected, var = x.total
    return _closed(
        p,
        p * (worst + (p * worst).sum(axis=1, keepdims=True)) + u * p * (distance + count + 4) + tiny,
        p * (expected + (p * expected).sum(axis=1, keepdims=True))
        + u * p * (distance + min(LAMBDA * math.sqrt(count), count) + 4)
        + tiny,
        p**2 * (var + (p**2 * var).sum(axis=1, keepdims=True)) + (u * p * (distance + math.sqrt(count) + 4)) ** 2,
        x.precision,
    )


def _closed(y: Array, worst: Array, expected: Array, var: Array, p: Precision) -> Value:
    """A value that is no open sum, stored."""
    return stored(y, None, worst, expected, var, p)


def _kept(y: Array, worst: Array, expected: Array, var: Array, p: Precision) -> Value:
    """A value that no arithmetic rounded: stored as it is, unless the format is shorter than that of the arithmetic."""
    return _closed(y, worst, expected, var, p) if p.u_store > p.u or p.step else Value(y, worst, expected, var, p)


def _inside(x: Array, pad: Pad) -> Array:
    """One at the points of an image, zero in the border around it."""
    return fast.pad(np.ones((1, 1, *x.shape[2:])), pad=pad, mode="constant", value=0.0)


def _repeats(x: Array) -> Array:
    """Sum over the different values of each map of the square of how often it comes: (N, C, H, W) -> (N, C, 1, 1)."""
    maps = np.sort(x.reshape(-1, x.shape[2] * x.shape[3]), axis=1)
    starts = np.flatnonzero(np.diff(maps, axis=1, prepend=np.nan).ravel() != 0)  # where another value begins
    lengths = np.diff(starts, append=maps.size)
    squares: Array = np.bincount(starts // maps.shape[1], lengths.astype(np.float64) ** 2).astype(np.float64)
    return squares.reshape(*x.shape[:2], 1, 1)
