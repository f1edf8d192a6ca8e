"""The function of its input that a tensor holds, solved for: a formula of a small grammar, or polynomials by pieces.

A formula is m (c clip(x + a, low, high) + b), with m one of what people write before or behind: nothing, x, x + 3,
relu6(x + 3). The numbers c and b are solved for, and said as people write them: as a fraction, in a few figures, or as
a fraction of a power of two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Node
from refnet.readings.precision import FLOATS

__all__ = [
    "Formula",
    "binary_fraction",
    "evaluated",
    "formula_nodes",
    "formulas_of",
    "pieces_of",
    "pieces_value",
    "sayable",
    "two_factors",
]

Array = npt.NDArray[Any]

_INF = math.inf
_FACTORS: Mapping[str, Callable[[Array], Array]] = {
    "": np.ones_like,
    "x": lambda x: x,
    "x + 3": lambda x: x + 3,
    "relu6(x + 3)": lambda x: (x + 3).clip(0, 6),
    "relu6(x)": lambda x: x.clip(0, 6),
    "relu(x)": lambda x: x.clip(0, _INF),
    "relu(x + 3)": lambda x: (x + 3).clip(0, _INF),
}
_BESIDE: Mapping[str, Callable[[Array], Array] | None] = {"": None, "1": np.ones_like, "x": lambda x: x}
_SHIFTS = (3.0, 0.0, -3.0, 6.0, 1.0, 0.5)
_ENDS = ((0.0, 6.0), (0.0, _INF), (-_INF, 6.0), (-_INF, _INF), (0.0, 1.0), (0.0, 3.0), (-3.0, 3.0), (6.0, _INF))
_POINTS, _FEW = 4096, 8  # points that a function is fitted to, and the least of a piece
_DRAWN = 8  # times as many, of which these are taken
_U = FLOATS["float32"].u
_CLOSE = 2 * FLOATS["float16"].u  # of the tensor's rms: what a formula may leave where float16 stores x and its value
_FITTING = 3  # formulas that are told
_SURE = 8.0  # standard errors of a number: it lies beyond them by chance never
_FINEST = 16 * _U  # what float32 leaves of a number, and of a point and its value: a function rounds a dozen times
_TINY = 2 * _U  # what it leaves besides, of terms of one that are taken away again
_FLAT = 1e-9  # the square of a sine below which normal equations in float64 keep no more digits than float32 has
_BITS = 16  # of a fraction of a power of two
_PIECES, _DEGREE = 6, 2


class Formula(NamedTuple):
    """factor * slope clip(x + shift, low, high) + offset * beside, with beside the factor itself, one, or x."""

    factor: str
    shift: float
    low: float
    high: float
    slope: float
    offset: float
    beside: str = ""


def evaluated(formula: Formula, x: Array) -> Array:
    """The values of a formula."""
    factor = _FACTORS[formula.factor](x)
    product = factor * (x + formula.shift).clip(formula.low, formula.high)
    y: Array = formula.slope * product + formula.offset * (_BESIDE[formula.beside] or (lambda _: factor))(x)
    return y


def formula_nodes(node: Node, formula: Formula) -> tuple[Node, ...]:
    """What computes a formula in the place of an activation; the last one is called as it is."""
    made: list[Node] = []

    def then(name: str, op: str, source: str, **attrs: float) -> str:
        made.append(Node(f"{node.name}.{name}", op, (source,), {}, attrs))
        return made[-1].name

    beside = formula.beside if formula.offset else ""
    source = then("moved", "affine", node.inputs[0], slope=1.0, offset=formula.shift)
    source = then("cut", "clip", source, low=formula.low, high=formula.high)
    source = then("line", "affine", source, slope=formula.slope, offset=0.0 if beside else formula.offset)
    factor = node.inputs[0]
    if "x + 3" in formula.factor:
        factor = then("three", "affine", factor, slope=1.0, offset=3.0)
    if formula.factor.startswith("relu"):
        high = 6.0 if formula.factor.startswith("relu6") else _INF
        factor = then("factor", "clip", factor, low=0.0, high=high)
    if formula.factor:
        made.append(Node(f"{node.name}.product", "scale", (factor, source)))
    if beside == "1":
        then("more", "affine", made[-1].name, slope=1.0, offset=formula.offset)
    elif beside == "x":
        product = made[-1].name
        other = then("other", "affine", node.inputs[0], slope=formula.offset, offset=0.0)
        made.append(Node(f"{node.name}.sum", "add", (product, other)))
    return (*made[:-1], replace(made[-1], name=node.name))


def formulas_of(x: Array, t: Array) -> Iterator[Formula]:
    """The formulas whose values at x are nearly t, the simplest first."""
    x, t = _some(x, t)
    weight, told = 1 / (1 + np.abs(x) + np.abs(t)), 0  # so that small numbers count beside large ones
    size = float(np.linalg.norm(weight * t))
    if not (size > 0 and x.size >= _FEW and np.ptp(x) > 0):
        return
    for beside, factor, (low, high), shift in itertools.product(_BESIDE, _FACTORS, _ENDS, _SHIFTS):
        if (shift and (low, high) == (-_INF, _INF)) or (beside == "1" and not factor) or (beside == factor == "x"):
            continue
        m = _FACTORS[factor](x)
        other = (_BESIDE[beside] or (lambda _, m=m: m))(x)  # type: ignore[misc]
        solved = two_factors(weight * m * (x + shift).clip(low, high), weight * other, weight * t)
        if solved is None or solved[-1] > _CLOSE * size:
            continue
        told += 1
        slopes, offsets = (sayable(*each) for each in solved[:2])
        for slope, offset in itertools.product(slopes, offsets):
            if slope:
                yield Formula(factor, shift, low, high, slope, offset, beside if offset else "")
        if told == _FITTING:
            return


def _some(x: Array, t: Array) -> tuple[Array, Array]:
    """Points of a function in float64; of more than are fitted, some that are spread evenly over its input."""
    x, t = x.ravel(), t.ravel()
    if x.size > _POINTS:
        drawn = np.r_[0 : x.size : max(1, x.size // (_DRAWN * _POINTS)), x.argmin(), x.argmax()]
        order = drawn[np.argsort(x[drawn], kind="stable")]  # evenly by rank, with both ends
        kept = order[np.linspace(0, order.size - 1, _POINTS).astype(int)]
        x, t = x[kept], t[kept]
    return x.astype(np.float64), t.astype(np.float64)


def two_factors(one: Array, other: Array, t: Array) -> tuple[tuple[float, float], tuple[float, float], float] | None:
    """Two factors by least squares, each with how far it may be off, and the norm that they leave; None for no two."""
    a, b, c = float(one @ one), float(one @ other), float(other @ other)
    area = a * c - b * b
    if not area > _FLAT * a * c:
        return None
    p, q = float(one @ t), float(other @ t)
    slope, offset = (c * p - b * q) / area, (a * q - b * p) / area
    left = float(np.linalg.norm(t - slope * one - offset * other))
    sigma = left / math.sqrt(max(t.size - 2, 1))
    size = abs(slope) + abs(offset)
    off = [_SURE * sigma * math.sqrt(each / area) + _FINEST * size for each in (c, a)]
    return (slope, off[0]), (offset, off[1]), left


def sayable(number: float, off: float) -> list[float]:
    """What people write for a number that is known so well: the simplest that agrees, and it as a binary fraction."""
    if abs(number) <= off:
        return [0.0]
    simple = [sign * p / q for q in (1, 2, 3, 6) for p in (1, 2, 3, 6) for sign in (1, -1)]
    simple += [float(f"{number:.{figures}g}") for figures in (1, 2, 3, 4, 5)]
    found = [each for each in simple if abs(each - number) <= off][:1]
    fraction = binary_fraction(number, off)
    found += [fraction[0] / fraction[1]] if fraction is not None and not found else []
    return found or [float(f"{number:.7g}")]


def binary_fraction(number: float, off: float) -> tuple[int, int] | None:
    """The fraction of the least power of two that agrees with a number; None where none of 16 bits does."""
    for bits in range(1, _BITS + 1):
        whole = round(number * 2**bits)
        if whole and abs(whole / 2**bits - number) <= off:
            return whole, int(2**bits)
    return None


# -------------------------------------------------------------------------------------------------- by pieces


def pieces_of(x: Array, t: Array) -> tuple[float, ...] | None:
    """The function as polynomials of degree 2 at most between breaks: flat, (break, c0, c1, c2) for each piece.

    The break of a piece is where it begins, minus infinity for the first. None where it is no such function, or one of
    many pieces.
    """
    x, t = _some(x, t)
    order = np.argsort(x, kind="stable")
    x, t = x[order], t[order]
    if x.size < 2 * _FEW or not np.isfinite(t).all():
        return None
    most, found, begin = _FINEST * (np.abs(x) + np.abs(t)) + _TINY, list[tuple[int, int, Array]](), 0
    while begin < x.size:
        end, coefficients = _longest(x, t, begin, most)
        if end - begin < _FEW and end < x.size:
            return None
        found.append((begin, end, coefficients))
        begin = end
        if len(found) > _PIECES:
            return None
    return _flat(x, found)


def _longest(x: Array, t: Array, begin: int, most: Array) -> tuple[int, Array]:
    """Up to where one polynomial goes that begins here, by doubling and halving; and it."""
    low, high, kept = begin + 1, begin + _FEW, np.array([t[begin], 0.0, 0.0])
    while (fit := _polynomial(x[begin:high], t[begin:high], most[begin:high])) is not None:
        low, kept = min(high, x.size), fit
        if high >= x.size:
            return x.size, kept
        high = begin + 2 * (high - begin)
    high = min(high, x.size)
    while high - low > 1:
        middle = (low + high) // 2
        fit = _polynomial(x[begin:middle], t[begin:middle], most[begin:middle])
        low, high, kept = (middle, high, fit) if fit is not None else (low, middle, kept)
    return low, kept


def _polynomial(x: Array, t: Array, most: Array) -> Array | None:
    """The polynomial of least degree that leaves little at each point."""
    centre, spread = float(x.mean()), float(np.ptp(x)) or 1.0
    for degree in range(_DEGREE + 1):
        powers = np.vander((x - centre) / spread, degree + 1, increasing=True)
        found, *_ = np.linalg.lstsq(powers / most[:, None], t / most, rcond=None)
        if (np.abs(powers @ found - t) <= most).all():
            made = np.zeros(_DEGREE + 1)
            poly = np.polynomial.Polynomial(found)(np.polynomial.Polynomial([-centre / spread, 1 / spread]))
            made[: len(poly.coef)] = poly.coef
            return made
    return None


def _flat(x: Array, found: Sequence[tuple[int, int, Array]]) -> tuple[float, ...]:
    numbers: list[float] = []
    for index, (begin, end, coefficients) in enumerate(found):
        size = float(np.abs(coefficients).max())
        reach = max(float(np.abs(x[begin:end]).max()), 1.0)
        said = [sayable(float(c), _FINEST * size / reach**power)[0] for power, c in enumerate(coefficients)]
        between = (float(x[begin - 1]), float(x[begin])) if index else (-_INF, -_INF)
        numbers += [_round_between(*between), *said]
    return tuple(numbers)


def _round_between(low: float, high: float) -> float:
    """The roundest number between two."""
    if not math.isfinite(low):
        return low
    for figures in range(8):
        middle = round((low + high) / 2, figures)
        if low <= middle <= high:
            return middle
    return (low + high) / 2


def pieces_value(numbers: Sequence[float], x: Array) -> Array:
    """The values of a function by pieces."""
    rows = np.array(numbers, np.float64).reshape(-1, _DEGREE + 2)
    place = np.searchsorted(rows[1:, 0], x, side="right")
    c0, c1, c2 = (rows[place, power] for power in (1, 2, 3))
    y: Array = c0 + x * (c1 + x * c2)
    return y
