"""What arithmetic a port computes in: unit roundoffs of sums and of stores, underflow, steps of integers.

Names of formats become numbers here and nowhere else. Knows no tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["PRECISIONS", "WEIGHTS", "Precision"]

Array = npt.NDArray[np.float64]

_REFERENCE = 2.0**-53  # the reference's own unit roundoff
_SHORT = 2.0**-23  # a store with a larger unit roundoff is shorter than float32


class Precision(NamedTuple):
    """What a candidate computes in: unit roundoff of its arithmetic and of its stored tensors.

    `tiny` is twice what an underflow may cost: the smallest subnormal, or twice the smallest normal number where
    subnormals may be flushed to zero; `step` is half a quantisation step of integer storage; `u_factor` is the unit
    roundoff that the two factors of every product are rounded to first, as tf32 does; `levels` is how many steps lie
    between zero and a filter's largest weight, where weights are integers, symmetric and scaled by filter, else 0;
    `span` is the least and the largest number that a stored tensor can hold: integers saturate there.
    """

    u: float
    u_store: float
    tiny: float
    step: float = 0.0
    u_factor: float = 0.0
    levels: int = 0
    span: tuple[float, float] = (-math.inf, math.inf)

    @classmethod
    def of(cls, store: str, accumulate: str | None = None) -> Precision:
        """Precision of tensors stored in one format and sums kept in another, by default the same.

        Tensors stored in a short format are by default summed in float32, as every current runtime does.
        """
        accumulate = accumulate or (store if store in ("float64", "tf32") else "float32")
        factor = PRECISIONS["tf32"][0] if "tf32" in (store, accumulate) else 0.0
        kept, summed = ("float32" if name == "tf32" else name for name in (store, accumulate))
        (u_store, tiny), (u, _) = PRECISIONS[kept], PRECISIONS[summed]
        return cls(u + _REFERENCE, u_store + _REFERENCE, tiny, u_factor=factor)

    @property
    def short(self) -> bool:
        """Whether tensors are stored in a format shorter than float32: then params are too."""
        return self.u_store > _SHORT

    def rounded(self, param: Array) -> Array:
        """How far storing a param in a short format may move each of its elements."""
        return self.u_store * np.abs(param) + self.tiny / 2


# Unit roundoff, and twice what an underflow may cost. tf32 multiplies 11-bit significands; its tensors are stored as
# float32. Runtimes flush subnormals to zero (TensorFlow Lite; GPUs may), which costs up to the smallest normal number:
# 2^-126 in float32. Only float16 has normal numbers so large that gradual underflow is asked for.
PRECISIONS: Mapping[str, tuple[float, float]] = {
    "float64": (2.0**-53, 2.0**-1021),
    "float32": (2.0**-24, 2.0**-125),
    "tf32": (2.0**-11, 2.0**-125),
    "float16": (2.0**-11, 2.0**-24),
    "bfloat16": (2.0**-8, 2.0**-125),
}

WEIGHTS: Mapping[str, int] = {"int8": 127}  # levels, by what a port may declare
