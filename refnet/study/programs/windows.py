"""Convolutions as a first program has them: loops and a test for the border, and patches of a padded image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Pair = tuple[int, int]


def conv2d(x: Array, w: Array, b: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """Scalar loops."""
    N, C, H, W = x.shape
    K, C, R, S = w.shape
    (top, bottom), (left, right) = pad
    P = (H + top + bottom - R) // stride[0] + 1
    Q = (W + left + right - S) // stride[1] + 1
    y = np.zeros((N, K, P, Q))
    for n in range(N):
        for k in range(K):
            for p in range(P):
                for q in range(Q):
                    total = 0.0
                    for c in range(C):
                        for r in range(R):
                            for s in range(S):
                                h = p * stride[0] - top + r
                                v = q * stride[1] - left + s
                                if 0 <= h < H and 0 <= v < W:
                                    total += x[n, c, h, v] * w[k, c, r, s]
                    y[n, k, p, q] = total + b[k]
    return y


def conv2d_patches(x: Array, w: Array, b: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """Each patch of the padded image times each filter."""
    (top, bottom), (left, right) = pad
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    N, _, H, W = x.shape
    K, _, R, S = w.shape
    P = (H - R) // stride[0] + 1
    Q = (W - S) // stride[1] + 1
    y = np.zeros((N, K, P, Q))
    for k in range(K):
        for p in range(P):
            for q in range(Q):
                h = p * stride[0]
                v = q * stride[1]
                patch = x[:, :, h : h + R, v : v + S]
                y[:, k, p, q] = np.sum(patch * w[k], axis=(1, 2, 3)) + b[k]
    return y


def depthwise(x: Array, w: Array, b: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """Scalar loops."""
    N, C, H, W = x.shape
    C, R, S = w.shape
    (top, bottom), (left, right) = pad
    P = (H + top + bottom - R) // stride[0] + 1
    Q = (W + left + right - S) // stride[1] + 1
    y = np.zeros((N, C, P, Q))
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    total = 0.0
                    for r in range(R):
                        for s in range(S):
                            h = p * stride[0] - top + r
                            v = q * stride[1] - left + s
                            if 0 <= h < H and 0 <= v < W:
                                total += x[n, c, h, v] * w[c, r, s]
                    y[n, c, p, q] = total + b[c]
    return y


def depthwise_patches(x: Array, w: Array, b: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """Each patch of the padded image times the kernels."""
    (top, bottom), (left, right) = pad
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    N, C, H, W = x.shape
    C, R, S = w.shape
    P = (H - R) // stride[0] + 1
    Q = (W - S) // stride[1] + 1
    y = np.zeros((N, C, P, Q))
    for c in range(C):
        for p in range(P):
            for q in range(Q):
                h = p * stride[0]
                v = q * stride[1]
                patch = x[:, c, h : h + R, v : v + S]
                y[:, c, p, q] = np.sum(patch * w[c], axis=(1, 2)) + b[c]
    return y


def pointwise(x: Array, w: Array, b: Array) -> Array:
    """Scalar loops."""
    N, C, H, W = x.shape
    K, C = w.shape
    y = np.zeros((N, K, H, W))
    for n in range(N):
        for k in range(K):
            for h in range(H):
                for v in range(W):
                    total = 0.0
                    for c in range(C):
                        total += x[n, c, h, v] * w[k, c]
                    y[n, k, h, v] = total + b[k]
    return y


def pointwise_from_bias(x: Array, w: Array, b: Array) -> Array:
    """Sums that begin with the bias."""
    N, C, H, W = x.shape
    K, C = w.shape
    y = np.zeros((N, K, H, W))
    for k in range(K):
        for h in range(H):
            for v in range(W):
                total = b[k]
                for c in range(C):
                    total = total + x[:, c, h, v] * w[k, c]
                y[:, k, h, v] = total
    return y


def look(x: Array, w: Array, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """A depthwise convolution without a bias, of all images and channels at once."""
    N, C, H, W = x.shape
    C, R, S = w.shape
    (top, bottom), (left, right) = pad
    P = (H + top + bottom - R) // stride[0] + 1
    Q = (W + left + right - S) // stride[1] + 1
    y = np.zeros((N, C, P, Q))
    for p in range(P):
        for q in range(Q):
            for r in range(R):
                for s in range(S):
                    h = p * stride[0] - top + r
                    v = q * stride[1] - left + s
                    if 0 <= h < H and 0 <= v < W:
                        y[:, :, p, q] += x[:, :, h, v] * w[:, r, s]
    return y


def mix(x: Array, w: Array) -> Array:
    """A pointwise convolution without a bias."""
    N, C, H, W = x.shape
    K, C = w.shape
    y = np.zeros((N, K, H, W))
    for k in range(K):
        for c in range(C):
            y[:, k] += x[:, c] * w[k, c]
    return y


def separable(x: Array, depthwise_w: Array, pointwise_w: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """One after the other."""
    y = look(x, depthwise_w, stride, pad)
    return mix(y, pointwise_w)


def separable_patches(
    x: Array, depthwise_w: Array, pointwise_w: Array, *, stride: Pair, pad: tuple[Pair, Pair]
) -> Array:
    """Each patch of the padded image times the kernels, then the channels."""
    (top, bottom), (left, right) = pad
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    N, _, H, W = x.shape
    C, R, S = depthwise_w.shape
    P = (H - R) // stride[0] + 1
    Q = (W - S) // stride[1] + 1
    y = np.zeros((N, C, P, Q))
    for p in range(P):
        for q in range(Q):
            h = p * stride[0]
            v = q * stride[1]
            patch = x[:, :, h : h + R, v : v + S]
            y[:, :, p, q] = np.sum(patch * depthwise_w, axis=(2, 3))
    return mix(y, pointwise_w)


def separable_dense(x: Array, depthwise_w: Array, pointwise_w: Array, *, stride: Pair, pad: tuple[Pair, Pair]) -> Array:
    """As the full convolution that both make together."""
    w = pointwise_w[:, :, None, None] * depthwise_w
    b = np.zeros(len(pointwise_w))
    return conv2d_patches(x, w, b, stride=stride, pad=pad)
