"""Right numbers in another order, as the port's tensor shows it: other axes in memory, or the lines of one axis moved.

Tried where nothing else fits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change
from refnet.bugs.language.regions import AXES
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.answers import CLASSES
from refnet.bugs.layers.ends import gives_classes
from refnet.bugs.memory.channel_orders import LAYERS_ORDERED, rule_of, ruled_orders, said_of_order
from refnet.ops import CONVOLUTIONS

Array = npt.NDArray[Any]
_Places = Callable[[Array], Array]  # from places in a tensor to those whose numbers they hold, both flat

_LANES = (4, 8, 16, 32)  # channels that lie together in blocks
_BLOCKED = (0, 1, 3, 4, 2)  # of images, blocks, lanes, rows and columns
_SOME = 256  # places that are asked, of all and of those that are off
_LEAST = 5  # numbers of a tensor: the order of fewer is told by chance
_OFF = 1e-3  # of the largest error, what counts as off
_LEFT = 0.1  # of the error at those places, what an order leaves less than to be run


class _Order(NamedTuple):
    """An order of numbers: where each is from; its form, none where another bug is about it, and its facts."""

    places: _Places
    told: Callable[[], tuple[str, dict[str, Any]]]


def result_order(segment: Segment) -> Iterator[Change]:
    """a result's right numbers in another order.

    They lie by other axes in memory than the shape says, as where an array is reshaped that should be transposed; or
    in blocks of channels; or the images, channels, rows or columns are reversed, rolled or exchanged.
    """
    t, y = segment.candidate, segment.result
    if t is None or segment.centred or t.shape != y.shape or t.size < _LEAST or t.ndim not in (2, 4):
        return
    y, t = np.ascontiguousarray(y), np.ascontiguousarray(t, np.float64)
    mine, theirs = y.ravel(), t.ravel()
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return
    asked = _asked(np.abs(theirs - mine))
    least = _LEFT * float(np.linalg.norm((theirs - mine)[asked]))
    for order in _orders(segment, t, y):
        if np.linalg.norm(theirs[asked] - mine[order.places(asked)]) < least:
            form, facts = order.told()
            if form:
                yield Change(segment.end, form, facts, view=partial(_taken, places=order.places), lone=True)
            return


def _asked(error: Array) -> Array:
    """Some places of all, and some of those that are off."""
    off, draw = np.flatnonzero(error > _OFF * error.max()), np.random.default_rng(0)
    both = [draw.choice(each, min(_SOME, each.size), replace=False) for each in (np.arange(error.size), off)]
    return np.concatenate(both)


def _taken(y: Array, places: _Places) -> Array:
    made: Array = y.ravel()[places(np.arange(y.size))].reshape(y.shape)
    return made


# ---------------------------------------------------------------------------------------------------- orders


def _orders(segment: Segment, t: Array, y: Array) -> Iterator[_Order]:
    """The orders that the numbers may be in, the plainest first."""
    shape = t.shape
    for axis, name in enumerate(AXES[: t.ndim]):
        classes = axis == 1 and gives_classes(segment)
        if not (classes and shape[1] >= CLASSES):  # whose order is a bug of its own
            yield from _of_lines(segment, t, y, axis, "classes" if classes else name)
    if t.ndim == 4:
        for degrees in (180, 90, 270) if shape[2] == shape[3] else (180,):
            yield _Order(partial(_turned, shape, degrees), partial(_said, "turned", degrees=degrees))
    yield from _layouts(shape)
    yield _Order(partial(np.subtract, t.size - 1), partial(_said, "backwards"))


def _said(form: str, **facts: Any) -> tuple[str, dict[str, Any]]:
    return form, facts


def _layouts(shape: tuple[int, ...]) -> Iterator[_Order]:
    """By other axes in memory than the shape's, or in blocks of channels."""
    axes = range(len(shape))
    known = _named(axes, shape)
    for other in itertools.permutations(axes):
        found = _named(other, shape)
        if found != known:
            # Where sizes are the same it is transposed, which is a bug of its own.
            same = len(shape) == 4 and [shape[axis] for axis in other] == [*shape]
            for way, places in (("lying", _lying), ("read", _read)):
                told = partial(_said, "" if same else way, found=found, known=known)
                yield _Order(partial(places, shape, other), told)
    for lanes in _LANES if len(shape) == 4 else ():
        if shape[1] % lanes == 0 and shape[1] > lanes:
            parted = (shape[0], shape[1] // lanes, lanes, *shape[2:])
            yield _Order(partial(_lying, parted, _BLOCKED), partial(_said, "blocks lying", lanes=lanes))
            yield _Order(partial(_read, parted, _BLOCKED), partial(_said, "blocks read", lanes=lanes))


def _named(axes: Sequence[int], shape: tuple[int, ...]) -> str:
    """Axes by their letters, but for those of one line."""
    return "".join("NCHW"[axis] for axis in axes if shape[axis] > 1)


def _of_lines(segment: Segment, t: Array, y: Array, axis: int, name: str) -> Iterator[_Order]:
    """The lines of one axis in an order by a rule, and in the one that the port's numbers show."""
    count = t.shape[axis]
    if count < 2:
        return
    own, shown = np.arange(count), np.empty(count, np.intp)
    theirs, mine = _ranked(axis, t, y)
    shown[theirs] = mine
    rolled = np.roll(own, np.bincount((own - shown) % count).argmax())  # some lines may be like others
    for order in (*ruled_orders(count), rolled, shown):
        if (order != own).any():
            yield _Order(partial(_moved, t.shape, axis, order), partial(_by_rule, segment, axis, name, order))


def _by_rule(segment: Segment, axis: int, name: str, order: Array) -> tuple[str, dict[str, Any]]:
    """Form and facts of an order of lines."""
    rule, facts = rule_of(order)
    form, held = said_of_order(name, rule, facts)
    return "" if _is_named(segment, axis, rule) else form, held


def _is_named(segment: Segment, axis: int, rule: str) -> bool:
    """Whether an order is told by a bug of its own: of images, of channels, or of a layer's weights."""
    if axis == 0:
        return rule == "reverse" or segment.batch == 2
    few = segment.units if len(segment.units) <= LAYERS_ORDERED else ()
    of_layer = any(unit.op in CONVOLUTIONS and segment.end == unit.unit.output for unit in few)
    return axis == 1 and ((of_layer and rule != "order") or (rule == "rolled" and segment.result.ndim == 4))


def _ranked(axis: int, *tensors: Array) -> Iterator[Array]:
    """The lines of an axis of each tensor by one number that tells them apart; no tensor is laid out anew for it."""
    shape, drawn = tensors[0].shape, np.random.default_rng(0)
    before, behind = (drawn.standard_normal(math.prod(sides)) for sides in (shape[:axis], shape[axis + 1 :]))
    for y in tensors:
        lines = (y.reshape(-1, behind.size) @ behind).reshape(before.size, shape[axis])
        yield np.argsort(before @ lines, kind="stable")


# ---------------------------------------------------------------------------------------------------- places


def _moved(shape: tuple[int, ...], axis: int, order: Array, places: Array) -> Array:
    index = list(np.unravel_index(places, shape))
    index[axis] = order[index[axis]]
    return _flat(index, shape)


def _turned(shape: tuple[int, ...], degrees: int, places: Array) -> Array:
    """Of maps turned against the clock."""
    n, c, row, column = np.unravel_index(places, shape)
    below, behind = shape[2] - 1 - row, shape[3] - 1 - column
    return _flat((n, c, *{90: (column, below), 180: (below, behind), 270: (behind, row)}[degrees]), shape)


def _lying(shape: tuple[int, ...], axes: Sequence[int], places: Array) -> Array:
    """Of numbers that were written by other axes."""
    index = np.unravel_index(places, [shape[axis] for axis in axes])
    return _flat([index[axes.index(axis)] for axis in range(len(shape))], shape)


def _read(shape: tuple[int, ...], axes: Sequence[int], places: Array) -> Array:
    """Of numbers that were read by other axes."""
    index = np.unravel_index(places, shape)
    return _flat([index[axis] for axis in axes], [shape[axis] for axis in axes])


def _flat(index: Sequence[Array], shape: Sequence[int]) -> Array:
    made: Array = np.ravel_multi_index(tuple(index), tuple(shape))
    return made
