"""Ports that compute the same by other numbers: channels in another order, scaled, negated or moved, and taken back.

Where the end is right and tensors inside are not, a port may hold y'[k] = factor[k] * y[order[k]] + offset[k] in place
of y. What it holds so is told, and the tensors are judged as the ones that they stand for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.memory.channel_maps import ChannelMap, ChannelsHeld, held_as
from refnet.graph import SOURCE, Graph
from refnet.judge.reference import Reference
from refnet.shares import at_once

__all__ = ["HeldOtherwise", "as_meant"]

Array = npt.NDArray[Any]

_FAR = 0.02  # of a tensor's size, by which one is another; what any format leaves is less
_RIGHT = 1e-3  # of the size of the end: what is less leaves no doubt, in float32
_FITS = 1e-4  # of a channel's size: what rounding leaves of a tensor that is the reference's but for its channels
_PLAIN = 1e-5  # relative: what is nearer to 1 is no factor; of the tensor's size, to 0 no offset
_FEWEST = 8  # numbers of a channel that tell its factor and its offset
_EVERY = 4  # row and column of large maps is looked at, to see whether a tensor is another


class HeldOtherwise(NamedTuple):
    """Tensors of a port that stand for the reference's by other numbers.

    Attributes
    ----------
    nodes : in order of execution, each made of others of them but for the first
    how : their channels are held
    """

    nodes: tuple[str, ...]
    how: ChannelsHeld


def as_meant(reference: Reference, tensors: Mapping[str, Array]) -> tuple[Mapping[str, Array], list[HeldOtherwise]]:
    """A port's tensors as what they stand for, and which of them are held otherwise; as they are where none are.

    Parameters
    ----------
    tensors : by node, NCHW
    """
    graph, parts = reference.graph, Parts(reference.graph)
    if any(y.shape[1:] != parts.sizes.get(name, y.shape[1:]) for name, y in tensors.items()):
        return tensors, []  # nothing can be run on all of them
    ends = [name for name in graph.outputs if name in tensors and name in reference.stored]
    if not ends or any(_apart(tensors[name], reference.golden(name)) > _RIGHT for name in ends):
        return tensors, []
    stored = [node.name for node in graph.nodes if node.name in tensors and node.name in reference.stored]
    apart = at_once([partial(_is_apart, reference, name, tensors[name]) for name in stored])
    held: dict[str, ChannelMap] = {}
    made = {SOURCE: reference.golden(SOURCE), **tensors}
    for name, far in zip(stored, apart, strict=True):
        sources, arrays = _behind(graph, name, tensors)
        known = [held[each] for each in sources if each in held]
        if far and _is_a_readers(graph, name, tensors):  # which was dumped too late
            return tensors, []
        found = None
        if far:  # on the port's own inputs what is made of them is surer than the golden tensor
            right = cut(parts, reference.params, name, {**made, name: tensors[name]}, judged=False).result
            found = _found(tensors[name], right, known)
        if (far and found is None) or (bool(known) != far and not arrays):  # which only layers with arrays can do
            return tensors, []
        if found is not None:
            held[name], made[name] = found, _undone(tensors[name], found)
    return made, _told(graph, held, tensors)


def _is_apart(reference: Reference, name: str, y: Array) -> bool:
    """Whether a tensor is another one than the golden one."""
    return _apart(y, reference.golden(name)) > _FAR


def _apart(y: Array, golden: Array) -> float:
    """How far a tensor is from the golden one, relative; nowhere where it has another batch."""
    if y.shape != golden.shape or y.dtype.kind != "f" or not np.isfinite(y).all():
        return 0.0
    step = (..., slice(None, None, _EVERY), slice(None, None, _EVERY)) if min(y.shape[2:], default=0) > _FEWEST else ...
    y, golden = y[step], golden[step]
    size = float(np.linalg.norm(golden))
    return float(np.linalg.norm(y - golden)) / size if size else 0.0


def _undone(y: Array, held: ChannelMap) -> Array:
    """What a tensor stands for, in its own format."""
    along = (1, -1, *(1,) * (y.ndim - 2))
    made = np.empty_like(y)
    made[:, held.order] = (y.astype(np.float64) - held.offset.reshape(along)) / held.factor.reshape(along)
    return made


def _is_a_readers(graph: Graph, name: str, tensors: Mapping[str, Array]) -> bool:
    """Whether a tensor holds what is made of it."""
    made = (tensors[node.name] for node in graph.readers()[name] if node.name in tensors)
    return any(np.array_equal(tensors[name], y) for y in made)


def _behind(graph: Graph, name: str, tensors: Collection[str]) -> tuple[set[str], bool]:
    """The nearest tensors of a port that a node is made of, and whether a node on the way has arrays."""
    found, waiting, arrays = set(), list(graph[name].inputs), bool(graph[name].params)
    while waiting:
        each = waiting.pop()
        if each in tensors or each not in graph:
            found.add(each)
        else:
            waiting += graph[each].inputs
            arrays = arrays or bool(graph[each].params)
    return found, arrays


def _found(y: Array, golden: Array, known: list[ChannelMap]) -> ChannelMap | None:
    """How a tensor holds the golden one: as what it was made of is held, or in a way of its own."""
    mine, right = (np.moveaxis(each.astype(np.float64), 1, 0).reshape(each.shape[1], -1) for each in (y, golden))
    size = float(np.abs(right).max())
    for each in known:
        if len(each.order) == len(mine) and _fits(mine, right, each, size):
            return each
    for order in _orders(mine, right):
        for channels in _ways(mine, right[order], order):
            if channels.factor.all() and _fits(mine, right, channels, size):
                return channels
    return None


def _fits(mine: Array, right: Array, channels: ChannelMap, size: float) -> bool:
    made = channels.factor[:, None] * right[channels.order] + channels.offset[:, None]
    own = np.maximum(np.abs(made).max(axis=1), np.abs(channels.factor) * size)
    return bool((np.abs(mine - made).max(axis=1) <= _FITS * own).all())


def _ways(mine: Array, right: Array, order: Array) -> Iterator[ChannelMap]:
    """Channels in an order, also scaled, also moved, by least squares; of a constant the factor is 1."""
    ones, zeros = np.ones(len(order)), np.zeros(len(order))
    yield ChannelMap(order, ones, zeros)
    if mine.shape[1] >= _FEWEST:
        yield ChannelMap(order, _factors(mine, right), zeros)
        means = mine.mean(axis=1), right.mean(axis=1)
        factor = _factors(mine - means[0][:, None], right - means[1][:, None])
        offset = means[0] - factor * means[1]
        moved = np.abs(offset) > _PLAIN * np.abs(factor) * np.abs(right).max()
        yield ChannelMap(order, factor, np.where(moved, offset, 0.0))


def _factors(mine: Array, right: Array) -> Array:
    square = (right**2).sum(axis=1)
    factor = np.where(square > 0, (mine * right).sum(axis=1) / np.where(square > 0, square, 1.0), 1.0)
    return np.where(np.abs(factor - 1) > _PLAIN, factor, 1.0)


def _orders(mine: Array, right: Array) -> list[Array]:
    """The orders that channels may be in: as they are, each where its numbers are nearest, or where they are alike."""
    along = np.arange(len(mine))
    nearest = 2 * (mine @ right.T) - (right**2).sum(axis=1)
    one, other = (y - y.mean(axis=1, keepdims=True) for y in (mine, right))
    with np.errstate(all="ignore"):
        one, other = (np.nan_to_num(y / np.linalg.norm(y, axis=1, keepdims=True)) for y in (one, other))
    found = [along]
    for like in (nearest, np.abs(one @ other.T)):
        order = _each_once(like)
        if order is not None:
            found.append(order)
    return found


def _each_once(like: Array) -> Array | None:
    """Each channel's most alike one; what is alike to none takes those that are left, in order."""
    count = len(like)
    best, sure = like.argmax(axis=1), np.ptp(like, axis=1) > 0
    if len(np.unique(best[sure])) < sure.sum():
        return None
    order = np.arange(count)
    order[sure] = best[sure]
    order[~sure] = np.setdiff1d(np.arange(count), best[sure])
    return order


def _told(graph: Graph, held: Mapping[str, ChannelMap], tensors: Collection[str]) -> list[HeldOtherwise]:
    """Those that are made of one another, together."""
    groups: list[list[str]] = []
    for name in held:
        sources, _ = _behind(graph, name, tensors)
        joined = [group for group in groups if sources & {*group}]
        groups = [group for group in groups if group not in joined] + [[*(each for g in joined for each in g), name]]
    return [HeldOtherwise((*group,), held_as([held[name] for name in group])) for group in groups]
