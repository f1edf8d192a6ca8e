"""Dropout that was left on: some numbers are zero, and the others larger by what keeps their mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import Node
from refnet.readings.precision import FLOATS

__all__ = ["Dropped", "dropout_left_on", "dropout_unseen", "dropped_in"]

Array = npt.NDArray[Any]

_FEWEST = 4  # numbers that dropout made zero, and that it left
_SURE = 5.0  # standard deviations of how many it makes zero
_HALF = 0.5  # of an input: what is solved for is zero below, and 1 over the share that is kept above
_MOST = 4 / 3  # inputs for each number that a layer makes, of which what is dropped is still clear
_ROUNDS, _ENOUGH = 8, 2 / 3  # in how many steps, and down to how many of as many inputs as numbers


class Dropped(NamedTuple):
    """What dropout made zero of a tensor, at which rate, and of how many numbers or whole channels that were not."""

    mask: npt.NDArray[np.bool_]
    rate: float
    zeros: int
    of: int
    of_channels: bool


def dropout_left_on(segment: Segment) -> Iterator[Change]:
    """dropout that was left on.

    A layer's numbers, or whole channels of it, are zero by chance, and the others are larger.

    Source: https://github.com/keras-team/keras/issues/3305
    """
    node, t = segment.graph.nodes[-1], segment.candidate
    if t is None or t.ndim != 4 or t.shape != segment.result.shape:
        return
    if (found := dropped_in(t, segment.result)) is not None:
        form = "channels" if found.of_channels else "numbers"
        facts = {"rate": found.rate, "count": found.zeros, "of": found.of}
        whole = replace(node, name=f"{node.name}.whole")
        kept = Node(node.name, "scale", (whole.name, f"{node.name}.kept"))
        given = {kept.inputs[1]: _factors(~found.mask, found.rate)}
        yield Change(segment.end, form, facts, kind=form, nodes={node.name: (whole, kept)}, given=given, lone=True)


def _factors(kept: Array, rate: float) -> Expected:
    """By what dropout multiplies: 1 over a share, each of them rounded."""
    made = kept / (1 - rate)
    return Expected(made, 2 * FLOATS["float32"].u * made)


def dropped_in(t: Array, y: Array) -> Dropped | None:
    """What of a tensor is zero and was not before, if the others are larger as dropout at such a rate makes them."""
    alive = y != 0
    dropped, kept = (t == 0) & alive, (t != 0) & alive
    if not dropped.any() or kept.sum() < _FEWEST:
        return None
    factor = float(np.median(t[kept] / y[kept]))
    rate = round(1 - 1 / factor, 2) if factor > 1 else 0.0
    if not 0 < rate < 1:
        return None
    ways = [(False, dropped, kept)]
    if t.ndim == 4 and t[0, 0].size > 1:
        left = kept.any(axis=(2, 3), keepdims=True)
        ways.insert(0, (True, alive.any(axis=(2, 3), keepdims=True) & ~left, left))
    for of_channels, gone, left in ways:
        count, of = int(gone.sum()), int((gone | left).sum())
        enough = count >= (1 if of_channels else _FEWEST)
        if enough and abs(count - rate * of) <= _SURE * np.sqrt(rate * (1 - rate) * of):
            return Dropped(np.broadcast_to(gone, t.shape), rate, count, of, of_channels)
    return None


def _shares(terms: Array, off: Array, *, soft: bool) -> Array:
    """What share of its inputs a linear layer read, by what each adds to its numbers, and how far these are off.

    Of more inputs than numbers the least change is near what is so: zero, or about one. Those that add most are taken
    for that, some at a time, until the others can be solved for. A softmax leaves open what is added to all numbers.
    """
    if soft:
        terms, off = terms - terms.mean(axis=0), off - off.mean()
    shares, alive = np.ones(terms.shape[1]), np.flatnonzero(terms.any(axis=0))
    open_ = alive[np.argsort(-np.abs(terms[:, alive]).sum(axis=0))]
    shares[open_] += _solved(terms[:, open_], off)
    step = max(len(off) // _ROUNDS, 1)
    largest = _largest(shares[open_[:step]])  # of those that add most, which are the nearest
    while len(alive) > len(off) and len(open_) > _ENOUGH * len(off):
        first, open_ = open_[:step], open_[step:]
        shares[first] = np.where(shares[first] > _HALF, largest, 0.0)
        off = off - terms[:, first] @ (shares[first] - 1)
        shares[open_] = 1 + _solved(terms[:, open_], off)
    return shares


def _largest(shares: Array) -> float:
    """By how much what dropout keeps is larger: at a rate of whole hundredths."""
    kept = shares[shares > _HALF]
    return 1 / max(1 - round(1 - 1 / float(np.median(kept)), 2), 0.01) if len(kept) else 1.0


def _solved(terms: Array, off: Array) -> Array:
    """The shares whose terms add up to what is off: nearly, or the smallest such."""
    many = terms.shape[1] > len(off)
    square = terms @ terms.T if many else terms.T @ terms
    square[np.diag_indices_from(square)] += np.finfo(float).eps * np.trace(square)  # some may be the same twice
    made: Array = terms.T @ np.linalg.solve(square, off) if many else np.linalg.solve(square, terms.T @ off)
    return made


def dropout_unseen(segment: Segment) -> Iterator[Change]:
    """dropout that was left on before a linear layer, and is not dumped.

    Which numbers it made zero is solved for, where the layer makes at least as many numbers of them.

    Source: https://github.com/keras-team/keras/issues/3305
    """
    node, t = segment.graph.by_name.get(segment.parts.classifier), segment.candidate
    if node is None or t is None or t.shape != segment.result.shape or not segment.asks(node):
        return
    behind = segment.graph.nodes[segment.graph.nodes.index(node) + 1 :]
    vector = segment.sizes.get(node.inputs[0], ())[1:] == (1, 1)
    soft = segment.graph.nodes[-1].op == "softmax"
    if not vector or any(each.op not in ("flatten", "softmax") for each in behind) or (soft and (t <= 0).any()):
        return
    ((_, x),) = segment.values({node.inputs[0]})
    w = segment.param(node, "w").astype(np.float64).reshape(len(t[0]), -1)
    if np.count_nonzero(x, axis=1).max() > _MOST * len(w):
        return
    off = np.log(t.astype(np.float64)) - np.log(segment.result) if soft else t - segment.result
    pairs = zip(x, off.reshape(len(t), -1), strict=True)
    shares = np.stack([_shares(w * own.ravel(), each, soft=soft).reshape(own.shape) for own, each in pairs])
    kept = shares > _HALF
    largest = _largest(shares[x != 0])
    made = dropped_in(np.where(kept, largest * x, 0.0), x)
    if made is None:
        return
    name = f"{node.name}.dropped"
    read = Node(name, "scale", (node.inputs[0], f"{name}.kept"))
    facts = {"rate": made.rate, "count": made.zeros, "of": made.of}
    nodes = {node.name: (read, replace(node, inputs=(name,)))}
    given = {f"{name}.kept": _factors(kept, made.rate)}
    yield Change(node.name, "unseen", facts, nodes=nodes, given=given, lone=True)
