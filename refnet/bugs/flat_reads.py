"""Bugs of indices: points outside of a map that are read from memory, and rows that are of another length there.

A map lies in memory as one run of numbers. Where only the index into that is checked, or one of both coordinates, a
point beside the map is a point of a neighbouring row, channel or image. Tried where nothing else fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.arrays import Expected
from refnet.bugs.changes import Change
from refnet.bugs.padding import windowed
from refnet.bugs.segments import Segment, limit_of

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
        pad = node.attrs["pad"]
        size = segment.batch * int(np.prod(segment.sizes[node.inputs[0]]))
        if segment.place not in ("", node.name) or not any(map(any, pad)) or size > _MOST:
            continue
        (_, x), off = next(segment.values({node.inputs[0]})), limit_of(segment, node.inputs[0])
        seen = [_read(x, pad, _PLANE, "both")]
        for form, (layout, checked) in _WAYS.items():
            wide = _read(x, pad, layout, checked)
            if any(np.array_equal(wide, other) for other in seen):
                continue
            seen.append(wide)
            border = f"{node.name}.border"
            slack = np.broadcast_to(0.0, wide.shape) if off is None else _read(off, pad, layout, checked)
            bare = replace(node, inputs=(border,), attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
            yield Change(node.name, form, nodes={node.name: (bare,)}, given={border: Expected(wide, slack)}, fed=True)


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
    inside &= {"rows": rows, "columns": columns, "both": rows & columns}.get(checked, np.True_)
    y: Array = np.where(inside, memory[index.clip(0, x.size - 1)], 0)
    return y
