"""Rows or columns repeated along a new axis, as TensorFlow writes Keras' UpSampling2D: the nearest pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Value
from refnet.files.importers.operations import Rule

__all__ = ["RepeatedMap", "closing", "opening", "repeated"]


class RepeatedMap(NamedTuple):
    """A map with a new axis behind its height or width, along which it is repeated."""

    x: Map
    letter: str
    times: int = 1


def opening(rule: Rule) -> Rule:
    """A rule for a new axis of one point: behind height or width of a map it is one to repeat along."""

    def open_axis(builder: GraphBuilder, op: Operation, x: Value, axis: Const) -> Any:
        if not isinstance(x, Map) or x.axes != "NHWC":
            return rule(builder, op, x, axis)
        place = int(axis.array.item())
        letter = x.axes[place - 1] if place >= 0 else x.axes[place]
        return RepeatedMap(x, letter) if letter in "HW" else rule(builder, op, x, axis)

    return open_axis


def repeated(builder: GraphBuilder, op: Operation, x: Any, multiples: Const) -> Any:
    """Tile, along the new axis alone."""
    times = multiples.array.ravel().tolist()
    place = x.x.axes.index(x.letter) + 1 if isinstance(x, RepeatedMap) else 0
    if not place or len(times) != 5 or x.times != 1 or any(each != 1 for i, each in enumerate(times) if i != place):
        raise FormatError("of anything but an axis behind the height or width of a map")
    return x._replace(times=int(times[place]))


def closing(rule: Rule) -> Rule:
    """A rule for other shapes: the new axis becomes one with that which it stands behind."""

    def close_axis(builder: GraphBuilder, op: Operation, x: Any, shape: Const | None = None) -> Value:
        if not isinstance(x, RepeatedMap):
            return rule(builder, op, x) if shape is None else rule(builder, op, x, shape)
        old = builder.vendor_shape(x.x)
        wanted = [side * x.times if letter == x.letter else side for letter, side in zip(x.x.axes, old, strict=True)]
        found = [int(side) for side in (op.attrs.get("new_shape", ()) if shape is None else shape.array.ravel())]
        if found not in (wanted, [-1, *wanted[1:]]):
            raise FormatError(f"reshapes what was repeated to {found}: only to {wanted}")
        return builder.resize(op.outputs[0], x.x, (wanted[1], wanted[2]), mode="nearest", corners=False, centres=True)

    return close_axis
