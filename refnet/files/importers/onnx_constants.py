"""ONNX's operations on constants: what exporters leave to be computed of shapes, axes and paddings.

One function for each operation, (attributes, *arrays) -> array, as ONNX defines it for the cases that occur there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError

__all__ = ["CONSTANTS", "VIEWS"]

Array = npt.NDArray[Any]
Attrs = Mapping[str, Any]

_LARGEST = 1 << 22  # numbers in what is computed; shapes, axes and biases are a few
# TensorProto.DataType
# fmt: off
_DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
    11: np.float64,
}
# fmt: on
VIEWS = ("Cast", "CastLike", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")  # keep the numbers


def _reshape(attrs: Attrs, x: Array, shape: Array) -> Array:
    sizes = [
        x.shape[place] if size == 0 and not attrs.get("allowzero") else int(size) for place, size in enumerate(shape)
    ]
    return x.reshape(sizes)


def _axes(attrs: Attrs, axes: Array | None, rank: int) -> tuple[int, ...]:
    given = attrs.get("axes") if axes is None else axes.ravel().tolist()
    return tuple(int(axis) % rank for axis in given or ())


def _unsqueeze(attrs: Attrs, x: Array, axes: Array | None = None) -> Array:
    count = len(attrs.get("axes", ()) if axes is None else axes.ravel())
    return np.expand_dims(x, _axes(attrs, axes, x.ndim + count))


def _squeeze(attrs: Attrs, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, _axes(attrs, axes, x.ndim) or None)


def _gather(attrs: Attrs, x: Array, indices: Array) -> Array:
    _bounded((indices.size, x.size))
    return np.take(x, indices, axis=attrs.get("axis", 0))


def _concat(attrs: Attrs, *parts: Array) -> Array:
    _bounded((sum(part.size for part in parts),))
    return np.concatenate(parts, axis=attrs["axis"])


def _slice(
    attrs: Attrs,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    first = attrs["starts"] if starts is None else starts.tolist()
    last = attrs["ends"] if ends is None else ends.tolist()
    along = attrs.get("axes", range(len(first))) if axes is None else axes.tolist()
    by = [1] * len(first) if steps is None else steps.tolist()
    cut: list[slice] = [slice(None)] * x.ndim
    for axis, begin, end, step in zip(along, first, last, by, strict=True):
        # Python's slices end before index 0 going backwards only with None; ONNX says so with a very small end.
        stop = None if step < 0 and end < -x.shape[axis] else end
        cut[axis] = slice(begin, stop, step)
    return x[tuple(cut)]


def _expand(attrs: Attrs, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, _bounded(np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))))


def _constant_of_shape(attrs: Attrs, shape: Array) -> Array:
    value = attrs.get("value", np.zeros(1, np.float32))
    return np.full(_bounded(shape), value.ravel()[0], value.dtype)


def _range(attrs: Attrs, start: Array, limit: Array, delta: Array) -> Array:
    first, last, step = (part.item() for part in (start, limit, delta))
    (count,) = _bounded((max(math.ceil((last - first) / step), 0),))
    made: Array = first + np.arange(count).astype(start.dtype) * delta
    return made


def _elementwise(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays that are broadcast."""

    def applied(attrs: Attrs, *parts: Array) -> Array:
        _bounded(np.broadcast_shapes(*(part.shape for part in parts)))
        return function(*parts)

    return applied


def _bounded(shape: Iterable[Any]) -> tuple[int, ...]:
    """Sizes of what is to be computed."""
    sizes = tuple(int(size) for size in shape)
    if math.prod(sizes) > _LARGEST:
        raise FormatError(f"would make {math.prod(sizes)} numbers: refused")
    return sizes


def _clip(attrs: Attrs, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    lowest = attrs.get("min") if low is None else low
    highest = attrs.get("max") if high is None else high
    return np.clip(x, lowest, highest).astype(x.dtype)


def _div(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return (np.sign(x) * np.sign(y) * (abs(x) // abs(y))).astype(x.dtype)  # towards zero
    return x / y


def _transpose(attrs: Attrs, x: Array) -> Array:
    return x.transpose(attrs.get("perm"))


CONSTANTS: Mapping[str, Callable[..., Array]] = {
    "Add": _elementwise(np.add),
    "Cast": lambda attrs, x: x.astype(_DTYPES[attrs["to"]]),
    "CastLike": lambda attrs, x, like: x.astype(like.dtype),
    "Ceil": lambda attrs, x: np.ceil(x),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_div),
    "Expand": _expand,
    "Flatten": lambda attrs, x: x.reshape(math.prod(x.shape[: attrs.get("axis", 1)]), -1),
    "Floor": lambda attrs, x: np.floor(x),
    "Gather": _gather,
    "Identity": lambda attrs, x: x,
    "Max": _elementwise(lambda *parts: reduce(np.maximum, parts)),
    "Min": _elementwise(lambda *parts: reduce(np.minimum, parts)),
    "Mul": _elementwise(np.multiply),
    "Neg": lambda attrs, x: -x,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": lambda attrs, x: np.array(x.shape, np.int64)[attrs.get("start", 0) : attrs.get("end")],
    "Slice": _slice,
    "Sqrt": lambda attrs, x: np.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
