"""Bugs of sums of two tensors: other weights, another tensor. Tried where nothing else fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, without
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.fitted import two_factors
from refnet.graph import Node

Array = npt.NDArray[Any]

# Of the shortcut and of the block's result: overwritten, a mean, a branch of stochastic depth, a difference.
_WEIGHTS = ((0.0, 2.0), (2.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.0, 0.8), (1.0, 0.9), (1.0, -1.0), (-1.0, 1.0))
_LOWEST = (-128, 0)  # of integers of 8 bits, with a sign and without
_NONE = 1e-3  # of a block's result: what is less of it is none, which the bound then judges
_ALIKE = 0.03  # relative: weights that integers of 8 bits do not tell apart


def join_unscaled(segment: Segment) -> Iterator[Change]:
    """integers added without being brought to the scale of their sum.

    Of both sides or of one; or each side by the scale of the other.
    """
    for node in segment.nodes("add"):
        seen = {(1.0, 1.0)}
        for form, weights in _unscaled(segment, node).items():
            if weights not in seen:
                seen.add(weights)
                yield replace(weighted(node, *weights), form=form, facts={}, kind="")


def _unscaled(segment: Segment, node: Node) -> dict[str, tuple[float, float]]:
    """The weights of both sides of a sum of integers that is not rescaled; nothing where scales are not known."""
    grids = [segment.grids.get(name) for name in (*node.inputs, node.name)]
    one, other, own = (0.0 if grid is None else grid.step for grid in grids)
    if not (one and other and own):
        return {}
    return {
        "both": (own / one, own / other),
        "shortcut": (own / one, 1.0),
        "branch": (1.0, own / other),
        "scale of the shortcut": (1.0, one / other),
        "scale of the branch": (other / one, 1.0),
        "exchanged": (other / one, one / other),
    }


def join_zero_points(segment: Segment) -> Iterator[Change]:
    """integers added with their zero points.

    Those of both sides are not taken off, or that of one; each side's is taken off the other; or they are taken off and
    that of the sum is not added.
    """
    for node in segment.nodes("add"):
        for form, offsets in with_zero_points(segment, node).items():
            yield replace(_offset(node, *offsets), form=form)


def with_zero_points(segment: Segment, node: Node) -> dict[str, tuple[float, float]]:
    """By form, what a sum's sides are too large by; nothing where it is of no integers."""
    grids = [segment.grids.get(name) for name in (*node.inputs, node.name)]
    sides = [grid.step for grid in grids[:2] if grid is not None]
    steps = sides if len(sides) == len(node.inputs) else None
    found: dict[str, tuple[float, float]] = {}
    for lowest in _LOWEST:
        # The zero point as a real number, which is too much where it is not taken off.
        one, other, own = (0.0 if each is None else lowest * each.step - each.low for each in grids)
        ways = {"both": (one, other), "shortcut": (one, 0.0), "branch": (0.0, other), "sum": (-own, 0.0)}
        if steps is not None:
            apart = one / steps[0] - other / steps[1]
            ways["exchanged"] = (apart * steps[0], -apart * steps[1])
        found |= {f"{form} {lowest}": way for form, way in ways.items() if any(way) and (form != "both" or all(way))}
    return found


def _offset(node: Node, shortcut: float, branch: float) -> Change:
    """A sum whose sides are some constants away."""
    terms = [
        Node(f"{node.name}.{side}", "affine", (source,), {}, {"slope": 1.0, "offset": offset})
        for side, source, offset in zip(("shortcut", "branch"), node.inputs, (shortcut, branch), strict=True)
    ]
    return Change(node.name, nodes={node.name: (*terms, Node(node.name, "add", tuple(term.name for term in terms)))})


def block_missing(segment: Segment) -> Iterator[Change]:
    """a block left out.

    One repeat fewer than the table has: what the block reads is handed on, and nothing is added to it.
    """
    for node in segment.nodes("add"):
        yield Change(node.name, nodes=without(node))


def join_weights(segment: Segment) -> Iterator[Change]:
    """a sum with a shortcut whose terms are weighted.

    A buffer that the block's result has overwritten gives it twice; stochastic depth scales it, or leaves it out of
    some images.
    """
    for node in segment.nodes("add"):
        unscaled = [*_unscaled(segment, node).values()]
        solved = (each for each in _solved(segment, node) if not any(map(partial(_alike, each), unscaled)))
        for shortcut, branch in dict.fromkeys((*_WEIGHTS, *solved)):
            if (shortcut, branch) != (1.0, 0.0):  # the block is left out
                yield weighted(node, shortcut, branch)
        yield from _of_images(segment, node)


def join_other(segment: Segment) -> Iterator[Change]:
    """the larger of two terms, or their product, for their sum."""
    for node in segment.nodes("add"):
        one, other = node.inputs
        less, more, above = (f"{node.name}.{each}" for each in ("less", "more", "above"))
        larger = (
            Node(less, "affine", (one,), {}, {"slope": -1.0, "offset": 0.0}),
            Node(more, "add", (other, less)),
            Node(above, "relu", (more,)),
            Node(node.name, "add", (one, above)),
        )
        yield Change(node.name, "maximum", nodes={node.name: larger})
        yield Change(node.name, "product", nodes={node.name: (Node(node.name, "scale", node.inputs),)})


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether weights are the same, as well as integers tell them."""
    return all(abs(mine - theirs) < _ALIKE * abs(theirs) for mine, theirs in zip(one, other, strict=True))


def weighted(node: Node, shortcut: float, branch: float) -> Change:
    """A sum with weights."""
    terms = []
    for side, source, slope in zip(("shortcut", "branch"), node.inputs, (shortcut, branch), strict=True):
        attrs = {"slope": slope, "offset": 0.0}
        terms.append(Node(f"{node.name}.{side}", "affine", (source,), {}, attrs))
    added = Node(node.name, "add", tuple(term.name for term in terms))
    facts, side = {"shortcut": shortcut, "branch": branch}, side_of(shortcut, branch)
    return Change(node.name, f"{shortcut:g} {branch:g}", facts, kind=side, nodes={node.name: (*terms, added)})


def side_of(shortcut: float, branch: float) -> str:
    """The one term of a sum that has a weight: 'shortcut' or 'branch'; '' where both have one, or none."""
    sides = [side for side, weight in (("shortcut", shortcut), ("branch", branch)) if weight != 1]
    return sides[0] if len(sides) == 1 else ""


def _terms(segment: Segment, node: Node) -> tuple[Array, Array, Array] | None:
    """What a sum at a segment's end is made of, and what the port has for it; None where there is no such."""
    t = segment.candidate
    if t is None or segment.end != node.name or not np.isfinite(t).all():
        return None
    found = dict(segment.values({*node.inputs}))
    one, other = (found[name] for name in node.inputs)
    return None if not one.shape == other.shape == t.shape else (one, other, t.astype(np.float64))


def _solved(segment: Segment, node: Node) -> Iterator[tuple[float, float]]:
    """The weights that a sum at a segment's end shows: in three figures, and as exactly as they are known."""
    if (terms := _terms(segment, node)) is None:
        return
    one, other, t = (y.ravel() for y in terms)
    solved = two_factors(one, other, t)
    if solved is None or not all(math.isfinite(number) for number, _ in solved[:2]):
        return
    rounded = tuple(0.0 if abs(y) <= off else float(f"{y:.3g}") for y, off in solved[:2])
    exact = tuple(_weight(*each) for each in solved[:2])
    for first, second in dict.fromkeys((rounded, exact)):
        if (first, second) != (1.0, 1.0):
            yield first, second


def _of_images(segment: Segment, node: Node) -> Iterator[Change]:
    """The block's result left out of some images, and as many times as they show in the others."""
    if (terms := _terms(segment, node)) is None:
        return
    one, other, t = terms
    whole = [float(np.linalg.norm(y)) for y in other]
    kept = np.array([float(np.linalg.norm(y)) > _NONE * size for y, size in zip(t - one, whole, strict=True)])
    solved = None if kept.all() or not kept.any() else two_factors(*(y[kept].ravel() for y in terms))
    if solved is None or _weight(*solved[0]) != 1.0:
        return
    name = f"{node.name}.kept"
    gate = np.zeros((*t.shape[:2], 1, 1))
    gate[kept] = _weight(*solved[1])
    branch = Node(f"{node.name}.branch", "scale", (node.inputs[1], name))
    added = Node(node.name, "add", (node.inputs[0], branch.name))
    yield Change(node.name, "images", nodes={node.name: (branch, added)}, given={name: gate}, lone=True)


def _weight(number: float, off: float) -> float:
    """A weight that is known so well: one or zero where it may be that."""
    return next((whole for whole in (1.0, 0.0) if abs(number - whole) <= off), float(f"{number:.8g}"))


def join_elsewhere(segment: Segment) -> Iterator[Change]:
    """a shortcut that another tensor takes the place of.

    A buffer that was not updated, or was overwritten: what is added is a tensor from elsewhere.
    """
    for node in segment.nodes("add"):
        if (terms := _terms(segment, node)) is None:
            continue
        one, other, t = terms
        tried = [
            (float(np.linalg.norm(t - kept - y)), side, name)
            for side, kept in enumerate((other, one))
            for name, y in segment.available.items()
            if name not in (*node.inputs, node.name) and y.shape == t.shape
        ]
        for side, name in nearest(tried, float(np.linalg.norm(t - one - other))):
            inputs = [*node.inputs]
            inputs[side] = name
            added, given = Node(node.name, "add", tuple(inputs)), {name: segment.available[name]}
            facts = {"found": name, "known": node.inputs[side]}
            yield Change(node.name, name, facts, nodes={node.name: (added,)}, given=given, lone=True)


def nearest(tried: list[tuple[float, int, str]], before: float) -> list[tuple[int, str]]:
    """Of what was tried, that which leaves least of an error, and less than there is; all of what leaves the same."""
    least = min((left for left, *_ in tried if left < before), default=before)
    return [(side, name) for left, side, name in tried if left == least < before]
