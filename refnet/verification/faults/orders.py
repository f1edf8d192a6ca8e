"""Elements in another order: axes, kernels, channels, classes, whole layers exchanged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.verification.cases import Case, Reading
from refnet.verification.layers import Expected

Array = npt.NDArray[Any]

_AXES = {2: "KC", 3: "CRS", 4: "KCRS"}


def _moved(case: Case, words: str, move: Callable[[Array], Array]) -> Iterator[Reading]:
    """A tensor laid out otherwise, and one laid out otherwise before batch norm was worked in."""
    yield Reading(words, case.wanted.map(move))
    if case.folded and case.layer.norm:
        own = case.layer.arrays.get(case.slot)
        if own is not None and (moved := move(own)).shape == own.shape:
            yield Reading(f"{words}, before batch norm was folded", case.read(case.layer.having(**{case.slot: moved})))


def classes(case: Case) -> Iterator[Reading]:
    """Off by one: rolled, or with a class more or fewer at one end."""
    if not case.last or case.slot not in ("w", "b") or case.copy.shape[1:] != case.wanted.value.shape[1:]:
        return
    for by in (1, -1):
        words = f"class {max(by, 0)} of the original is class {max(-by, 0)} here: all are rolled by one"
        yield Reading(words, case.wanted.map(lambda y, by=by: np.roll(y, -by, axis=0)))
    more = len(case.copy) - len(case.wanted.value)
    if more == 0 and case.copy.ndim:
        for by in (1, -1):  # shifted, with something else in the free place
            made = case.wanted.map(lambda y, by=by: np.roll(y, -by, axis=0))
            end = -1 if by > 0 else 0
            made.value[end] = case.copy[end]
            yield Reading("all classes are shifted by one, and one is new", made)
    elif abs(more) == 1:
        for first in (True, False):
            where = "first" if first else "last"
            if more == 1:
                rest = slice(1, None) if first else slice(None, -1)
                made = Expected(case.copy.copy(), np.zeros(case.copy.shape))
                made.value[rest], made.slack[rest] = case.wanted
                yield Reading(f"a class more, the {where}", made)
            else:
                rest = slice(1, None) if first else slice(None, -1)
                yield Reading(f"a class fewer: the {where} is gone", case.wanted.map(lambda y, rest=rest: y[rest]))


def transposed(case: Case) -> Iterator[Reading]:
    """Read in another order of axes than it was written in, either way round."""
    shape, full = case.copy.shape, case.wanted.value.shape
    names = _AXES.get(len(full))
    if names is None or case.slot != "w" or case.copy.size != case.wanted.value.size:
        return
    for axes in list(itertools.permutations(range(len(names))))[1:]:
        order = "".join(names[axis] for axis in axes)
        yield from _moved(case, f"axes {order} are read as {names}", partial(_written, axes=axes, shape=shape))
        if tuple(full[axis] for axis in axes) != full:
            yield from _moved(case, f"axes {names} are read as {order}", partial(_misread, axes=axes, shape=shape))


def _written(y: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Written with its axes in another order, read as if they were not."""
    return y.transpose(axes).reshape(shape)


def _misread(y: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Read as if its axes had been written in another order."""
    return y.reshape([y.shape[axis] for axis in axes]).transpose(np.argsort(axes)).reshape(shape)


def turned(case: Case) -> Iterator[Reading]:
    """Kernels turned by quarters, or mirrored."""
    if case.wanted.value.ndim < 3 or case.copy.shape != case.wanted.value.shape:
        return
    for words, move in (
        ("the kernel is turned by 180 degrees", lambda y: y[..., ::-1, ::-1]),
        ("the kernel is turned by 90 degrees", lambda y: np.rot90(y, 1, (-2, -1))),
        ("the kernel is turned by 270 degrees", lambda y: np.rot90(y, 3, (-2, -1))),
        ("the kernel is mirrored left to right", lambda y: y[..., ::-1]),
        ("the kernel is mirrored top to bottom", lambda y: y[..., ::-1, :]),
        ("the kernel is mirrored across its other diagonal", lambda y: y[..., ::-1, ::-1].swapaxes(-1, -2)),
    ):
        yield from _moved(case, words, move)


def permuted(case: Case) -> Iterator[Reading]:
    """Whole channels in another order, along the outputs or the inputs."""
    if case.copy.shape != case.wanted.value.shape:
        return
    for axis, side in enumerate(("channels", "input channels")[: min(case.copy.ndim, 2)]):
        if axis == 1 and case.layer.op == "depthwise_conv2d":
            continue
        if (order := _order(case.copy, case.wanted, axis)) is not None:
            made = case.wanted.map(lambda y, order=order, axis=axis: y.take(order, axis))
            yield Reading(_told(order, side), made)
    yield from _permuted_before(case)


def _permuted_before(case: Case) -> Iterator[Reading]:
    """Outputs of the convolution alone, or the arrays of batch norm alone, exchanged before the fold."""
    if not (case.folded and case.layer.norm and case.slot == "w"):
        return
    s, w = case.layer.factor, case.layer.arrays["w"]
    if not np.all(np.isfinite(s) & (s != 0)):
        return
    by_channel = s.reshape(-1, *(1,) * (w.ndim - 1))
    order = _order(case.copy / by_channel, Expected(w, case.wanted.slack / np.abs(by_channel)), 0)
    if order is not None:
        words = f"{_told(order, 'channels')}, before batch norm was folded"
        yield Reading(words, case.read(case.layer.having(w=w[order])))


def _order(copy: Array, wanted: Expected, axis: int) -> Array | None:
    """Which of the channels that should be there each one is, where all are some; by size of a fixed projection."""
    count = copy.shape[axis]
    mine, theirs = (np.moveaxis(each, axis, 0).reshape(count, -1) for each in (copy, wanted.value))
    slack = np.moveaxis(wanted.slack, axis, 0).reshape(count, -1)
    with np.errstate(invalid="ignore"):
        off = np.flatnonzero((np.abs(mine - theirs) > slack).any(axis=1))
    if len(off) < 2 or not (np.isfinite(mine[off]).all() and np.isfinite(theirs[off]).all()):
        return None
    along = np.random.Generator(np.random.PCG64(2026)).standard_normal(mine.shape[1])
    ranked = off[np.argsort(theirs[off] @ along, kind="stable")]
    order = np.arange(count)
    order[off[np.argsort(mine[off] @ along, kind="stable")]] = ranked
    return None if np.array_equal(order, np.arange(count)) else order


def _told(order: Array, side: str) -> str:
    """A permutation in words."""
    count, moved = len(order), np.flatnonzero(order != np.arange(len(order)))
    if count > 2 and np.array_equal(order, np.arange(count)[::-1]):
        return f"the {side} are in reverse order"
    if len(moved) == 2:
        return f"{side} {moved[0]} and {moved[1]} are exchanged"
    if count % 2 == 0 and np.array_equal(order, np.roll(np.arange(count), count // 2)):
        return f"the halves of the {side} are exchanged"
    first, second = int(order[0]), int(order[1])  # tell the only roll and the only shuffle that it can be
    if np.array_equal(order, (np.arange(count) + first) % count):
        return f"the {side} are rolled by {-first if 2 * first < count else count - first}"
    if second and count % second == 0 and np.array_equal(order, np.arange(count).reshape(-1, second).T.ravel()):
        return f"the {side} are shuffled in {count // second} groups"
    return f"{len(moved)} of {count} {side} are in another order, from {moved[0]} on"


def misplaced(case: Case) -> Iterator[Reading]:
    """Another layer's tensor, as it is or transposed."""
    for name, tensors in case.others.items():
        for slot, made in tensors().items():
            if made.value.size != case.copy.size or (slot == "w") != (case.slot == "w"):
                continue
            if made.value.shape == case.copy.shape:
                yield Reading(f"it holds {name}.{slot}", made)
            if slot == "w" and made.value.ndim == 2 and made.value.T.shape == case.copy.shape:
                yield Reading(f"it holds {name}.{slot}, transposed", made.map(np.transpose))
