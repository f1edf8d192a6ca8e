"""Batch norm and its fold, in the ways in which they are written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def across(vector: Array) -> Array:
    """One number for each channel of (N, C, H, W)."""
    return vector[:, None, None]


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Array:
    """As the formula stands."""
    return across(gamma) * (x - across(mean)) / np.sqrt(across(var) + eps) + across(beta)


def batch_norm_by_channel(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Array:
    """Channel by channel."""
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        y[:, c] = (x[:, c] - mean[c]) / np.sqrt(var[c] + eps) * gamma[c] + beta[c]
    return y


def batch_norm_as_line(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> Array:
    """As a factor and a shift."""
    factor = gamma / np.sqrt(var + eps)
    shift = beta - factor * mean
    return x * across(factor) + across(shift)


def fold(w: Array, b: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float) -> tuple[Array, Array]:
    """All filters at once."""
    s = gamma / np.sqrt(var + eps)
    weights = w * s[:, None, None, None]
    bias = s * (b - mean) + beta
    return weights, bias


def fold_in_terms(
    w: Array, b: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float
) -> tuple[Array, Array]:
    """Filter by filter."""
    weights, bias = w.copy(), b.copy()
    for k in range(len(w)):
        s = gamma[k] / np.sqrt(var[k] + eps)
        weights[k] = w[k] * s
        bias[k] = b[k] * s - mean[k] * s + beta[k]
    return weights, bias
