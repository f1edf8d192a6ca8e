"""Matrices as pictures whose colours diverge around zero, and as a table that says the same in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.report.svg import svg_document, svg_rect, svg_text
from refnet.study.tiles import Tile
from refnet.text import table

__all__ = ["tiles_document", "tiles_picture", "tiles_pixels", "tiles_table"]

Array = npt.NDArray[Any]

_BELOW, _ZERO, _ABOVE = np.array((33.0, 102.0, 172.0)), np.array((247.0, 247.0, 247.0)), np.array((179.0, 88.0, 6.0))
_SIDE, _MOST, _ACROSS, _SHOWN = 96.0, 16, 8, 48  # of a tile in SVG: pixels, points; tiles in a row, and at all


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
        rows, columns = values.shape
        side = _SIDE / max(rows, columns)
        left, top = 10 + (_SIDE + 14) * (number % _ACROSS), 34 + (_SIDE + 26) * (number // _ACROSS)
        colours = _coloured(values, scale)
        for h, v in np.ndindex(rows, columns):
            fill = "#{:02x}{:02x}{:02x}".format(*(int(each) for each in colours[h, v]))
            hover = f"{float(values[h, v]):.4g}"
            parts.append(svg_rect((left + v * side, top + h * side, side, side), fill, hover=hover))
        words = f"{tile.title}: {float(tile.values.min()):.2g} to {float(tile.values.max()):.2g}"
        parts.append(svg_text(left, top + _SIDE + 11, words, "small"))
        below = max(below, top + _SIDE + 26)
    left_out = f"; {len(tiles) - len(shown)} more are not drawn" if len(tiles) > len(shown) else ""
    legend = f"blue: below zero, white: zero, orange: above; the deepest is {scale:.4g}{left_out}"
    parts.append(svg_text(10, below + 6, legend, "faint"))
    width = 20 + (_SIDE + 14) * min(len(shown), _ACROSS)
    return svg_document(max(width, 640), below + 18, title, legend, parts)


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
