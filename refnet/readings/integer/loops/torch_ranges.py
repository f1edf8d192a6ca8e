"""The clip that PyTorch's engines make of a fused activation."""

from __future__ import annotations

from refnet.errors import RequestError
from refnet.readings.integer.quantisation import Quantisation

__all__ = ["clipped"]


def clipped(value: int, to: Quantisation, act: str) -> int:
    """Between the dtype's limits; not below the zero point behind 'relu'."""
    if act not in ("", "relu"):
        raise RequestError(f"PyTorch fuses no activation {act!r}: only relu")
    low = max(to.low, to.single()[1]) if act else to.low
    return min(max(value, low), to.high)
