"""Two graphs side by side as SVG: each layer of either to scale, and what differs by colour and by letter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from refnet.alignment.costs import CostPair, GraphDiff, LayerPair, layer_pairs
from refnet.alignment.differences import Difference
from refnet.bugs.language.parts import Parts
from refnet.graph import Graph
from refnet.ops import OPS
from refnet.readings.cost import Cost
from refnet.report.differences import line
from refnet.report.pictures.svg import svg_document, svg_rect, svg_text
from refnet.report.rows import op_looks

__all__ = ["diff_picture"]

_SIDE, _GAP, _ACROSS, _TALL, _LEAST, _LEFT = 22.0, 3.0, 32, 44.0, 4.0, 16.0  # pixels; layers in a row
# By letter: its colour, and what it says; the first that a layer has colours it.
_MARKS = {
    "-": ("#d6604d", "only the first has this layer"),
    "+": ("#9970ab", "only the second has it"),
    "o": ("#fdb863", "another operation"),
    "w": ("#7fbf7b", "other channels or kernel"),
    "g": ("#f4a6c0", "another gate"),
    "a": ("#e08214", "another activation"),
    "n": ("#8c9eff", "batch norm in one alone"),
    "s": ("#80cdc1", "other stride, pad or dilation"),
    "i": ("#92c5de", "reads another tensor"),
    "c": ("#d9c9a3", "another constant"),
    "b": ("#cfd8e3", "bias in one alone"),
}
_SAME, _LINE = "#ffffff", "#8a8f98"


def diff_picture(one: Graph, other: Graph, found: GraphDiff) -> str:
    """Both graphs as rows of layers, the first above the second.

    A box is as tall as the root of its channels; a dashed one is a layer that the graph lacks. Pointed at, a box says
    what differs. `report.costs.diff_lines` says the same as a table and in words.
    """
    layers = layer_pairs(found)
    titles = tuple(f"{graph.recipe}, input {'x'.join(map(str, graph.input_shape))}" for graph in (one, other))
    most = max(max(map(_channels, (layer.one, layer.other))) for layer in layers)
    parts = [svg_text(_LEFT, 22, f"above: {titles[0]}"), svg_text(_LEFT, 40, f"below: {titles[1]}")]
    labels, top = _labels(one, layers), 50.0
    for first in range(0, len(layers), _ACROSS):
        for number, layer in enumerate(layers[first : first + _ACROSS]):
            parts += _layer(layer, labels[first + number], _LEFT + (_SIDE + _GAP) * number, top, most)
        top += 2 * _TALL + 74
    counts = Counter(mark for layer in layers for mark in _marks(layer))
    shown = [mark for mark in _MARKS if counts[mark]]
    for number, mark in enumerate(shown):
        left, below = _LEFT + 380 * (number % 2), top + 18 * (number // 2)
        colour, words = _MARKS[mark]
        parts.append(svg_rect((left, below, 11, 11), colour, line=_LINE))
        parts.append(svg_text(left + 18, below + 10, f"{mark}  {words}: {counts[mark]}"))
    below = top + 18 * -(-len(shown) // 2) + 12
    same = sum(not _marks(layer) for layer in layers)
    parts.append(svg_text(_LEFT, below, f"white: the same in both: {same}; height: root of channels", "faint"))
    ops = [*dict.fromkeys(op_looks((layer.one or layer.other)[0].node.op)[1:] for layer in layers)]
    for start in range(0, len(ops), 4):
        below += 18
        words = ", ".join(f"{letter} {means}" for letter, means in ops[start : start + 4])
        parts.append(svg_text(_LEFT, below, words, "faint"))
    described = f"{len(layers)} layers, {len(layers) - same} differ; refnet diff lists each difference in words"
    return svg_document(830, below + 14, f"{titles[0]} beside {titles[1]}", described, parts)


def _layer(layer: LayerPair, label: str, left: float, top: float, most: int) -> list[str]:
    """Both boxes of a layer, the letters between, and what stands above."""
    marks = _marks(layer)
    fill = _MARKS[marks[0]][0] if marks else _SAME
    hover = "; ".join(map(line, layer.differences)) or "the same"
    parts = [svg_text(left, top + 10, label, "small")] if label else []
    parts.append(svg_text(left + _SIDE / 2, top + 14 + _TALL + 13, "".join(marks[:4]), "small middle"))
    for rows, floor in ((layer.one, top + 14 + _TALL), (layer.other, top + 14 + 2 * _TALL + 20)):
        tall = max(_LEAST, _TALL * math.sqrt(_channels(rows) / most)) if rows else _TALL / 2
        box = (left, floor - tall, _SIDE, tall)
        names = ", ".join(row.node.name for row in rows) or "no such layer"
        parts.append(svg_rect(box, fill if rows else "none", line=_LINE, dashed=not rows, hover=f"{names}: {hover}"))
    _, letter, _ = op_looks((layer.one or layer.other)[0].node.op)
    parts.append(svg_text(left + _SIDE / 2, top + 14 + 2 * _TALL + 31, letter, "small middle faint"))
    return parts


def _channels(rows: Sequence[Cost]) -> int:
    return rows[-1].shape[0] if rows else 1


def _labels(one: Graph, layers: Sequence[LayerPair]) -> list[str]:
    """Above each layer the number of its block of the first graph, where that begins."""
    parts, before, labels = Parts(one), 0, []
    for layer in layers:
        number = parts.block_of(layer.one[0].node.name) if layer.one else before
        labels.append(str(number) if number and number != before else "")
        before = number
    return labels


def _marks(layer: LayerPair) -> list[str]:
    """The letters of a layer, in the order of the legend."""
    if not layer.one or not layer.other:
        return ["-" if layer.one else "+"]
    pairs = {pair.name: pair for pair in layer.pairs}
    found = {_mark(each, pairs.get(each.node)) for each in layer.differences}
    return [mark for mark in _MARKS if mark in found]


def _mark(difference: Difference, pair: CostPair | None) -> str:
    match difference.key:
        case "op" | "missing" | "extra":
            kinds = {OPS[row.node.op].kind for row in pair[:2] if row} if pair else set()
            return "g" if "gate" in kinds else "a" if "activation" in kinds else "n" if "norm" in kinds else "o"
        case "channels" | "filter":
            return "w"
        case "inputs" | "returns":
            return "i"
        case "bias":
            return "b"
        case "stride" | "pad" | "dilation" | "kernel" | "groups" | "size":
            return "s"
    return "c"
