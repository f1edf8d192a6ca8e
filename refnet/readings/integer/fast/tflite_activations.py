"""The rules of `loops.tflite_activations`, over whole arrays: tables of all integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast.finishes import Rounding, by_table
from refnet.readings.integer.fast.tflite_logistic16 import tanh16
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = [
    "leaky_relu", "maximum", "minimum", "prelu", "relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "rescaled", "tanh",
]  # fmt: skip


def relu(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite_activations.relu`."""
    return _activated(x, to, "relu", rounding)


def relu6(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite_activations.relu6`."""
    return _activated(x, to, "relu6", rounding)


def relu_n1_to_1(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite_activations.relu_n1_to_1`."""
    return _activated(x, to, "relu_n1_to_1", rounding)


def relu_0_to_1(x: QuantisedTensor, *, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite_activations.relu_0_to_1`."""
    return _activated(x, to, "relu_0_to_1", rounding)


def leaky_relu(x: QuantisedTensor, *, slope: float, to: Quantisation, rounding: Rounding = mbqm) -> QuantisedTensor:
    """As `loops.tflite_activations.leaky_relu`."""
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    ratios = np.array([s_x / s_y, s_x * np.float32(slope) / s_y], np.float64)
    (m, m_below), (e, e_below) = multiplier(np.abs(ratios))
    m_below = -m_below if ratios[1] < 0 else m_below

    def formula(values: Array) -> Array:
        v = values - z_x
        return np.asarray(np.where(v >= 0, rounding(v, m, e), rounding(v, m_below, e_below))) + z_y

    return by_table(x, formula, to)


def prelu(x: QuantisedTensor, alpha: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_activations.prelu`."""
    (s_x, z_x), (s_a, z_a), (s_y, z_y) = x.quantisation.single(), alpha.quantisation.single(), to.single()
    (m, m_below), (e, e_below) = multiplier(np.array([s_x / s_y, s_x * s_a / s_y], np.float64))
    v = x.values.astype(np.int64) - z_x
    y = np.where(v >= 0, mbqm(v, m, e), mbqm(v * (alpha.values.astype(np.int64) - z_a), m_below, e_below)) + z_y
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def tanh(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_activations.tanh`."""
    if x.values.dtype == np.int16:
        return tanh16(x, to=to)
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    if (float(s_y), z_y) != (1 / 128, to.low + 128):
        raise RequestError(f"tanh: an output of scale {s_y} and zero point {z_y}: kernels need 1/128, {to.low + 128}")

    def formula(values: Array) -> Array:
        v = (values - z_x).astype(np.float32) * s_x
        steps = np.tanh(v.astype(np.float64)).astype(np.float32) * np.float32(128)
        return round_away(steps).astype(np.int64) + z_y

    return by_table(x, formula, to)


def maximum(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_activations.maximum`."""
    return QuantisedTensor(np.maximum(x.values, y.values), to)


def minimum(x: QuantisedTensor, y: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_activations.minimum`."""
    return QuantisedTensor(np.minimum(x.values, y.values), to)


def rescaled(
    x: QuantisedTensor, to: Quantisation, ratio: Any, limits: tuple[int, int], rounding: Rounding
) -> QuantisedTensor:
    """clip(rounding(q - z_in, Q(ratio)) + z_out) by limits."""
    z_x, z_y = x.quantisation.single()[1], to.single()[1]
    m, e = multiplier(float(ratio))
    return by_table(x, lambda values: np.clip(rounding(values - z_x, m, e) + z_y, *limits), to)


def _activated(x: QuantisedTensor, to: Quantisation, act: str, rounding: Rounding) -> QuantisedTensor:
    ratio = np.float64(x.quantisation.single()[0] / to.single()[0])
    return rescaled(x, to, ratio, activation_range(to, act), rounding)
