"""In which order, and by which factors, a copy may hold the channels of a convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.damage import nearest_factors
from refnet.bugs.language.arrays import UnitArrays

__all__ = ["nearest_rows", "orders_tried"]

Array = npt.NDArray[Any]


def orders_tried(base: UnitArrays, copy: UnitArrays, manner: str, by_channel: bool) -> Iterator[tuple[Array, Array]]:
    """Orders and factors of the channels that a copy's arrays may have, the plain ones first.

    Parameters
    ----------
    base : the arrays in the original's order
    manner : 'none', an 'order' alone, 'positive' factors too, or 'any'
    by_channel : whether a channel of the result is made of the same one of what is read, so that its order is given
    """
    mine, right = (each["w"].reshape(len(each["w"]), -1) for each in (copy, base))
    along, ones = np.arange(len(mine)), np.ones(len(mine))
    yield along, ones
    if manner == "none" or not (np.isfinite(mine).all() and np.isfinite(right).all()):
        return

    def scaled(order: Array) -> Iterator[tuple[Array, Array]]:
        factor = _factors(mine, right[order])
        if manner in ("positive", "any") and factor.all() and (manner == "any" or (factor > 0).all()):
            yield order, factor

    yield from scaled(along)
    if by_channel:
        return
    if manner != "any":  # a bias tells channels apart too, where nothing may be added to it
        mine, right = (np.concatenate([y, each["b"][:, None]], 1) for y, each in ((mine, copy), (right, base)))
    for like in (_nearness, _cosine if manner == "positive" else _parallel):
        order = _matching(mine, right, like)
        if order is not None and like is _nearness:
            yield order, ones
        elif order is not None and manner != "order":
            yield from scaled(order)


def _factors(mine: Array, right: Array) -> Array:
    """Row by row the factor by which the one is nearest to the other; of zeros 1."""
    square = (right**2).sum(axis=1)
    factor = np.where(square > 0, (mine * right).sum(axis=1) / np.where(square > 0, square, 1.0), 1.0)
    return nearest_factors(mine, right, factor)


def nearest_rows(mine: Array, right: Array) -> Array | None:
    """Which row of the right ones each one is nearest to; None where two are nearest to the same."""
    return _matching(mine, right, _nearness)


def _nearness(mine: Array, right: Array) -> Array:
    made: Array = 2 * (mine @ right.T) - (right**2).sum(axis=1)
    return made


def _cosine(mine: Array, right: Array) -> Array:
    one, other = (y / np.linalg.norm(y, axis=1, keepdims=True) for y in (mine, right))
    made: Array = one @ other.T
    return made


def _parallel(mine: Array, right: Array) -> Array:
    return np.abs(_cosine(mine, right))


def _matching(mine: Array, right: Array, like: Callable[[Array, Array], Array]) -> Array | None:
    """Which row each one is most like, rows of zeros one another; None where two are like the same."""
    live, own = (y.any(axis=1) for y in (mine, right))
    if live.sum() != own.sum() or not live.any():
        return None
    best = like(mine[live], right[own]).argmax(axis=1)
    order = np.arange(len(mine))
    order[live], order[~live] = np.flatnonzero(own)[best], np.flatnonzero(~own)
    return order if len(np.unique(order)) == len(order) else None
