"""The rules of `loops.tflite_curves`, over whole arrays: tables of all integers, and softmax by rows."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast.finishes import by_table
from refnet.readings.integer.fast.tflite_logistic16 import logistic16
from refnet.readings.integer.fast.tflite_softmax16 import softmax16
from refnet.readings.integer.fixedpoint import mbqm, multiplier, rdp, round_away, sat16, srdhm, srdhm16, wrap32
from refnet.readings.integer.gemmlowp import exp_on_negative, logistic, one_over_one_plus
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor, eight_bits

__all__ = ["hard_swish", "sigmoid", "sigmoid_fixed", "softmax"]


def hard_swish(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_curves.hard_swish`."""
    eight_bits(x, "hard_swish")
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    fine = s_x / np.float32(128)
    m, e = multiplier(np.array([fine / s_y, fine / np.float32(3 / 32768)], np.float64))
    (out_shift, shift), (out_factor, factor) = e.tolist(), np.minimum((m + 2**15) >> 16, 2**15 - 1).tolist()
    if out_shift > 0:
        raise RequestError(f"hard_swish: an output scale of {s_y} is too small for an input of {s_x}: kernels abort")

    def formula(values: Array) -> Array:
        up = (values - z_x) * 128
        gate = sat16(up << (shift - 1)) if shift > 0 else up
        gate = srdhm16(gate, factor)
        gate = sat16(gate * 2) if shift > 0 else rdp(gate, -shift)
        gate = (gate + 2**15) >> 1
        product = gate * srdhm16(up, out_factor)
        truncated = np.sign(product) * (np.abs(product) >> 15)
        return rdp(truncated, -out_shift) + z_y

    return by_table(x, formula, to)


def sigmoid(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_curves.sigmoid`."""
    if x.values.dtype == np.int16:
        return logistic16(x, to=to)
    s_x, z_x = x.quantisation.single()
    _needs_256(to, "sigmoid")

    def formula(values: Array) -> Array:
        v = ((values - z_x).astype(np.float32) * s_x).astype(np.float64)
        with np.errstate(over="ignore"):
            y = 1 / (1 + np.exp(-v).astype(np.float32))
        return round_away(y * np.float32(256)).astype(np.int64) + to.low

    return by_table(x, formula, to)


def sigmoid_fixed(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_curves.sigmoid_fixed`."""
    s_x, z_x = x.quantisation.single()
    _needs_256(to, "sigmoid")
    if x.values.dtype != np.int8:
        raise RequestError(f"sigmoid of {x.values.dtype}: in fixed point it is known of int8 only")
    m, e = multiplier(float(s_x) * 2.0**27)
    radius = int(np.floor(15 * 2.0 ** (27 - e)))

    def formula(values: Array) -> Array:
        v = np.clip(values - z_x, -radius, radius)
        y = rdp(logistic(mbqm(v, m, e), 4), 23) - 128
        return np.where(v <= -radius, -128, np.where(v >= radius, 127, y))

    return by_table(x, formula, to)


def softmax(x: QuantisedTensor, *, beta: float = 1.0, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_curves.softmax`."""
    s_x, _ = x.quantisation.single()
    if x.values.dtype == np.int16:
        return softmax16(x, beta=beta, to=to)
    if x.values.dtype == np.int8:
        _needs_256(to, "softmax")
    m, e = multiplier(min(np.float64(np.float32(beta)) * np.float64(s_x) * 2.0**26, 2.0**31 - 1))
    if e < 1:
        raise RequestError(f"softmax: an input scale of {s_x} with beta {beta:g} is too small: kernels abort")
    below = x.values.astype(np.int64) - x.values.max(axis=1, keepdims=True)
    kept = below >= -int(31 * 2.0 ** (26 - e))
    power = np.where(kept, exp_on_negative(srdhm(wrap32(below << e), m), 5), 0)
    total = np.where(kept, rdp(power, 12), 0).sum(axis=1, keepdims=True)
    if (over := total >= 2**28).any():
        raise RequestError(f"softmax: row {np.flatnonzero(over)[0]} adds up to 512 or more: kernels abort on it")
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # the bits before the first that is set
    part = one_over_one_plus((total << zeros) - 2**31)
    y = np.where(kept, rdp(srdhm(part, power), 35 - zeros), 0) + to.low
    return QuantisedTensor(np.clip(y, to.low, to.high).astype(to.dtype), to)


def _needs_256(to: Quantisation, op: str) -> None:
    """Outputs between 0 and 1 are in steps of 1/256 from the least integer on."""
    s, z = to.single()
    if (float(s), z) != (1 / 256, to.low):
        raise RequestError(f"{op}: an output of scale {s} and zero point {z}: kernels need 1/256 and {to.low}")
