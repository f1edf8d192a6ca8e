"""Parts of a result that hold what memory held before: nothing like what belongs there, so that nothing computed it.

A kernel is the same at all points and for all images, so that points that are off in the midst of right ones are no
mistake of arithmetic. Asked last, where no bug fits: a part is taken as it is, and only what lies around it can refute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change
from refnet.bugs.language.regions import AXES, Region, copies, lines_off
from refnet.bugs.language.segments import Segment
from refnet.bugs.memory.stored import masks_off, parts_off, written
from refnet.judge.verdicts import root_mean_square

__all__ = ["left_over"]

Array = npt.NDArray[Any]

_ENOUGH = 16  # elements of a part, by which it is told from what belongs there
_AROUND = 1 / 16  # of a tensor that must be right: less may be so by chance
_FILLED, _FAR = 0.9, 1e-3  # of them that are off, and by how much: times the size of what belongs there
# Correlation with what belongs there, from which on it may be a mistake of arithmetic: that of so few random numbers
# has a standard deviation of half of it.
_ALIKE = 2 / math.sqrt(_ENOUGH)
_SIDES = (
    "images first",
    "images last",
    "images run",
    "rows first",
    "rows last",
    "columns first",
    "columns last",
    "tail",
)


def left_over(segment: Segment) -> Iterator[Change]:
    """a part that holds what memory held before.

    That of another tensor of the same shape, lines of its own once more, or numbers that are nothing like those that
    belong there.

    Source: https://github.com/ARM-software/CMSIS_5/issues/1168
    """
    target = segment.candidate
    if target is None:
        return
    yield from _repeated(segment, target)
    for region in parts_off(segment):
        found = _left(segment, target, region)
        if found is not None:
            form, facts = found
            view = partial(written, mask=region.mask, held=target)
            yield Change(segment.end, f"{region.form} {form}", {**region.facts, **facts}, view=view, lone=True)
            return


def _repeated(segment: Segment, target: Array) -> Iterator[Change]:
    """Lines that are copies of others of the same tensor: of lanes that were not moved on, of a neighbour's border."""
    for off in masks_off(segment):
        for axis, name in enumerate(AXES[: off.ndim]):
            lines = lines_off(off, axis)
            for by in (1, -1, 2, -2, 3, -3, 4, -4, 8, -8) if 0 < len(lines) < target.shape[axis] else ():
                order, facts = copies(lines, target.shape[axis], by)
                held = target.take(lines, axis)
                moved = not np.isin(order[lines], lines).any()  # a line is no copy of itself
                if moved and np.ptp(held) and np.array_equal(held, target.take(order[lines], axis)):
                    form = f"{name} {'before' if by > 0 else 'behind'}"
                    yield Change(segment.end, form, facts, view=partial(np.take, indices=order, axis=axis), lone=True)


def _left(segment: Segment, target: Array, region: Region) -> tuple[str, dict[str, str]] | None:
    """What a part holds: 'stale' and of which tensor, or 'other'; None where it may be computed."""
    values, own = target[region.mask].astype(np.float64), segment.result[region.mask]
    if len(values) < _ENOUGH or target.size - len(values) < _AROUND * target.size:
        return None
    far = _FAR * root_mean_square(own)
    if not np.mean(np.abs(values - own) > far) > _FILLED:
        return None
    for name, y in segment.available.items():
        if name != segment.end and y.shape == target.shape and np.array_equal(y[region.mask], target[region.mask]):
            return "stale", {"tensor": name}
    if region.form not in _SIDES:
        return None
    one, other = values - values.mean(), own - own.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return ("other", {}) if size > 0 and abs(float(one @ other)) < _ALIKE * size else None
