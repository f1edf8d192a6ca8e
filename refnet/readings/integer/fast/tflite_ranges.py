"""The clip that a fused activation comes to."""

from __future__ import annotations

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Quantisation

__all__ = ["activation_range"]

# The real numbers that an activation keeps to; None is no limit.
_REAL = {
    "": (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_0_to_1": (0.0, 1.0),
    "relu_n1_to_1": (-1.0, 1.0),
}


def activation_range(to: Quantisation, act: str) -> tuple[int, int]:
    """As `loops.tflite_ranges.activation_range`."""
    if act not in _REAL:
        raise RequestError(f"no kernel fuses the activation {act!r}: {', '.join(filter(None, _REAL))} are")
    s, z = to.single()
    low, high = (None if real is None else int(round_away(np.float32(real) / s)) + z for real in _REAL[act])
    return to.low if low is None else max(low, to.low), to.high if high is None else min(high, to.high)
