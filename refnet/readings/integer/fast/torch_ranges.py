"""The clip that PyTorch's engines make of a fused activation."""

from __future__ import annotations

from refnet.errors import RequestError
from refnet.readings.integer.quantisation import Quantisation

__all__ = ["limits"]


def limits(to: Quantisation, act: str) -> tuple[int, int]:
    """Least and largest integer of an output behind an activation: '' or 'relu'."""
    if act not in ("", "relu"):
        raise RequestError(f"PyTorch fuses no activation {act!r}: only relu")
    return (to.single()[1] if act else to.low), to.high
