"""Functions that were solved for, as people write them: 'x * (relu6(x) + 3) / 6'."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

__all__ = ["constant_words", "formula_words", "pieces_words", "varying_words"]

_THIRDS = 6  # the largest divisor that is written as one
_CLIPS = {
    (0.0, 6.0): "relu6({})",
    (0.0, math.inf): "relu({})",
    (-math.inf, 6.0): "min({}, 6)",
    (6.0, math.inf): "max({}, 6)",
}
_MOST = 1 << 16  # the largest power of two that a constant is a fraction of
_SHOWN = 4  # numbers that are said one by one
_PLAIN = 4  # figures of a constant that is said as it is


def constant_words(number: float) -> str:
    """A number as it may be written: '1/6', '0.2', '43/256'."""
    simple = Fraction(number).limit_denominator(_THIRDS)
    if abs(float(simple) - number) <= 1e-12 * abs(number):
        return str(simple)
    if float(f"{number:.{_PLAIN}g}") != number and (number * _MOST).is_integer():
        return str(Fraction(number))
    return f"{number:.7g}"


def formula_words(
    factor: str, shift: float, low: float, high: float, slope: float, offset: float, beside: str = ""
) -> str:
    """factor * (slope clip(x + shift, low, high) + offset), as people write it; or offset * beside is added to that."""
    if beside:
        product = formula_words(factor, shift, low, high, slope, 0.0)
        size = constant_words(abs(offset))
        term = size if beside == "1" else "x" if size == "1" else f"{size} * x"
        return f"{product} {'+' if offset > 0 else '-'} {term}"
    x = "x" if not shift else f"x {'+' if shift > 0 else '-'} {abs(shift):g}"
    whole = (low, high) == (-math.inf, math.inf)
    inner = x if whole else _CLIPS.get((low, high), f"clip({{}}, {low:g}, {high:g})").format(x)
    simple = Fraction(slope).limit_denominator(_THIRDS)
    if abs(float(simple) - slope) <= 1e-12 and simple.numerator == 1 and simple.denominator > 1:
        moved = offset * simple.denominator
        sign = "+" if moved > 0 else "-"
        inner = f"({inner} {sign} {constant_words(abs(round(moved, 9)))})" if offset else inner
        made = f"{inner} / {simple.denominator}"
        made = made if offset or not (whole and shift) else f"({x}) / {simple.denominator}"
    else:
        made = inner if slope == 1 else f"{constant_words(slope)} * {inner}"
        if offset:
            made = f"{made} {'+' if offset > 0 else '-'} {constant_words(abs(offset))}"
            made = f"({made})" if factor else made
    if not factor:
        return made
    return f"({factor}) * {made}" if factor.startswith("x ") else f"{factor} * {made}"


def pieces_words(numbers: Sequence[float]) -> str:
    """A function by pieces: '0 below -3, 0.5 x + 0.1666667 x^2 from -3 to 3, x above 3'."""
    rows = [numbers[index : index + 4] for index in range(0, len(numbers), 4)]
    said = []
    for (begin, *coefficients), following in zip(rows, [*rows[1:], None], strict=True):
        if following is None:
            where = "throughout" if begin == -math.inf else f"above {begin:g}"
        else:
            where = f"below {following[0]:g}" if begin == -math.inf else f"from {begin:g} to {following[0]:g}"
        said.append(f"{_polynomial(coefficients)} {where}")
    return ", ".join(said)


def _polynomial(coefficients: Sequence[float]) -> str:
    terms = []
    for power in (2, 1, 0):
        number = coefficients[power]
        if not number:
            continue
        unit = ("", "x", "x^2")[power]
        size = constant_words(abs(number))
        term = unit if unit and size == "1" else f"{size} {unit}".strip()
        terms.append(("- " if number < 0 else "+ ") + term)
    if not terms:
        return "0"
    return " ".join(terms).removeprefix("+ ")


def varying_words(numbers: tuple[tuple[float, ...], str, float]) -> str:
    """Numbers of several places: '1.02564, 1.05263, ..., 1.21212 (1 / 0.975, ..., less by 0.0125 a block)'."""
    own, how, slope = numbers
    said = _some(own)
    if not how:
        return f"{said} (other numbers at each place)"
    line = f"{'1 over ' if how == 'divided' else ''}{_some([1 / each for each in own]) if how == 'divided' else ''}"
    way = f"{abs(slope):.4g} {'less' if slope < 0 else 'more'} from block to block"
    return f"{said} ({line + ', ' if line else ''}{way}, as survival rates of stochastic depth go)"


def _some(numbers: Sequence[float]) -> str:
    """The first two and the last of several numbers."""
    said = [f"{each:.6g}" for each in numbers]
    return ", ".join(said if len(said) <= _SHOWN else [*said[:2], "...", said[-1]])
