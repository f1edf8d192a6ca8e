"""Bugs of the order in which an input lies in memory: its axes or its colours are read in another one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import WHITE, column, fed, normalised, pixels_of
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]

_ORDERS = tuple("".join(order) for order in itertools.permutations("RGB"))[1:-1]  # neither their own nor the reverse
_OF_FOUR = ("ARG", "ABG", "GBA", "GRA")
ARRANGED = (*_ORDERS, *_OF_FOUR)
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

    Two of them exchanged, or each in the next one's place; behind mean and standard deviation, or before. Or the first
    or the last three of four, one of which is full.
    """
    if SOURCE not in segment.given or segment.given[SOURCE].shape[1] != 3:
        return
    own = segment.whole.recipe.preprocessing
    for order in _ORDERS:
        x = segment.given[SOURCE][:, ["RGB".index(colour) for colour in order]]
        yield Change(SOURCE, order, given={SOURCE: x})
    if own is None:
        return
    for order in _OF_FOUR if len({*zip(own.mean, own.std, strict=True)}) == 1 else ARRANGED:
        form = f"{order} first" if order in _ORDERS else order
        yield from fed(segment, form, partial(_arranged, segment, order, own))


def _arranged(segment: Segment, order: str, own: Preprocessing) -> Array:
    matrix, offset = arranging(order)
    return normalised(np.einsum("ij,njhw->nihw", matrix, pixels_of(segment, own)) + column(tuple(offset)), own)


def arranging(order: str) -> tuple[Array, Array]:
    """The matrix that puts pixels of red, green and blue in an order, and what is added: A is an alpha that is full."""
    matrix = np.array([[float(colour == one) for one in "RGB"] for colour in order])
    return matrix, np.array([WHITE * (colour == "A") for colour in order])
