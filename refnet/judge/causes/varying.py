"""One mistake whose number is another one at each of its places: how it goes from block to block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.readings.precision import FLOATS

__all__ = ["kind_of", "varying"]

_SIDES = ("shortcut", "branch")  # of a sum, in the facts of its weights
_BESIDE = {-1: "less", 1: "more"}  # than the points of a pool
_SQUARES = ("height", "width")  # of a map, by whose square a pool divides
_FILLED = ("filling", "aside")  # what a border is filled with, in its facts
# Of the largest number: what a line through all of them may leave, each being solved for to 16 u, and so the line.
_LINE = 32 * FLOATS["float32"].u
_FEW = 3  # numbers that lie on a line by no chance


def kind_of(mistake: Mistake) -> tuple[str, str]:
    """What places of a mistake have in common: its bug and form; of a sum with one weight, the side alone.

    Of a pool whose divisor is one beside its points, that; of weights in a short format, whether or not the layer has a
    bias that is left as it is; of another activation, whether or not it is the hidden layer's; of a pool of sides that
    are rounded down to whole multiples, of which number.
    """
    if mistake.bug == "pool-part" and "multiple" in mistake.facts:
        whole = " of all" if mistake.facts["taken"][-1] == "whole" else ""
        return mistake.bug, f"multiple{whole} {mistake.facts['multiple']}"
    if mistake.bug == "head-hidden-act":
        return "act-swap", mistake.form
    if mistake.bug == "weights-fp16":
        return mistake.bug, mistake.form.removesuffix(" alone")
    sides = [side for side in _SIDES if mistake.facts.get(side, 1.0) != 1.0]
    if mistake.bug == "join-weights" and len(sides) == 1:
        return mistake.bug, sides[0]
    if mistake.bug == "pool-divisor" and (beside := _BESIDE.get(mistake.facts["found"] - mistake.facts["known"])):
        return mistake.bug, beside
    return mistake.bug, mistake.form


def varying(by_node: Mapping[str, Mistake], parts: Parts) -> Mistake:
    """The mistake of several places: that of the first, or where its number differs, one with all of the numbers."""
    first = next(iter(by_node.values()))
    bug, side = kind_of(first)
    if bug == "pool-divisor" and side in _SQUARES and len({each.facts["found"] for each in by_node.values()}) > 1:
        return first._replace(form=f"{side} of each")
    if bug == "pool-part" and len({each.form for each in by_node.values()}) > 1:
        return first._replace(form=side.rpartition(" ")[0])
    if bug == "pool-divisor" and side in _BESIDE.values() and len({each.form for each in by_node.values()}) > 1:
        return first._replace(form=side)
    side = (
        side if side in _SIDES and bug == "join-weights" else next((key for key in _FILLED if key in first.facts), "")
    )
    numbers = [each.facts[side] for each in by_node.values()] if side else []
    if len({*numbers}) < 2:
        return first
    if side in _FILLED:
        return first._replace(facts={**first.facts, side: (tuple(numbers), "", 0.0)})
    blocks, line = [parts.block_of(node) for node in by_node], ("", 0.0)
    for how, each in (("times", numbers), ("divided", [1 / number if number else np.inf for number in numbers])):
        if (slope := _slope(blocks, each)) is not None:
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
