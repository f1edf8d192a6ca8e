"""Of two files with other numbers of blocks: which block of the one is which of the other, by the weights they hold.

Blocks are numbered in order. Where one is left out, all behind it have the number of the one before them, and equal
blocks can only be told by their weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.files.checkpoint import Checkpoint

__all__ = ["blocks_renumbered"]

Array = npt.NDArray[Any]
Block = Mapping[str, Array]

_NUMBERED = re.compile(r"(block\d+(?:_\d+)?)\.(.+)")
_ALIKE = 0.5  # correlation: weights that are more alike are the same, rounded, folded or trained on


class _Likeness(NamedTuple):
    """How many arrays of some blocks are alike, and of how many the shapes are: what counts where as many are alike."""

    alike: int = 0
    shaped: int = 0

    def and_(self, other: _Likeness) -> _Likeness:
        return _Likeness(self.alike + other.alike, self.shaped + other.shaped)


def blocks_renumbered(one: Checkpoint, other: Checkpoint) -> dict[str, str]:
    """Names for the nodes of the file with fewer blocks, with the numbers that its blocks have in the other one.

    Nothing where both have as many, or where no more arrays are alike under other numbers.

    Parameters
    ----------
    one, other : the file with fewer blocks first, both under refnet's names
    """
    few, many = _blocks(one), _blocks(other)
    if not few or len(few) >= len(many):
        return {}
    places, found = _joined(list(few.values()), list(many.values()))
    as_it_is = sum(_likeness(block, many[name]).alike for name, block in few.items() if name in many)
    if found.alike <= as_it_is:
        return {}
    own = dict(zip(few, (list(many)[place] for place in places), strict=True))
    return {
        node.name: f"{own[match[1]]}.{match[2]}"
        for node in one.graph.nodes
        if (match := _NUMBERED.fullmatch(node.name)) and match[1] in own
    }


def _blocks(file: Checkpoint) -> dict[str, dict[str, Array]]:
    """By name, in order, the weights of each block by layer."""
    found: dict[str, dict[str, Array]] = {}
    for node in file.graph.nodes:
        if (match := _NUMBERED.fullmatch(node.name)) and f"{node.name}.w" in file.params:
            found.setdefault(match[1], {})[match[2]] = file.params[f"{node.name}.w"]
    return found


def _joined(few: list[Block], many: list[Block]) -> tuple[tuple[int, ...], _Likeness]:
    """For each of some blocks the place of one of others, in the same order, so that most are alike."""
    spare = len(many) - len(few)
    best: list[tuple[tuple[int, ...], _Likeness]] = [((), _Likeness())] * (spare + 1)  # by how many were left out
    for index, block in enumerate(few):
        extended = [
            ((*places, index + left), total.and_(_likeness(block, many[index + left])))
            for left, (places, total) in enumerate(best)
        ]
        best = [max(extended[: left + 1], key=lambda each: each[1]) for left in range(spare + 1)]
    return best[-1]


def _likeness(block: Block, other: Block) -> _Likeness:
    pairs = [(array, other[name]) for name, array in block.items() if name in other]
    pairs = [(x, y) for x, y in pairs if x.shape == y.shape]
    return _Likeness(sum(_correlation(x, y) > _ALIKE for x, y in pairs), len(pairs))


def _correlation(x: Array, y: Array) -> float:
    with np.errstate(all="ignore"):
        return float((x * y).sum() / np.sqrt(np.square(x).sum() * np.square(y).sum()))
