"""What arithmetic a port computes in: unit roundoffs of sums and of stores, underflow, steps of integers.

The name of a floating-point format becomes numbers here and nowhere else. Knows no tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["BYTE_STEPS", "FLOATS", "WEIGHTS", "FloatFormat", "Precision"]

Array = npt.NDArray[np.float64]

BYTE_STEPS = 255  # from the first integer of 8 bits to the last


class FloatFormat(NamedTuple):
    """A binary floating-point format, as the four numbers that bound its rounding.

    Attributes
    ----------
    u : the unit roundoff, half the distance from 1 to the next number
    largest : the largest finite number
    normal : the smallest normal number
    subnormal : the smallest subnormal number
    flushed : whether runtimes may make 0 of subnormal numbers
    """

    u: float
    largest: float
    normal: float
    subnormal: float
    flushed: bool = True

    @classmethod
    def of(cls, digits: int, exponent: int, *, flushed: bool = True) -> FloatFormat:
        """The format of so many binary digits whose largest numbers lie between 2^exponent and twice that.

        Examples
        --------
        >>> FloatFormat.of(11, 15).largest
        65504.0
        """
        u, normal = math.ldexp(1.0, -digits), math.ldexp(1.0, 1 - exponent)
        return cls(u, (1 - u) * 2.0 * math.ldexp(1.0, exponent), normal, 2 * u * normal, flushed)

    @property
    def underflow(self) -> float:
        """How far a result that is too small may be moved."""
        return self.normal if self.flushed else self.subnormal / 2


# IEEE 754-2019, table 3.5; bfloat16 and tf32 have the exponents of float32. tf32 multiplies 11-bit significands, and
# its tensors are stored as float32. Runtimes flush subnormals to zero (TensorFlow Lite; GPUs may), which costs up to
# the smallest normal number. Only float16 has normal numbers so large that gradual underflow is asked for.
FLOATS: Mapping[str, FloatFormat] = {
    "float64": FloatFormat.of(53, 1023),
    "float32": FloatFormat.of(24, 127),
    "tf32": FloatFormat.of(11, 127),
    "float16": FloatFormat.of(11, 15, flushed=False),
    "bfloat16": FloatFormat.of(8, 127),
}

WEIGHTS: Mapping[str, int] = {"int8": 127}  # levels, by what a port may declare

_REFERENCE = FLOATS["float64"].u  # the reference's own
_SHORT = 2 * FLOATS["float32"].u  # a format with a larger unit roundoff is shorter than float32


class Precision(NamedTuple):
    """What a candidate computes in: unit roundoff of its arithmetic and of its stored tensors.

    `tiny` is twice what an underflow may cost; `step` is half a quantisation step of integer storage; `u_factor` is
    the unit roundoff that the two factors of every product are rounded to first, as tf32 does; `levels` is how many
    steps lie between zero and a filter's largest weight, where weights are integers, symmetric and scaled by filter,
    else 0; `span` is the least and the largest number that a stored tensor can hold: integers saturate there;
    `algorithm` is how convolutions are computed where they are no plain sums, one of `bounds.algorithms.ALGORITHMS`;
    `drifts` is whether sums are kept in a short format, in which like terms err in one direction; `fused` whether no
    integer is stored between the tensors that are there.
    """

    u: float
    u_store: float
    tiny: float
    step: float = 0.0
    u_factor: float = 0.0
    levels: int = 0
    span: tuple[float, float] = (-math.inf, math.inf)
    algorithm: str = ""
    drifts: bool = False
    fused: bool = False

    @classmethod
    def of(cls, store: str, accumulate: str | None = None) -> Precision:
        """Precision of tensors stored in one format and sums kept in another, by default the same.

        Tensors stored in a short format are by default summed in float32, as every current runtime does.
        """
        accumulate = accumulate or (store if store in ("float64", "tf32") else "float32")
        factor = FLOATS["tf32"].u if "tf32" in (store, accumulate) else 0.0
        kept, summed = (FLOATS["float32" if name == "tf32" else name] for name in (store, accumulate))
        u, drifts = summed.u + _REFERENCE, summed.u > _SHORT
        return cls(u, kept.u + _REFERENCE, 2 * kept.underflow, u_factor=factor, drifts=drifts)

    @property
    def short(self) -> bool:
        """Whether tensors are stored in a format shorter than float32: then params are too."""
        return self.u_store > _SHORT

    def rounded(self, param: Array) -> Array:
        """How far storing a param in a short format may move each of its elements."""
        return self.u_store * np.abs(param) + self.tiny / 2
