"""Bugs of indices: points outside of a map that are read from memory, and rows that are read by another pitch.

A map lies in memory as one run of numbers. Where only the index into that is checked, or one of both coordinates, a
point beside the map is a point of a neighbouring row, channel or image. Tried where nothing else fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change, Deferred, stood_for
from refnet.bugs.language.segments import Segment, limit_of
from refnet.bugs.layers.padding import windowed
from refnet.graph import Node
from refnet.ops import CONVOLUTIONS, WINDOWED
from refnet.readings import fast
from refnet.readings.shapes import shape_after

Array = npt.NDArray[Any]


class _Strides(NamedTuple):
    """By how many numbers two rows are apart in memory, and two maps; and how many lie before the first of a map."""

    row: int
    plane: int
    before: int = 0


_MOST = 1 << 22  # numbers of a map that is read so
_MAP, _ROWS = 3, 2  # axes of a map, and the least rows and columns of which a pitch is told

_PLANE, _NCHW, _NHWC = "plane", "nchw", "nhwc"
# Where a map begins and ends in memory, and what is checked: the index alone, rows alone, or columns alone.
_WAYS: Mapping[str, tuple[str, str]] = {
    "row": (_PLANE, "index"),
    "row rows": (_PLANE, "rows"),
    "clamped": (_PLANE, "clamp"),
    "modulo": (_PLANE, "modulo"),
    "channel": (_NCHW, "index"),
    "channel columns": (_NCHW, "columns"),
    "channel rows": (_NCHW, "rows"),
    "image": (_NHWC, "index"),
    "image columns": (_NHWC, "columns"),
    "image rows": (_NHWC, "rows"),
    "bounds": (_NCHW, "exchanged"),
}
FILLED = (4, 8, 16, 32, 64)  # of which the numbers of a row in memory are a multiple


def pad_flat_index(segment: Segment) -> Iterator[Change]:
    """points beside the map that are read from memory.

    Only the index into memory is checked, or one of both coordinates, so that a neighbouring row, channel or image
    stands where zeros should.
    """
    for node in windowed(segment):
        if not segment.asks(node) or not any(map(any, node.attrs["pad"])) or not _has_room(segment, node):
            continue
        H, W = segment.sizes[node.inputs[0]][1:]
        border, read = f"{node.name}.border", cache(partial(_read_by, segment, node))
        bare = replace(node, inputs=(border,), attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
        for form, way in _WAYS.items():
            # Of one image the last are what planes make; and of a square its sides may be exchanged.
            if (way[0] != _NHWC or segment.batch > 1) and (form != "bounds" or H != W):
                given = Deferred([border], partial(_bordered, node, read, way))
                yield Change(node.name, form, nodes={node.name: (bare,)}, given=given, fed=True)


def row_pitch(segment: Segment) -> Iterator[Change]:
    """rows that are read by another pitch than they were written by.

    The height stands in the place of the width; or rows are filled up to a multiple of some numbers where they are
    written, or where they are read, and not in both.
    """
    for node in segment.nodes(*CONVOLUTIONS):
        sizes = segment.sizes.get(node.inputs[0], ())
        if not segment.asks(node) or len(sizes) != _MAP or min(sizes[1:]) < _ROWS or not _has_room(segment, node):
            continue
        name, read = f"{node.name}.read", cache(partial(_read_by, segment, node))
        around = node.attrs["pad"] if node.op in WINDOWED else ((0, 0), (0, 0))
        for (way, multiple), (written, found) in _pitches(sizes[1], sizes[2], around).items():
            given = Deferred([name], partial(_pitched, name, read, written, found))
            form, facts = (f"{way} {multiple}", {"multiple": multiple}) if multiple else (way, {})
            nodes = {node.name: (replace(node, inputs=(name,)),)}
            yield Change(node.name, form, facts, nodes=nodes, given=given, fed=True)


def sides_exchanged(segment: Segment) -> Iterator[Change]:
    """height and width exchanged in a layer.

    It takes the memory of a map for that of one as wide as this is high, and so is what it makes.
    """
    for node in windowed(segment):
        sizes = segment.sizes[node.inputs[0]]
        if segment.asks(node) and sizes[1] != sizes[2] and _has_room(segment, node) and _fits_turned(node, sizes):
            ((_, x),) = segment.values({node.inputs[0]})
            y, size = (_turned(segment, node, x, move) for move in (np.asarray, np.abs))
            terms = math.prod(node.params["w"][1:]) + 1
            yield Change(node.name, "sides", **stood_for(node, y, terms, size), fed=True)


def _has_room(segment: Segment, node: Node) -> bool:
    """Whether the map that a node reads is small enough to be read so."""
    return segment.batch * math.prod(segment.sizes[node.inputs[0]]) <= _MOST


def _turned_attrs(node: Node) -> dict[str, Any]:
    return {key: tuple(reversed(value)) if isinstance(value, tuple) else value for key, value in node.attrs.items()}


def _fits_turned(node: Node, sizes: tuple[int, ...]) -> bool:
    """Whether a layer's kernel, which is not turned, lies within a map that is."""
    return min(shape_after(replace(node, attrs=_turned_attrs(node)), (sizes[0], sizes[2], sizes[1]))) > 0


def _turned(segment: Segment, node: Node, x: Array, move: Callable[[Array], Array]) -> Array:
    """What a layer makes of a map of which height and width are exchanged, of numbers that are moved."""
    N, C, H, W = x.shape
    w, b = (move(segment.param(node, slot).astype(np.float64)) if slot in node.params else None for slot in ("w", "b"))
    y: Array = getattr(fast, node.op)(move(x).reshape(N, C, W, H), w, b, **_turned_attrs(node))
    return y.reshape(N, y.shape[1], y.shape[3], y.shape[2])


def _pitches(
    H: int, W: int, pad: tuple[tuple[int, int], tuple[int, int]]
) -> dict[tuple[str, int], tuple[_Strides, _Strides]]:
    """How far apart rows, and maps, are in memory where they are written and where they are read.

    By what was done to them, and up to a multiple of which number; 0 of none.
    """
    plain = _Strides(W, H * W)
    ways = {("height", 0): (plain, _Strides(H, H * W))} if H != W else {}
    if any(map(any, pad)):
        row, before = W + sum(pad[1]), pad[0][0] * (W + sum(pad[1])) + pad[1][0]
        within = _Strides(row, row * (H + sum(pad[0])), before)
        ways |= {("border", 0): (within, plain._replace(plane=within.plane)), ("border all", 0): (within, plain)}
    for pitch, many in {-(-W // many) * many: many for many in reversed(FILLED) if W % many}.items():
        filled = _Strides(pitch, H * pitch)
        ways |= {("filled", many): (filled, plain._replace(plane=H * pitch)), ("filled all", many): (filled, plain)}
        ways |= {("bare", many): (plain, filled._replace(plane=H * W)), ("bare all", many): (plain, filled)}
    for plane, many in {-(-H * W // many) * many: many for many in reversed(FILLED) if H * W % many}.items():
        filled = plain._replace(plane=plane)
        ways |= {("planes filled", many): (filled, plain), ("planes bare", many): (plain, filled)}
    return ways


def _pitched(
    name: str, read: Callable[[], tuple[Array, Array]], written: _Strides, found: _Strides
) -> dict[str, Expected]:
    """A map that was written in one way and is read in another: zeros are between rows, and behind the last map."""
    x, off = read()
    N, C, H, W = x.shape
    maps, rows = np.arange(N * C).reshape(N, C, 1, 1), np.arange(H).reshape(-1, 1)
    put, took = (maps * way.plane + rows * way.row + np.arange(W) + way.before for way in (written, found))
    memory = np.zeros(1 + max(int(put.max()), int(took.max())))

    def moved(y: Array) -> Array:
        memory[put] = y
        made: Array = memory[took]
        return made

    return {name: Expected(moved(x), moved(np.broadcast_to(off, x.shape)))}


def _read_by(segment: Segment, node: Node) -> tuple[Array, Array]:
    """What a convolution reads, and how far rounding may have moved that."""
    ((_, x),) = segment.values({node.inputs[0]})
    return x, limit_of(segment, node.inputs[0])


def _bordered(node: Node, read: Callable[[], tuple[Array, Array]], way: tuple[str, str]) -> dict[str, Expected]:
    """The same with its border."""
    x, off = read()
    wide = _read(x, node.attrs["pad"], *way)
    exact = off.strides == (0,) * off.ndim
    slack = np.broadcast_to(off.flat[0], wide.shape) if exact else _read(off, node.attrs["pad"], *way)
    return {f"{node.name}.border": Expected(wide, slack)}


def _read(x: Array, pad: Any, layout: str, checked: str) -> Array:
    """A map with what is read around it."""
    N, C, H, W = x.shape
    (top, bottom), (left, right) = pad
    n, c = (np.arange(each).reshape(shape) for each, shape in ((N, (-1, 1, 1, 1)), (C, (-1, 1, 1))))
    i, j = np.arange(-top, H + bottom).reshape(-1, 1), np.arange(-left, W + right)
    if layout == _NHWC:
        memory, index = x.transpose(0, 2, 3, 1).ravel(), ((n * H + i) * W + j) * C + c
        low, high = np.zeros((1, 1, 1, 1), int), np.full((1, 1, 1, 1), x.size)
    else:
        memory, index = x.ravel(), ((n * C + c) * H + i) * W + j
        low = (n * C + c) * H * W if layout == _PLANE else np.zeros((1, 1, 1, 1), int)
        high = low + (H * W if layout == _PLANE else x.size)
    rows, columns = (i >= 0) & (i < H), (j >= 0) & (j < W)
    if checked == "modulo":
        index = low + (index - low) % (high - low)
    elif checked == "clamp":
        index = index.clip(low, high - 1)
    inside = (index >= low) & (index < high)
    exchanged = (i >= 0) & (i < W) & (j >= 0) & (j < H)
    inside &= {"rows": rows, "columns": columns, "exchanged": exchanged}.get(checked, np.True_)
    y: Array = np.where(inside, memory[index.clip(0, x.size - 1)], 0)
    return y
