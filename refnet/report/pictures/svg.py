"""Pictures as SVG: a few shapes, numbers of two decimals, a title and a description; the same bytes for the same facts.

Colours diverge around zero, blue below and orange above, and never carry meaning alone: a number, a letter or a side
says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from refnet.text import plain

__all__ = ["NEGATIVE", "POSITIVE", "svg_document", "svg_dot", "svg_line", "svg_rect", "svg_text"]

POSITIVE, NEGATIVE = "#b35806", "#2166ac"

_STYLE = (
    "svg{font:12px ui-monospace,monospace}text{fill:#1c1e21}.faint{fill:#666b73}"
    ".end{text-anchor:end}.middle{text-anchor:middle}.small{font-size:9px}"
)


def svg_document(width: float, height: float, title: str, description: str, parts: Iterable[str]) -> str:
    """A whole picture; the description says in words what it shows."""
    size = f'width="{_of(width)}" height="{_of(height)}" viewBox="0 0 {_of(width)} {_of(height)}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(plain(title))}</title><desc id="d">{escape(plain(description))}</desc>',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fdfdfb"/>',  # not every viewer knows the background of a style
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def svg_rect(box: Sequence[float], fill: str, *, line: str = "", dashed: bool = False, hover: str = "") -> str:
    """A rectangle (x, y, width, height); `hover` is shown when it is pointed at."""
    x, y, width, height = map(_of, box)
    more = f' stroke="{line}"' if line else ""
    more += ' stroke-dasharray="2 1"' if dashed else ""
    inside = f"<title>{escape(plain(hover))}</title>" if hover else ""
    end = f">{inside}</rect>" if inside else "/>"
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"{more}{end}'


def svg_line(points: Iterable[tuple[float, float]], colour: str, *, width: float = 1, dashed: bool = False) -> str:
    """A line through points (x, y)."""
    places = " ".join(f"{_of(x)},{_of(y)}" for x, y in points)
    more = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{_of(width)}"{more}/>'


def svg_dot(x: float, y: float, radius: float, fill: str, *, line: str = "", hover: str = "") -> str:
    """A dot around a point; `hover` is shown when it is pointed at."""
    more = f' stroke="{line}"' if line else ""
    end = f"><title>{escape(plain(hover))}</title></circle>" if hover else "/>"
    return f'<circle cx="{_of(x)}" cy="{_of(y)}" r="{_of(radius)}" fill="{fill}"{more}{end}'


def svg_text(x: float, y: float, words: str, kind: str = "") -> str:
    """A line of text; `kind` of 'end', 'middle', 'small', 'faint'."""
    own = f' class="{kind}"' if kind else ""
    return f'<text x="{_of(x)}" y="{_of(y)}"{own}>{escape(plain(words))}</text>'


def _of(number: float) -> str:
    """Two decimals at most."""
    return f"{number:.2f}".rstrip("0").rstrip(".") or "0"
