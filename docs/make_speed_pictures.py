"""Draw two tables of docs/05-speed.md: refnet beside other runtimes, as beside.svg, and how time grows, as speed.svg.

    PYTHONPATH=. python docs/make_speed_pictures.py

Nothing is measured here: the tables are what `refnet bench` and make_speed.py printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_dot, svg_line, svg_rect, svg_text

HERE = Path(__file__).resolve().parent
COLOURS = {"refnet": POSITIVE, "torch": "#c3c8cf", "torch-channels-last": "#8d949e", "onnxruntime": NEGATIVE}
BAR, GAP, LEFT, WIDE = 11, 12, 210, 420


class Row(NamedTuple):
    """A line of the table: milliseconds of a whole batch."""

    network: str
    batch: int
    runtime: str
    ms: float


def rows(text: str) -> Iterator[Row]:
    """The lines of the table whose runtimes are drawn."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 4 and cells[2] in COLOURS:
            yield Row(cells[0], int(cells[1]), cells[2], float(cells[3]))


def beside(table: list[Row]) -> str:
    """Milliseconds an image, a group of bars for each network and batch."""
    most = max(row.ms / row.batch for row in table)
    parts, y = [], 34.0
    for (network, batch), some in groupby(table, lambda row: (row.network, row.batch)):
        parts.append(svg_text(8, y + BAR, f"{network}, {batch} image{'s' * (batch > 1)}"))
        for row in some:
            ms = row.ms / row.batch
            hover = f"{network}, batch {batch}, {row.runtime}: {ms:.2f} ms an image"
            parts.append(svg_rect((LEFT, y, WIDE * ms / most, BAR - 2), COLOURS[row.runtime], hover=hover))
            parts.append(svg_text(LEFT + WIDE * ms / most + 5, y + BAR - 3, f"{ms:.2f} {row.runtime}", "small"))
            y += BAR
        y += GAP
    parts.append(svg_line([(LEFT, 28), (LEFT, y - GAP + 4)], "#1c1e21"))
    said = "; ".join(f"{r.network} batch {r.batch} {r.runtime} {r.ms / r.batch:.2f}" for r in table)
    title = "Milliseconds an image, two cores"
    return svg_document(LEFT + WIDE + 150, y, title, said, [svg_text(8, 18, title), *parts])


class Growth(NamedTuple):
    """A table of how time grows: of what, and milliseconds for each number of it."""

    what: str
    points: list[tuple[float, float]]


def growths(text: str) -> Iterator[Growth]:
    """The tables of two rows: what grows, and milliseconds."""
    found = re.findall(r"^\| (images|thousand pixels|width) \|(.*)\|\n\|[-:|]+\n\| ms \|(.*)\|$", text, re.MULTILINE)
    for what, *lines in found:
        across, up = ([float(cell) for cell in line.split("|")] for line in lines)
        yield Growth(what, list(zip(across, up, strict=True)))


def growing(tables: list[Growth]) -> str:
    """Three small plots beside one another, axes from zero."""
    side, gap, margin, bottom = 200.0, 70.0, 50.0, 244.0
    parts = []
    for number, (what, points) in enumerate(tables):
        left = margin + number * (side + gap)
        right, top = max(x for x, _ in points) * 1.05, max(y for _, y in points) * 1.05
        places = [(left + side * x / right, bottom - side * y / top) for x, y in points]
        parts.append(svg_text(left - 30, bottom - side - 14, f"milliseconds against {what}"))
        parts.append(svg_line([(left, bottom - side), (left, bottom), (left + side, bottom)], "#1c1e21"))
        parts.append(svg_line(places, NEGATIVE, width=2))
        beyond, above = left, bottom + 20
        for (x, y), (px, py) in zip(points, places, strict=True):
            parts.append(svg_dot(px, py, 3, NEGATIVE, hover=f"{what} {x:g}: {y:g} ms"))
            if py < above - 10:  # the next one does not fit above it
                parts.append(svg_text(left - 4, py + 3, f"{y:g}", "small end"))
                above = py
            words = f"{x:.3g}"
            half = 2.7 * len(words) + 2
            if px - half > beyond:  # nor beside it
                parts.append(svg_text(px, bottom + 14, words, "small middle"))
                beyond = px + half
    title = "V3 Large, one core: how time grows"
    said = "; ".join(f"{what}: {', '.join(f'{x:g} {y:g} ms' for x, y in points)}" for what, points in tables)
    return svg_document(3 * (side + gap) + margin, bottom + 26, title, said, parts)


def pictures() -> dict[str, str]:
    """Both, by the names of their files."""
    text = (HERE / "05-speed.md").read_text(encoding="utf-8")
    return {"beside.svg": beside(list(rows(text))), "speed.svg": growing(list(growths(text)))}


if __name__ == "__main__":
    for name, picture in pictures().items():
        (HERE / name).write_text(picture, encoding="utf-8")
