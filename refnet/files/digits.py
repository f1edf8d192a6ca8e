"""The handwritten digits that ship with refnet: scans, labels, and PyTorch's logits for all of them."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.files import shipped

__all__ = ["Digits", "digits"]

Array = npt.NDArray[Any]


class Digits(NamedTuple):
    """1,797 scans of 8x8 points.

    Attributes
    ----------
    scans : (1797, 8, 8) uint8, 0 (paper) to 16 (ink)
    labels : (1797,) uint8, the digit meant
    held_out : (1797,) bool, the third that training never saw
    logits : (1797, 10) float32, of the trained network in PyTorch
    """

    scans: Array
    labels: Array
    held_out: Array
    logits: Array

    def inputs(self, dtype: npt.DTypeLike = np.float32) -> Array:
        """(1797, 3, 32, 32): each point repeated 4x4 times, 0..16 scaled to [-1, 1], three equal channels."""
        x = (self.scans / 8 - 1).astype(dtype).repeat(4, axis=1).repeat(4, axis=2)
        return np.ascontiguousarray(np.broadcast_to(x[:, None], (len(x), 3, 32, 32)))

    def example(self) -> tuple[int, Array, int]:
        """The first scan that training never saw: its index, its (1, 3, 32, 32) input, its label."""
        index = int(np.flatnonzero(self.held_out)[0])
        return index, self.inputs()[index : index + 1], int(self.labels[index])


@cache
def digits() -> Digits:
    """Read them from the shipped file."""
    with np.load(shipped.path("digits_scans.npz"), allow_pickle=False) as archive:
        return Digits(*(archive[name] for name in Digits._fields))
