"""Two maps joined number by number, of which one may have a single channel or a single point for all of the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refnet.errors import FormatError
from refnet.files.importers.tensor_names import first_name
from refnet.files.importers.vendor_axes import Map

if TYPE_CHECKING:
    from refnet.files.importers.builder import GraphBuilder

__all__ = ["joined"]


def joined(builder: GraphBuilder, name: str, op: str, x: Map, y: Map) -> Map:
    """x op y of two maps: 'add', 'sub', 'mul'."""
    if x.axes != y.axes:
        raise FormatError(f"joins tensors of the axes {x.axes} and {y.axes}")
    shapes = f"{x.shape} and {y.shape}"
    if op == "sub":
        op, y = "add", builder.affine(f"{first_name(name)}.negative", y, -1.0, 0.0)
    if op == "add":
        x, y = _spread(builder, name, x, y.shape), _spread(builder, name, y, x.shape)
        if x.shape == y.shape:
            return builder.add(name, "add", x, y)
    if op == "mul":
        if 1 == x.side("C") < y.side("C") or x.shape[1:] == (1, 1) != y.shape[1:]:
            x, y = y, x  # the second is the gate
        if x.side("C") == y.side("C") and y.shape[1:] == (1, 1):
            return builder.add(name, "scale", x, y)
        y = _spread(builder, name, y, x.shape)
        if x.shape == y.shape:
            return builder.product(name, x, y)
    raise FormatError(f"{op} of tensors of the shapes {shapes}")


def _spread(builder: GraphBuilder, name: str, x: Map, shape: tuple[int, ...]) -> Map:
    """One channel as all channels of a map, one point as all its points; of any other shape it stays as it is."""
    if x.shape[0] == 1 < shape[0] and x.shape[1:] == shape[1:]:
        return builder.add(f"{first_name(name)}.channels", "concat", *[x] * shape[0])
    if len(shape) == 3 and x.shape == (shape[0], 1, 1) != shape:
        size = (shape[1], shape[2])
        return builder.resize(f"{first_name(name)}.points", x, size, mode="nearest", corners=False, centres=True)
    return x
