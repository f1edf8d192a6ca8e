"""Bugs of indices: points outside of a map that are read from memory.

A map lies in memory as one run of numbers. Where only the index into that is checked, or one of both coordinates, a
point beside the map is a point of a neighbouring row, channel or image. Tried where nothing else fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment, limit_of
from refnet.bugs.layers.padding import windowed
from refnet.graph import Node

Array = npt.NDArray[Any]

_MOST = 1 << 22  # numbers of a map that is read so

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
}


def pad_flat_index(segment: Segment) -> Iterator[Change]:
    """points beside the map that are read from memory.

    Only the index into memory is checked, or one of both coordinates, so that a neighbouring row, channel or image
    stands where zeros should.
    """
    for node in windowed(segment):
        size = segment.batch * int(np.prod(segment.sizes[node.inputs[0]]))
        if not segment.asks(node) or not any(map(any, node.attrs["pad"])) or size > _MOST:
            continue
        border, read = f"{node.name}.border", cache(partial(_read_by, segment, node))
        bare = replace(node, inputs=(border,), attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
        for form, way in _WAYS.items():
            if way[0] != _NHWC or segment.batch > 1:  # of one image these are what planes make
                given = Deferred([border], partial(_bordered, node, read, way))
                yield Change(node.name, form, nodes={node.name: (bare,)}, given=given, fed=True)


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
    inside &= {"rows": rows, "columns": columns}.get(checked, np.True_)
    y: Array = np.where(inside, memory[index.clip(0, x.size - 1)], 0)
    return y
