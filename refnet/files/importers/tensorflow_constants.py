"""TensorFlow's operations on constants: shapes that are computed, batch norms that are written out.

One function for each operation, (attributes, *arrays) -> array, as TensorFlow defines it for the cases that occur.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = ["CONSTANTS", "VIEWS"]

Array = npt.NDArray[Any]
Attrs = Mapping[str, Any]

_LARGEST = 1 << 22  # numbers in what is computed; shapes and biases are a few
VIEWS = ("Cast", "ExpandDims", "Reshape", "Squeeze", "Transpose")  # keep the numbers
_TYPES = {1: "f4", 2: "f8", 3: "i4", 9: "i8", 10: "?", 19: "f2"}
_NAMES = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_INT64": 9, "DT_BOOL": 10, "DT_HALF": 19}


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    def compute(attrs: Attrs, *arrays: Array) -> Array:
        if math.prod(np.broadcast_shapes(*(array.shape for array in arrays))) > _LARGEST:
            raise FormatError("of more numbers than a shape or a bias has")
        return np.asarray(function(*arrays))

    return compute


def _cast(attrs: Attrs, x: Array) -> Array:
    kind: Any = attrs.get("DstT")
    dtype = _TYPES.get(_NAMES.get(kind, 0) if isinstance(kind, str) else kind)
    if dtype is None:
        raise FormatError("to another type than numbers")
    return x.astype(dtype)


def _strided_slice(attrs: Attrs, x: Array, begin: Array, end: Array, step: Array) -> Array:
    """One stretch, or one element, of a vector."""
    if attrs.get("ellipsis_mask") or attrs.get("new_axis_mask") or x.ndim != 1:
        raise FormatError("of more than a stretch of a vector")
    first = None if attrs.get("begin_mask") else int(begin.item())
    last = None if attrs.get("end_mask") else int(end.item())
    if attrs.get("shrink_axis_mask"):
        return np.asarray(x[int(begin.item())])
    return x[first : last : int(step.item())]


def _pack(attrs: Attrs, *parts: Array) -> Array:
    _bounded(sum(part.size for part in parts))
    return np.stack(parts, axis=attrs.get("axis", 0))


def _concat(attrs: Attrs, *parts: Array) -> Array:
    *arrays, axis = parts
    _bounded(sum(part.size for part in arrays))
    return np.concatenate(arrays, axis=int(axis.item()))


def _prod(attrs: Attrs, x: Array, axes: Array) -> Array:
    places = tuple(int(place) for place in axes.ravel())
    return np.asarray(np.prod(x, axis=places, keepdims=bool(attrs.get("keep_dims", False)), dtype=x.dtype))


def _gather(attrs: Attrs, x: Array, indices: Array, axis: Array) -> Array:
    _bounded(indices.size * x.size)
    return np.take(x, indices, axis=int(axis.item()))


def _fill(attrs: Attrs, shape: Array, value: Array) -> Array:
    sizes = [int(size) for size in shape.ravel()]
    _bounded(math.prod(max(size, 1) for size in sizes))
    return np.full(sizes, value.item(), value.dtype)


def _squeeze(attrs: Attrs, x: Array) -> Array:
    return np.squeeze(x, tuple(attrs.get("squeeze_dims", ())) or None)


def _bounded(count: int) -> None:
    if count > _LARGEST:
        raise FormatError("of more numbers than a shape has")


CONSTANTS: Mapping[str, Callable[..., Array]] = {
    "Add": _elementwise(np.add),
    "AddV2": _elementwise(np.add),
    "Cast": _cast,
    "ConcatV2": _concat,
    "ExpandDims": lambda attrs, x, axis: np.expand_dims(x, int(axis.item())),
    "Fill": _fill,
    "GatherV2": _gather,
    "Maximum": _elementwise(np.maximum),
    "Minimum": _elementwise(np.minimum),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Pack": _pack,
    "Prod": _prod,
    "RealDiv": _elementwise(np.divide),
    "Reshape": lambda attrs, x, shape: x.reshape([int(size) for size in shape.ravel()]),
    "Rsqrt": _elementwise(lambda x: (1 / np.sqrt(x)).astype(x.dtype)),
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Sub": _elementwise(np.subtract),
    "Transpose": lambda attrs, x, order: x.transpose([int(place) for place in order.ravel()]),
}
