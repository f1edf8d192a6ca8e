"""A value that no open sum made, stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from refnet.readings.carried import Value, stored
from refnet.readings.precision import Precision

__all__ = ["closed", "kept"]

Array = npt.NDArray[np.float64]


def closed(y: Array, worst: Array, expected: Array, var: Array, p: Precision) -> Value:
    """A value that is no open sum, stored."""
    return stored(y, None, worst, expected, var, p)


def kept(y: Array, worst: Array, expected: Array, var: Array, p: Precision) -> Value:
    """A value that no arithmetic rounded: stored as it is, unless the format is shorter than that of the arithmetic."""
    return closed(y, worst, expected, var, p) if p.u_store > p.u or p.step else Value(y, (worst, expected, var), p)
