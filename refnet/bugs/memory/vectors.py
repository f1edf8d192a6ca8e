"""Bugs of the index by which numbers that are one for each channel are read: too narrow, or that of another layout.

Tried where nothing else fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred, identity, stood_for
from refnet.bugs.language.regions import lines_off
from refnet.bugs.language.segments import Segment, limit_of
from refnet.bugs.memory.stored import masks_off
from refnet.graph import Node
from refnet.readings.precision import FLOATS

__all__ = ["by_channel", "gated", "scaled", "vectors_met"]

Array = npt.NDArray[Any]
_Layout = Callable[[Array], Array]

_NORM = 6 * FLOATS["float32"].u  # the roundings of a batch norm
_LEAST = 2  # numbers that a memory has
# The channel whose number each point has, of an index into a flat buffer of (c, h, w), or of (h, w, c); or of a column,
# or of a line, of which there are others than channels (of as many, a bug of its own says it).
_INDICES: Mapping[str, Callable[..., Array]] = {
    "modulo": lambda c, h, w, C, H, W: (c * H + h) * W + w,
    "planes": lambda c, h, w, C, H, W: ((h * W + w) * C + c) // (H * W),
    "rows": lambda c, h, w, C, H, W: c * H + h,
    "pixels": lambda c, h, w, C, H, W: h * W + w,
    "width": lambda c, h, w, C, H, W: c if W == C else w,
    "height": lambda c, h, w, C, H, W: c if H == C else h,
}


def vectors_met(
    unit: UnitArrays, node: Node, form: str, factors: _Layout | None, shifts: _Layout | None, **facts: Any
) -> Change:
    """What a layer's numbers of each channel make of a map that they meet in another way.

    A bias alone is that of a fold, the convolution's own in it.

    Parameters
    ----------
    node : the batch norm, or a convolution with a bias
    factors, shifts : from what multiplies each channel, or is added to it, (C,), to what has the map's axes; None
        where each channel has its own
    """
    factors, shifts = factors or by_channel, shifts or by_channel
    made, params = [], {}
    names = f"{node.name}.factors", f"{node.name}.shifts"
    if unit.norm is None:
        bare = replace(node, name=f"{node.name}.bare", params={"w": node.params["w"]})
        made, held = [bare], {names[1]: (unit["b"], np.zeros_like(unit["b"]), shifts)}
    else:
        s, moved = unit.factor, unit["mean"] * unit.factor
        made = [Node(f"{node.name}.bare", "scale", (node.inputs[0], names[0]))]
        if factors is by_channel and "b" in unit:
            moved = moved - unit["b"] * s
            params = {unit.names["b"]: np.zeros_like(unit["b"])}
        off = _NORM * (np.abs(unit["beta"]) + np.abs(moved))
        held = {names[0]: (s, _NORM * np.abs(s), factors), names[1]: (unit["beta"] - moved, off, shifts)}
    made.append(Node(node.name, "add", (made[-1].name, names[1])))
    given = Deferred(held, lambda: {name: Expected(move(y), move(off)) for name, (y, off, move) in held.items()})
    return Change(node.name, form, facts, nodes={node.name: tuple(made)}, params=params, given=given)


def by_channel(vector: Array, axis: int = 1) -> Array:
    """As it should be, (1, C, 1, 1); or along another axis."""
    return vector.reshape([-1 if each == axis else 1 for each in range(4)])


def vector_index(segment: Segment) -> Iterator[Change]:
    """numbers of the channels read by the index of another layout.

    A loop over a flat buffer takes the bias i modulo C, as if the map was NHWC, or i / (H W), as if it was NCHW; or the
    loop of another axis gives it.
    """
    for unit, node in _places(segment):
        C, *plane = segment.sizes.get(node.name, (0,))
        if len(plane) != 2 or C < _LEAST:
            continue
        for form, index in _indices(C, *plane):
            move = partial(_taken, index=index)
            if unit.norm is not None:
                yield vectors_met(unit, node, form, move, move)
            yield vectors_met(unit, node, form if unit.norm is None else f"bias {form}", None, move)
    for node in scaled(segment):
        indices = _indices(*segment.sizes[node.inputs[0]])
        yield from gated(segment, node, {form: partial(_spread, index=index) for form, index in indices})


def _indices(C: int, H: int, W: int) -> Iterator[tuple[str, Array]]:
    """The channel whose number each point has by the index of another layout, (C, H, W): each once."""
    c, h, w = np.ogrid[:C, :H, :W]
    seen = [np.broadcast_to(c, (C, H, W))]
    for form, rule in _INDICES.items():
        index = np.broadcast_to(rule(c, h, w, C, H, W) % C, seen[0].shape)
        if not any(np.array_equal(index, other) for other in seen):
            seen.append(index)
            yield form, index


def scaled(segment: Segment) -> Iterator[Node]:
    """The products of a map with a gate of each channel."""
    for node in segment.nodes("scale"):
        sizes = [segment.sizes.get(name, ()) for name in node.inputs]
        if segment.asks(node) and len(sizes[0]) == 3 and sizes[1] == (sizes[0][0], 1, 1):
            yield node


def gated(segment: Segment, node: Node, moves: Mapping[str, _Layout]) -> tuple[Change, ...]:
    """A map times a gate that meets it in other ways.

    Parameters
    ----------
    moves : by form, from the gate, (N, C, 1, 1), to what the map is multiplied by
    """
    name = f"{node.name}.values"
    nodes = {node.name: (identity(node.name, name, 4),)}

    def made(move: _Layout) -> Mapping[str, Expected]:
        found = dict(segment.values({*node.inputs}))
        x, gate = (found[each] for each in node.inputs)
        off_x, off_gate = (limit_of(segment, each) for each in node.inputs)
        slack = off_x * np.abs(move(gate)) + np.abs(x) * move(off_gate)
        given: Mapping[str, Expected] = stood_for(node, x * move(gate), 2, slack=slack)["given"]
        return given

    return tuple(
        Change(node.name, f"gate {form}", nodes=nodes, given=Deferred([name], partial(made, move)), fed=True)
        for form, move in moves.items()
    )


def _spread(gate: Array, index: Array) -> Array:
    y: Array = gate[:, :, 0, 0][:, index]
    return y


def _taken(vector: Array, index: Array) -> Array:
    return vector[index][None]


def vector_memory(segment: Segment) -> Iterator[Change]:
    """numbers of the channels in a memory that has fewer.

    A channel beyond has the number of the one as many before it, or that of the last; how many the memory has, the
    first channel that is off shows, or the power of two before it.
    """
    off = next(masks_off(segment), None) if segment.candidate is not None else None
    if off is None or off.ndim < 2 or not off.any():
        return
    first = int(lines_off(off, 1)[0])
    counts = dict.fromkeys((1 << (first.bit_length() - 1), first)) if first >= _LEAST else ()
    for unit, node in _places(segment):
        C = segment.sizes.get(node.name, (0,))[0]
        if off.shape[1] != C:
            continue
        channels = np.arange(C)
        for count in counts:
            for way, order in (("wrapped", channels % count), ("clamped", np.minimum(channels, count - 1))):
                yield from _ordered(unit, node, order, {"entries": count, "at": (way, count)})


def _ordered(unit: UnitArrays, node: Node, order: Array, facts: Mapping[str, Any]) -> Iterator[Change]:
    """The layer with its numbers, one kind or all of them, of other channels."""

    def move(vector: Array) -> Array:
        return by_channel(vector[order])

    words = " ".join(map(str, facts["at"]))
    yield vectors_met(unit, node, f"bias {words}", None, move, vectors="bias", **facts)
    if unit.norm is not None:
        yield vectors_met(unit, node, f"norm {words}", move, move, vectors="norm", **facts)
        yield vectors_met(unit, node, f"factors {words}", move, None, vectors="factors", **facts)
        for slot in ("beta", "gamma", "mean", "var"):
            moved = {unit.names[slot]: unit[slot][order]}
            yield Change(node.name, f"{slot} {words}", {"vectors": slot, **facts}, params=moved)


def _places(segment: Segment) -> Iterator[tuple[UnitArrays, Node]]:
    for unit in segment.units:
        node = unit.norm or unit.unit.conv
        if node.name in segment.graph and segment.asks(node) and (unit.norm is not None or "b" in node.params):
            yield unit, node
