"""What arithmetic a port computes in: unit roundoffs of sums and of stores, underflow, steps of integers; its dumps.

The name of a floating-point format becomes numbers here and nowhere else. Knows no tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["BYTE_STEPS", "FLOATS", "WEIGHTS", "FloatFormat", "Precision", "Printed"]

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


class Printed(NamedTuple):
    """How numbers are rounded when a dump is written: printed, or as bytes. The port goes on with what it computed.

    Attributes
    ----------
    kind : 'decimals' (so many behind the point), 'digits' (so many significant ones), or 'levels' (so many in one, as
        LiteRT stores probabilities: whole ones in bytes, so that the last of 256 is missing)
    places : how many of them

    Examples
    --------
    >>> Printed("decimals", 2).rounded(np.array([0.126, 12.3456]))
    array([ 0.13, 12.35])
    >>> Printed("digits", 2).rounded(np.array([0.126, 12.3456]))
    array([ 0.13, 12.  ])
    >>> Printed("levels", 256).rounded(np.array([0.126, 1.0])) * 256
    array([ 32., 255.])
    """

    kind: str
    places: int

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a mistake says of it."""
        return {"places": self.places, "figures": self.kind}

    @property
    def step(self) -> float:
        """How far a number may be moved, whatever its size: half a unit, or a level, since the last one is missing."""
        return {"decimals": 0.5 * 10.0**-self.places, "levels": 1.0 / self.places}.get(self.kind, 0.0)

    @property
    def u(self) -> float:
        """How far a number may be moved, of its size."""
        return 0.5 * 10.0 ** (1 - self.places) if self.kind == "digits" else 0.0

    def unit(self, x: Array) -> Array:
        """How far apart the numbers about each of x lie."""
        return np.asarray(1 / self._per_one(x))

    def rounded(self, x: Array) -> Array:
        """The numbers as they are written."""
        per = self._per_one(x)
        whole = np.rint(x * per)
        return np.asarray((np.minimum(whole, 255) if self.kind == "levels" else whole) / per)

    def read(self, x: Array) -> Array:
        """What a program in float32 reads of the numbers as they are written, in float64."""
        return self.rounded(x).astype(np.float32).astype(np.float64)

    def _per_one(self, x: Array) -> Array:
        """How many numbers lie between two whole ones, about each of x."""
        if self.kind == "levels":
            return np.full(np.shape(x), float(self.places))
        if self.kind == "decimals":
            return np.full(np.shape(x), 10.0**self.places)
        size = np.abs(np.where(x == 0, 1.0, x))
        return np.asarray(10.0 ** (self.places - 1 - np.floor(np.log10(size))))


class Precision(NamedTuple):
    """What a candidate computes in: unit roundoff of its arithmetic and of its stored tensors.

    `tiny` is twice what an underflow may cost; `step` is half a quantisation step of integer storage; `u_factor` is
    the unit roundoff that the two factors of every product are rounded to first, as tf32 does; `levels` is how many
    steps lie between zero and a filter's largest weight, where weights are integers, symmetric and scaled by filter,
    else 0; `span` is the least and the largest number that a stored tensor can hold: integers saturate there;
    `algorithm` is how convolutions are computed where they are no plain sums, one of `bounds.algorithms.ALGORITHMS`;
    `drifts` is whether sums are kept in a short format, in which like terms err in one direction; `fused` whether no
    integer is stored between the tensors that are there; `printed` is how a dump rounds what was computed.
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
    printed: Printed | None = None

    @classmethod
    def of(cls, store: str, accumulate: str | None = None) -> Precision:
        """Precision of tensors stored in one format and sums kept in another, by default the same.

        Tensors stored in a short format are by default summed in float32, as every current runtime does.
        """
        accumulate = accumulate or (store if store in ("float64", "tf32") else "float32")
        factor = FLOATS["tf32"].u if "tf32" in (store, accumulate) else 0.0
        kept, summed = (FLOATS["float32" if name == "tf32" else name] for name in (store, accumulate))
        u, drifts = summed.u + _REFERENCE, summed.u > _SHORT
        tiny = 2 * max(kept.underflow, summed.underflow)
        return cls(u, kept.u + _REFERENCE, tiny, u_factor=factor, drifts=drifts)

    @property
    def short(self) -> bool:
        """Whether tensors are stored in a format shorter than float32: then params are too."""
        return self.u_store > _SHORT

    @property
    def dumped(self) -> Precision:
        """That of tensors as a dump holds them: what it rounds joins the store."""
        if self.printed is None:
            return self
        own = self.printed
        return self._replace(u_store=self.u_store + own.u, step=self.step + own.step, printed=None)

    def rounded(self, param: Array) -> Array:
        """How far storing a param in a short format may move each of its elements."""
        return self.u_store * np.abs(param) + self.tiny / 2
