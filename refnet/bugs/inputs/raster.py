"""Bugs of the order in which an input lies in memory: its axes or its colours are read in another one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE

Array = npt.NDArray[Any]

_USUAL = ("CHW", "HWC")
_ODD = ("CWH", "WHC", "HCW")  # columns first, as MATLAB and (x, y) have it; the colours of a row one after another


def input_order(segment: Segment) -> Iterator[Change]:
    """an input's axes in another order than its shape says.

    Bytes of (H, W, C) under a shape of (C, H, W), or the reverse: reshaped where it should be transposed. Or an image
    that lies column by column, or colour by colour in each row.
    """
    readers = [node.op for node in segment.graph.nodes if SOURCE in node.inputs]
    if SOURCE not in segment.given or "flatten" in readers:  # there it is a bug of its own
        return
    x = segment.given[SOURCE]
    numbers = np.arange(x[0].size, dtype=np.int32).reshape(1, *x.shape[1:])
    seen = {_key(numbers), _key(_misread(numbers, "CHW", "CWH"))}  # the latter has a name of its own
    orders = [("HWC", "CHW"), ("CHW", "HWC"), *itertools.product(_ODD, _USUAL), *itertools.product(_USUAL, _ODD)]
    for written, read in orders:
        places = _key(_misread(numbers, written, read))
        if written not in _USUAL or read not in _USUAL:
            if places in seen:
                continue
            form = f"{written} as {read}"
        else:
            form = written
        seen.add(places)
        given = Deferred([SOURCE], partial(_reordered, x, written, read))
        yield Change(SOURCE, form, {"written": written, "read": read}, given=given)


def _key(places: Array) -> int:
    """What tells an order of numbers from all others, in no memory."""
    return hash(places.tobytes())


def _reordered(x: Array, written: str, read: str) -> dict[str, Array]:
    return {SOURCE: _misread(x, written, read)}


def _misread(x: Array, written: str, read: str) -> Array:
    """Images written with their axes in one order, and read as if these were in another: (N, C, H, W)."""
    to, back = ([1 + "CHW".index(axis) for axis in order] for order in (written, read))
    lying = x.transpose(0, *to)
    shape = [len(x), *(x.shape[axis] for axis in back)]
    made: Array = lying.reshape(shape).transpose(0, *(1 + read.index(axis) for axis in "CHW"))
    return made


def input_hw(segment: Segment) -> Iterator[Change]:
    """height and width exchanged."""
    if SOURCE in segment.given:
        yield Change(SOURCE, given={SOURCE: _misread(segment.given[SOURCE], "CHW", "CWH")})


def input_planes(segment: Segment) -> Iterator[Change]:
    """colours in another order, which is not the reverse.

    Two of them exchanged, or each in the next one's place.
    """
    if SOURCE not in segment.given or segment.given[SOURCE].shape[1] != 3:
        return
    for order in itertools.permutations(range(3)):
        if order not in ((0, 1, 2), (2, 1, 0)):
            form = "".join("RGB"[index] for index in order)
            yield Change(SOURCE, form, given={SOURCE: segment.given[SOURCE][:, list(order)]})
