"""Two axes of a picture: where a point lies, and the ticks that are written beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from refnet.report.pictures.svg import svg_line, svg_text

__all__ = ["Axes", "axes_parts", "spanned"]

_FAINT, _GRID = "#666b73", "#e4e4de"


class Axes(NamedTuple):
    """A plot's place and ranges.

    Attributes
    ----------
    box : (x, y, width, height) in the picture
    x, y : (low, high) of the values, low < high
    log : whether x is logarithmic; then it is above 0
    """

    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of these values lies in the picture."""
        left, top, width, height = self.box
        low, here, high = map(math.log, (self.x[0], x, self.x[1])) if self.log else (self.x[0], x, self.x[1])
        across, up = (here - low) / (high - low), (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + width * across, top + height * (1 - up)


def axes_parts(axes: Axes, x_words: str, y_words: str) -> Iterator[str]:
    """The frame, a faint line at each tick, its number, and what the axes are."""
    left, top, width, height = axes.box
    (low, high), bottom, right = axes.x, top + height, left + width
    for value in _powers(low, high) if axes.log else _ticks(low, high):
        across, _ = axes.at(value, axes.y[0])
        yield svg_line([(across, top), (across, bottom)], _GRID)
        yield svg_text(across, bottom + 15, f"{value:g}", "middle faint")
    for value in _ticks(*axes.y):
        _, down = axes.at(low, value)
        yield svg_line([(left, down), (right, down)], _GRID)
        yield svg_text(left - 6, down + 4, f"{value:g}", "end faint")
    yield svg_line([(left, top), (left, bottom), (right, bottom)], _FAINT)
    yield svg_text(right, bottom + 31, x_words, "end")
    yield svg_text(left - 34, top - 10, y_words)


def spanned(values: list[float], *, log: bool = False, margin: float = 0.06) -> tuple[float, float]:
    """A range that holds all values with a margin on either side.

    Examples
    --------
    >>> spanned([0.0, 10.0], margin=0.1)
    (-1.0, 11.0)
    """
    low, high = min(values), max(values)
    if log:
        grown = max((high / low) ** margin, 1.05)
        return low / grown, high * grown
    more = (high - low) * margin or abs(high) * margin or 1.0
    return low - more, high + more


def _ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers from low to high."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 4)
    return [round(step * number, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from low to high; plain ticks where those are fewer than three."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [round(factor * 10.0**power, 12) for power in exponents for factor in (1, 2, 5)]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) > 2 else _ticks(low, high)
