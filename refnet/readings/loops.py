"""Every operation as nested scalar loops: the definition.

Made to be checked against the papers by reading. Padding is done by skipping points outside the image; sums run in
the order of the loops; float32 stays float32 at every step. Arrays whose axes or channels do not agree are refused by a
ValueError first. Far too slow for more than small images: `fast` has the same names and signatures, and the tests run
the one against the other.

Arrays are (N, C, H, W), filters (K, C, R, S), outputs (N, K, P, Q); indices are the same letters in lower case.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

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
    P, Q = _output_size(x, (R, S), stride, pad, dilation)
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
    P, Q = _output_size(x, (R, S), stride, pad, dilation)
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


def pad(x: Array, *, pad: Pad, mode: str, value: float) -> Array:
    """Put a border around an image: 'constant' (of `value`), 'edge' (repeat) or 'reflect' (mirror, edge not repeated).

    Parameters
    ----------
    x : (N, C, H, W) array
    pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, C, top + H + bottom, left + W + right) array, dtype of x
    """
    N, C, H, W = x.shape
    (top, bottom), (left, right) = pad
    y = np.zeros((N, C, top + H + bottom, left + W + right), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        h, v = p - top, q - left
        if mode == "edge":
            h, v = min(max(h, 0), H - 1), min(max(v, 0), W - 1)
        elif mode == "reflect":
            h, v = _mirror(h, H), _mirror(v, W)
        y[n, c, p, q] = x[n, c, h, v] if 0 <= h < H and 0 <= v < W else value
    return y


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Array:
    """Shift and scale each channel by statistics stored in training.

    y[n,c,h,v] = gamma[c] * (x[n,c,h,v] - mean[c]) / sqrt(var[c] + eps) + beta[c]

    Parameters
    ----------
    x : (N, C, H, W) array
    gamma, beta, mean, var : (C,) arrays, dtype of x
    eps : keeps the root away from zero; 1e-3 or 1e-5, a vendor's choice

    Returns
    -------
    y : (N, C, H, W) array, dtype of x

    Notes
    -----
    Ioffe and Szegedy, arXiv 1502.03167, algorithm 2 (inference).
    """
    _check_axes(x, "x", 4)
    _check_vectors(x.shape[1], gamma=gamma, beta=beta, mean=mean, var=var)
    y = np.zeros_like(x)
    one, small = x.dtype.type(1), x.dtype.type(eps)
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c, h, v] = gamma[c] * ((x[n, c, h, v] - mean[c]) * (one / np.sqrt(var[c] + small))) + beta[c]
    return y


def affine(x: Array, *, slope: float, offset: float) -> Array:
    """y = slope * x + offset: what Keras' MobileNetV3 does to the pixels it is given."""
    return _each(x, lambda v, num: num(slope) * v + num(offset))


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    return _each(x, lambda v, num: max(v, num(0)))


def relu6(x: Array) -> Array:
    """y = min(max(x, 0), 6) (MobileNet V2, sec. 3)."""
    return _each(x, lambda v, num: min(max(v, num(0)), num(6)))


def hard_sigmoid(x: Array, *, slope: float, offset: float) -> Array:
    """y = min(max(slope * x + offset, 0), 1); slope 1/6 and offset 1/2 in MobileNet V3 (sec. 5.2)."""
    return _each(x, lambda v, num: min(max(num(slope) * v + num(offset), num(0)), num(1)))


def hard_swish(x: Array) -> Array:
    """y = x * min(max(x + 3, 0), 6) / 6 (MobileNet V3, sec. 5.2)."""
    return _each(x, lambda v, num: v * min(max(v + num(3), num(0)), num(6)) / num(6))


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return _each(x, lambda v, num: _logistic(v, num))


def swish(x: Array) -> Array:
    """y = x / (1 + exp(-x)) (Ramachandran et al., arXiv 1710.05941)."""
    return _each(x, lambda v, num: v * _logistic(v, num))


def avg_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """Average windows of each channel; points outside the image are left out of the sum and of the count.

    The global pool is the case in which the kernel is the map.

    Parameters
    ----------
    x : (N, C, H, W) array
    kernel, stride : (height, width)
    pad : ((top, bottom), (left, right))

    Returns
    -------
    y : (N, C, P, Q) array, dtype of x
    """
    y = np.zeros((*x.shape[:2], *_output_size(x, kernel, stride, pad, (1, 1))), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        total, count = x.dtype.type(0), 0
        for h, v in _window(x, p, q, kernel, stride, pad):
            total += x[n, c, h, v]
            count += 1
        y[n, c, p, q] = total / x.dtype.type(count)
    return y


def max_pool2d(x: Array, *, kernel: Pair, stride: Pair, pad: Pad) -> Array:
    """The largest value of each window of each channel; points outside the image are left out.

    Parameters and result as for `avg_pool2d`.
    """
    y = np.zeros((*x.shape[:2], *_output_size(x, kernel, stride, pad, (1, 1))), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        y[n, c, p, q] = max(x[n, c, h, v] for h, v in _window(x, p, q, kernel, stride, pad))
    return y


def scale(x: Array, gate: Array) -> Array:
    """Multiply each channel by its gate: y[n,c,h,v] = x[n,c,h,v] * gate[n,c,0,0].

    Parameters
    ----------
    x : (N, C, H, W) array
    gate : (N, C, 1, 1) array, dtype of x

    Notes
    -----
    The last step of squeeze-and-excite (Hu et al., arXiv 1709.01507, eq. 4).
    """
    _check_axes(x, "x", 4)
    _refuse_if(gate.shape != (*x.shape[:2], 1, 1), f"gate of shape {gate.shape} does not fit x of shape {x.shape}")
    y = np.zeros_like(x)
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c, h, v] = x[n, c, h, v] * gate[n, c, 0, 0]
    return y


def add(x: Array, y: Array) -> Array:
    """Add a block's input to its output: the shortcut (MobileNet V2, fig. 4). Shapes are equal."""
    _refuse_if(x.shape != y.shape, f"x of shape {x.shape} and y of shape {y.shape} cannot be added")
    total = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        total[index] = x[index] + y[index]
    return total


def flatten(x: Array) -> Array:
    """Lay out (N, C, H, W) as (N, C*H*W), channels slowest."""
    N, C, H, W = x.shape
    y = np.zeros((N, C * H * W), x.dtype)
    for n, c, h, v in np.ndindex(x.shape):
        y[n, (c * H + h) * W + v] = x[n, c, h, v]
    return y


def resize_bilinear(x: Array, *, size: Pair, align_corners: bool) -> Array:
    """Enlarge or shrink each channel by linear interpolation between the four nearest pixels, without antialiasing.

    Output pixel p lies at h = (p + 1/2) * H / P - 1/2 of the input, or with `align_corners` at p * (H - 1) / (P - 1);
    outside the image the edge is repeated. x is (N, C, H, W), `size` is (P, Q), y is (N, C, P, Q), dtype of x.
    """
    N, C, H, W = x.shape
    P, Q = size
    num = x.dtype.type
    y = np.zeros((N, C, P, Q), x.dtype)
    for n, c, p, q in np.ndindex(y.shape):
        h, above, below = _between(p, H, P, align_corners)
        v, before, after = _between(q, W, Q, align_corners)
        upper = x[n, c, above, before] * num(1 - v) + x[n, c, above, after] * num(v)
        lower = x[n, c, below, before] * num(1 - v) + x[n, c, below, after] * num(v)
        y[n, c, p, q] = upper * num(1 - h) + lower * num(h)
    return y


def softmax(x: Array) -> Array:
    """y[n,k] = exp(x[n,k] - m) / sum over j of exp(x[n,j] - m), m the largest of them; x is (N, K) or (N, K, H, W)."""
    N, K, *sides = x.shape
    y = np.zeros_like(x)
    for n, *at in np.ndindex(N, *sides):
        largest = max(x[n, j, *at] for j in range(K))
        total = x.dtype.type(0)
        for k in range(K):
            y[n, k, *at] = np.exp(x[n, k, *at] - largest)
            total += y[n, k, *at]
        for k in range(K):
            y[n, k, *at] /= total
    return y


def _check_filters(x: Array, w: Array, b: Array | None, *, axes: int) -> None:
    """Refuse filters that are not for the channels of x, and a bias that is not one number for each filter."""
    _check_axes(x, "x", 4)
    _check_axes(w, "w", axes)
    channels = w.shape[0] if axes == 3 else w.shape[1]  # a depthwise filter has one
    _refuse_if(channels != x.shape[1], f"w of shape {w.shape} does not fit the {x.shape[1]} channels of x")
    _check_vectors(len(w), **({} if b is None else {"b": b}))


def _check_axes(array: Array, name: str, axes: int) -> None:
    _refuse_if(array.ndim != axes, f"{name} of shape {array.shape} does not have {axes} axes")


def _check_vectors(channels: int, **vectors: Array) -> None:
    for name, vector in vectors.items():
        _refuse_if(vector.shape != (channels,), f"{name} of shape {vector.shape} does not fit {channels} channels")


def _refuse_if(wrong: bool, sentence: str) -> None:
    if wrong:
        raise ValueError(sentence)


def _each(x: Array, formula: Any) -> Array:
    """Apply a formula to every element, with `num` to make constants of the same precision."""
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        y[index] = x[index] if np.isnan(x[index]) else formula(x[index], x.dtype.type)
    return y


def _logistic(v: Any, num: Any) -> Any:
    """The form whose exponential cannot overflow."""
    if v >= 0:
        return num(1) / (num(1) + np.exp(-v))
    return np.exp(v) / (num(1) + np.exp(v))


def _output_size(x: Array, kernel: Pair, stride: Pair, pad: Pad, dilation: Pair) -> Pair:
    """How many places a kernel fits in, by counting them."""
    reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
    P, Q = (len(range(0, x.shape[2 + axis] + sum(pad[axis]) - reach[axis], stride[axis])) for axis in (0, 1))
    return P, Q


def _window(x: Array, p: int, q: int, kernel: Pair, stride: Pair, pad: Pad) -> list[Pair]:
    """The points of the image under the kernel at output (p, q)."""
    H, W = x.shape[2:]
    rows = range(p * stride[0] - pad[0][0], p * stride[0] - pad[0][0] + kernel[0])
    columns = range(q * stride[1] - pad[1][0], q * stride[1] - pad[1][0] + kernel[1])
    return [(h, v) for h in rows if 0 <= h < H for v in columns if 0 <= v < W]


def _mirror(index: int, size: int) -> int:
    """Reflect an index back into the image; the edge itself is not repeated."""
    if size == 1:
        return 0
    index = abs(index) % (2 * size - 2)
    return min(index, 2 * size - 2 - index)


def _between(p: int, size: int, outputs: int, align_corners: bool) -> tuple[float, int, int]:
    """(fraction, index before, index after) of output p along an axis."""
    if align_corners:
        place = p * (size - 1) / (outputs - 1) if outputs > 1 else 0.0
    else:
        place = (p + 0.5) * size / outputs - 0.5
    place = min(max(place, 0.0), size - 1.0)
    before = math.floor(place)
    return place - before, before, min(before + 1, size - 1)
