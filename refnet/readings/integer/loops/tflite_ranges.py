"""The clip that TensorFlow Lite and its kin make of a fused activation."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Quantisation

__all__ = ["activation_range", "clipped"]


def activation_range(to: Quantisation, act: str) -> tuple[int, int]:
    """Least and largest integer of an output.

    '' : the dtype's. 'relu' : at least z. 'relu6' : and at most z + round_away(f32(6 / s)). 'relu_0_to_1' : and at most
    z + round_away(f32(1 / s)). 'relu_n1_to_1' : z + round_away(f32(-1 / s)) to z + round_away(f32(1 / s)).
    kernels/kernel_util.cc, CalculateActivationRangeQuantized.
    """
    s, z = to.single()

    def whole(real: float) -> int:
        return z + int(round_away(np.float32(real) / s))

    match act:
        case "":
            return to.low, to.high
        case "relu":
            return max(to.low, z), to.high
        case "relu6":
            return max(to.low, z), min(to.high, whole(6))
        case "relu_0_to_1":
            return max(to.low, z), min(to.high, whole(1))
        case "relu_n1_to_1":
            return max(to.low, whole(-1)), min(to.high, whole(1))
    raise RequestError(f"no kernel fuses the activation {act!r}: relu, relu6 and relu_n1_to_1 are")


def clipped(value: int, to: Quantisation, act: str) -> int:
    """Not below the least, then not above the largest."""
    low, high = activation_range(to, act)
    return min(max(int(value), low), high)
