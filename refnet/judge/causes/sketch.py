"""What a change could explain of an error, to first order: from the nodes that it changes, without a run of the rest.

One walk backwards tells how the error's own direction in the result, and a few others drawn at random, change with
every tensor of a network. What a change does to the tensors behind it, times these, is how far it moves the result
along the error, and along the others, by which the size of what it moves is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.judge.causes.replays import Replays
from refnet.readings import adjoint

__all__ = ["explained", "first_order"]

Array = npt.NDArray[Any]

_RANDOM = 6  # directions beside the error's own
_NODES = 12  # that a change may span


class _Front(NamedTuple):
    """The nodes that a change touches, changed, with those between them; and the tensors of theirs that others read."""

    segment: Segment
    names: tuple[str, ...]


def explained(error: Array, effect: Array) -> float:
    """How much of an error an effect could explain, whatever its size: the square of the cosine between them."""
    r, d = error.astype(np.float64), effect.astype(np.float64)  # what explodes has squares beyond float32
    scale = float(r @ r) * float(d @ d)
    return float(r @ d) ** 2 / scale if scale > 0 else 0.0


def first_order(runs: Replays, changes: Sequence[Change], error: Array, end: str) -> list[float]:
    """For each change, what share of an error it could explain, whatever its size: the square of a cosine.

    0 of those that touch more than a few nodes, or sizes, and behind operations without a rule.

    Parameters
    ----------
    runs : a segment with every tensor in it
    error : of a tensor of it, `end`
    """
    fronts = {number: front for number, each in enumerate(changes) if (front := _front(runs.segment, each)) is not None}
    by_name: dict[str, list[int]] = {}
    for number, front in fronts.items():
        for name in front.names:
            by_name.setdefault(name, []).append(number)
    moved: dict[int, Mapping[str, Array]] = {}
    left = {number: len(front.names) for number, front in fronts.items()}
    found = np.zeros((len(changes), 1 + _RANDOM))
    for name, g in _backwards(runs, end, _directions(error, runs.dtype), {*by_name}):
        flat = g.reshape(len(g), -1)
        for number in by_name[name]:
            if number not in moved:
                runs.budget.check()
                moved[number] = _moved(runs, fronts[number])
            if name in moved[number]:
                found[number] += flat @ moved[number][name].reshape(-1)
            left[number] -= 1
            if not left[number]:  # each may be as large as the largest maps
                del moved[number]
    return [_share(effect) for effect in found]


def _directions(error: Array, dtype: np.dtype[Any]) -> Array:
    """The error's own, and some at random: (D, N, ...)."""
    drawn = np.random.default_rng(0).standard_normal((_RANDOM, *error.shape))
    return np.concatenate([error[None] / (np.linalg.norm(error) or 1.0), drawn]).astype(dtype)


def _share(effect: Array) -> float:
    """What lies along the error of all that is moved, whose size the random directions tell."""
    along, whole = float(effect[0]) ** 2, float(np.mean(np.square(effect[1:])))
    return min(along / whole, 1.0) if whole > 0 and np.isfinite(along + whole) else 0.0


def _front(own: Segment, change: Change) -> _Front | None:
    """Where a change ends; None where it is not of a few nodes."""
    if change.view is not None or change.precision is not None or change.shape is not None:
        return None
    order = own.graph.nodes
    places = {node.name: index for index, node in enumerate(order)}
    touched = {*change.nodes, *(key.rpartition(".")[0] for key in change.params)} & places.keys()
    if change.given:
        touched |= {node.name for node in order if change.given.keys() & {*node.inputs}}
    if not touched:
        return None
    first, last = min(places[name] for name in touched), max(places[name] for name in touched)
    if last - first >= _NODES:
        return None
    part = replace(own, graph=replace(own.graph, nodes=order[first : last + 1])).changed(change)
    inside = {node.name for node in order[first : last + 1]}
    names = [name for node in order[last + 1 :] for name in node.inputs if name in inside]
    return _Front(part, tuple(dict.fromkeys([*names, *({own.end} & inside)])))


def _moved(runs: Replays, front: _Front) -> Mapping[str, Array]:
    """How far a change moves the tensors that others read; nothing where their shapes change too."""
    made = runs.part(front.segment)
    if any(name not in made or made[name].shape != runs.values[name].shape for name in front.names):
        return {}
    by = {name: made[name] - runs.values[name] for name in front.names}
    return by if all(np.isfinite(y).all() for y in by.values()) else {}


def _backwards(runs: Replays, end: str, start: Array, wanted: set[str]) -> Iterator[tuple[str, Array]]:
    """By tensor, from the last on, how each direction changes with it: (D, N, C, H, W)."""
    g: dict[str, Array] = {end: start}
    for node in reversed(runs.segment.graph.nodes):
        if (own := g.pop(node.name, None)) is None:
            continue
        runs.budget.check()
        if node.name in wanted:
            yield node.name, own
        rule = getattr(adjoint, node.op, None)
        if rule is None:
            continue
        try:
            by_input = rule(own, *runs.inputs(node), **node.attrs)
        except NotImplementedError:
            continue
        for name, each in zip(node.inputs, by_input, strict=True):
            if name in runs.segment.graph.by_name:
                g[name] = g[name] + each if name in g else each
