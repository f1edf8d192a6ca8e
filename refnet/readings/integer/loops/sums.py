"""What a convolution adds up before it is rescaled: scalar loops over integers.

Sums are those of int32 registers, which wrap; of int64 ones where activations are int16. Padding is done by skipping
points outside the image: they contribute the real number 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import sat16, wrap32
from refnet.readings.integer.quantisation import Array, QuantisedTensor, refuse_misfits

__all__ = ["conv2d", "depthwise_conv2d", "output_size", "pointwise_conv2d", "window"]

Pair = tuple[int, int]
Pad = tuple[Pair, Pair]
Tap = tuple[int, int]  # an activation and the weight that it meets


def conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    pairs: bool = False,
) -> Array:
    """Sums of a convolution.

    sum[n,k,p,q] = b[k] + sum over r,s,c of (x[n, c, p*stride[0] - top + r*dilation[0],
        q*stride[1] - left + s*dilation[1]] - z_x) * (w[k,c,r,s] - z_w[k])

    Parameters
    ----------
    x : (N, C, H, W) integers
    w : (K, C, R, S) integers
    b : (K,) whole numbers, added as they are, or None
    stride, dilation : (height, width)
    pad : ((top, bottom), (left, right))
    pairs : as processors without a 32-bit dot product do: raw integers, in the order r, s, c, are multiplied and added
        in pairs which saturate at int16; a pad is z_x there, and z_x times the sum of the filter is taken off after

    Returns
    -------
    sums : (N, K, P, Q) int64

    Raises
    ------
    RequestError
        for pairs of others than uint8 by int8, or of weights whose zero point is not 0: no kernel has them.
    """
    refuse_misfits(x, w, b, 4)
    N, C, H, W = x.values.shape
    K, _, R, S = w.values.shape
    P, Q = output_size((H, W), (R, S), stride, pad, dilation)
    (top, _), (left, _) = pad
    _, z_x = x.quantisation.single()
    y = np.zeros((N, K, P, Q), np.int64)
    for n, k, p, q in np.ndindex(N, K, P, Q):
        taps: list[Tap] = []
        for r, s in np.ndindex(R, S):
            h, v = p * stride[0] - top + r * dilation[0], q * stride[1] - left + s * dilation[1]
            inside = 0 <= h < H and 0 <= v < W
            for c in range(C):
                taps.append((int(x.values[n, c, h, v]) if inside else z_x, int(w.values[k, c, r, s])))
        y[n, k, p, q] = _total(taps, x, w, b, k, pairs)
    return y


def depthwise_conv2d(
    x: QuantisedTensor,
    w: QuantisedTensor,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
    pairs: bool = False,
) -> Array:
    """Sums of a convolution that filters each channel by itself; channel k reads channel k // (K / C) of x.

    Parameters
    ----------
    w : (K, R, S) integers, K a multiple of C
    others : as for `conv2d`

    Returns
    -------
    sums : (N, K, P, Q) int64
    """
    refuse_misfits(x, w, b, 3)
    N, C, H, W = x.values.shape
    K, R, S = w.values.shape
    P, Q = output_size((H, W), (R, S), stride, pad, dilation)
    (top, _), (left, _) = pad
    _, z_x = x.quantisation.single()
    y = np.zeros((N, K, P, Q), np.int64)
    for n, k, p, q in np.ndindex(N, K, P, Q):
        c = k // (K // C)
        taps: list[Tap] = []
        for r, s in np.ndindex(R, S):
            h, v = p * stride[0] - top + r * dilation[0], q * stride[1] - left + s * dilation[1]
            inside = 0 <= h < H and 0 <= v < W
            taps.append((int(x.values[n, c, h, v]) if inside else z_x, int(w.values[k, r, s])))
        y[n, k, p, q] = _total(taps, x, w, b, k, pairs)
    return y


def pointwise_conv2d(x: QuantisedTensor, w: QuantisedTensor, b: Array | None, *, pairs: bool = False) -> Array:
    """Sums of a 1x1 convolution; of a linear layer on a 1x1 map.

    Parameters
    ----------
    x : (N, C, H, W) integers
    w : (K, C) integers
    others : as for `conv2d`

    Returns
    -------
    sums : (N, K, H, W) int64
    """
    refuse_misfits(x, w, b, 2)
    N, C, H, W = x.values.shape
    K = len(w.values)
    y = np.zeros((N, K, H, W), np.int64)
    for n, k, h, v in np.ndindex(N, K, H, W):
        taps = [(int(x.values[n, c, h, v]), int(w.values[k, c])) for c in range(C)]
        y[n, k, h, v] = _total(taps, x, w, b, k, pairs)
    return y


def _total(taps: list[Tap], x: QuantisedTensor, w: QuantisedTensor, b: Array | None, k: int, pairs: bool) -> int:
    """The sum of filter k over its taps."""
    _, z_x = x.quantisation.single()
    z_w = int(w.quantisation.channels(len(w.values))[1][k])
    total = 0 if b is None else int(b[k])
    if pairs:
        if z_w or x.values.dtype != np.uint8 or w.values.dtype != np.int8:
            raise RequestError("sums in pairs: they are known of uint8 by int8 only, zero points of weights 0")
        for first in range(0, len(taps), 2):
            total += int(sat16(sum(a * f for a, f in taps[first : first + 2])))
        total -= z_x * sum(f for _, f in taps)
    else:
        for a, f in taps:
            total += (a - z_x) * (f - z_w)
    return total if x.values.dtype == np.int16 else wrap32(total)


def output_size(size: Pair, kernel: Pair, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Pair:
    """How many places a kernel fits in, by counting them."""
    places = []
    for axis in (0, 1):
        last = size[axis] + sum(pad[axis]) - (kernel[axis] - 1) * dilation[axis] - 1
        places.append(len(range(0, last + 1, stride[axis])))
    if not all(places):
        raise RequestError(f"a kernel of {kernel} on a map of {size} with pads {pad}: it does not fit in")
    return places[0], places[1]


def window(size: Pair, p: int, q: int, kernel: Pair, stride: Pair, pad: Pad) -> Iterable[Pair]:
    """The points of the image under a pool's kernel at output (p, q)."""
    H, W = size
    for h in range(p * stride[0] - pad[0][0], p * stride[0] - pad[0][0] + kernel[0]):
        for v in range(q * stride[1] - pad[1][0], q * stride[1] - pad[1][0] + kernel[1]):
            if 0 <= h < H and 0 <= v < W:
                yield h, v
