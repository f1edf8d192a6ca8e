"""How a number that is made of a node's result changes with what the node reads: derivatives, backwards.

One function for each operation that has a rule here. Each takes the derivatives by the result, (D, N, ...) for D such
numbers at once, and what `fast` takes; it returns the derivatives by each tensor that is read. Where an operation is
not smooth (the corner of a ReLU) it is the derivative on one side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]
Of = tuple[Array, ...]


def conv2d(g: Array, x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)) -> Of:
    """Each tap hands back its weight times what its products were added to."""
    return (_taps(g, x, w.shape[-2:], lambda rows, r, s: rows @ w[:, :, r, s], stride, pad, dilation),)


def depthwise_conv2d(
    g: Array, x: Array, w: Array, b: Array | None, *, stride: Pair, pad: Pad, dilation: Pair = (1, 1)
) -> Of:
    """As `conv2d`, channel by channel."""
    return (_taps(g, x, w.shape[-2:], lambda rows, r, s: rows * w[:, r, s], stride, pad, dilation),)


def pointwise_conv2d(g: Array, x: Array, w: Array, b: Array | None) -> Of:
    """The transposed matrix."""
    return (_first(_last(g) @ w),)


def batch_norm(g: Array, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Of:
    """The factor of each channel."""
    return (_first(_last(g) * (gamma / np.sqrt(var + eps)).astype(g.dtype)),)


def affine(g: Array, x: Array, *, slope: float, offset: float) -> Of:
    """The slope."""
    return (g * g.dtype.type(slope),)


def relu(g: Array, x: Array) -> Of:
    """What is above zero goes through."""
    return (g * (x > 0),)


def relu6(g: Array, x: Array) -> Of:
    """What is between 0 and 6 goes through."""
    return (g * ((x > 0) & (x < 6)),)


def hard_sigmoid(g: Array, x: Array, *, slope: float, offset: float) -> Of:
    """The slope, where it is not cut off."""
    y = x * slope + offset
    return (g * ((y > 0) & (y < 1)) * g.dtype.type(slope),)


def hard_swish(g: Array, x: Array) -> Of:
    """(2 x + 3) / 6 between -3 and 3, and 1 above."""
    return (g * np.where(x >= 3, 1, np.where(x > -3, (2 * x + 3) / 6, 0)).astype(g.dtype),)


def sigmoid(g: Array, x: Array) -> Of:
    """y (1 - y)."""
    y = 1 / (1 + np.exp(-x.clip(-60, 60)))
    return (g * (y * (1 - y)),)


def swish(g: Array, x: Array) -> Of:
    """y + x y (1 - y), where y is the sigmoid."""
    y = 1 / (1 + np.exp(-x.clip(-60, 60)))
    return (g * (y + x * y * (1 - y)),)


def avg_pool2d(g: Array, x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Of:
    """A share to each point of the window; of windows without a border alone."""
    if np.any(pad):
        raise NotImplementedError
    share = g.dtype.type(1 / (kernel[0] * kernel[1]))
    if kernel == x.shape[2:]:
        return (np.broadcast_to(g * share, (*g.shape[:-2], *kernel)),)
    return (_taps(g, x, kernel, lambda rows, r, s: rows * share, stride, pad, (1, 1)),)


def scale(g: Array, x: Array, gate: Array) -> Of:
    """Each times the other."""
    return g * gate, _met(g * x, gate)


def add(g: Array, x: Array, y: Array) -> Of:
    """Both as they are."""
    return _met(g, x), _met(g, y)


def concat(g: Array, *xs: Array) -> Of:
    """To each its own channels."""
    ends = np.cumsum([x.shape[1] for x in xs])[:-1]
    return tuple(np.split(g, ends, axis=2))


def flatten(g: Array, x: Array) -> Of:
    """The same numbers."""
    return (g.reshape(len(g), *x.shape),)


def resize_bilinear(g: Array, x: Array, *, size: Pair, align_corners: bool) -> Of:
    """Each point to those that it was made of, rows and columns alike."""
    for axis, (side, outputs) in enumerate(zip(x.shape[2:], size, strict=True), 3):
        place = np.arange(outputs) * ((side - 1) / max(outputs - 1, 1) if align_corners else side / outputs)
        place = (place if align_corners else place + 0.5 * side / outputs - 0.5).clip(0, side - 1)
        low = place.astype(int)
        matrix = np.zeros((outputs, side), g.dtype)
        matrix[np.arange(outputs), low] += 1 - (place - low)
        matrix[np.arange(outputs), np.minimum(low + 1, side - 1)] += place - low
        g = np.moveaxis(np.moveaxis(g, axis, -1) @ matrix, -1, axis)
    return (g,)


def softmax(g: Array, x: Array) -> Of:
    """p (g - sum of p g)."""
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p * (g - (p * g).sum(axis=2, keepdims=True)),)


def _taps(g: Array, x: Array, kernel: Pair, tap: Any, stride: Pair, pad: Pad, dilation: Pair) -> Array:
    """(D, N, K, P, Q) -> (D, N, C, H, W): what each tap of a window hands back, added where it read."""
    rows = _last(g)
    D, N, P, Q, _ = rows.shape
    (top, bottom), (left, right) = pad
    H, W = x.shape[2:]
    made = np.zeros((D, N, top + H + bottom, left + W + right, x.shape[1]), g.dtype)
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            y, z = r * dilation[0], s * dilation[1]
            made[:, :, y : y + (P - 1) * stride[0] + 1 : stride[0], z : z + (Q - 1) * stride[1] + 1 : stride[1]] += tap(
                rows, r, s
            )
    return _first(made[:, :, top : top + H, left : left + W])


def _met(g: Array, x: Array) -> Array:
    """Summed over what x was spread over."""
    spread = tuple(axis + 1 for axis in range(x.ndim) if x.shape[axis] == 1 < g.shape[axis + 1])
    return g.sum(axis=spread, keepdims=True) if spread else g


def _last(g: Array) -> Array:
    """(D, N, C, H, W) -> (D, N, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(g, 2, -1))


def _first(g: Array) -> Array:
    return np.moveaxis(g, -1, 2)
