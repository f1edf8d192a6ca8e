"""Bugs of sums of two tensors, other weights or another tensor, and of pools. Tried where nothing else fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.changes import Change, stood_for
from refnet.bugs.fitted import two_factors
from refnet.bugs.segments import Segment
from refnet.graph import Node

Array = npt.NDArray[Any]

# Of the shortcut and of the block's result: overwritten, a mean, a branch of stochastic depth.
_WEIGHTS = ((0.0, 2.0), (2.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.0, 0.8), (1.0, 0.9))
_LOWEST = (-128, 0)  # of integers of 8 bits, with a sign and without
_ALIKE = 0.03  # relative: weights that integers of 8 bits do not tell apart


def join_unscaled(segment: Segment) -> Iterator[Change]:
    """integers added without being brought to the scale of their sum.

    Of both sides or of one; or each side by the scale of the other.
    """
    for node in segment.nodes("add"):
        seen = {(1.0, 1.0)}
        for form, weights in _unscaled(segment, node).items():
            if weights not in seen:
                seen.add(weights)
                yield replace(weighted(node, *weights), form=form, facts={})


def _unscaled(segment: Segment, node: Node) -> dict[str, tuple[float, float]]:
    """The weights of both sides of a sum of integers that is not rescaled; nothing where scales are not known."""
    grids = [segment.grids.get(name) for name in (*node.inputs, node.name)]
    one, other, own = (0.0 if grid is None else grid.step for grid in grids)
    if not (one and other and own):
        return {}
    return {
        "both": (own / one, own / other),
        "shortcut": (own / one, 1.0),
        "branch": (1.0, own / other),
        "scale of the shortcut": (1.0, one / other),
        "scale of the branch": (other / one, 1.0),
        "exchanged": (other / one, one / other),
    }


def join_zero_points(segment: Segment) -> Iterator[Change]:
    """integers added with their zero points.

    Those of both sides are not taken off, or that of one; or they are taken off and that of the sum is not added.
    """
    for node in segment.nodes("add"):
        for form, offsets in with_zero_points(segment, node).items():
            yield replace(_offset(node, *offsets), form=form)


def with_zero_points(segment: Segment, node: Node) -> dict[str, tuple[float, float]]:
    """By form, what a sum's sides are too large by; nothing where it is of no integers."""
    grids = [segment.grids.get(name) for name in (*node.inputs, node.name)]
    found: dict[str, tuple[float, float]] = {}
    for lowest in _LOWEST:
        # The zero point as a real number, which is too much where it is not taken off.
        one, other, own = (0.0 if each is None else lowest * each.step - each.low for each in grids)
        ways = {"both": (one, other), "shortcut": (one, 0.0), "branch": (0.0, other), "sum": (-own, 0.0)}
        found |= {f"{form} {lowest}": way for form, way in ways.items() if any(way) and (form != "both" or all(way))}
    return found


def _offset(node: Node, shortcut: float, branch: float) -> Change:
    """A sum whose sides are some constants away."""
    terms = [
        Node(f"{node.name}.{side}", "affine", (source,), {}, {"slope": 1.0, "offset": offset})
        for side, source, offset in zip(("shortcut", "branch"), node.inputs, (shortcut, branch), strict=True)
    ]
    return Change(node.name, nodes={node.name: (*terms, Node(node.name, "add", tuple(term.name for term in terms)))})


def join_weights(segment: Segment) -> Iterator[Change]:
    """a sum with a shortcut whose terms are weighted.

    A buffer that the block's result has overwritten gives it twice; stochastic depth scales it.
    """
    for node in segment.nodes("add"):
        unscaled = [*_unscaled(segment, node).values()]
        solved = (each for each in _solved(segment, node) if not any(map(partial(_alike, each), unscaled)))
        for shortcut, branch in dict.fromkeys((*_WEIGHTS, *solved)):
            yield weighted(node, shortcut, branch)


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether weights are the same, as well as integers tell them."""
    return all(abs(mine - theirs) < _ALIKE * abs(theirs) for mine, theirs in zip(one, other, strict=True))


def weighted(node: Node, shortcut: float, branch: float) -> Change:
    """A sum with weights."""
    terms = []
    for side, source, slope in zip(("shortcut", "branch"), node.inputs, (shortcut, branch), strict=True):
        attrs = {"slope": slope, "offset": 0.0}
        terms.append(Node(f"{node.name}.{side}", "affine", (source,), {}, attrs))
    added = Node(node.name, "add", tuple(term.name for term in terms))
    facts = {"shortcut": shortcut, "branch": branch}
    return Change(node.name, f"{shortcut:g} {branch:g}", facts, nodes={node.name: (*terms, added)})


def _terms(segment: Segment, node: Node) -> tuple[Array, Array, Array] | None:
    """What a sum at a segment's end is made of, and what the port has for it; None where there is no such."""
    t = segment.candidate
    if t is None or segment.end != node.name or not np.isfinite(t).all():
        return None
    found = dict(segment.values({*node.inputs}))
    one, other = (found[name] for name in node.inputs)
    return None if not one.shape == other.shape == t.shape else (one, other, t.astype(np.float64))


def _solved(segment: Segment, node: Node) -> Iterator[tuple[float, float]]:
    """The weights that a sum at a segment's end shows: in three figures, and as exactly as they are known."""
    if (terms := _terms(segment, node)) is None:
        return
    one, other, t = (y.ravel() for y in terms)
    solved = two_factors(one, other, t)
    if solved is None or not all(math.isfinite(number) for number, _ in solved[:2]):
        return
    rounded = tuple(0.0 if abs(y) <= off else float(f"{y:.3g}") for y, off in solved[:2])
    exact = tuple(_weight(*each) for each in solved[:2])
    for first, second in dict.fromkeys((rounded, exact)):
        if (first, second) != (1.0, 1.0):
            yield first, second


def _weight(number: float, off: float) -> float:
    """A weight that is known so well: one or zero where it may be that."""
    return next((whole for whole in (1.0, 0.0) if abs(number - whole) <= off), float(f"{number:.8g}"))


def join_elsewhere(segment: Segment) -> Iterator[Change]:
    """a shortcut that another tensor takes the place of.

    A buffer that was not updated, or was overwritten: what is added is a tensor from elsewhere.
    """
    for node in segment.nodes("add"):
        if (terms := _terms(segment, node)) is None:
            continue
        one, other, t = terms
        tried = [
            (float(np.linalg.norm(t - kept - y)), side, name)
            for side, kept in enumerate((other, one))
            for name, y in segment.available.items()
            if name not in (*node.inputs, node.name) and y.shape == t.shape
        ]
        for side, name in _nearest(tried, float(np.linalg.norm(t - one - other))):
            inputs = [*node.inputs]
            inputs[side] = name
            added, given = Node(node.name, "add", tuple(inputs)), {name: segment.available[name]}
            facts = {"found": name, "known": node.inputs[side]}
            yield Change(node.name, name, facts, nodes={node.name: (added,)}, given=given, lone=True)


def _nearest(tried: list[tuple[float, int, str]], before: float) -> list[tuple[int, str]]:
    """Of what was tried, that which leaves least of an error, and less than there is; all of what leaves the same."""
    least = min((left for left, *_ in tried if left < before), default=before)
    return [(side, name) for left, side, name in tried if left == least < before]


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
    for _, name in _nearest(tried, float(np.linalg.norm(t - segment.result))):
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


_LEAST = 1e-6  # what GeM raises to a power
_FIXED, _TELLING = (7, 7), 16  # of a pool for images of 224 x 224; channels that show which part of a map is pooled
_FEW = 1  # line that a pool misses, rather than has a window of its own


def pool_part(segment: Segment) -> Iterator[Change]:
    """a pool of a part of the map.

    Its window has a fixed size, or misses the last row or column; it lies in a corner or in the middle. Which it is,
    the port's numbers show; where the pool is not the last node a few windows in the first corner are tried.
    """
    for node in segment.nodes("avg_pool2d"):
        if not segment.parts.pools_all(node.name) or node.attrs["kernel"] != segment.sizes[node.inputs[0]][1:]:
            continue
        rows, columns = of = node.attrs["kernel"]
        if segment.end == node.name:
            yield from _part_shown(segment, node)
            continue
        for part in dict.fromkeys((_FIXED, (rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1))):
            if 0 < part[0] <= rows and 0 < part[1] <= columns and part != of:
                own = replace(node, attrs={**node.attrs, "kernel": part, "stride": of})
                yield _pooled(node, _taken(part, (0, 0), of), nodes={node.name: (own,)})


def _pooled(node: Node, taken: tuple[str | int, ...], **made: Any) -> Change:
    return Change(node.name, " ".join(map(str, taken)), {"taken": taken}, **made)


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
        if window.shape != x.shape:
            taken = (*_taken(window.shape[2:], (top, first), (H, W)), *(("whole",) if whole else ()))
            yield _pooled(node, taken, **stood_for(node, y, window[0, 0].size + 1, size), lone=True)


def _runs(length: int) -> npt.NDArray[np.intp]:
    """Lines from the first on, up to the last, and in the middle: where each run begins and ends."""
    sizes = range(1, length + 1)
    begins = ((0, length - size, (length - size) // 2) for size in sizes)
    return np.array(sorted({(begin, begin + size) for size, each in zip(sizes, begins, strict=True) for begin in each}))
