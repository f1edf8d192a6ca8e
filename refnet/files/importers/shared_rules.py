"""Rules that several vendors share: sums of any number of tensors or over a map, limits, slopes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Value
from refnet.files.importers.operations import Rule

__all__ = ["added_up", "limited", "named", "negative", "prelu", "reduced", "squeezed", "summed", "unsqueezed"]


def added_up(builder: GraphBuilder, name: str, x: Map, letters: str, *, keep: bool, factor: float = 1.0) -> Map:
    """The sum over height, width or both, times a factor: so many times the mean."""
    made = builder.mean(f"{name}.mean", x, letters, keep=keep)
    points = math.prod(x.shape) // math.prod(made.shape)
    return builder.affine(name, made, factor * points, 0.0)


def reduced(builder: GraphBuilder, name: str, x: Map, places: Iterable[int], *, keep: bool, how: str) -> Map:
    """What some axes are reduced to: 'sum', or by an operation of pools."""
    letters = "".join(x.axes[place] for place in places)
    if how == "sum":
        return added_up(builder, name, x, letters, keep=keep)
    return builder.mean(name, x, letters, keep=keep, op=how)


def squeezed(builder: GraphBuilder, x: Map, places: Iterable[int]) -> Map:
    """Without some axes, of length 1."""
    old = builder.vendor_shape(x)
    gone = {place % len(old) for place in places}
    return builder.reshape(x, [side for place, side in enumerate(old) if place not in gone])


def unsqueezed(builder: GraphBuilder, x: Map, places: Iterable[int]) -> Map:
    """With axes of length 1 at some places of the new shape."""
    return builder.reshape(x, np.expand_dims(np.zeros(builder.vendor_shape(x), np.bool_), tuple(places)).shape)


def named(op: str) -> Rule:
    """An operation that refnet has under another name."""
    return lambda builder, operation, x: builder.add(operation.outputs[0], op, x)


def limited(largest: bool) -> Rule:
    """The larger, or the lesser, of a tensor and a number; `canonicalise` makes one clip of two."""

    def rule(builder: GraphBuilder, op: Operation, x: Value, y: Value) -> Map:
        x, y = (y, x) if isinstance(x, Const) else (x, y)
        if not isinstance(x, Map) or not isinstance(y, Const) or y.array.size != 1:
            raise FormatError("of two tensors, or a number for each channel: only of a tensor and a number")
        number = float(y.array.item())
        return builder.clip(op.outputs[0], x, *((number, np.inf) if largest else (-np.inf, number)))

    return rule


def negative(builder: GraphBuilder, op: Operation, x: Map) -> Map:
    """-x."""
    return builder.affine(op.outputs[0], x, -1.0, 0.0)


def prelu(builder: GraphBuilder, op: Operation, x: Map, alpha: Const) -> Map:
    """x, or alpha x where x is negative."""
    return builder.prelu(op.outputs[0], x, alpha)


def summed(builder: GraphBuilder, op: Operation, first: Value, *others: Value) -> Value:
    """The sum of any number of tensors, from left to right."""
    for place, other in enumerate(others, 1):
        name = op.outputs[0] if place == len(others) else f"{op.outputs[0]}.{place}"
        first = builder.arithmetic(name, "add", first, other)
    return first
