"""Where a tensor is above a number, times that tensor: what Keras makes of a ReLU with a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map, Value
from refnet.files.importers.operations import Rule

__all__ = ["AboveMap", "above", "cast_of", "product_of", "select"]


class AboveMap(NamedTuple):
    """1 or true where a map is above a number, 0 or false elsewhere."""

    x: Map
    threshold: float

    def masked(self, builder: GraphBuilder, name: str, x: Any) -> Map:
        """The map where it is above the number, 0 elsewhere."""
        if x != self.x:
            raise FormatError("where one tensor is above a number, of another: only of the tensor itself")
        return builder.thresholded(name, self.x, self.threshold)


def above(builder: GraphBuilder, op: Operation, x: Map, y: Const) -> Any:
    """Greater."""
    if not isinstance(x, Map) or not isinstance(y, Const) or y.array.size != 1:
        raise FormatError("of anything but a tensor and a number")
    return AboveMap(x, float(y.array.item()))


def select(builder: GraphBuilder, op: Operation, mask: Any, x: Value, y: Const) -> Map:
    """Select or Where: x where the mask is, else 0."""
    if not isinstance(mask, AboveMap) or not isinstance(y, Const) or y.array.any():
        raise FormatError("of anything but a tensor where it is above a number, and 0 elsewhere")
    return mask.masked(builder, op.outputs[0], x)


def product_of(rule: Rule) -> Rule:
    """A rule for products, of which one factor may be a mask."""

    def product(builder: GraphBuilder, op: Operation, x: Any, y: Any) -> Value:
        for mask, other in ((x, y), (y, x)):
            if isinstance(mask, AboveMap):
                return mask.masked(builder, op.outputs[0], other)
        return rule(builder, op, x, y)

    return product


def cast_of(rule: Rule) -> Rule:
    """A rule for other types of numbers, of which a mask is none."""

    def cast(builder: GraphBuilder, op: Operation, x: Any, *rest: Any) -> Any:
        return x if isinstance(x, AboveMap) else rule(builder, op, x, *rest)

    return cast
