"""A network's rows as a table, as the papers have it, and drawn to scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refnet.graph import Graph
from refnet.ops import OPS
from refnet.readings.cost import cost
from refnet.report.pictures.svg import svg_document, svg_rect, svg_text
from refnet.study.rows import LayerRow
from refnet.text import table

__all__ = ["network_picture", "op_looks", "rows_document", "rows_table"]

_HEADER = ("row", "input", "kernel", "expanded", "out", "SE", "activation", "stride", "shortcut", "parameters", "MACs")


def rows_table(rows: Sequence[LayerRow]) -> str:
    """One line for each block or layer: its integers, and its share of the multiply-adds."""
    total = sum(row.macs for row in rows) or 1
    lines = [
        (
            _name(row),
            "x".join(map(str, row.source)),
            "x".join(map(str, row.kernel)) if row.kernel else "",
            row.expanded or "",
            row.out,
            row.squeeze or "",
            row.act,
            "x".join(map(str, dict.fromkeys(row.stride))) if row.kernel else "",
            "yes" if row.shortcut else "",
            f"{row.params:,}" if row.params else "",
            f"{row.macs / total:.1%}" if row.macs else "",
        )
        for row in rows
    ]
    return table(_HEADER, lines, left=2)


def _name(row: LayerRow) -> str:
    return f"block {row.block}" if row.block else row.name


def rows_document(rows: Sequence[LayerRow]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [row._asdict() for row in rows]


# ---------------------------------------------------------------------------------------------------------- to scale

_TALL, _WIDE, _LEAST, _GAP, _LEFT = 240.0, 26.0, 3.0, 6.0, 16.0  # pixels
_ACROSS = 758.0  # which the boxes of a small network fill
# By operation: its colour, the letter that says the same, and what both stand for.
_LOOKS = {
    "conv2d": ("#1b6ca8", "C", "full convolution"),
    "grouped_conv2d": ("#1b6ca8", "G", "convolution in groups"),
    "depthwise_conv2d": ("#e08214", "D", "depthwise convolution"),
    "pointwise_conv2d": ("#7fbf7b", "P", "pointwise convolution"),
    "pool": ("#c2a5cf", "A", "pool"),
    "join": ("#d6604d", "+", "sum, product or joining"),
    "other": ("#bababa", "o", "other"),
}


def network_picture(graph: Graph, rows: Sequence[LayerRow], title: str) -> str:
    """A network to scale as SVG: a box for each layer with what follows it.

    Its height is its channels, its width the width of its map, its colour and letter the operation; pointed at, it says
    what it costs.
    """
    costs = {row.node.name: row for row in cost(graph)}
    total = sum(row.macs for row in costs.values()) or 1
    units = graph.units()
    block = {name: row for row in rows for name in row.nodes}
    most = max(costs[unit.output].shape[0] for unit in units)
    shares = [
        costs[unit.output].shape[-1] / graph.input_shape[-1] for unit in units if len(costs[unit.output].shape) == 3
    ]
    widest = max(_WIDE, (_ACROSS - len(units) * (_LEAST + _GAP)) / max(sum(shares), 1.0))
    parts, x, seen, label = [svg_text(_LEFT, 22, title)], _LEFT, dict[tuple[str, str, str], None](), -math.inf
    for unit in units:
        row = costs[unit.output]
        colour, letter, means = op_looks(unit.conv.op)
        seen[colour, letter, means] = None
        tall = max(_LEAST, _TALL * math.sqrt(row.shape[0] / most))
        wide = max(_LEAST, widest * row.shape[-1] / graph.input_shape[-1]) if len(row.shape) == 3 else _LEAST
        own = sum(costs[node.name].macs for node in unit.nodes)
        params = sum(costs[node.name].params for node in unit.nodes)
        names = ", ".join(node.name for node in unit.nodes)
        hover = f"{names}: {'x'.join(map(str, row.shape))}, {params:,} parameters, {own:,} MACs ({own / total:.1%})"
        parts.append(svg_rect((x, 280 - tall, wide, tall), colour, line="#1c1e21", hover=hover))
        parts.append(svg_text(x + wide / 2, 292, letter, "small middle faint"))
        place = block[unit.conv.name]
        if place.nodes[0] == unit.conv.name and x >= label:
            words = f"{place.block}" if place.block else place.name
            parts.append(svg_text(x, 306, words, "small"))
            label = x + 6.0 * len(words) + 4
        x += wide + _GAP
    for number, (colour, letter, means) in enumerate(seen):
        left = _LEFT + 250 * (number % 3)
        below = 330 + 18 * (number // 3)
        parts.append(svg_rect((left, below - 10, 11, 11), colour, line="#1c1e21"))
        parts.append(svg_text(left + 16, below, f"{letter}  {means}"))
    below = 330 + 18 * ((len(seen) - 1) // 3) + 22
    parts.append(svg_text(_LEFT, below, "height: root of channels; width: width of the map; numbers: blocks", "faint"))
    described = f"{len(units)} layers, {sum(1 for row in rows if row.block)} blocks, {total:,} multiply-adds"
    return svg_document(max(x + _LEFT, 790), below + 14, title, described, parts)


def op_looks(op: str) -> tuple[str, str, str]:
    """The colour of an operation in pictures, its letter, and what both stand for."""
    return _LOOKS.get(op) or _LOOKS.get(OPS[op].kind) or _LOOKS["other"]
