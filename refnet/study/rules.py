"""The exercises of rules: from the stages of a table to its rows, and NetAdapt's choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import Bug
from refnet.bugs.language.changes import Change
from refnet.bugs.readers.rules import Ruled, chosen, rows_of
from refnet.study.cases import Case, Draw
from refnet.study.subjects import Sought

__all__ = ["Told", "of_block_rows", "of_netadapt_choice"]

Arrays = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, eq=False)
class Told:
    """An exercise whose answer is whole numbers that follow by a rule."""

    ruled: Ruled

    @property
    def right(self) -> Arrays:
        """By the rule as it is."""
        return (self.ruled.rule(self.ruled.given, ()),)

    @property
    def made(self) -> Arrays:
        """By the rule with its slips."""
        return (self.ruled.made,)

    def misfit(self, answer: Arrays) -> float:
        """Whole numbers are right or wrong."""
        return 0.0 if np.array_equal(answer[0], self.ruled.made) else float("inf")

    def off(self, answer: Arrays) -> Arrays:
        """Those that differ; all of another shape."""
        (y,), (right,) = answer, self.right
        return (y != right if y.shape == right.shape else np.ones(y.shape, bool),)

    def facing(self, answer: Arrays) -> Told:
        """Nothing is to be seen in a few whole numbers."""
        return self

    def changes(self, bug: Bug) -> Iterator[Change]:
        """Of slips in rules that are not made yet."""
        if Ruled in bug.takes:
            yield from (each for each in bug.function(self.ruled) if each.form not in self.ruled.slips)

    def changed(self, change: Change) -> Told:
        """The rule with one more slip."""
        return Told(self.ruled.slipped(change.form))

    def throughout(
        self, bug: Bug, changes: Iterable[Change], alone: Mapping[Change, Sought]
    ) -> Iterator[tuple[Change, Sought]]:
        """There is one place only."""
        yield from ()


def of_block_rows(draw: Draw) -> Case:
    """Stages as V2's table has them, with squeeze-and-excite; among the factors are those that make 72 and 88."""
    stages = []
    for _ in range(draw.number(1, 4, 2)):
        kernel, factor, out = 2 * draw.number(1, 2) + 1, draw.number(1, 6), 4 * draw.number(2, 40, 12)
        stages.append((kernel, factor, out, draw.number(1, 4, 3), draw.number(1, 2), draw.yes(0.6)))
    given = {"stem": 8 * draw.number(2, 5), "stages": stages}
    return Case(given, {}, Told(Ruled(rows_of, given)))


def of_netadapt_choice(draw: Draw) -> Case:
    """Proposals around a network: some save too little, at times all, some exactly enough; some are better."""
    latency, accuracy, count = float(draw.number(40, 90)), draw.number(60, 80) / 100, draw.number(4, 8, 5)
    delta = float(draw.number(1, 4))
    saved = [delta * draw.number(1, 16) / 4 for _ in range(count)]
    saved[draw.number(0, count - 1)] = delta
    dear = draw.number(2, 9)
    accuracies = [accuracy - each * draw.number(1, dear) / 256 for each in saved]
    if draw.yes(0.3):
        accuracies[draw.number(0, count - 1)] = accuracy + draw.number(1, 4) / 128
    given = {"accuracy": accuracy, "latency": latency, "accuracies": accuracies}
    delta = 5 * delta if draw.yes(0.2) else delta  # more than any saves
    given |= {"latencies": [latency - each for each in saved], "delta": delta}
    return Case(given, {}, Told(Ruled(chosen, given)))
