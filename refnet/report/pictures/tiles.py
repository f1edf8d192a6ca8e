"""Matrices as pictures whose colours diverge around zero, and as a table that says the same in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.report.pictures.svg import svg_document, svg_rect, svg_text
from refnet.study.tiles import Tile
from refnet.text import table

__all__ = ["tiles_document", "tiles_picture", "tiles_pixels", "tiles_table"]

Array = npt.NDArray[Any]

_BELOW, _ZERO, _ABOVE = np.array((33.0, 102.0, 172.0)), np.array((247.0, 247.0, 247.0)), np.array((179.0, 88.0, 6.0))
_SIDE, _MOST, _ACROSS, _SHOWN = 96.0, 16, 8, 48  # of a tile in SVG: pixels, points; tiles in a row, and at all
_BAR, _WIDE = 22.0, 880.0  # of a vector: the widest bar, and all together


def tiles_table(tiles: Sequence[Tile]) -> str:
    """Of each matrix its size, its least, mean and largest number, and how many are zero."""
    rows = [
        (
            tile.title,
            "x".join(map(str, tile.values.shape)),
            *(f"{float(each):.4g}" for each in (tile.values.min(), tile.values.mean(), tile.values.max())),
            f"{float(np.mean(tile.values == 0)):.0%}",
        )
        for tile in tiles
    ]
    return table(("matrix", "size", "least", "mean", "largest", "zeros"), rows)


def tiles_document(tiles: Sequence[Tile]) -> list[dict[str, Any]]:
    """The same for programs, with the numbers."""
    return [{"title": tile.title, "values": tile.values.tolist()} for tile in tiles]


def tiles_picture(tiles: Sequence[Tile], title: str) -> str:
    """As SVG: the first tiles, a large one in means of squares; all on one scale, said below."""
    shown, scale = tiles[:_SHOWN], _scale(tiles)
    parts = [svg_text(10, 20, title)]
    below = 0.0
    for number, tile in enumerate(shown):
        values = _coarse(tile.values)
        left, top = 10 + (_SIDE + 14) * (number % _ACROSS), 34 + (_SIDE + 38) * (number // _ACROSS)
        parts += _bars(values[0], top, scale) if len(values) == 1 else _squares(values, left, top, scale)
        parts.append(svg_text(left, top + _SIDE + 11, tile.title, "small"))
        words = f"{float(tile.values.min()):.2g} to {float(tile.values.max()):.2g}"
        parts.append(svg_text(left, top + _SIDE + 22, words, "small faint"))
        below = max(below, top + _SIDE + 38)
    left_out = f"; {len(tiles) - len(shown)} more are not drawn" if len(tiles) > len(shown) else ""
    legend = f"blue: below zero, white: zero, orange: above; the deepest is {scale:.4g}{left_out}"
    parts.append(svg_text(10, below + 6, legend, "faint"))
    across = 20 + (_SIDE + 14) * min(len(shown), _ACROSS)
    row = min(_WIDE, _BAR * shown[0].values.shape[1]) + 20 if len(shown[0].values) == 1 else 0
    return svg_document(max(across, row, 640), below + 18, title, legend, parts)


def _squares(values: Array, left: float, top: float, scale: float) -> list[str]:
    """A matrix: each number a square, its colour how far it is from zero."""
    side = _SIDE / max(values.shape)
    return [
        svg_rect((left + v * side, top + h * side, side, side), fill, hover=f"{float(values[h, v]):.4g}")
        for (h, v), fill in zip(np.ndindex(values.shape), _fills(values, scale), strict=True)
    ]


def _bars(values: Array, top: float, scale: float) -> list[str]:
    """A vector: each number a bar, up or down from zero, on the same scale of colours."""
    wide, least = min(_BAR, _WIDE / len(values)), float(min(values.min(), 0.0))
    high = _SIDE / ((float(max(values.max(), 0.0)) - least) or 1.0)
    zero = top + _SIDE + least * high
    parts = []
    for place, (value, fill) in enumerate(zip(values.tolist(), _fills(values[None], scale), strict=True)):
        box = (10 + place * wide, zero - max(value, 0.0) * high, wide * 0.8, abs(value) * high)
        line = "#8a8f98" if wide > 5 else ""
        parts.append(svg_rect(box, fill, line=line, hover=f"{place}: {value:.4g}"))
    return [*parts, svg_rect((10, zero - 0.5, wide * len(values), 1), "#1c1e21")]


def _fills(values: Array, scale: float) -> list[str]:
    """The colour of each number, row by row."""
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in _coloured(values, scale).reshape(-1, 3).tolist()]


def tiles_pixels(tiles: Sequence[Tile]) -> npt.NDArray[np.uint8]:
    """All tiles as one image, (H, W, 3), each point a square of so many pixels that a tile is about 96 wide."""
    scale, rows, columns = _scale(tiles), *tiles[0].values.shape
    square = max(1, int(_SIDE) // max(rows, columns))
    across = min(len(tiles), max(_ACROSS, int(len(tiles) ** 0.5)))
    down = -(-len(tiles) // across)
    high, wide = rows * square + 4, columns * square + 4
    image = np.full((down * high, across * wide, 3), 120, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * high + 2, number % across * wide + 2
        made = _coloured(tile.values, scale).repeat(square, axis=0).repeat(square, axis=1)
        image[top : top + len(made), left : left + made.shape[1]] = made
    return image


def _scale(tiles: Sequence[Tile]) -> float:
    """The number that has the deepest colour."""
    return max(float(np.abs(tile.values).max(initial=0.0)) for tile in tiles) or 1.0


def _coarse(values: Array) -> Array:
    """Means of squares, so that no side has more than a few points."""
    rows, columns = values.shape
    step = -(-max(rows, columns) // _MOST)
    if step == 1 or rows == 1:
        return np.asarray(values, np.float64)
    made = [[values[h : h + step, v : v + step].mean() for v in range(0, columns, step)] for h in range(0, rows, step)]
    return np.array(made, np.float64)


def _coloured(values: Array, scale: float) -> npt.NDArray[np.uint8]:
    """Blue below zero, white at it, orange above."""
    share = np.clip(np.asarray(values, np.float64) / scale, -1, 1)[..., None]
    ends = np.where(share < 0, _BELOW, _ABOVE)
    made: npt.NDArray[np.uint8] = np.rint(_ZERO + np.abs(share) * (ends - _ZERO)).astype(np.uint8)
    return made
