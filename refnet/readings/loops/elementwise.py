"""What is done to each number by itself, or with the one in the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings.loops.checks import check_axes, check_vectors, refuse_if

__all__ = [
    "add",
    "affine",
    "batch_norm",
    "clip",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "scale",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
    "thresholded_relu",
]

Array = npt.NDArray[Any]


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
    check_axes(x, "x", 4)
    check_vectors(x.shape[1], gamma=gamma, beta=beta, mean=mean, var=var)
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


def leaky_relu(x: Array, *, slope: float) -> Array:
    """y = x where x >= 0, slope * x elsewhere (Maas et al. 2013)."""
    return _each(x, lambda v, num: v if v >= 0 else v * num(slope))


def prelu(x: Array, alpha: Array) -> Array:
    """y = x where x >= 0, alpha * x elsewhere, with a learnt alpha for each channel or for each point.

    Parameters
    ----------
    x : (N, C, H, W) or (N, C) array
    alpha : (C,) array, or (C, H, W), dtype of x

    Notes
    -----
    He et al., arXiv 1502.01852, eq. 1.
    """
    refuse_if(alpha.shape not in (x.shape[1:2], x.shape[1:]), f"alpha of shape {alpha.shape} for x of {x.shape}")
    y = np.zeros_like(x)
    for n, *at in np.ndindex(x.shape):
        slope = alpha[at[0]] if alpha.ndim == 1 else alpha[*at]
        y[n, *at] = x[n, *at] if x[n, *at] >= 0 else x[n, *at] * slope
    return y


def thresholded_relu(x: Array, *, threshold: float) -> Array:
    """y = x where x > threshold, 0 elsewhere (Konda et al., arXiv 1402.3337)."""
    return _each(x, lambda v, num: v if v > num(threshold) else num(0))


def clip(x: Array, *, low: float, high: float) -> Array:
    """y = min(max(x, low), high)."""
    return _each(x, lambda v, num: min(max(v, num(low)), num(high)))


def tanh(x: Array) -> Array:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return _each(x, lambda v, num: np.tanh(v))


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


def scale(x: Array, gate: Array) -> Array:
    """Multiply each channel by its gate: y[n,c,h,v] = x[n,c,h,v] * gate[n,c,0,0]; or each point by its own.

    Parameters
    ----------
    x : (N, C, H, W) array
    gate : (N, C, 1, 1) or (N, C, H, W) array, dtype of x

    Notes
    -----
    The last step of squeeze-and-excite (Hu et al., arXiv 1709.01507, eq. 4); with a gate for each point, of the
    paper's LR-ASPP (arXiv 1905.02244, fig. 10).
    """
    check_axes(x, "x", 4)
    fits = gate.shape in ((*x.shape[:2], 1, 1), x.shape)
    refuse_if(not fits, f"gate of shape {gate.shape} does not fit x of shape {x.shape}")
    one = gate.shape[2:] == (1, 1)
    y = np.zeros_like(x)
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c, h, v] = x[n, c, h, v] * (gate[n, c, 0, 0] if one else gate[n, c, h, v])
    return y


def add(x: Array, y: Array) -> Array:
    """Add a block's input to its output: the shortcut (MobileNet V2, fig. 4). Shapes are equal."""
    refuse_if(x.shape != y.shape, f"x of shape {x.shape} and y of shape {y.shape} cannot be added")
    total = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        total[index] = x[index] + y[index]
    return total


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
