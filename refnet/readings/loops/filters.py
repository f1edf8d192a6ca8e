"""Convolutions: a sum over the window of each place."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings.loops.checks import check_axes, check_vectors, output_size, refuse_if

__all__ = ["conv2d", "depthwise_conv2d", "grouped_conv2d", "pointwise_conv2d"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def conv2d(x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """Slide K filters over all channels of an image.

    y[n,k,p,q] = b[k] + sum over c,r,s of x[n, c, p*stride[0] - top + r*dilation[0],
                                               q*stride[1] - left + s*dilation[1]] * w[k,c,r,s]

    Points of x outside the image contribute nothing.

    Parameters
    ----------
    x : (N, C, H, W) array
    w : (K, C, R, S) array, dtype of x
    b : (K,) array or None
    stride, dilation : (height, width) of ints; dilation 1 means dense
    pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, K, P, Q) array, dtype of x

    Notes
    -----
    The ordinary convolution that MobileNet V1, sec. 3.1, counts as N*K*P*Q*C*R*S multiply-adds.

    Examples
    --------
    >>> conv2d(np.ones((1, 2, 3, 3)), np.ones((1, 2, 3, 3)), None, stride=(1, 1), pad=((0, 0), (0, 0))).item()
    18.0
    """
    _check_filters(x, w, b, axes=4)
    N, C, H, W = x.shape
    K, _, R, S = w.shape
    P, Q = output_size(x, (R, S), stride, pad, dilation)
    (top, _), (left, _) = pad
    y = np.zeros((N, K, P, Q), x.dtype)
    for n, k, p, q in np.ndindex(N, K, P, Q):
        total = x.dtype.type(0)
        for c, r, s in product(range(C), range(R), range(S)):
            h = p * stride[0] - top + r * dilation[0]
            v = q * stride[1] - left + s * dilation[1]
            if 0 <= h < H and 0 <= v < W:
                total += x[n, c, h, v] * w[k, c, r, s]
        y[n, k, p, q] = total if b is None else total + b[k]
    return y


def depthwise_conv2d(x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Array:
    """Filter each channel with its own small kernel.

    y[n,c,p,q] = b[c] + sum over r,s of x[n, c, p*stride[0] - top + r*dilation[0],
                                               q*stride[1] - left + s*dilation[1]] * w[c,r,s]

    Parameters and result as for `conv2d`, but w is (C, R, S), b is (C,) and y is (N, C, P, Q).

    Notes
    -----
    The depthwise half of a separable convolution (MobileNet V1, sec. 3.1): N*C*P*Q*R*S multiply-adds, no mixing of
    channels.

    Examples
    --------
    >>> depthwise_conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 3, 3)), None, stride=(1, 1), pad=((0, 0), (0, 0))).item()
    9.0
    """
    _check_filters(x, w, b, axes=3)
    N, C, H, W = x.shape
    _, R, S = w.shape
    P, Q = output_size(x, (R, S), stride, pad, dilation)
    (top, _), (left, _) = pad
    y = np.zeros((N, C, P, Q), x.dtype)
    for n, c, p, q in np.ndindex(N, C, P, Q):
        total = x.dtype.type(0)
        for r, s in product(range(R), range(S)):
            h = p * stride[0] - top + r * dilation[0]
            v = q * stride[1] - left + s * dilation[1]
            if 0 <= h < H and 0 <= v < W:
                total += x[n, c, h, v] * w[c, r, s]
        y[n, c, p, q] = total if b is None else total + b[c]
    return y


def grouped_conv2d(
    x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1), groups: int
) -> Array:
    """Slide filters over the channels of their own group alone; the groups are runs of as many channels and filters.

    y[n,k,p,q] = b[k] + sum over c,r,s of x[n, g*C + c, p*stride[0] - top + r*dilation[0],
                                               q*stride[1] - left + s*dilation[1]] * w[k,c,r,s]

    where g = k // (K / groups) is the group of filter k and C the channels of a group.

    Parameters and result as for `conv2d`, but x is (N, groups*C, H, W).

    Notes
    -----
    Groups are those of AlexNet (Krizhevsky et al. 2012, sec. 3.5). One channel a group with several filters is what
    TensorFlow calls a depthwise convolution with a depth multiplier: N*K*P*Q*C*R*S multiply-adds.

    Examples
    --------
    >>> x, w = np.array([[[[2.0]], [[3.0]]]]), np.array([[[[10.0]]], [[[1.0]]]])
    >>> grouped_conv2d(x, w, None, stride=(1, 1), pad=((0, 0), (0, 0)), groups=2).ravel().tolist()
    [20.0, 3.0]
    """
    check_axes(x, "x", 4)
    check_axes(w, "w", 4)
    N, _, H, W = x.shape
    K, C, R, S = w.shape
    refuse_if(x.shape[1] != groups * C or K % groups > 0, f"w of shape {w.shape} does not fit {groups} groups of x")
    check_vectors(K, **({} if b is None else {"b": b}))
    P, Q = output_size(x, (R, S), stride, pad, dilation)
    (top, _), (left, _) = pad
    y = np.zeros((N, K, P, Q), x.dtype)
    for n, k, p, q in np.ndindex(N, K, P, Q):
        first = k // (K // groups) * C
        total = x.dtype.type(0)
        for c, r, s in product(range(C), range(R), range(S)):
            h = p * stride[0] - top + r * dilation[0]
            v = q * stride[1] - left + s * dilation[1]
            if 0 <= h < H and 0 <= v < W:
                total += x[n, first + c, h, v] * w[k, c, r, s]
        y[n, k, p, q] = total if b is None else total + b[k]
    return y


def pointwise_conv2d(x: Array, w: Array, b: Array | None) -> Array:
    """Mix the channels of each pixel: a 1x1 convolution; on a 1x1 map, a linear layer.

    y[n,k,h,v] = b[k] + sum over c of x[n,c,h,v] * w[k,c]

    Parameters and result as for `conv2d`, but w is (K, C) and y is (N, K, H, W).

    Notes
    -----
    The pointwise half of a separable convolution (MobileNet V1, sec. 3.1): N*K*C*H*W multiply-adds.

    Examples
    --------
    >>> pointwise_conv2d(np.array([[[[2.0]], [[3.0]]]]), np.array([[10.0, 1.0]]), np.array([0.5])).item()
    23.5
    """
    _check_filters(x, w, b, axes=2)
    N, C, H, W = x.shape
    K = w.shape[0]
    y = np.zeros((N, K, H, W), x.dtype)
    for n, k, h, v in np.ndindex(N, K, H, W):
        total = x.dtype.type(0)
        for c in range(C):
            total += x[n, c, h, v] * w[k, c]
        y[n, k, h, v] = total if b is None else total + b[k]
    return y


def _check_filters(x: Array, w: Array, b: Array | None, *, axes: int) -> None:
    """Refuse filters that are not for the channels of x, and a bias that is not one number for each filter."""
    check_axes(x, "x", 4)
    check_axes(w, "w", axes)
    channels = w.shape[0] if axes == 3 else w.shape[1]  # a depthwise filter has one
    refuse_if(channels != x.shape[1], f"w of shape {w.shape} does not fit the {x.shape[1]} channels of x")
    check_vectors(len(w), **({} if b is None else {"b": b}))
