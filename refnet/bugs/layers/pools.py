"""Bugs of pools: another tensor, a part of the map, another summary; and a pool in a stride's place. Tried late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, stood_for
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.joins import nearest
from refnet.bugs.layers.shaping import resulting
from refnet.graph import Node
from refnet.ops import WINDOWED

Array = npt.NDArray[Any]

_LEAST = 1e-6  # what GeM raises to a power
_FIXED, _TELLING = (7, 7), 16  # of a pool for images of 224 x 224; channels that show which part of a map is pooled
_AT_A_TIME = (2, 4, 8, 16)  # lines that programs work through at once
_FEW = 1  # line that a pool misses, rather than has a window of its own


def stride_pooled(segment: Segment) -> Iterator[Change]:
    """a pool in a stride's place.

    A layer goes on point by point, and a pool of 2 x 2 behind it, behind its activation or before it halves the map. Of
    an odd side the last line is pooled by itself, or left out.

    Source: https://arxiv.org/abs/1812.01187
    """
    for node in segment.nodes(*WINDOWED):
        (C, H, W), (K, *own) = (segment.sizes.get(name, (0, 0, 0)) for name in (node.inputs[0], node.name))
        strided = node.attrs["stride"] == (2, 2) and node.attrs["dilation"] == (1, 1)
        if not strided or not C or own != [-(-H // 2), -(-W // 2)] or not segment.asks(node):
            continue
        yield from _halved(segment, node, "", ((0, H % 2), (0, W % 2)))
        cut = resulting(segment, node, own=(K, H // 2, W // 2)) if H % 2 or W % 2 else None
        if cut is not None:
            pools, shape = cut
            for change in _halved(segment, node, " cut", ((0, 0), (0, 0))):
                yield replace(change, nodes={**pools, **change.nodes}, shape=shape, fed=True)


def _halved(segment: Segment, node: Node, odd: str, pad: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[Change]:
    """The pools, before a layer and behind it, that treat the last line of an odd side in one way."""
    around = tuple(((side - 1) // 2, side // 2) for side in node.params["w"][-2:])
    plain = {**node.attrs, "stride": (1, 1), "pad": around}
    unit = segment.parts.unit(node.name)
    act = None if unit is None or unit.act is None else segment.graph.by_name.get(unit.act.name)
    for form, op in (("mean", "avg_pool2d"), ("largest", "max_pool2d")):
        pool = {"kernel": (2, 2), "stride": (2, 2), "pad": pad}
        full = replace(node, name=f"{node.name}.full", attrs=plain)
        yield Change(node.name, form + odd, nodes={node.name: (full, Node(node.name, op, (full.name,), {}, pool))})
        first = Node(f"{node.name}.half", op, node.inputs, {}, pool)
        nodes = (first, replace(node, inputs=(first.name,), attrs=plain))
        yield Change(node.name, f"{form} before{odd}", nodes={node.name: nodes})
        if act is not None:
            late = replace(act, name=f"{act.name}.full")
            behind = (late, Node(act.name, op, (late.name,), {}, pool))
            made = {node.name: (replace(node, attrs=plain),), act.name: behind}
            yield Change(node.name, f"{form} behind{odd}", nodes=made)


def pool_elsewhere(segment: Segment) -> Iterator[Change]:
    """a pool of another tensor.

    Squeeze-and-excite that reads what stands before the depthwise convolution, or what it scales in the end.
    """
    node, t = segment.graph.nodes[-1], segment.candidate
    if t is None or node.op != "avg_pool2d" or t.ndim != 4 or t.shape != segment.result.shape:
        return
    t = t.astype(np.float64)
    tried = [
        (float(np.linalg.norm(t - y.mean(axis=(2, 3), keepdims=True, dtype=np.float64))), 0, name)
        for name, y in segment.available.items()
        if name not in (*node.inputs, node.name) and y.ndim == 4 and y.shape[:2] == t.shape[:2] and y.size != t.size
    ]
    for _, name in nearest(tried, float(np.linalg.norm(t - segment.result))):
        y = segment.available[name]
        pool = replace(node, inputs=(name,), attrs={**node.attrs, "kernel": (y.shape[2], y.shape[3])})
        facts = {"found": name, "known": node.inputs[0]}
        yield Change(node.name, name, facts, nodes={node.name: (pool,)}, given={name: y}, lone=True)


def pool_mixed(segment: Segment) -> Iterator[Change]:
    """a mean of the map and another summary of it.

    The largest value too, halved or not, or a generalised mean, as networks for retrieval have them.

    Source: https://github.com/huggingface/pytorch-image-models/blob/main/timm/layers/adaptive_avgmax_pool.py
    """
    for node in segment.nodes("avg_pool2d"):
        if not segment.parts.pools_all(node.name):
            continue
        mean, largest = (
            replace(node, op=op, name=f"{node.name}.{side}")
            for op, side in (("avg_pool2d", "mean"), ("max_pool2d", "largest"))
        )
        both = Node(f"{node.name}.both", "add", (mean.name, largest.name))
        half = Node(node.name, "affine", (both.name,), {}, {"slope": 0.5, "offset": 0.0})
        yield Change(node.name, "half", nodes={node.name: (mean, largest, both, half)})
        yield Change(node.name, "sum", nodes={node.name: (mean, largest, replace(both, name=node.name))})
        if segment.end == node.name:
            ((_, x),) = segment.values({node.inputs[0]})
            y = np.cbrt((np.maximum(x, _LEAST) ** 3).mean(axis=(2, 3), keepdims=True))
            yield Change(
                node.name, "cubes", **stood_for(node, y, node.attrs["kernel"][0] * node.attrs["kernel"][1] + 8)
            )


def pool_part(segment: Segment) -> Iterator[Change]:
    """a pool of a part of the map.

    Its window has a fixed size, or misses the last row or column; it lies in a corner or in the middle. Which it is,
    the port's numbers show; where the pool is not the last node a few windows in the first corner are tried.
    """
    for node in segment.nodes("avg_pool2d"):
        whole = segment.sizes.get(node.inputs[0], ())[1:]  # of no map that another bug has put there
        if not segment.parts.pools_all(node.name) or node.attrs["kernel"] != whole:
            continue
        rows, columns = of = node.attrs["kernel"]
        if segment.end == node.name:
            yield from _part_shown(segment, node)
            continue
        for part in dict.fromkeys((_FIXED, (rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1))):
            if 0 < part[0] <= rows and 0 < part[1] <= columns and part != of:
                made = {node.name: (_windowed(node, part),)}
                yield _pooled(node, _taken(part, (0, 0), of), _multiple(part, of), nodes=made)


def _windowed(node: Node, part: tuple[int, int]) -> Node:
    """A pool that takes in the first lines of its map alone."""
    return replace(node, attrs={**node.attrs, "kernel": part, "stride": node.attrs["kernel"]})


def _pooled(node: Node, taken: tuple[str | int, ...], multiple: int, **made: Any) -> Change:
    """A pool of a part of its map; parts that are rounded down to whole multiples of one number are of one kind."""
    facts = {"taken": taken} | ({"multiple": multiple} if multiple else {})
    kind = f"multiple{' of all' if taken[-1] == 'whole' else ''} {multiple}" if multiple else ""
    return Change(node.name, " ".join(map(str, taken)), facts, kind=kind, **made)


def _multiple(window: tuple[int, ...], of: tuple[int, ...]) -> int:
    """The number of which a window has as many multiples of rows and columns as the map has; 0 where there is none."""
    rounded = (n for n in _AT_A_TIME if all(part == whole // n * n for part, whole in zip(window, of, strict=True)))
    return next(rounded, 0)


def _taken(window: tuple[int, ...], begin: tuple[int, ...], of: tuple[int, ...]) -> tuple[str | int, ...]:
    """What is pooled: all but the last lines, or a window and where it begins."""
    missed = [whole - part for whole, part in zip(of, window, strict=True)]
    return ("all but", *missed) if begin == (0, 0) and max(missed) <= _FEW else ("window", *window, *begin)


def _part_shown(segment: Segment, node: Node) -> Iterator[Change]:
    """The window whose mean is nearest to what a pool at a segment's end made: its sum by its own points, or by all."""
    t = segment.candidate
    if t is None or t.shape != segment.result.shape or t.ndim != 4:
        return
    ((_, x),) = segment.values({node.inputs[0]})
    H, W = x.shape[2:]
    found, own = t.reshape(-1).astype(np.float64), segment.result.reshape(-1)
    picked = np.argsort(-np.abs(found - own))[:_TELLING]
    sums = np.pad(x.reshape(-1, H, W)[picked], ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    down, along = _runs(H), _runs(W)
    rows = sums[:, down[:, 1]] - sums[:, down[:, 0]]
    totals = rows[:, :, along[:, 1]] - rows[:, :, along[:, 0]]  # by channel, rows and columns
    for whole, divisor in ((False, np.ptp(down, axis=1)[:, None] * np.ptp(along, axis=1)), (True, np.array(H * W))):
        left = ((totals / divisor - found[picked, None, None]) ** 2).sum(axis=0)
        place = np.unravel_index(left.argmin(), left.shape)
        (top, bottom), (first, last) = down[place[0]].tolist(), along[place[1]].tolist()
        window = x[:, :, top:bottom, first:last]
        count = H * W if whole else window[0, 0].size
        y, size = (each.sum(axis=(2, 3), keepdims=True) / count for each in (window, np.abs(window)))
        if window.shape == x.shape:
            continue
        taken = (*_taken(window.shape[2:], (top, first), (H, W)), *(("whole",) if whole else ()))
        multiple = _multiple(window.shape[2:], (H, W)) if top == first == 0 else 0
        if (top, first, whole) == (0, 0, False):  # which is a pool, too, and runs in any order of sums
            made = {node.name: (_windowed(node, (bottom, last)),)}
            yield _pooled(node, taken, multiple, nodes=made, lone=True)
        else:
            yield _pooled(node, taken, multiple, **stood_for(node, y, window[0, 0].size + 1, size), lone=True)


def _runs(length: int) -> npt.NDArray[np.intp]:
    """Lines from the first on, up to the last, and in the middle: where each run begins and ends."""
    sizes = range(1, length + 1)
    begins = ((0, length - size, (length - size) // 2) for size in sizes)
    return np.array(sorted({(begin, begin + size) for size, each in zip(sizes, begins, strict=True) for begin in each}))
