"""Draw the table of docs/05-speed.md, refnet beside other runtimes, as docs/beside.svg.

    PYTHONPATH=. python docs/make_beside.py

Nothing is measured here: the table is what `refnet bench` printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from refnet.report.svg import NEGATIVE, POSITIVE, svg_document, svg_line, svg_rect, svg_text

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


def drawn(table: list[Row]) -> str:
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


if __name__ == "__main__":
    (HERE / "beside.svg").write_text(drawn(list(rows((HERE / "05-speed.md").read_text()))))
