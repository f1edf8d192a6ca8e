"""Bugs of zero points: integers about another one, and layers that leave one out.

Only a port's own integers show them, so that there is nothing to inject: without those they are nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, with_factor
from refnet.bugs.language.segments import Grid, Segment, run
from refnet.bugs.layers.joins import with_zero_points
from refnet.judge.verdicts import root_mean_square
from refnet.readings.precision import BYTE_STEPS

__all__ = ["act_zero_point", "store_lowest", "zero_point"]

Array = npt.NDArray[Any]

_NEARLY = 0.9  # of a tensor that is as many steps off, to within one
_HALF = 128  # bytes are from -128 or from 0 on
_LOWEST = (-_HALF, 0)
_CUT = {"relu": np.inf, "relu6": 6.0}


def zero_point(segment: Segment) -> Iterator[Change]:
    """another zero point.

    Of the result, of a tensor that is read, or of all: some steps off, left out, or that of the other kind of bytes.

    Source: https://github.com/iree-org/iree/issues/24583
    """
    target = segment.candidate
    if target is None or not segment.grids or target.shape != segment.result.shape:
        return
    if _is_of_sides(segment, target):  # which is told by `joins`
        return
    stored = _stored(segment, target)
    yield from stored
    yield from _all_off(segment, target)
    for name in segment.given if not stored else ():
        for form, steps in _misread(segment, target, name) if name in segment.grids else ():
            readers = (node.name for node in segment.graph.nodes if name in node.inputs)
            node = next(readers, name) if form.startswith("left out") else name
            facts = {"steps": -steps, "tensor": name}
            yield Change(node, form, facts, given=_moved_on(segment, [name], steps), lone=True)


def _is_of_sides(segment: Segment, target: Array) -> bool:
    """Whether a sum is off by what it is where the zero points of its sides are left out."""
    grid, last = segment.grids.get(segment.end), segment.graph.nodes[-1]
    if grid is None or last.op != "add":
        return False
    error = float(np.median(target - segment.result))
    ways = with_zero_points(segment, last).values()
    return any(abs(sum(offsets) - error) <= grid.step for offsets in ways)


def _stored(segment: Segment, target: Array) -> list[Change]:
    """A result that is nearly everywhere as many steps off."""
    if (grid := segment.grids.get(segment.end)) is None:
        return []
    error = target.astype(np.float64) - segment.result
    steps = round(float(np.median(error)) / grid.step)
    if not steps or np.mean(np.abs(error - steps * grid.step) <= grid.step) <= _NEARLY:
        return []
    view = partial(_moved, by=steps * grid.step, target=target, span=segment.span)
    return [Change(segment.end, "stored", {"steps": -steps, "tensor": segment.end}, view=view, lone=True)]


def _all_off(segment: Segment, target: Array) -> Iterator[Change]:
    """As many steps off in what is read and in what is stored: how many is solved for, to first order.

    A number that is moved has room for a step, so that two are told; where one moves the result by less than half of
    its own, as where a pool reads what is off as well, nothing is.
    """
    grid, read = segment.grids.get(segment.end), [name for name in segment.given if name in segment.grids]
    if grid is None or not read:
        return
    steps = _solved(segment, target, read, -grid.step, least=grid.step / 2)
    if abs(steps) > 1:
        last = segment.graph.nodes[-1]
        nodes = {last.name: with_factor(last, 1.0, -steps * grid.step)}
        yield Change(last.name, "all", {"steps": steps}, nodes=nodes, given=_moved_on(segment, read, steps), lone=True)


def _solved(segment: Segment, target: Array, read: list[str], beside: float = 0.0, least: float = 0.0) -> int:
    """By how many steps what is read is off, to first order; the result moves by another number with each.

    None is where the result does not hang on what is read, or a step moves it by less than the least.
    """
    effect = run(replace(segment, given={**segment.given, **_moved_on(segment, read, 1)})) - segment.result
    moved = effect + beside
    square = float(np.square(moved).sum()) if effect.any() and root_mean_square(moved) >= least else 0.0
    return round(float(((target - segment.result) * moved).sum()) / square) if square else 0


def _moved_on(segment: Segment, read: list[str], steps: int) -> dict[str, Array]:
    """Some tensors that are read, so many steps on."""
    return {name: segment.given[name].astype(np.float64) + steps * segment.grids[name].step for name in read}


def _moved(y: Array, by: float, target: Array, span: tuple[float, float]) -> Array:
    """All numbers moved by as much, but for those that an end of the range cuts off: these are the port's."""
    moved = y + by
    if y.shape != target.shape:
        return moved
    cut = ((y <= span[0]) | (y >= span[1])) & (np.abs(target - moved) <= abs(by))
    return np.where(cut, target, moved)


def _misread(segment: Segment, target: Array, name: str) -> Iterator[tuple[str, int]]:
    """By how many steps a tensor is read wrongly: its zero point of either kind of bytes, half their range, or any.

    That a sum leaves a zero point out is told by `joins`.
    """
    left_out = {f"left out {lowest}": zero for lowest, zero in _zeros(segment.grids[name]).items()}
    known = {**left_out, **{f"read {steps}": steps for steps in (_solved(segment, target, [name]), _HALF, -_HALF)}}
    in_sum = any(name in node.inputs for node in segment.nodes("add"))
    seen = {0, *(left_out.values() if in_sum else ())}
    for form, steps in known.items():
        if steps not in seen:
            seen.add(steps)
            yield form, steps


def _zeros(grid: Grid) -> dict[int, int]:
    """By the lowest of bytes of either kind, the zero point that a tensor of them would have, where they reach it."""
    zeros = {lowest: round(lowest - grid.low / grid.step) for lowest in _LOWEST}
    return {lowest: zero for lowest, zero in zeros.items() if lowest <= zero <= lowest + BYTE_STEPS}


def act_zero_point(segment: Segment) -> Iterator[Change]:
    """an activation of integers that leaves the zero point out.

    Integers are cut off at 0, or at six in steps, where the zero point should be added to both.
    """
    target, last, grid = segment.candidate, segment.graph.nodes[-1], segment.grids.get(segment.end)
    if target is None or grid is None or last.op not in _CUT:
        return
    high, most = _CUT[last.op], segment.span[1] - grid.step / 2
    for lowest, zero in _zeros(grid).items():
        less = zero * grid.step
        ends = {"lower": (-less, high), "upper": (0.0, high - less), "both": (-less, high - less)}
        for form, (low, end) in ends.items() if less else ():
            if low < end and (form == "lower" or min(end, high) < most):
                cut = replace(last, op="clip", params={}, attrs={"low": low, "high": end})
                yield Change(last.name, f"{form} {lowest}", nodes={last.name: (cut,)}, lone=True)


def store_lowest(segment: Segment) -> Iterator[Change]:
    """the lowest integer left out, as -128 in int8 is of weights.

    Integers are cut off one above it.
    """
    target, grid = segment.candidate, segment.grids.get(segment.end)
    if target is None or grid is None or target.shape != segment.result.shape:
        return
    least = grid.low + grid.step
    if abs(float(target.min()) - least) < grid.step / _HALF and segment.result.min() < least - grid.step / 2:
        yield Change(segment.end, "cut", view=partial(np.maximum, least), lone=True)
