"""How far a tensor is from the golden one, all that came before it included: no verdict, a measure beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Accumulated", "accumulated_error"]

Array = npt.NDArray[Any]


class Accumulated(NamedTuple):
    """How far a tensor is from the golden one, all that came before it included.

    `relative` is rms over the golden tensor's rms; `border` and `interior` are rms of the outer two rows and columns
    and of the rest; `channels` the relative rms of each channel.
    """

    rms: float
    max: float
    relative: float
    border: float | None
    interior: float | None
    channels: tuple[float, ...]


def accumulated_error(y: Array, golden: Array) -> Accumulated | None:
    """How far a tensor is from the golden one; None where their shapes differ."""
    if y.shape != golden.shape:
        return None
    error = np.subtract(y, golden, dtype=np.float64)
    square, squared = error * error, np.square(golden, dtype=np.float64)
    total = float(square.sum())
    size, whole = float(np.sqrt(total / square.size)), float(np.sqrt(squared.mean()))
    border = interior = None
    if y.ndim == 4 and min(y.shape[2:]) >= 5:
        inner = square[:, :, 2:-2, 2:-2].copy(order="K")
        inside = float(inner.sum())
        border = float(np.sqrt(max(total - inside, 0.0) / (square.size - inner.size)))
        interior = float(np.sqrt(inside / inner.size))
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    scale = np.sqrt(squared.mean(axis=axes))
    channels = np.sqrt(square.mean(axis=axes)) / np.where(scale > 0, scale, 1)
    largest = float(np.abs(error, out=error).max(initial=0.0))
    return Accumulated(size, largest, size / whole if whole else size, border, interior, tuple(channels.tolist()))
