"""How sums round: convolutions and batch norms, means, joins; their worst case, expected and rms."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings import fast
from refnet.readings.bounds.algorithms import algorithm_sum
from refnet.readings.bounds.storing import closed
from refnet.readings.carried import (
    LAMBDA,
    Loose,
    Sum,
    Value,
    channel,
    gamma,
    is_nothing,
    moved,
    norms_moved,
    nothing,
    parted,
    plus,
    stored,
    through,
    times,
)

__all__ = [
    "add",
    "affine",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "depthwise_conv2d",
    "grouped_conv2d",
    "pointwise_conv2d",
    "scale",
    "softmax",
]

Array = npt.NDArray[np.float64]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_NO_PAD = ((0, 0), (0, 0))


def conv2d(x: Value, w: Array | Loose, b: Array | Loose | None, **geometry: Any) -> Value:
    """K = C R S, and one for the bias; A = sum abs(w x) + abs(b); B^2 alike."""
    return _convolved(fast.conv2d, x, w, b, **geometry)


def depthwise_conv2d(x: Value, w: Array | Loose, b: Array | Loose | None, **geometry: Any) -> Value:
    """K = R S, and one for the bias."""
    return _convolved(fast.depthwise_conv2d, x, w, b, **geometry)


def grouped_conv2d(x: Value, w: Array | Loose, b: Array | Loose | None, **geometry: Any) -> Value:
    """K = C R S with the C channels of a group, and one for the bias."""
    return _convolved(fast.grouped_conv2d, x, w, b, **geometry)


def pointwise_conv2d(x: Value, w: Array | Loose, b: Array | Loose | None) -> Value:
    """K = C, and one for the bias."""
    return _convolved(fast.pointwise_conv2d, x, w, b)


def _convolved(run: Any, x: Value, loose_w: Array | Loose, loose_b: Array | Loose | None, **geometry: Any) -> Value:
    """A sum of products; where weights are stored in a short format, each is off by d = u_store abs(w) + tiny / 2.

    The worst case is the sum of d abs(x). The d are independent of each other, though not of position: an element
    sums each once, so Hoeffding's inequality, without a factor sqrt(K), leaves lambda sqrt(sum of (d x)^2).

    Where weights are integers, symmetric and scaled by filter, each is off by half a step more: the filter's largest
    over twice the levels, folded or not, since folding scales a filter as a whole. If tensors are integers too, the
    bias, its own or that of the batch norm behind, is counted in steps of the weights times steps of x.

    Weights and biases that are known to within a slack, because a port folds batch norm itself, move as those that are
    stored in a short format do.
    """
    (w, own_w), (b, own_b) = parted(loose_w), parted(loose_b)
    assert w is not None
    terms = w[0].size
    worst, expected, var = x.total
    carried = not is_nothing(worst) and bool(worst.any())
    magnitude, square = np.abs(w), w**2
    largest = np.abs(x.y)
    if carried:
        largest += worst
    A = run(largest, magnitude, None if b is None else np.abs(b), **geometry)
    B2 = run(x.y**2, square, None if b is None else b**2, **geometry)
    zero = nothing(A)
    worst = run(worst, magnitude, None, **geometry) if carried else zero
    expected = run(expected, magnitude, None, **geometry) if carried else zero
    var = run(var, square, None, **geometry) if carried else zero
    if u := x.precision.u_factor:  # both factors of every product, independently: A and B^2 bound the products
        most = 2 * u * (1 + u) * A
        worst, expected = plus(worst, most), plus(expected, np.minimum(most, LAMBDA * u * np.sqrt(2 * B2)))
        var = plus(var, 2 * u**2 * B2)
    if x.precision.short or x.precision.levels or own_w is not None or own_b is not None:
        d, d_b = moved(x, w, b)
        d, d_b = (each if own is None else each + own for each, own in ((d, own_w), (d_b, own_b)))
        most = run(largest, d, d_b, **geometry)
        spread = run(largest**2, d**2, d_b**2, **geometry)
        worst, expected = plus(worst, most), plus(expected, np.minimum(most, LAMBDA * np.sqrt(spread)))
        var = plus(var, spread)
    total = Sum(terms + (b is not None), A, B2)
    if x.precision.algorithm:
        total = algorithm_sum(x.precision.algorithm, largest, w, b, total, geometry)
    return stored(run(x.y, w, b, **geometry), total, worst, expected, var, x.precision)


def batch_norm(x: Value, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Value:
    """Six more roundings, of terms as large as abs(s x), abs(m s) and abs(beta), with s = gamma / sqrt(var + eps).

    gamma * (x - m) / sqrt(v + eps) + beta rounds the difference, v + eps (half as much after the root), the root, the
    quotient, the product and the sum; s x + (beta - m s) rounds s x and m s separately and cancels only at the end.
    The forms cancel differently, so no fewer and no smaller terms cover them all. A port may fold s into the weights
    (three roundings a weight) and sum everything at once: the open sum of the convolution goes on. One that does not
    fold has summed up all of a convolution whose mean is then taken away: where that drifts, it has drifted by s x.

    Stored in a short format, the params move: s by at most d_s, where gamma is largest and var + eps smallest; then
    s (x - m) + beta by d_s abs(x - m) + (abs(s) + d_s) d_m + d_beta. Folded and then stored, s w is off by as much as
    the convolution's own weights are in `_convolved`, times s, and the bias by u_store abs(beta - m s), which is less
    than abs(s) d_m + d_beta.
    """
    s = channel(gamma / np.sqrt(var + eps))
    m, offset = channel(mean), channel(beta)
    own = norms_moved(x, s, gamma, beta, mean, var, eps) if x.precision.short else 0.0
    if x.open is None:
        K, A, B2 = 0, np.abs(x.y), np.square(x.y)
        A *= np.abs(s)
        B2 *= s**2
    else:
        K, A, B2 = x.open.K, np.abs(s) * x.open.A, s**2 * x.open.B2
    A += np.abs(m * s) + np.abs(offset)
    B2 += (m * s) ** 2 + offset**2
    worst = plus(times(np.abs(s), x.worst), own)
    expected = worst if x.expected is x.worst else plus(times(np.abs(s), x.expected), own)
    carried = plus(times(s**2, x.var), np.square(own))
    y = fast.batch_norm(x.y, gamma, beta, mean, var, eps=eps)
    return stored(y, Sum(K + 6, A, B2, np.abs(s) * x.drift), worst, expected, carried, x.precision)


def affine(x: Value, *, slope: float, offset: float) -> Value:
    """Three roundings: of the slope as a constant, of the product, of the sum.

    Stored in a short format, the constants move as params do: by u_store abs(slope x) and u_store abs(offset).
    """
    worst, expected, var = (times(abs(slope) ** power, each) for power, each in zip((1, 1, 2), x.total, strict=True))
    if x.precision.short:
        own = x.precision.u_store * (np.abs(slope * x.y) + abs(offset))
        worst, expected, var = plus(worst, own), plus(expected, own), plus(var, own**2)
    total = Sum(3, np.abs(slope * x.y) + abs(offset), (slope * x.y) ** 2 + offset**2)
    return stored(fast.affine(x.y, slope=slope, offset=offset), total, worst, expected, var, x.precision)


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
    A = fast.avg_pool2d(plus(worst, np.abs(x.y)), **window)
    inside = fast.avg_pool2d(_inside(x.y, pad), kernel=kernel, stride=stride, pad=_NO_PAD) * count  # terms of each sum
    B2 = fast.avg_pool2d(x.y**2, **window) / inside
    K = _repeats(x.y) + 1 if kernel == x.y.shape[2:] else float(count**2 + 1)
    own = gamma(count + 1, u) * A
    worst, expected, var = (through(partial(fast.avg_pool2d, **window), each, y) for each in (worst, expected, var))
    return closed(
        y,
        plus(worst, own),
        plus(expected, np.minimum(own, LAMBDA * np.sqrt(K) * u * A)),
        plus(through(lambda each: each / inside, var, y), K * u**2 * (B2 + y**2)),
        x.precision,
    )


def scale(x: Value, gate: Value) -> Value:
    """One rounding; (x + dx)(g + dg) - x g = x dg + g dx + dx dg."""
    y = x.y * gate.y
    (wx, ex, vx), (wg, eg, vg) = x.total, gate.total
    once = Sum(1, np.abs(y), nothing(y))
    if all(map(is_nothing, (wx, ex, vx, wg, eg, vg))):
        return stored(y, once, nothing(y), nothing(y), nothing(y), x.precision)
    magnitude, factor = np.abs(x.y), np.abs(gate.y)
    return stored(
        y,
        once,
        magnitude * wg + factor * wx + wx * wg,
        magnitude * eg + factor * ex + ex * eg,
        x.y**2 * vg + gate.y**2 * vx,
        x.precision,
    )


def add(x: Value, y: Value) -> Value:
    """One rounding of the sum."""
    total = x.y + y.y
    worst, expected, var = (plus(one, other) for one, other in zip(x.total, y.total, strict=True))
    once = Sum(1, np.abs(total), nothing(total))
    return stored(total, once, worst, expected, var, x.precision)


def softmax(x: Value) -> Value:
    """u p (abs(z - z_max) + N + 4): rounding z - z_max moves the exponential by as much, relatively; then a sum of N.

    The expected bound takes 6 sqrt(N) for N. Errors of z: dp_i = p_i (dz_i - sum of p_j dz_j). The exponential may
    underflow, and so may the quotient.
    """
    p, u, tiny = fast.softmax(x.y), x.precision.u, x.precision.tiny
    distance, count = x.y.max(axis=1, keepdims=True) - x.y, x.y.shape[1]
    worst, expected, var = x.total
    return closed(
        p,
        p * (worst + (p * worst).sum(axis=1, keepdims=True)) + u * p * (distance + count + 4) + tiny,
        p * (expected + (p * expected).sum(axis=1, keepdims=True))
        + u * p * (distance + min(LAMBDA * math.sqrt(count), count) + 4)
        + tiny,
        p**2 * (var + (p**2 * var).sum(axis=1, keepdims=True)) + (u * p * (distance + math.sqrt(count) + 4)) ** 2,
        x.precision,
    )


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
