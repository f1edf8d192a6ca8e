"""How far a tensor is from the golden one, all that came before it included: no verdict, a measure beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.judge.verdicts import root_mean_square

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
    error = y.astype(np.float64) - golden
    size, whole = root_mean_square(error), root_mean_square(golden)
    border = interior = None
    if y.ndim == 4 and min(y.shape[2:]) >= 5:
        inner = error[:, :, 2:-2, 2:-2]
        total, inside = float((error**2).sum()), float((inner**2).sum())
        border = float(np.sqrt(max(total - inside, 0.0) / (error.size - inner.size)))
        interior = float(np.sqrt(inside / inner.size))
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    scale = np.sqrt(np.mean(np.square(golden, dtype=np.float64), axis=axes))
    channels = np.sqrt(np.mean(error**2, axis=axes)) / np.where(scale > 0, scale, 1)
    return Accumulated(
        size,
        float(np.abs(error).max(initial=0.0)),
        size / whole if whole else size,
        border,
        interior,
        tuple(float(channel) for channel in channels),
    )
