"""A candidate's tensors as real numbers: floats as they are, integers by their scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.pack.matching.layouts import axis_orders

__all__ = ["RealTensors", "TensorScale"]

Array = npt.NDArray[Any]


class TensorScale(NamedTuple):
    """How an integer tensor stands for real numbers: value = scale * (stored - zero_point)."""

    scale: float
    zero_point: int = 0


class RealTensors(Mapping[str, Array]):
    """A candidate's tensors as real numbers, read when asked for; `shapes` are known before.

    What is no number is left out, and `unread` says why. Refused are a tensor that a map names, and integers of a node
    that lack their scale: of 8 or 16 bits in the node's shape, or of any size where most of its tensors are such.
    """

    def __init__(
        self,
        tensors: Mapping[str, Array],
        scales: Mapping[str, TensorScale],
        meant: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.tensors, self.scales = tensors, scales
        self.unread: dict[str, str] = dict(getattr(tensors, "unread", {}))
        shapes, dtypes = (getattr(tensors, key, None) for key in ("shapes", "dtypes"))
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in tensors:
            dtype = np.dtype(np.asarray(tensors[name]).dtype if dtypes is None else dtypes[name])
            reason = _no_number(name, dtype, name in scales)
            shape = np.shape(tensors[name]) if shapes is None else shapes[name]
            full = (meant or {}).get(name)
            if reason and full is not None and _must_be_read(dtype, shape, full):
                raise RequestError(reason)
            if reason:
                self.unread[name] = reason
            else:
                self.shapes[name] = shape
        odd = [name for name in self.unread if name in (meant or {})]
        if 2 * len(odd) > len({*(meant or {})} & {*tensors}):
            raise RequestError(self.unread[odd[0]])

    def __getitem__(self, name: str) -> Array:
        y = np.asarray(self.tensors[name])
        if name in self.scales:
            scale = self.scales[name]
            return ((y.astype(np.float64) - scale.zero_point) * scale.scale).astype(np.float32)
        return y

    def span(self, name: str) -> tuple[float, float]:
        """The least and the largest real number that an integer tensor can hold."""
        scale, dtype = self.scales[name], np.asarray(self.tensors[name]).dtype
        if dtype.kind not in "iu":
            return -math.inf, math.inf
        limits = np.iinfo(dtype)
        low, high = (scale.scale * (int(limit) - scale.zero_point) for limit in (limits.min, limits.max))
        return low, high

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def _must_be_read(dtype: np.dtype[Any], shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether a tensor is a node's without doubt: a map names it, with no shape (), or it is of few bits and fits."""
    if not full:
        return True
    return dtype.kind in "iu" and dtype.itemsize <= 2 and bool(axis_orders(shape, full))


def _no_number(name: str, dtype: np.dtype[Any], scaled: bool) -> str:
    """Why a tensor cannot be read as real numbers, or ''."""
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        return f"{name!r} holds {dtype}; take float16, float32, float64 or integers"
    if dtype.kind != "f" and not scaled:
        return f"{name}: holds {dtype}; give its scale and zero point with --scales"
    return ""
