"""A bug of buffers: a depthwise convolution that writes over the map that it reads.

Tried where nothing else fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred, identity, stood_for
from refnet.bugs.language.segments import Segment
from refnet.graph import Node
from refnet.readings import fast
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_MOST = 1 << 22  # numbers of a map that is gone over row by row
_POINTS = 1 << 12  # points of a map that is gone over one by one
_FOLD = 8  # roundings of a batch norm, whether it is folded or not
_STEEP = {"hard_swish": 1.5}  # what an activation multiplies errors by at most, other than 1


class _Kernel(NamedTuple):
    """What is made of a window: its sum, with batch norm worked in, and the activation behind it."""

    conv: Node
    w: Expected  # (C, R, S)
    b: Expected  # (C,)
    act: Node | None

    def activated(self, y: Array) -> Array:
        """The activation of (N, C, rows, columns)."""
        if self.act is None:
            return y
        made: Array = getattr(fast, self.act.op)(y, **self.act.attrs)
        return made


def computed_in_place(segment: Segment) -> Iterator[Change]:
    """a depthwise convolution computed in place.

    It writes over the map that it reads, row by row or point by point, so that later ones are made of what earlier ones
    left: of sums, or of what batch norm and the activation made of them where these are fused.
    """
    for unit in segment.units:
        conv = unit.unit.conv
        if not _may_overwrite(segment, conv):
            continue
        ((_, x),) = segment.values({conv.inputs[0]})
        for form, nodes, kernel in _kernels(segment, unit):
            for step, columns in (("rows", x.shape[3]), ("points", 1)):
                if columns > 1 or x.shape[2] * x.shape[3] <= _POINTS:
                    last, name = nodes[-1].name, f"{nodes[-1].name}.values"
                    other = {**{node.name: () for node in nodes[:-1]}, last: (identity(last, name, 4),)}
                    given = Deferred([name], partial(_given, nodes[-1], x, kernel, columns))
                    yield Change(conv.name, f"{step}{form}", nodes=other, given=given, fed=True)


def _given(node: Node, x: Array, kernel: _Kernel, columns: int) -> dict[str, Expected]:
    """What stands in the place of what a node makes: it takes long, and few of many changes are run."""
    y, off = _overwritten(x, kernel, columns)
    made: dict[str, Expected] = stood_for(node, y, 1, slack=off)["given"]
    return made


def _may_overwrite(segment: Segment, conv: Node) -> bool:
    """Whether a layer is depthwise, and what it makes as large as what it reads."""
    own = segment.sizes.get(conv.inputs[0], ())
    return (
        conv.op == "depthwise_conv2d"
        and segment.asks(conv)
        and conv.attrs["stride"] == (1, 1)
        and own == segment.sizes.get(conv.name)
        and segment.batch * int(np.prod(own)) <= _MOST
    )


def _kernels(segment: Segment, unit: UnitArrays) -> Iterator[tuple[str, tuple[Node, ...], _Kernel]]:
    """The nodes that are computed at once, by the name of their form: the convolution alone, or all of its unit."""
    conv, norm, act = unit.unit
    w, b = Expected.of(unit["w"]), Expected.of(unit["b"] if "b" in unit else np.zeros(len(unit["w"])))
    yield "", (conv,), _Kernel(conv, w, b, None)
    nodes = tuple(node for node in unit.unit.nodes if node.name in segment.graph.by_name)
    if len(nodes) > 1 and (act is None or not act.params):
        if norm is not None:
            w, b = (unit.folded().tensors[slot] for slot in ("w", "b"))
        yield " fused", nodes, _Kernel(conv, w, b, act)


def _overwritten(x: Array, kernel: _Kernel, columns: int) -> tuple[Array, Array]:
    """Each run of columns made of what was written before, and of what was not yet; and how far a port's may lie off.

    A sum of n terms is off by n u of its absolute terms, by what its terms are off, times the kernel, and by what a
    fold leaves of the kernel, times these.
    """
    (top, _), (left, _) = kernel.conv.attrs["pad"]
    down, along = kernel.conv.attrs["dilation"]
    (R, S), (H, W) = kernel.w.value.shape[-2:], x.shape[2:]
    wide = np.pad(x, ((0, 0), (0, 0), *kernel.conv.attrs["pad"]))
    off, (b, b_off) = np.zeros_like(wide), (each[:, None, None] for each in kernel.b)
    steep = _STEEP.get(kernel.act.op, 1.0) if kernel.act is not None else 1.0
    share = (R * S + 1 + _FOLD) * FLOATS["float32"].u
    at = [(r, s) for r in range(R) for s in range(S)]
    taps = [(r * down, s * along, *(each[:, r, s, None, None] for each in kernel.w)) for r, s in at]
    for p in range(H):
        for q in range(0, W, columns):
            total, moved = np.zeros((2, *x.shape[:2], 1, columns))
            for r, s, tap, tap_off in taps:
                run = (..., slice(p + r, p + r + 1), slice(q + s, q + s + columns))
                total += wide[run] * tap
                moved += (share * np.abs(tap) + tap_off) * np.abs(wide[run]) + np.abs(tap) * off[run]
            place = (..., slice(p + top, p + top + 1), slice(q + left, q + left + columns))
            wide[place] = kernel.activated(total + b)
            off[place] = steep * (moved + share * np.abs(b) + b_off)
    inner = (..., slice(top, top + H), slice(left, left + W))
    return wide[inner], off[inner]
