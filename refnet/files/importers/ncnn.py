"""ncnn's layers in refnet's operations: one function for each type of layer.

Parameters are called by their numbers, as ncnn has them. Maps have no axis of images there; a vector of channels is a
map of one point, and becomes flat at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Pad, Pair, decimal
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.operations import Rule, begin, follow
from refnet.files.importers.shared_rules import added_up

__all__ = ["import_ncnn"]

_ARITHMETIC = {0: "add", 1: "sub", 2: "mul", 3: "div"}
_SAME_UPPER, _SAME_LOWER = -233, -234  # in the place of a padding
_SUM, _MEAN = 0, 3  # of a Reduction
_SIXTH = {"slope": 1 / 6, "offset": 0.5}


class _NcnnModel:
    """The rules for one model: they need its arrays."""

    def __init__(self, contents: Contents) -> None:
        self.arrays = contents.arrays

    def array(self, op: Operation, slot: str) -> Const:
        key = f"{op.name}.{slot}"
        return Const(self.arrays[key], key, str(self.arrays[key].dtype))

    def bias(self, op: Operation) -> Const | None:
        return self.array(op, "bias") if f"{op.name}.bias" in self.arrays else None

    def convolution(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        return self._convolved(builder, op, x, 1)

    def depthwise(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        return self._convolved(builder, op, x, _whole(op, 7, 1))

    def _convolved(self, builder: GraphBuilder, op: Operation, x: Map, group: int) -> Map:
        w = self.array(op, "weight")
        R, S = w.array.shape[2:]
        stride, dilation = _sides(op, 13, 3, 1), _sides(op, 12, 2, 1)
        if _real(op, 18, 0.0):
            raise FormatError("pads with something else than zeros")
        pad = _pad_of(builder, op, x, (R, S), stride, dilation)
        return _activated(
            builder,
            op,
            lambda name: builder.convolution(
                name, x, w, self.bias(op), stride=stride, pad=pad, dilation=dilation, group=group
            ),
        )

    def inner_product(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        vector = x._replace(axes="NC")
        return _activated(
            builder, op, lambda name: builder.linear(name, vector, self.array(op, "weight"), self.bias(op))
        )

    def batch_norm(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        slots = {"gamma": "slope", "beta": "bias", "mean": "mean", "var": "var"}
        params = {ours: self.array(op, theirs) for ours, theirs in slots.items()}
        return builder.norm(op.outputs[0], x, params, decimal(_real(op, 1, 0.0)))

    def scale(self, builder: GraphBuilder, op: Operation, x: Map) -> Map:
        zeros = Const(np.zeros(x.side("C"), np.float32))
        ones = Const(np.ones(x.side("C"), np.float32))
        beta = self.bias(op) or zeros
        params = {"gamma": self.array(op, "scale"), "beta": beta, "mean": zeros, "var": ones}
        return builder.norm(op.outputs[0], x, params, 0.0)

    def rules(self) -> Mapping[str, Rule]:
        return {
            **_RULES,
            "BatchNorm": self.batch_norm,
            "Convolution": self.convolution,
            "ConvolutionDepthWise": self.depthwise,
            "InnerProduct": self.inner_product,
            "Scale": self.scale,
        }


def import_ncnn(contents: Contents, size: tuple[int, int] | None) -> ImportedGraph:
    """As `importers.import_graph`, before canonicalising."""
    structure = contents.structure
    assert structure is not None
    builder = begin(contents, size, "NCHW")
    return follow(_without_splits(structure), builder, {}, _NcnnModel(contents).rules())


def _without_splits(structure: Any) -> Any:
    """Each output of a Split by itself, since it stands for the tensor that is split."""
    operations = [
        operation._replace(outputs=(output,))
        for operation in structure.operations
        for output in (operation.outputs if operation.op == "Split" else operation.outputs[:1])
    ]
    return structure._replace(operations=tuple(operations))


# ---------------------------------------------------------------------------------------------------------- parameters


def _value(op: Operation, number: int, default: Any) -> Any:
    return op.attrs.get(str(number), default)


def _whole(op: Operation, number: int, default: int) -> int:
    value = _value(op, number, default)
    if not isinstance(value, int):
        raise FormatError(f"{value} for parameter {number}, which is a whole number")
    return value


def _real(op: Operation, number: int, default: float) -> float:
    return float(_value(op, number, default))


def _sides(op: Operation, height: int, width: int, default: int) -> Pair:
    """Height and width; the height is the width's where it is left out."""
    across = _whole(op, width, default)
    return _whole(op, height, across), across


def _pad_of(builder: GraphBuilder, op: Operation, x: Map, kernel: Pair, stride: Pair, dilation: Pair) -> Pad:
    left = _whole(op, 4, 0)
    if left in (_SAME_UPPER, _SAME_LOWER):
        return builder.same(x, kernel, stride, dilation, lower=left == _SAME_LOWER)
    top = _whole(op, 14, left)
    pad = ((top, _whole(op, 16, top)), (left, _whole(op, 15, left)))
    if min(map(min, pad)) < 0:
        raise FormatError("a negative padding")
    return pad


# ---------------------------------------------------------------------------------------------------------- activations


def _activated(builder: GraphBuilder, op: Operation, make: Callable[[str], Map]) -> Map:
    """What `make(name)` makes, then the activation that the layer has fused; the tensor's name goes to the last."""
    name, kind = op.outputs[0], _whole(op, 9, 0)
    numbers = _value(op, 10, ())
    if kind == 0:
        return make(name)
    x = make(builder.inner(name))
    match kind:
        case 1:
            return builder.add(name, "relu", x)
        case 3:
            return builder.clip(name, x, float(numbers[0]), float(numbers[1]))
        case 4:
            return builder.add(name, "sigmoid", x)
        case 6:
            return _hard_swished(builder, name, x, float(numbers[0]), float(numbers[1]))
    raise FormatError(f"fused with the activation {kind}")


def _hard_swished(builder: GraphBuilder, name: str, x: Map, slope: float, offset: float) -> Map:
    if {"slope": decimal(slope), "offset": decimal(offset)} != _SIXTH:
        raise FormatError(f"a hard swish of slope {slope:g} and offset {offset:g}: only 1/6 and 1/2")
    return builder.add(name, "hard_swish", x)


def _hard_swish(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return _hard_swished(builder, op.outputs[0], x, _real(op, 0, 0.2), _real(op, 1, 0.5))


def _hard_sigmoid(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    slope, offset = decimal(_real(op, 0, 0.2)), decimal(_real(op, 1, 0.5))
    return builder.add(op.outputs[0], "hard_sigmoid", x, slope=slope, offset=offset)


def _relu(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if _real(op, 0, 0.0):
        raise FormatError("with a negative slope")
    return builder.add(op.outputs[0], "relu", x)


def _clip(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.clip(op.outputs[0], x, _real(op, 0, -np.inf), _real(op, 1, np.inf))


def _named(op: str) -> Rule:
    return lambda builder, operation, x: builder.add(operation.outputs[0], op, x)


def _softmax(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if _whole(op, 0, 0) != 0:
        raise FormatError(f"over axis {_whole(op, 0, 0)}: only over the channels")
    return builder.softmax(op.outputs[0], x)


# ------------------------------------------------------------------------------------------------- arithmetic, shapes


def _binary(builder: GraphBuilder, op: Operation, x: Map, y: Map | None = None) -> Map:
    kind = _ARITHMETIC.get(_whole(op, 0, 0))
    if kind is None:
        raise FormatError(f"of the kind {_whole(op, 0, 0)}: only sums and products")
    if y is None:
        number = _real(op, 2, 0.0)
        return builder.arithmetic(op.outputs[0], kind, x, Const(np.array(decimal(number), np.float64)))
    return builder.arithmetic(op.outputs[0], kind, *_alike(x, y))


def _eltwise(builder: GraphBuilder, op: Operation, x: Map, y: Map) -> Map:
    kind = {0: "mul", 1: "add"}.get(_whole(op, 0, 0))
    if kind is None or any(number != 1 for number in _value(op, 1, ())):
        raise FormatError("a maximum, or with factors: only sums and products")
    return builder.arithmetic(op.outputs[0], kind, *_alike(x, y))


def _alike(x: Map, y: Map) -> tuple[Map, Map]:
    """A map and a vector as two maps."""
    if x.axes == y.axes:
        return x, y
    return x._replace(axes="NCHW"), y._replace(axes="NCHW")


def _pooling(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    kind = {0: "max_pool2d", 1: "avg_pool2d"}.get(_whole(op, 0, 0))
    if kind is None or _whole(op, 7, 0):
        raise FormatError("an adaptive window: only windows of one size")
    if _whole(op, 4, 0):
        if kind == "max_pool2d":
            return builder.pool(op.outputs[0], kind, x, kernel=_size(x), stride=(1, 1), pad=((0, 0), (0, 0)))
        return builder.mean(op.outputs[0], x, "HW", keep=False)
    kernel, stride = _sides(op, 11, 1, 0), _sides(op, 12, 2, 1)
    mode = _whole(op, 5, 0)
    if mode in (2, 3):
        pad = builder.same(x, kernel, stride, (1, 1), lower=mode == 3)
    else:
        left = _whole(op, 3, 0)
        top = _whole(op, 13, left)
        pad = ((top, _whole(op, 15, top)), (left, _whole(op, 14, left)))
    rest = [(side + sum(ends) - k) % s for side, ends, k, s in zip(_size(x), pad, kernel, stride, strict=True)]
    if mode == 0 and any(rest):
        raise FormatError("windows that reach beyond the padding")
    counted = kind == "avg_pool2d" and bool(_whole(op, 6, 0))
    return builder.pool(op.outputs[0], kind, x, kernel=kernel, stride=stride, pad=pad, counted=counted)


def _size(x: Map) -> Pair:
    return x.side("H"), x.side("W")


def _reduction(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    kind, factor = _whole(op, 0, 0), decimal(_real(op, 2, 1.0))
    if kind not in (_SUM, _MEAN) or _whole(op, 1, 1) or (kind == _MEAN and factor != 1):
        raise FormatError("of another kind, over all, or a mean with a factor: only sums and means over H and W")
    letters, keep = "".join("CHW"[axis] for axis in _value(op, 3, ())), bool(_whole(op, 4, 0))
    if kind == _MEAN:
        return builder.mean(op.outputs[0], x, letters, keep=keep)
    return added_up(builder, op.outputs[0], x, letters, keep=keep, factor=factor)


def _padding(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    top, bottom, left, right = (_whole(op, number, 0) for number in range(4))
    mode = {0: "constant", 1: "edge", 2: "reflect"}.get(_whole(op, 4, 0))
    if mode is None or _whole(op, 7, 0) or _whole(op, 8, 0):
        raise FormatError("of channels, or of another kind")
    around = {"H": (top, bottom), "W": (left, right)}
    return builder.pad(op.outputs[0], x, around, mode, _real(op, 5, 0.0))


def _interp(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if _whole(op, 0, 0) != 2 or _whole(op, 5, 0):
        raise FormatError("to the nearest, cubic, or to a size that is computed: only bilinear to a fixed one")
    scales = _real(op, 1, 1.0), _real(op, 2, 1.0)
    height, width = (
        _whole(op, number, 0) or int(side * scale) for number, side, scale in zip((3, 4), _size(x), scales, strict=True)
    )
    corners = bool(_whole(op, 6, 0))
    return builder.resize(op.outputs[0], x, (height, width), corners=corners, centres=not corners)


def _reshape(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    width, height, channels = (_whole(op, number, -233) for number in (0, 1, 2))
    sizes = [size for size in (channels, height, width) if size != -233]
    return builder.reshape(x, (builder.batch, *sizes))


def _flatten(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.reshape(x, (builder.batch, -1))


def _squeeze(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    if x.side("H") * x.side("W") != 1:
        raise FormatError("of a map of more than one point")
    return x._replace(axes="NC")


def _as_is(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return x


def _dropout(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    return builder.affine(op.outputs[0], x, _real(op, 0, 1.0), 0.0)


_RULES: Mapping[str, Rule] = {
    "BinaryOp": _binary,
    "Clip": _clip,
    "Dropout": _dropout,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Interp": _interp,
    "Noop": _as_is,
    "Padding": _padding,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "Sigmoid": _named("sigmoid"),
    "Softmax": _softmax,
    "Split": _as_is,
    "Squeeze": _squeeze,
    "Swish": _named("swish"),
}
