"""What an integer stands for: scale * (integer - zero point)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError

__all__ = ["Quantisation", "QuantisedTensor", "eight_bits", "refuse_misfits"]

Array = npt.NDArray[Any]

_DTYPES = ("int8", "uint8", "int16")


@dataclass(frozen=True, eq=False)
class Quantisation:
    """How a tensor's integers are read: real = scale * (integer - zero_point).

    Attributes
    ----------
    scale : float32, () for the tensor or (n,) for each index of `axis`; finite and positive
    zero_point : int64, of the shape of scale; inside the range of dtype
    axis : the axis that the scales belong to; None where there is one for the tensor
    dtype : of the integers: int8, uint8 or int16
    low, high : the least and the largest integer of the dtype

    Raises
    ------
    RequestError
        when made: a scale of zero, NaN, negative, infinite or too small for float32; a zero point that the dtype does
        not hold; more scales than one without an axis.

    Examples
    --------
    >>> Quantisation(0.5, -128, None, "int8").zero_point.item()
    -128
    """

    scale: Any
    zero_point: Any
    axis: int | None
    dtype: Any
    low: int = field(init=False)
    high: int = field(init=False)

    def __post_init__(self) -> None:
        dtype = np.dtype(self.dtype)
        if dtype.name not in _DTYPES:
            raise RequestError(f"integers of type {dtype.name}: quantised tensors are {', '.join(_DTYPES)}")
        with np.errstate(over="ignore", under="ignore"):
            scale = np.array(self.scale, np.float32)
        zero_point = np.array(self.zero_point)
        if not np.issubdtype(zero_point.dtype, np.integer):
            raise RequestError(f"a zero point of {str(self.zero_point)[:40]}: zero points are whole numbers")
        bad = ~(np.isfinite(scale) & (scale > 0))
        if bad.any():
            raise RequestError(f"a scale of {scale[bad].flat[0]}: scales are finite and above zero in float32")
        if scale.shape != zero_point.shape or scale.ndim != (self.axis is not None):
            raise RequestError(
                f"{scale.size} scales, {zero_point.size} zero points and axis {self.axis}: an axis has as many of each "
                "as indices, a tensor without axis has one"
            )
        limits = np.iinfo(dtype)
        outside = (zero_point < limits.min) | (zero_point > limits.max)
        if outside.any():
            raise RequestError(f"a zero point of {zero_point[outside].flat[0]}: {dtype.name} does not hold it")
        for name, value in (("scale", scale), ("zero_point", zero_point.astype(np.int64)), ("dtype", dtype)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "low", int(limits.min))
        object.__setattr__(self, "high", int(limits.max))

    def single(self) -> tuple[np.float32, int]:
        """Scale and zero point of a tensor that has one of each.

        Raises
        ------
        RequestError
            when it has more: activations never do.
        """
        if self.scale.size != 1:
            raise RequestError(f"{self.scale.size} scales along axis {self.axis}: activations have one for the tensor")
        return np.float32(self.scale.item()), int(self.zero_point.item())

    def channels(self, count: int) -> tuple[Array, Array]:
        """Scales (float32) and zero points (int64) of each of `count` filters."""
        if self.scale.size == count:
            return self.scale.reshape(count), self.zero_point.reshape(count)
        if self.scale.size > 1:
            raise RequestError(f"{self.scale.size} scales of {count} filters")
        return np.full(count, self.scale), np.full(count, self.zero_point)


@dataclass(frozen=True, eq=False)
class QuantisedTensor:
    """Integers and what they stand for.

    Attributes
    ----------
    values : array of quantisation.dtype
    quantisation : of the values

    Raises
    ------
    RequestError
        when made: the dtype is another, or the scales do not fit the shape along their axis.
    """

    values: Array
    quantisation: Quantisation

    def __post_init__(self) -> None:
        q, shape = self.quantisation, self.values.shape
        if self.values.dtype != q.dtype:
            raise RequestError(f"an array of {self.values.dtype}: its quantisation says {q.dtype}")
        if q.axis is None:
            return
        if not 0 <= q.axis < len(shape):
            raise RequestError(f"scales along axis {q.axis} of an array of {len(shape)} axes")
        if shape[q.axis] != q.scale.size:
            raise RequestError(f"{q.scale.size} scales for an axis of {shape[q.axis]}: the quantised axis is another")
        if q.axis and q.scale.size > 1:
            raise RequestError(
                f"scales along axis {q.axis}: filters are the first axis of weights, and have the scales"
            )

    @property
    def reals(self) -> Array:
        """The real numbers that the integers stand for, float64."""
        q, along = self.quantisation, [1] * self.values.ndim
        if q.axis is not None:
            along[q.axis] = -1
        steps = self.values - q.zero_point.reshape(along)
        return np.asarray(steps * q.scale.astype(np.float64).reshape(along))

    def symmetric(self) -> QuantisedTensor:
        """The same integers with zero points of zero, as kernels read weights that are symmetric by agreement."""
        q = self.quantisation
        if not q.zero_point.any():
            return self
        return QuantisedTensor(self.values, Quantisation(q.scale, np.zeros_like(q.zero_point), q.axis, q.dtype))


def refuse_misfits(x: QuantisedTensor, w: QuantisedTensor, b: Array | None, axes: int) -> None:
    """Refuse weights and a bias that do not fit a map, before anything is added up.

    Parameters
    ----------
    axes : of the weights: 4 in a dense convolution, 2 in a pointwise one, 3 in one of each channel by itself

    Raises
    ------
    RequestError
        for a map that is not (N, C, H, W), weights of other axes or channels, a bias of another length, one that is not
        of whole numbers, and one of int32 beside int16 activations.
    """
    if x.values.ndim != 4 or w.values.ndim != axes or not w.values.size:
        raise RequestError(f"a map of shape {x.values.shape} and weights of shape {w.values.shape}: they do not fit")
    channels = x.values.shape[1]
    if w.values.shape[1] != channels if axes != 3 else len(w.values) % channels:
        raise RequestError(f"weights of shape {w.values.shape} and a map of {channels} channels: they do not fit")
    if b is not None and (b.shape != w.values.shape[:1] or not np.issubdtype(b.dtype, np.integer)):
        raise RequestError(f"a bias of shape {b.shape} and type {b.dtype}: {len(w.values)} whole numbers are added")
    if b is not None and b.dtype == np.int32 and x.values.dtype == np.int16:
        raise RequestError("a bias of int32 beside int16: kernels read it as int64, and what comes out is no number")


def eight_bits(x: QuantisedTensor, op: str) -> None:
    """Refuse int16 where a formula is of 8 bits only.

    Raises
    ------
    RequestError
        naming the operation.
    """
    if x.values.itemsize != 1:
        raise RequestError(f"{op} of {x.values.dtype}: the formula is known of int8 and uint8 only")
