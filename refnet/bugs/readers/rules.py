"""Slips in rules whose results are whole numbers: from a table's stages to its rows, and NetAdapt's choice.

As `slips`, of readers alone. A rule is a function of what is given and of the slips that are made in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change

__all__ = ["Ruled", "chosen", "rows_of"]

Array = npt.NDArray[Any]
Given = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Ruled:
    """Whole numbers that follow from others.

    Attributes
    ----------
    rule : from what is given, and the names of slips, to the numbers
    given : to the rule
    slips : that are made in it
    """

    rule: Callable[[Given, Collection[str]], Array]
    given: Given
    slips: tuple[str, ...] = ()

    def slipped(self, form: str) -> Ruled:
        """The same with one more slip."""
        return replace(self, slips=(*self.slips, form))

    @property
    def made(self) -> Array:
        """The numbers."""
        return self.rule(self.given, self.slips)


def row_rule(ruled: Ruled) -> Iterator[Change]:
    """another way from the stages of a table to its rows."""
    if ruled.rule is rows_of:
        yield from (Change("rows", form) for form in _ROW_SLIPS)


def choice_rule(ruled: Ruled) -> Iterator[Change]:
    """another choice than NetAdapt's."""
    if ruled.rule is chosen:
        yield from (Change("choice", form) for form in _CHOICE_SLIPS)


_ROW_SLIPS = (
    "stride every", "stride last", "stride one", "stride behind", "from out", "from first", "from stem", "from one",
    "factor alone", "factor added", "once", "one more", "one less", "cut", "nearest", "up", "down", "plain", "half",
    "eighth", "whole", "of input", "of out", "always", "never", "flag", "first only", "order out", "order squeeze",
    "rounded", "factor one", "stride kernel", "last only", "tenth up", "floor",
)  # fmt: skip


def rows_of(given: Given, slips: Collection[str]) -> Array:
    """(blocks, 5): kernel, expanded, squeeze, out, stride of each block of some stages."""
    rows, before = [], given["stem"]
    for kernel, factor, out, repeats, stride, se in given["stages"]:
        first = before
        count = 1 if "once" in slips else repeats + ("one more" in slips) - ("one less" in slips)
        for number in range(max(count, 0)):
            source = _either(slips, {"from out": out, "from first": first, "from stem": given["stem"]}, before)
            expanded = _either(
                slips,
                {"from one": source, "factor alone": factor, "factor added": source + factor},
                source if "factor one" in slips and number else factor * source,
            )
            expanded = _eights(expanded) if "rounded" in slips else expanded
            whose = _either(slips, {"of input": source, "of out": out}, expanded)
            has = {"always": True, "never": False, "first only": se and not number}
            has |= {"last only": se and number == count - 1}
            squeeze = _squeezed(whose, slips) if _either(slips, has, se) else 0
            squeeze = int(se) if "flag" in slips else squeeze
            strides = {"stride every": stride, "stride one": 1, "stride last": stride if number == count - 1 else 1}
            strides |= {"stride behind": stride if number else 1, "stride kernel": kernel}
            row = [kernel, expanded, squeeze, out, _either(slips, strides, 1 if number else stride)]
            if "order out" in slips:
                row[1], row[3] = row[3], row[1]
            if "order squeeze" in slips:
                row[2], row[3] = row[3], row[2]
            rows.append(row)
            before = out
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def _either(slips: Collection[str], ways: Mapping[str, Any], otherwise: Any) -> Any:
    return next((value for slip, value in ways.items() if slip in slips), otherwise)


def _squeezed(width: int, slips: Collection[str]) -> int:
    """A quarter, rounded to eights as V3's authors do."""
    quarter = width / _either(slips, {"half": 2, "eighth": 8, "whole": 1}, 4)
    ways = {"plain": int(quarter), "cut": int(quarter) // 8 * 8, "up": -(-int(np.ceil(quarter)) // 8) * 8}
    ways |= {"down": max(8, int(quarter) // 8 * 8), "nearest": max(8, int(quarter + 4) // 8 * 8)}
    low = max(8, int(quarter) // 8 * 8)
    ways |= {"floor": low + 8 if low < 0.9 * quarter else low}
    ways |= {"tenth up": _eights(quarter) + (8 if _eights(quarter) < 1.1 * quarter else 0)}
    return int(_either(slips, ways, _eights(quarter)))


def _eights(value: float) -> int:
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


_CHOICE_SLIPS = (
    "accurate", "fastest", "slowest", "all", "above", "share", "least", "upside down", "accuracy by latency",
    "from zero", "product", "place", "from one", "worst", "difference", "signs", "limit", "last", "saving",
    "first", "less",
)  # fmt: skip


def chosen(given: Given, slips: Collection[str]) -> Array:
    """(1,): which proposal gives up least accuracy for each unit of time that it saves, of those that save enough."""
    accuracies, latencies = np.array(given["accuracies"]), np.array(given["latencies"])
    saved, changed = given["latency"] - latencies, accuracies - given["accuracy"]
    least = given["delta"] * (given["latency"] if "share" in slips else 1)
    kept = saved > least if "above" in slips else saved >= least
    kept = _either(slips, {"all": saved > -np.inf, "limit": latencies <= least, "less": saved <= least}, kept)
    with np.errstate(all="ignore"):
        scores = _either(
            slips,
            {
                "accurate": accuracies, "worst": -accuracies, "fastest": saved, "slowest": -saved, "saving": saved,
                "upside down": saved / changed, "accuracy by latency": accuracies / latencies,
                "from zero": accuracies / saved, "product": changed * saved, "difference": changed + saved,
                "signs": changed / -saved, "first": -np.arange(len(saved)), "least": -changed / saved,
            },
            changed / saved,
        )  # fmt: skip
    allowed = np.flatnonzero(kept)
    if not len(allowed):
        return np.array([-1])
    best = scores[allowed].max()
    ties = np.flatnonzero(scores[allowed] == best)
    if not len(ties):
        return np.array([int(allowed[0])])
    place = int(ties[-1] if "last" in slips else ties[0])
    index = place if "place" in slips else int(allowed[place])
    return np.array([index + ("from one" in slips)])
