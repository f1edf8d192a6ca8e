"""The rules of `loops.tflite_logistic16`, over whole arrays: tables of all integers."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast.finishes import by_table
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["logistic16", "tanh16"]

_LAST = 255


def logistic16(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_logistic16.logistic16`."""

    def formula(values: Array) -> Array:
        v = _fine(values, x, to, "sigmoid")
        r = _between(np.abs(v), 9, 0x7FFF << 10)
        return np.where(v >= 0, r + 2**9, 2**25 - r + 2**9 - 1) >> 10

    return by_table(x, formula, to)


def tanh16(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """As `loops.tflite_logistic16.tanh16`."""

    def formula(values: Array) -> Array:
        v = _fine(values, x, to, "tanh")
        r = _between(np.abs(v), 8, 0xFFFF << 8) - 2**23
        return np.where(v >= 0, r + 2**7, 2**7 - 1 - r) >> 8

    return by_table(x, formula, to)


def _between(places: Array, bits: int, beyond: int) -> Array:
    """Of the table between two entries, 2^bits places apart."""
    real = 65536 / (1 + np.exp(np.arange(-1, _LAST + 1) / -24))
    table = np.append(np.floor(real[1:-1] - np.diff(real, 2) / 16 + 0.5).astype(np.int64), 65535)
    entry = np.minimum(places >> bits, _LAST - 1)
    below = table[entry]
    made = (below << bits) + (places & (2**bits - 1)) * (table[entry + 1] - below)
    return np.where(places >> bits >= _LAST, beyond, made)


def _fine(values: Array, x: QuantisedTensor, to: Quantisation, op: str) -> Array:
    """Integers in steps of 1 / 12288."""
    (s_y, z_y), s_x = to.single(), float(x.quantisation.single()[0])
    if (float(s_y), z_y) != (1 / 32768, 0):
        raise RequestError(f"{op}: an output of scale {to.scale} and zero point {z_y}: kernels need 1/32768, 0")
    if s_x in (2.0**-12, 2.0**-11):
        return values * (3 if s_x == 2.0**-12 else 6)
    whole = s_x * 4096 * 3
    doubled = whole * np.exp2(np.arange(32))
    shift = int(np.argmax(doubled > 32767 / 2)) if doubled[-1] > 32767 / 2 else 31
    return (values * int(doubled[shift]) + ((1 << shift) >> 1)) >> shift
