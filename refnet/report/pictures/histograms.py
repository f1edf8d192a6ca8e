"""A histogram as a picture whose bars are blue below zero and orange above, and as a table of the same counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_line, svg_rect, svg_text
from refnet.study.histograms import Histogram
from refnet.text import table

__all__ = ["histogram_document", "histogram_picture", "histogram_pixels", "histogram_table"]

_LEFT, _TOP, _WIDE, _TALL = 70.0, 44.0, 660.0, 240.0  # of the box of bars, in pixels
_MARKED = 8  # numbers along the axis, at most


def histogram_table(found: Histogram) -> str:
    """A line for each bar: from where, to where, how many, and which share of all."""
    lines = [
        (*(f"{edge:.6g}" for edge in found.edges(bar)), f"{count:,}", f"{count / found.size:.1%}", _stars(found, count))
        for bar, count in enumerate(found.counts)
    ]
    return f"{table(('from', 'to', 'numbers', 'share', ''), lines, left=0)}\n\n{_sizes(found)}"


def _stars(found: Histogram, count: int) -> str:
    """A bar of characters."""
    most = max(found.counts) or 1
    return ("#" * round(24 * count / most)).ljust(24)


def _sizes(found: Histogram) -> str:
    others = f", {found.others:,} not finite" if found.others else ""
    return f"{found.size:,} numbers, {found.zeros:,} of them zero ({found.zeros / found.size:.1%}){others}"


def histogram_document(found: Histogram) -> dict[str, Any]:
    """The same for programs."""
    bars = [
        {"from": low, "to": high, "count": count}
        for (low, high), count in zip(map(found.edges, range(len(found.counts))), found.counts, strict=True)
    ]
    return {"numbers": found.size, "zeros": found.zeros, "not_finite": found.others, "bars": bars}


def histogram_picture(found: Histogram, title: str) -> str:
    """As SVG: a bar for each range of numbers, and a line at zero."""
    wide, most = _WIDE / len(found.counts), max(found.counts) or 1
    parts = [svg_text(10, 20, title), svg_rect((_LEFT, _TOP, _WIDE, _TALL), "none", line="#bababa")]
    for bar, count in enumerate(found.counts):
        low, high = found.edges(bar)
        tall = _TALL * count / most
        box = (_LEFT + wide * bar, _TOP + _TALL - tall, wide * 0.92, tall)
        parts.append(svg_rect(box, _fill(found, bar), hover=f"{low:.6g} to {high:.6g}: {count:,}"))
    for share in (0.5, 1.0):
        parts.append(svg_text(_LEFT - 6, _TOP + _TALL * (1 - share) + 10, f"{most * share:,.0f}", "end"))
    every = -(-len(found.counts) // _MARKED)
    for edge in range(len(found.counts) + 1):
        if (found.first + edge) % every == 0:
            words = f"{(found.first + edge) * found.step:.6g}"
            parts.append(svg_text(_LEFT + wide * edge, _TOP + _TALL + 16, words, "middle"))
    if -len(found.counts) <= found.first <= 0:
        x = _LEFT - wide * found.first
        parts.append(svg_line([(x, _TOP), (x, _TOP + _TALL)], "#1c1e21"))
    legend = "blue: below zero, orange: from zero on"
    parts.append(svg_text(10, _TOP + _TALL + 38, f"{legend}; {_sizes(found)}", "faint"))
    return svg_document(760, _TOP + _TALL + 50, title, f"{legend}; {_sizes(found)}", parts)


def histogram_pixels(found: Histogram) -> npt.NDArray[np.uint8]:
    """As an image (H, W, 3): the bars, and a dark line at zero."""
    wide, tall, most = max(8, 640 // len(found.counts)), 240, max(found.counts) or 1
    image = np.full((tall + 8, wide * len(found.counts) + 8, 3), 253, np.uint8)
    for bar, count in enumerate(found.counts):
        left, high = 4 + bar * wide, round(tall * count / most)
        image[4 + tall - high : 4 + tall, left : left + wide - 1] = bytearray.fromhex(_fill(found, bar)[1:])
    if -len(found.counts) <= found.first <= 0:
        image[4 : 4 + tall, 4 - found.first * wide - 1] = 28
    image[4 + tall] = 138
    return image


def _fill(found: Histogram, bar: int) -> str:
    return NEGATIVE if found.first + bar < 0 else POSITIVE
