"""Bugs of how a result is stored: parts of it that are never written, integers that are rounded or scaled otherwise.

Only a port's own tensor shows them, so that there is nothing to inject: without one they are nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import SHORT, Change, stood_for, with_factor
from refnet.bugs.language.probabilities import levelled
from refnet.bugs.language.regions import Region, regions
from refnet.bugs.language.segments import Grid, Segment, limit, run
from refnet.ops import ACTIVATIONS, GATES
from refnet.readings import fast
from refnet.readings.carried import LAMBDA
from refnet.readings.precision import FLOATS, Precision

__all__ = [
    "is_at_limits",
    "manners_of",
    "masks_off",
    "never_written",
    "parts_off",
    "store_rounding",
    "store_scale",
    "store_wraps",
    "table_entry",
    "written",
]

Array = npt.NDArray[Any]

# Times the size of a channel, and of a tensor: what is off by more is off by more than rounding leaves in float32, and
# in any format but integers. Only where to look depends on it: a part is accepted within bounds alone. Tuned, on the
# table in tests/bugs/test_tables.py: the smallest power of ten that 19 of 20 honest tensors in float32 are within, and
# of 1, 2 or 5 times a power of ten the least that six of seven in bfloat16 are.
_NEAR, _FAR = 1e-4, 0.02
_LEAST = 2  # elements of a part
_SOME = 12  # integers that show how they are rounded
# In steps: how far off float32 leaves a sum of a thousand terms that are two thousand steps large together.
_OFF = LAMBDA * math.sqrt(1000) * FLOATS["float32"].u * 2000
_MORE = 2.0**-6  # relative: by how much an input is moved to see what follows
_NEAR_SCALE = 1.05  # of what the best factor leaves: what a scale that another tensor has may leave
_ENTRIES = 256  # of a table of bytes
_MOSTLY = 0.1  # of an error, what another entry may leave
_HALF = 128  # bytes are from -128 or from 0 on
_UPPER = {"relu6": 6.0, "hard_sigmoid": 1.0, "sigmoid": 1.0}
_ENDS = ("first", "last", "border", "tail", "all")  # where a part lies that a saturated activation is not taken for


def never_written(segment: Segment) -> Iterator[Change]:
    """a part that is never written.

    It holds one number, or one for each channel: what the memory was set to, or what the sum begins with. A loop that
    takes several columns or channels at a time leaves the last ones, one that leaves the border out the border.

    Source: https://github.com/Tencent/ncnn/issues/1014
    """
    target = segment.candidate
    if target is None:
        return
    for region in parts_off(segment):
        held = _held(target, region)
        if held == {} and _held(segment.result, region) is not None:  # in one number for each channel it is no other
            continue
        if held is not None and not (_is_saturated(segment, region, held) or _is_another_zero(segment, region)):
            form = f"{region.form} {'one' if 'value' in held else 'each'}"
            view = partial(written, mask=region.mask, held=target)
            yield Change(segment.end, form, {**region.facts, **held}, view=view, lone=True)
            return


def _is_another_zero(segment: Segment, region: Region) -> bool:
    """Whether all of a tensor of integers is one number, as it should be, but another: then its zero is elsewhere."""
    return segment.end in segment.grids and bool(region.mask.all()) and not np.ptp(segment.result)


def parts_off(segment: Segment) -> Iterator[Region]:
    """The parts that may be off."""
    for off in masks_off(segment):
        yield from regions(off)


def store_rounding(segment: Segment) -> Iterator[Change]:
    """integers that are not rounded to the nearest.

    A real number is made an integer by cutting it off, rounding it down, or up; or half a step is added and the rest
    cut off toward zero, as a cast does, which is wrong below zero.
    """
    node = segment.graph.nodes[-1]
    for form in manners_of(segment):
        grid, y = segment.grids[segment.end], segment.result
        low, made, high = (_MANNERS[form](y / grid.step + off, _zero(grid)) for off in (-_OFF, 0.0, _OFF))
        slack = np.asarray(limit(replace(segment, candidate=None), Precision.of("float32")).expected)
        stored = (made * grid.step).clip(*segment.span)
        between = np.where(low == high, slack, grid.step)
        yield Change(node.name, form, {"step": grid.step}, **stood_for(node, stored, 4, slack=between), lone=True)


# Whole numbers of real ones in steps; a cast may be made behind the zero point, which is that of signed bytes.
_MANNERS: Mapping[str, Callable[[Array, int], Array]] = {
    "down": lambda v, zero: np.floor(v),
    "up": lambda v, zero: np.ceil(v),
    "toward zero": lambda v, zero: np.trunc(v),
    "away from zero": lambda v, zero: np.sign(v) * np.ceil(np.abs(v)),
    "cast": lambda v, zero: np.trunc(v + 0.5),
    "cast signed": lambda v, zero: np.trunc(v + zero + 0.5) - zero,
    "truncated signed": lambda v, zero: np.trunc(v + zero) - zero,
}


def _zero(grid: Grid) -> int:
    """The zero point of signed bytes, which are from -128 on."""
    return -_HALF - round(grid.low / grid.step)


def manners_of(segment: Segment) -> tuple[str, ...]:
    """How a port may make integers at a segment's end where that is not to the nearest; none where it is.

    Rounded to the nearest no number lies beyond half a step from its integer; cut off in any way many do. Of numbers
    that are all above zero down is toward zero.
    """
    target, grid = segment.candidate, segment.grids.get(segment.end)
    if target is None or grid is None or target.shape != segment.result.shape:
        return ()
    inner = (target > segment.span[0]) & (target < segment.span[1])
    found, v = (each[inner].astype(np.float64) / grid.step for each in (target, segment.result))
    if found.size < _SOME or 2 * np.count_nonzero(np.abs(found - v) > 0.5 + _OFF) < _SOME:
        return ()

    def agrees(form: str) -> bool:
        low, high = (_MANNERS[form](v + off, _zero(grid)) for off in (-_OFF, _OFF))
        return bool(((found >= low - _OFF) & (found <= high + _OFF)).all())

    return tuple(filter(agrees, _MANNERS))


def store_wraps(segment: Segment) -> Iterator[Change]:
    """integers that wrap around where they should saturate.

    What is beyond the last integer is cast without a clamp: the result, the result before its zero point is added or
    before its activation, or the sum of two sides of one scale before it is rescaled.
    """
    target, grid, node = segment.candidate, segment.grids.get(segment.end), segment.graph.nodes[-1]
    if target is None or grid is None or segment.view is not None or target.shape != segment.result.shape:
        return
    around = segment.span[1] - segment.span[0] + grid.step
    if not np.any(np.abs(target - segment.result) > around / 2):
        return
    slack = np.asarray(limit(replace(segment, candidate=None), Precision.of("float32")).expected)
    for form, y, step, low, n in _wrapping(segment, grid, round(around / grid.step)):
        turns, fewer, more = (np.floor((np.rint(y / step + off) - low) / n) for off in (0.0, -_OFF, _OFF))
        stored, unsure = y - turns * n * step, (more - fewer) * n * step
        if form == "before act":
            stored = fast.relu6(stored) if node.op == "relu6" else fast.relu(stored)
        if turns.any():
            yield Change(node.name, form, {"modulus": n}, **stood_for(node, stored, 4, slack=slack + unsure), lone=True)


def _wrapping(segment: Segment, grid: Grid, n: int) -> Iterator[tuple[str, Array, float, int, int]]:
    """What may wrap around: numbers, the step that they are counted in, the least integer and how many there are."""
    free, low = replace(segment, span=(-math.inf, math.inf)), round(grid.low / grid.step)
    node = segment.graph.nodes[-1]
    made = run(free)
    yield "result", made, grid.step, low, n
    yield "before zero", made, grid.step, -n // 2, n
    if node.op in ("relu", "relu6") and len(segment.graph) > 1:
        nodes = segment.graph.nodes[:-1]
        if node.inputs == (nodes[-1].name,):
            before = replace(free, graph=replace(segment.graph, nodes=nodes))
            yield "before act", run(before), grid.step, low, n
    sides = [segment.grids.get(name) for name in node.inputs]
    if node.op == "add" and len(segment.graph) == 1 and None not in sides:
        step = sides[0].step if sides[0] is not None else 0.0
        if all(side is not None and abs(side.step - step) <= _OFF * step / n for side in sides):
            yield "sides", made, step, -n // 2, n


def store_scale(segment: Segment) -> Iterator[Change]:
    """another scale.

    Of the result, or of a tensor that is read: that of an older calibration, or of another tensor. The result may be
    stored with the zero point of that tensor too.
    """
    target, end = segment.candidate, segment.graph.nodes[-1]
    if target is None or target.shape != segment.result.shape or not segment.grids:
        return
    inner = (target > segment.span[0]) & (target < segment.span[1])
    error = (target.astype(np.float64) - segment.result)[inner]
    if (own := segment.grids.get(segment.end)) is not None:
        yield from _on_another_grid(segment, own, error, inner)
        others = {name: own.step / grid.step for name, grid in segment.grids.items() if name != segment.end}
        for times, name in _scales(segment.result[inner], error, others):
            facts = {"times": times, "tensor": segment.end, "other": name}
            nodes = {end.name: with_factor(end, times)}
            form = "stored as input" if name in end.inputs else "stored as" if name else "stored"
            yield Change(end.name, form, facts, nodes=nodes, lone=True)
    for source, y in segment.given.items() if end.op != "add" else ():  # whose sides are told by `joins`
        if (grid := segment.grids.get(source)) is None:
            continue
        others = {name: each.step / grid.step for name, each in segment.grids.items() if name != source}
        more = run(replace(segment, given={**segment.given, source: y * np.float64(1 + _MORE)}))
        slope = (more - segment.result)[inner] / _MORE
        for times, name in _scales(slope, error, others):
            facts = {"times": times, "tensor": source, "other": name}
            given = {source: y.astype(np.float64) * times}
            form = "read as result" if name == segment.end else "read as" if name else "read"
            yield Change(source, form, facts, given=given, lone=True)


def _on_another_grid(segment: Segment, own: Grid, error: Array, inner: npt.NDArray[np.bool_]) -> Iterator[Change]:
    """The result as the integers of another tensor's scale and zero point, which are read by its own."""
    end, least = segment.graph.nodes[-1], float(np.linalg.norm(error)) / 2
    for name, grid in segment.grids.items():
        times = own.step / grid.step
        moved = own.low - grid.low * times
        if not moved or name == segment.end:  # of one zero point the scale alone is another one
            continue
        if float(np.linalg.norm(error - (times - 1) * segment.result[inner] - moved)) < least:
            form = "all as input" if name in end.inputs else "all as"
            facts = {"tensor": segment.end, "other": name}
            yield Change(end.name, form, facts, nodes={end.name: with_factor(end, times, moved)}, lone=True)


def _scales(slope: Array, error: Array, others: Mapping[str, float]) -> Iterator[tuple[float, str]]:
    """The factor that takes away most of an error, and of which other tensor's scale it is; '' for none's."""
    moved = slope != 0
    square = float((slope[moved] ** 2).sum())
    if not square > 0 or moved.sum() < _SOME:
        return
    times = 1 + float((slope * error)[moved].sum()) / square
    left = float(np.linalg.norm(error - (times - 1) * slope))
    if not (times > 0 and math.isfinite(times)) or 2 * left > float(np.linalg.norm(error)):
        return
    for name, other in others.items():
        if other != 1 and float(np.linalg.norm(error - (other - 1) * slope)) < _NEAR_SCALE * left:
            yield other, name
            return
    yield float(f"{times:.4g}"), ""


def table_entry(segment: Segment) -> Iterator[Change]:
    """a table that is read at another entry.

    Of a function of bytes: so many entries on, half of them where signed bytes are taken for unsigned ones, or from the
    other end.
    """
    target, node = segment.candidate, segment.graph.nodes[0]
    grid = segment.grids.get(node.inputs[0])
    if target is None or grid is None or node.op not in (*ACTIVATIONS, *GATES) or node.params or len(segment.graph) > 1:
        return
    x = segment.given[node.inputs[0]]
    if x.shape != target.shape:
        return
    entry = np.rint((x - grid.low) / grid.step).astype(int)
    known, first = np.unique(entry, return_index=True)
    if len(known) < _SOME or known[0] < 0 or known[-1] >= _ENTRIES:
        return
    levels = grid.low + grid.step * np.arange(_ENTRIES)
    made = run(replace(segment, given={node.inputs[0]: levels.reshape(1, -1, 1, 1)})).ravel().clip(*segment.span)
    seen, plain = target.ravel()[first].astype(np.float64), segment.result.ravel()[first]
    orders = {f"on {by}": (np.arange(_ENTRIES) + by) % _ENTRIES for by in range(1, _ENTRIES)}
    orders["back"] = np.arange(_ENTRIES)[::-1]
    form, order = min(orders.items(), key=lambda each: float(np.abs(made[each[1]][known] - seen).sum()))
    if float(np.abs(made[order][known] - seen).sum()) < _MOSTLY * float(np.abs(plain - seen).sum()):
        by = int(order[0]) if form != "back" else 0
        facts = {"by": by if by <= _HALF else by - _ENTRIES}
        kind = "back" if form == "back" else "half" if by == _HALF else "on"
        moved = levels[order][entry]
        yield Change(node.name, kind, facts, given={node.inputs[0]: moved}, lone=True)


def masks_off(segment: Segment) -> Iterator[npt.NDArray[np.bool_]]:
    """Where a port's tensor is off by more than rounding, as in float32 and as in any format.

    Nothing where shapes differ, or so few elements are there that they tell nothing. Of probabilities it is where the
    logits that they show are off: one wrong logit moves all of an image's probabilities.
    """
    target = segment.candidate
    if target is None or target.size <= _LEAST or target.ndim not in (2, 4) or target.shape != segment.result.shape:
        return
    grid, (target, y) = segment.grids.get(segment.end), levelled(segment, target)
    squares = np.square(y)
    size, error = float(np.sqrt(np.mean(squares))), np.abs(target - y)
    if grid is None:
        by_channel = np.sqrt(squares.mean(axis=(0, *range(2, y.ndim)), keepdims=True))
        if y.ndim == 2 and len(segment.graph) > SHORT:  # few numbers, of which some are small by chance
            by_channel = size
        yield error > _NEAR * by_channel + _NEAR**2 * size
    yield error > max(_FAR * size, 2 * grid.step if grid is not None else 0.0)


def _held(target: Array, region: Region) -> Mapping[str, float] | None:
    """What a part holds: one number, or nothing to be told where it is one for each channel; None if it holds more."""
    values = target[region.mask]
    if len(values) < _LEAST:
        return None
    if np.ptp(values) == 0:
        return {"value": float(values[0])}
    if target.ndim < 4 or math.prod(target.shape[2:]) == 1:  # maps of one point hold one number each anyway
        return None
    channels = (target[:, k][region.mask[:, k]] for k in np.flatnonzero(region.mask.any(axis=(0, 2, 3))))
    return {} if all(len(each) >= _LEAST and np.ptp(each) == 0 for each in channels) else None


def _is_saturated(segment: Segment, region: Region, held: Mapping[str, float]) -> bool:
    """Whether a part may well be what an activation has cut off: inside a tensor, or anywhere at its upper end."""
    last = segment.graph.nodes[-1].op
    if last not in (*ACTIVATIONS, *GATES) or segment.candidate is None:
        return False
    within = region.form.rpartition(" ")[2] not in _ENDS
    if within and held.get("value") in (0.0, 1.0, 6.0):
        return True
    return is_at_limits(last, segment.candidate[region.mask])


def is_at_limits(act: str, values: Array) -> bool:
    """Whether an activation has cut off every number, some at its upper end, to which memory is not set."""
    return act in _UPPER and bool(np.isin(values, (0.0, _UPPER[act])).all() and (values == _UPPER[act]).any())


def written(y: Array, mask: npt.NDArray[np.bool_], held: Array) -> Array:
    """A tensor with a part as it is held elsewhere."""
    return np.where(mask, held, y) if y.shape == mask.shape else y
