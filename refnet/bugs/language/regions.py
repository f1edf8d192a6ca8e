"""Parts of a tensor that programs work through at a time: lines at an end, a border, a tile, the tail of a buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["AT_A_TIME", "AXES", "FILLED", "RUN", "Region", "copies", "lines_off", "regions"]

Array = npt.NDArray[Any]

AT_A_TIME = (4, 8, 16, 32, 2, 64)  # lines that programs work through at once, the likeliest first
AXES = ("images", "channels", "rows", "columns")
# Of the lines between the first and the last that are off, how many must be so that they are one run; and of a tail, or
# of all, how much. Others are right by chance, as zeros behind an activation are. Tuned, on the table in
# tests/bugs/test_tables.py: the most quarters that keep nine of ten runs, the most tenths that keep six of seven parts.
RUN, FILLED = 0.75, 0.5
_STEPS = 3  # lines that show a step


class Region(NamedTuple):
    """A part of a tensor.

    Attributes
    ----------
    form : of lines their axis and 'first', 'last', 'run' or 'step'; or 'border', 'tile', 'tail', 'all'
    facts : where it is, in numbers
    mask : (N, C, H, W) or (N, C), of booleans
    """

    form: str
    facts: Mapping[str, Any]
    mask: npt.NDArray[np.bool_]


def regions(off: npt.NDArray[np.bool_]) -> Iterator[Region]:
    """The parts of each form that hold all that is off in a tensor, the plainest form first.

    Examples
    --------
    >>> off = np.zeros((1, 2, 4, 6), bool)
    >>> off[..., 4:] = True
    >>> [(region.form, dict(region.facts)) for region in regions(off)][0]
    ('columns last', {'start': 4, 'count': 2, 'of': 6})
    """
    seen: list[npt.NDArray[np.bool_]] = []
    for region in _every(off) if off.any() else ():
        if not any(np.array_equal(region.mask, other) for other in seen):
            seen.append(region.mask)
            yield region


def lines_off(off: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.intp]:
    """The places along an axis at which anything is off."""
    return np.flatnonzero(off.any(axis=tuple(each for each in range(off.ndim) if each != axis)))


def copies(lines: npt.NDArray[np.intp], of: int, by: int) -> tuple[npt.NDArray[np.intp], dict[str, int]]:
    """The line whose numbers each line holds, some being copies of those beside them, and which those are."""
    order = np.arange(of)
    for line in lines[:: 1 if by > 0 else -1]:  # of copies of copies the first is told
        order[line] = order[line - by] if 0 <= line - by < of else line
    step = int(np.gcd.reduce(np.diff(lines))) if len(lines) > 1 else 1
    return order, {"start": int(lines[0]), "count": len(lines), "of": of, "by": abs(by), "step": step}


def _every(off: npt.NDArray[np.bool_]) -> Iterator[Region]:
    for axis, name in enumerate(AXES[: off.ndim]):
        yield from _lines(off, axis, name)
    if off.ndim == 4:
        points = np.asarray(off.any(axis=(0, 1)))
        yield from _border(off, points)
        yield from _tile(off, points)
        yield from _tail(off, "NCHW", off)
        yield from _tail(off, "NHWC", off.transpose(0, 2, 3, 1))
    if off.mean() > FILLED:
        yield Region("all", {}, np.ones_like(off))


def _lines(off: npt.NDArray[np.bool_], axis: int, name: str) -> Iterator[Region]:
    """Channels, rows, columns or images that lie at an end, behind each other, or at a step."""
    of = off.shape[axis]
    lines = lines_off(off, axis)
    if len(lines) == of:
        return
    first, last, steps = int(lines[0]), int(lines[-1]), np.diff(lines)
    mask = np.zeros_like(off)
    by_axis = np.moveaxis(mask, axis, 0)
    if len(lines) >= _STEPS and steps[0] > 1 and (steps == steps[0]).all():
        by_axis[lines] = True
        yield Region(f"{name} step", {"start": first, "every": int(steps[0]), "count": len(lines), "of": of}, mask)
    elif len(lines) > RUN * (last + 1 - first):
        by_axis[first : last + 1] = True
        where = "last" if last == of - 1 else "first" if first == 0 else "run"
        yield Region(f"{name} {where}", {"start": first, "count": last + 1 - first, "of": of}, mask)


def _border(off: npt.NDArray[np.bool_], points: npt.NDArray[np.bool_]) -> Iterator[Region]:
    """All that lies outside a rectangle in which nothing is off."""
    rows, columns = (np.flatnonzero(~points.all(axis=axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return
    (top, bottom), (left, right) = ((int(each[0]), int(each[-1]) + 1) for each in (rows, columns))
    inner = slice(top, bottom), slice(left, right)
    height, width = points.shape
    if (top or bottom < height) and (left or right < width) and not points[inner].any():
        mask = np.ones_like(off)
        mask[..., inner[0], inner[1]] = False
        sides = {"top": top, "bottom": height - bottom, "left": left, "right": width - right}
        yield Region("border", sides, mask)


def _tile(off: npt.NDArray[np.bool_], points: npt.NDArray[np.bool_]) -> Iterator[Region]:
    """A rectangle of the map."""
    rows, columns = (np.flatnonzero(points.any(axis=axis)) for axis in (1, 0))
    (top, bottom), (left, right) = ((int(each[0]), int(each[-1]) + 1) for each in (rows, columns))
    if bottom - top < points.shape[0] and right - left < points.shape[1]:
        mask = np.zeros_like(off)
        mask[..., top:bottom, left:right] = True
        yield Region("tile", {"top": top, "left": left, "height": bottom - top, "width": right - left}, mask)


def _tail(off: npt.NDArray[np.bool_], order: str, laid: npt.NDArray[np.bool_]) -> Iterator[Region]:
    """The last numbers of each image, as they lie in memory."""
    flat = laid.reshape(len(laid), -1)
    first = int(np.flatnonzero(flat.any(axis=0))[0])
    if first and flat[:, first:].mean() > FILLED:
        tail = np.zeros_like(flat)
        tail[:, first:] = True
        mask = tail.reshape(laid.shape)
        facts = {"count": flat.shape[1] - first, "of": flat.shape[1], "order": order}
        yield Region("tail", facts, mask if order == "NCHW" else np.ascontiguousarray(mask.transpose(0, 3, 1, 2)))
