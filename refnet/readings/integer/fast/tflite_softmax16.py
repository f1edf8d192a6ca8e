"""The rule of `loops.tflite_softmax16`, over whole arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import mbqm, multiplier, round_away, sat16
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["softmax16"]


def softmax16(x: QuantisedTensor, *, beta: float = 1.0, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_softmax16.softmax16`."""
    if to.scale != 2.0**-15 or to.zero_point != 0:
        raise RequestError(
            f"softmax: an output of scale {to.scale} and zero point {to.zero_point}: kernels need 1/32768, 0"
        )
    m, e = multiplier(float(x.quantisation.single()[0]) * float(np.float32(beta)) / (10 / 65535))
    below = x.values.astype(np.int64) - x.values.max(axis=1, keepdims=True)
    power = _looked_up(sat16(mbqm(below, m, e) + 32767), _table(np.linspace(-10.0, 0.0, 1025), np.exp))
    total = power.sum(axis=1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    rest = (((total << (zeros - 1)) + 2**13) >> 14) - 3 * 2**15
    part = _looked_up(sat16(rest), _table(np.linspace(0.0, 1.0, 1025), lambda v: 1 / (1 + v)))
    y = (power * part + (np.int64(1) << (30 - zeros))) >> (31 - zeros)
    return QuantisedTensor(np.clip(y, 0, 32767).astype(to.dtype), to)


def _table(places: Array, function: Callable[[Array], Array]) -> Array:
    """513 entries from a function at 1025 places, every second of them the middle of a step."""
    real = function(places) * (65536 / 2.0)
    base, middle = round_away(real[0:-1:2]), round_away(real[1::2])
    wrong = round_away((real[2::2] + base) / 2) - middle
    entries = np.append(base - round_away(wrong / 2), round_away(real[-1]))
    return np.clip(entries, -(2**15), 2**15 - 1).astype(np.int64)


def _looked_up(values: Array, table: Array) -> Array:
    """Linear between the entries, in whole numbers."""
    slope = np.diff(table)
    place = 256 + (values >> 7)
    return table[place] + ((slope[place] * (values & 127) + 64) >> 7)
