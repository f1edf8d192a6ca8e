"""One mistake whose number is another one at each of its places: how it goes from block to block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.readings.precision import FLOATS

__all__ = ["kind_of", "varying"]

_SQUARES = (("pool-divisor", "height"), ("pool-divisor", "width"))  # of a map, by whose square a pool divides
_FILLED = ("filling", "aside")  # what a border is filled with, in its facts
_BY_KIND = (
    "pool-part",
    "pool-divisor",
    "weights-zero-point",
    "weights-elsewhere",
    "layer-elsewhere",
    "block-elsewhere",
)  # bugs that are said by their kind where forms differ
# Bugs of which each place has facts of its own.
_OF_EACH = ("stride-moved", "dropout-left-on", "resize-size", "squeeze-narrower", "widths-narrower")
# Of the largest number: what a line through all of them may leave, each being solved for to 16 u, and so the line.
_LINE = 32 * FLOATS["float32"].u
_FEW = 3  # numbers that lie on a line by no chance


def kind_of(mistake: Mistake) -> tuple[str, str]:
    """What places of a mistake have in common: its bug, and its kind or else its form."""
    return mistake.bug, mistake.kind or mistake.form


def varying(by_node: Mapping[str, Mistake], parts: Parts) -> Mistake:
    """The mistake of several places: that of the first, or where its number differs, one with all of the numbers."""
    first = next(iter(by_node.values()))
    differ = len({each.form for each in by_node.values()}) > 1
    if first.bug in _BY_KIND and first.kind and differ:
        return first._replace(form=first.kind.rstrip(" 0123456789"))  # what number it is the facts say
    of_first = len(by_node) > 1 and all(each is first for each in by_node.values())  # which stands for all of them
    if first.bug in _OF_EACH and (of_first or any(each.facts != first.facts for each in by_node.values())):
        return first._replace(form=f"{first.form} of each")
    if kind_of(first) in _SQUARES and len({each.facts["found"] for each in by_node.values()}) > 1:
        return first._replace(form=f"{first.form} of each")
    side = first.kind if first.bug == "join-weights" else next((key for key in _FILLED if key in first.facts), "")
    numbers = [each.facts[side] for each in by_node.values()] if side else []
    if len({*numbers}) < 2:
        return first
    if side in _FILLED:
        return first._replace(facts={**first.facts, side: (tuple(numbers), "", 0.0)})
    line = ("", 0.0)
    sums = [node.name for node in parts.graph.nodes if node.op == "add"]
    counted = [parts.block_of(node) for node in by_node], [sums.index(node) for node in by_node if node in sums]
    for how, each in (("times", numbers), ("divided", [1 / number if number else np.inf for number in numbers])):
        slopes = (_slope(places, each) for places in counted if len(places) == len(each))
        if (slope := next((found for found in slopes if found is not None), None)) is not None:
            line = how, slope
            break
    return first._replace(facts={**first.facts, side: (tuple(numbers), *line)})


def _slope(blocks: Sequence[int], numbers: Sequence[float]) -> float | None:
    """By how much numbers rise from block to block, if they lie on a line."""
    if len(numbers) < _FEW or len({*blocks}) < _FEW or not np.isfinite(numbers).all():
        return None
    line = np.polynomial.Polynomial.fit(blocks, numbers, 1).convert()
    left = np.abs(line(np.array(blocks, float)) - np.array(numbers)).max()
    slope = float(line.coef[1]) if len(line.coef) > 1 else 0.0
    return slope if left <= _LINE * max(map(abs, numbers)) else None
