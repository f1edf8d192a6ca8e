"""Activations, as readers may take one for another, and hard functions in the two ways in which they are written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def relu(x: Array) -> Array:
    """The larger of x and 0."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """ReLU, at most 6."""
    return np.minimum(np.maximum(x, 0), 6)


def hard_sigmoid(x: Array) -> Array:
    """A clipped line."""
    return np.clip(x / 6 + 0.5, 0, 1)


def hard_sigmoid_of_relu6(x: Array) -> Array:
    """By ReLU6."""
    return np.minimum(np.maximum(x + 3, 0), 6) / 6


def hard_sigmoid_in_parts(x: Array) -> Array:
    """Part by part, the ends with the outer ones."""
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 6 + 0.5))


def hard_sigmoid_in_open_parts(x: Array) -> Array:
    """Part by part, the ends with the middle one."""
    return np.where(x < -3, 0, np.where(x > 3, 1, x / 6 + 0.5))


def hard_swish(x: Array) -> Array:
    """x times a clipped line."""
    return x * np.clip(x / 6 + 0.5, 0, 1)


def hard_swish_of_relu6(x: Array) -> Array:
    """By ReLU6."""
    return x * np.minimum(np.maximum(x + 3, 0), 6) / 6


def hard_swish_in_parts(x: Array) -> Array:
    """Part by part, the ends with the outer ones."""
    return np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6))


def hard_swish_in_open_parts(x: Array) -> Array:
    """Part by part, the ends with the middle one."""
    return np.where(x < -3, 0, np.where(x > 3, x, x * (x + 3) / 6))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def swish(x: Array) -> Array:
    """x times its sigmoid."""
    return x / (1 + np.exp(-x))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(x)


def hard_tanh(x: Array) -> Array:
    """x between -1 and 1."""
    return np.minimum(np.maximum(x, -1), 1)


def step(x: Array) -> Array:
    """1 above 0."""
    return np.where(x > 0, 1.0, 0.0)


def softmax(x: Array) -> Array:
    """Over channels."""
    powers = np.exp(x)
    return powers / np.sum(powers, axis=1, keepdims=True)


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.log(1 + np.exp(x))


def leaky_relu(x: Array) -> Array:
    """With a slope of 0.01 below 0."""
    return np.where(x > 0, x, 0.01 * x)


def gelu(x: Array) -> Array:
    """x times the sigmoid of 1.702 x, as GELU is approximated."""
    return x / (1 + np.exp(-1.702 * x))


def elu(x: Array) -> Array:
    """exp(x) - 1 below 0."""
    return np.where(x > 0, x, np.exp(x) - 1)
