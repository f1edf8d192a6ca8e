"""Bugs of curves: another function in an activation's place, solved for from what the port makes of its input.

Tried where nothing else fits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, stood_for
from refnet.bugs.language.segments import Segment, limit_of
from refnet.bugs.layers.fitted import (
    Formula,
    evaluated,
    formula_nodes,
    formulas_of,
    pieces_of,
    pieces_value,
    two_factors,
)
from refnet.graph import Node
from refnet.ops import ACTIVATIONS, GATES
from refnet.readings import fast
from refnet.readings.precision import Precision

Array = npt.NDArray[Any]
Curve = tuple[str | float, ...]

_FEW = 8  # points that a number is solved for from
_STEEP, _ROUNDINGS = 2.0, 12  # the largest slope of a curve, and how many roundings one takes
_FIRST, _FEWEST = 16, 1 << 12  # a curve is drawn at every so many-th point first, unless these are few
_GELU = 1.702  # of x in the sigmoid that stands for GELU's normal distribution
_LEVELS = 3  # values of a tensor that is cut off at both ends throughout
_INNER = 0.02  # how far from its ends a gate is looked at: nearer, rounding moves its logit fifty times as far and more


def act_curve(segment: Segment) -> Iterator[Change]:
    """another function in an activation's place.

    A leaky relu, other ends, GELU for hard swish, a gate by another approximation.
    """
    node, t = segment.graph.nodes[-1], segment.candidate
    if t is None or node.op not in (*ACTIVATIONS, *GATES) or node.params or not np.isfinite(t).all():
        return
    ((_, x),) = segment.values({node.inputs[0]})
    if x.shape != t.shape or segment.result.shape != t.shape:
        return
    precision, t = Precision.of(str(t.dtype)), t.astype(np.float64)
    before = float(np.linalg.norm(t - segment.result))
    slack = limit_of(segment, node.inputs[0], precision) if before else x
    every = slice(None, None, min(_FIRST, max(1, x.size // _FEWEST)))
    some, there = x.flat[every], t.flat[every]
    told: set[str] = set()
    seen: list[Array] = []  # what those that fit make: the same in other words is said once
    # Of few values many formulas are alike, and other tensors tell which it is.
    flat = all(np.unique(values).size <= _LEVELS for values in (there, t))
    for curve in itertools.chain(dict.fromkeys(_curves(x, t, slack)), _fitted(x, t)):
        if ("formula" in told and not flat) or (told and curve[0] == "piecewise"):
            return
        with np.errstate(all="ignore"):
            if np.linalg.norm(drawn(curve, some) - there) >= before:  # then in all of them all the more
                continue
            y = drawn(curve, x)
        if float(np.linalg.norm(y - t)) < before:
            made = stood_for(node, y, _ROUNDINGS, np.abs(x) + np.abs(y), _STEEP * slack)
            fits = bool((np.abs(y - t) <= made["given"][f"{node.name}.values"].slack).all())
            if fits and not flat and any(np.allclose(y, other, rtol=1e-12, atol=0) for other in seen):
                continue
            told |= {str(curve[0])} if fits else set()
            seen += [y] if fits else []
            yield Change(node.name, " ".join(map(str, curve)), {"curve": curve}, **made, lone=True)


def curved(segment: Segment, curve: Curve, op: str) -> dict[str, Change]:
    """A function that another tensor shows, in the place of each activation of a kind, by node; of what nodes make."""
    form = " ".join(map(str, curve))
    made = {node.name: _nodes(node, curve) for node in segment.nodes(op)}
    return {name: Change(name, form, {"curve": curve}, nodes={name: nodes}) for name, nodes in made.items() if nodes}


def _nodes(node: Node, curve: Curve) -> tuple[Node, ...]:
    """What makes a curve of a node's input; nothing of a curve that no operations make."""
    name, *numbers = curve
    match name, numbers:
        case "formula", _:
            return formula_nodes(node, Formula(*numbers))  # type: ignore[arg-type]
        case "clip", (low, high):
            return (Node(node.name, "clip", node.inputs, {}, {"low": low, "high": high}),)
        case "leaky", (slope, math.inf):
            return (Node(node.name, "leaky_relu", node.inputs, {}, {"slope": slope}),)
    return ()


def _pieces(x: Array) -> Array:
    """The sigmoid of four lines that circuits use (PLAN: Amin, Curtis, Hayes-Gill, 1997)."""
    size = np.abs(x)
    conditions = [size >= 5, size >= 2.375, size >= 1]
    high = np.select(conditions, [1.0, 0.03125 * size + 0.84375, 0.125 * size + 0.625], 0.25 * size + 0.5)
    return np.where(x < 0, 1 - high, high)


_ERFC = np.vectorize(math.erfc, otypes=[float])  # to import SciPy's takes longer than this takes for a million numbers


def _gelu(x: Array) -> Array:
    y: Array = x * _ERFC(-math.sqrt(0.5) * x) / 2
    return y


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def _softsign(x: Array) -> Array:
    y: Array = 0.5 + 0.5 * x / (1 + np.abs(x))
    return y


def _gated(x: Array, slope: float) -> Array:
    y: Array = x * fast.sigmoid(slope * x)
    return y


_NAMED: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "gelu": _gelu,
    "gelu tanh": lambda x: x * fast.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "elu": _elu,
    "selu": lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * _elu(x), x),
    "softplus": lambda x: np.logaddexp(0, x),
    "tanh": np.tanh,
    "softsign": _softsign,
    "pieces": _pieces,
    "x softsign": lambda x: x * _softsign(x),
    "x pieces": lambda x: x * _pieces(x),
    "x tanh": lambda x: x * np.tanh(x),
    "moved": lambda x: (x + 3) * ((x + 3) / 6).clip(0, 1),
}
_SOLVED: Mapping[str, Callable[..., Array]] = {
    "clip": lambda x, low, high: x.clip(low, high),
    "leaky": lambda x, slope, high: np.where(x < 0, slope * x, np.minimum(x, high)),
    "line": lambda x, slope, offset: (slope * x + offset).clip(0, 1),
    "gated line": lambda x, slope, offset: x * (slope * x + offset).clip(0, 1),
    "sigmoid": lambda x, slope: fast.sigmoid(slope * x),
    "swish": _gated,
}


def drawn(curve: Curve, x: Array) -> Array:
    """A curve's values: its name, and its numbers."""
    name, *numbers = curve
    if name == "formula":
        return evaluated(Formula(*numbers), x)  # type: ignore[arg-type]
    if name == "piecewise":
        return pieces_value([float(number) for number in numbers], x)
    made: Array = _NAMED[str(name)](x) if name in _NAMED else _SOLVED[str(name)](x, *numbers)
    return made


def _fitted(x: Array, t: Array) -> Iterator[Curve]:
    """Formulas whose numbers the tensor shows; and the function as it is, by pieces, where no formula is found."""
    yield from (("formula", *formula) for formula in formulas_of(x, t))
    if (numbers := pieces_of(x, t)) is not None:
        yield "piecewise", *numbers


def _curves(x: Array, t: Array, slack: Array) -> Iterator[Curve]:
    """Curves that a port may have: known ones, and those whose numbers its tensor shows.

    Parameters
    ----------
    slack : how far the port's x may be from this one
    """
    yield from ((name,) for name in _NAMED)
    yield from (("sigmoid", 1.0), ("swish", 1.0), ("swish", _GELU), ("clip", -1.0, 1.0))
    least, most = (float(str(np.float32(end))) for end in (t.min(), t.max()))  # as they are written
    # An end that nothing is sure to pass is none.
    first, last = np.float32((x + slack).min()), np.float32((x - slack).max())
    lows = [low for low in (0.0, -math.inf, least) if low == -math.inf or first < np.float32(low)]
    highs = [high for high in (6.0, math.inf, most) if high == math.inf or last > np.float32(high)]
    yield from (("clip", low, high) for low in lows for high in highs if low < high)
    below = x < 0
    if np.count_nonzero(below) >= _FEW:
        for figures in (1, 2, 3):
            slope = _said(float((t[below] * x[below]).sum() / (x[below] ** 2).sum()), figures)
            yield from (("leaky", slope, high) for high in highs if slope)
    inner = (t > _INNER) & (t < 1 - _INNER)
    yield from (("line", *line) for line in _line(x[inner], t[inner]))
    yield from (("sigmoid", *line[:1]) for line in _line(x[inner], _undone(t[inner])))
    with np.errstate(all="ignore"):
        gate = t / x
    inner = (gate > _INNER) & (gate < 1 - _INNER) & (np.abs(x) > _INNER)
    yield from (("gated line", *line) for line in _line(x[inner], gate[inner]))
    yield from (("swish", *line[:1]) for line in _line(x[inner], _undone(gate[inner])))


def _undone(gate: Array) -> Array:
    """What a sigmoid made these gates of: their logits."""
    x: Array = np.log(gate / (1 - gate))
    return x


def _line(x: Array, y: Array) -> Iterator[tuple[float, float]]:
    """Slope and offset by least squares, in two to five figures."""
    if x.size < _FEW or not np.ptp(x):
        return
    if (solved := two_factors(x, np.ones_like(x), y)) is None:
        return
    (slope, steeper), (offset, higher), _ = solved
    for figures in (2, 3, 4, 5):
        yield _said(slope, figures), 0.0 if abs(offset) <= higher else _said(offset, figures)
    if abs(slope - 1 / 6) <= steeper:
        yield 1 / 6, _said(offset, 3)


def _said(number: float, figures: int) -> float:
    return float(f"{number:.{figures}g}") if math.isfinite(number) else 0.0
