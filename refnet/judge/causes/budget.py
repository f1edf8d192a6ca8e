"""How long causes are looked for, how far that got, and how it ended.

A search asks its budget before each thing that takes time, and stops where that says so: what was found until then is
the answer. Where time suffices the answer does not depend on time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["OverBudgetError", "Search", "SearchBudget"]


class OverBudgetError(Exception):
    """The time is over; caught by whoever has begun the search."""


class Search(NamedTuple):
    """How far a search got.

    Attributes
    ----------
    looked, ways : how many ways of running a segment were looked at, and how many there are to look at
    seconds : the budget, infinite for none
    ended : 'all' where all was looked at, 'time' where time ended, 'interrupted' where the user stopped it
    """

    looked: int = 0
    ways: int = 0
    seconds: float = float("inf")
    ended: str = "all"

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to look at."""
        return self.ended == "all"


class SearchBudget:
    """Time for a search, and how far it is.

    Parameters
    ----------
    seconds : of the clock on the wall, from now on; infinite for no limit
    tell : is given how many ways were looked at, and how many there are, whenever that changes
    """

    def __init__(self, seconds: float = float("inf"), tell: Callable[[int, int], object] | None = None) -> None:
        self.seconds, self._tell = seconds, tell
        self._begun = time.monotonic()
        self._end = self._begun + seconds
        self.looked = self.ways = 0
        self.ended = "all"

    def keep_as_much(self) -> None:
        """Keep as much time as has passed for what is done behind the search; of what is left half at most."""
        now = time.monotonic()
        self._end -= min(now - self._begun, max(self._end - now, 0.0) / 2)

    def expect(self, ways: int) -> None:
        """There are so many more ways."""
        self.ways += ways
        self._say()

    def passed(self, ways: int = 1) -> None:
        """So many more were looked at."""
        self.looked += ways
        self._say()

    def check(self) -> None:
        """Go on, if there is time left.

        Raises
        ------
        OverBudgetError
            where there is none.
        """
        if self.over:
            raise OverBudgetError

    @property
    def over(self) -> bool:
        """Whether the search is to end."""
        if self.ended == "all" and time.monotonic() > self._end:
            self.ended = "time"
        return self.ended != "all"

    @property
    def search(self) -> Search:
        """How far it got."""
        return Search(self.looked, max(self.ways, self.looked), self.seconds, self.ended)

    def _say(self) -> None:
        if self._tell is not None:
            self._tell(self.looked, max(self.ways, self.looked))
