"""One number in the open, in words and as a picture."""

from __future__ import annotations

from typing import Any

from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_rect, svg_text
from refnet.study.explain import Explanation, Term
from refnet.text import table

__all__ = ["explanation_document", "explanation_lines", "explanation_picture"]

_ROW, _WIDTH, _HALF = 18, 820, 130  # pixels: a row's height, the picture's width, the longest bar
_X, _TIMES = 350, 430  # where the columns of factors end


def explanation_lines(found: Explanation, most: int = 40) -> list[str]:
    """Every term with its product, the sum, the bias, and what follows; of many terms those that add most."""
    shown, rest = _largest(found, most)
    rows = [(term.source, _at(term), f"{term.x:.6g}", f"{term.factor:.6g}", f"{term.product:.6g}") for term in shown]
    header = ("input", "at", "x", "times", "product")
    lines = [_title(found), "", *table(header, rows, left=2).split("\n"), ""]
    if rest:
        lines.append(f"{len(rest)} more products, none larger: together {sum(t.product for t in rest):.6g}")
    return [*lines, *_ends(found)]


def _ends(found: Explanation) -> list[str]:
    """From the terms to the number."""
    lines = []
    if found.outside:
        lines.append(f"{found.outside} points lie outside the image, and count as nothing")
    if found.kind == "sum":
        lines.append(f"sum of {len(found.terms)} products   {sum(term.product for term in found.terms):.6g}")
    if found.bias is not None:
        lines.append(f"{_BIAS.get(found.node.op, 'bias')}   {found.bias:.6g}")
    lines.append(f"{found.node.op} gives   {found.y:.6g}")
    return [*lines, *(f"{node.op} makes it   {y:.6g}" for node, y in found.after)]


_BIAS = {"batch_norm": "beta - mean gamma / sqrt(var + eps)", "affine": "offset"}


def _title(found: Explanation) -> str:
    words = {"sum": "a sum of products", "product": "a product", "largest": "the largest of its inputs"}
    return f"{found.node.name}[{', '.join(map(str, found.at))}] = {found.y:.6g}: {words.get(found.kind, found.node.op)}"


def _at(term: Term) -> str:
    return ",".join(map(str, term.at))


def _largest(found: Explanation, most: int) -> tuple[list[Term], list[Term]]:
    """Those that add most, in the order of the sum, and the others."""
    order = sorted(range(len(found.terms)), key=lambda i: (-abs(found.terms[i].product), i))
    kept = {*order[:most]}
    both = [[term for i, term in enumerate(found.terms) if (i in kept) == inside] for inside in (True, False)]
    return both[0], both[1]


def explanation_picture(found: Explanation, most: int = 40) -> str:
    """The same as SVG: each product is a bar, to the left where it is negative."""
    shown, rest = _largest(found, most)
    scale = max((abs(term.product) for term in shown), default=0.0) or 1.0
    middle, parts = _WIDTH - _HALF - 20, [svg_text(10, 20, _title(found))]
    for x, words, kind in ((10, "input", "faint"), (_X, "x", "faint end"), (_TIMES, "times", "faint end")):
        parts.append(svg_text(x, 44, words, kind))
    parts.append(svg_text(middle - _HALF - 10, 44, "product", "faint end"))
    y = 44
    for term in shown:
        y += _ROW
        long = abs(term.product) / scale * _HALF
        left = middle - long if term.product < 0 else middle
        parts += [
            svg_text(10, y, f"{term.source}[{_at(term)}]"),
            svg_text(_X, y, f"{term.x:.4g}", "end"),
            svg_text(_TIMES, y, f"{term.factor:.4g}", "end"),
            svg_rect((left, y - 11, long, 13), NEGATIVE if term.product < 0 else POSITIVE),
            svg_text(middle - _HALF - 10, y, f"{term.product:.4g}", "end"),
        ]
    parts.append(svg_rect((middle - 0.5, 50, 1, y - 44), "#1c1e21"))
    if rest:
        y += _ROW
        parts.append(svg_text(10, y, f"{len(rest)} more: {sum(term.product for term in rest):.4g}", "faint"))
    for line in _ends(found):
        y += _ROW
        parts.append(svg_text(10, y, line))
    description = "; ".join(_ends(found))
    return svg_document(_WIDTH, y + 16, _title(found), description, parts)


def explanation_document(found: Explanation) -> dict[str, Any]:
    """For programs, with every term."""
    return {
        "node": found.node.name,
        "op": found.node.op,
        "at": list(found.at),
        "kind": found.kind,
        "terms": [
            {"input": t.source, "at": list(t.at), "x": t.x, "times": t.factor, "product": t.product}
            for t in found.terms
        ],
        "outside": found.outside,
        "bias": found.bias,
        "y": found.y,
        "after": [{"node": node.name, "op": node.op, "y": y} for node, y in found.after],
    }
