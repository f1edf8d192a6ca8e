"""How long causes are looked for, how far that got, and how it ended.

A search asks its budget before each step that takes time, and stops where that would pass the end: what was found until
then is the answer. How long steps take is measured as they are made. Where time suffices the answer does not depend on
time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["OverBudgetError", "Search", "SearchBudget"]

_LEAST = 0.1  # of the budget, what is for the search and for what follows in any case


class OverBudgetError(Exception):
    """The time is over; caught by whoever has begun the search."""


class Search(NamedTuple):
    """How far a search got.

    Attributes
    ----------
    looked, ways : how many ways of running a segment were looked at, and how many there are to look at
    seconds : the budget, infinite for none
    ended : 'all' where all was looked at, 'time' where time ended, 'interrupted' where the user stopped it
    unseen : how many wrong tensors there was no time for to say what can be seen in their errors
    """

    looked: int = 0
    ways: int = 0
    seconds: float = float("inf")
    ended: str = "all"
    unseen: int = 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to look at."""
        return self.ended == "all"


class SearchBudget:
    """Time for a search, and how far it is.

    Parameters
    ----------
    seconds : of the clock on the wall; infinite for no limit
    tell : is given how many ways were looked at, and how many there are, whenever that changes
    spent : how many of the seconds have passed by now
    """

    def __init__(
        self,
        seconds: float = float("inf"),
        tell: Callable[[int, int], object] | None = None,
        *,
        spent: float = 0.0,
    ) -> None:
        self.seconds, self._tell = seconds, tell
        self._begun = time.monotonic() - spent
        self._end = self._last = self._begun + seconds  # of the search, and of what follows it
        self._asked, self._said = math.inf, 0.0  # when it was asked last, and how long the step was to take
        # By how much two steps took longer than was said, at most: a machine may stand still once.
        self._longer = (0.0, 0.0)
        self.looked = self.ways = self.unseen = 0
        self.ended = "all"

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._begun

    def keep(self, behind: float, writing: float = 0.0) -> None:
        """Keep so many seconds for what is done behind the search, and for writing; of what is left half at most.

        Where what was done before took all of the time, the likeliest is looked at anyway.
        """
        now = time.monotonic()
        left = max(self._last - now, _LEAST * self.seconds)
        self._last = now + left
        self._end = self._last - min(behind + writing, left / 2)
        self._last -= min(writing, left / 2)
        self._asked = math.inf  # what was done until now was no step of the search

    def has(self, seconds: float) -> bool:
        """Whether what is done behind the search, and takes so long, ends in time."""
        return self.seconds == math.inf or time.monotonic() + seconds <= self._last

    def leave_unseen(self) -> None:
        """There is no time to say what can be seen in one more error."""
        self.unseen += 1
        if self.ended == "all":
            self.ended = "time"

    def check_behind(self) -> None:
        """Go on with what is done behind the search, if there is time left; else raise as `check` does."""
        if not self.has(0.0):
            raise OverBudgetError

    def expect(self, ways: int) -> None:
        """There are so many more ways."""
        self.ways += ways
        self._say()

    def passed(self, ways: int = 1) -> None:
        """So many more were looked at."""
        self.looked += ways
        self._say()

    def check(self, seconds: float = 0.0) -> None:
        """Go on, if the next step is likely to end in time.

        Parameters
        ----------
        seconds : how long it takes, where that is known. As much is allowed for as two took longer than was said.

        Raises
        ------
        OverBudgetError
            where it is not.
        """
        if self._is_over(seconds):
            raise OverBudgetError

    @property
    def over(self) -> bool:
        """Whether the search is to end."""
        return self._is_over(0.0)

    def _is_over(self, seconds: float) -> bool:
        if self._end < math.inf:
            now = time.monotonic()
            if (longer := now - self._asked - self._said) > self._longer[0]:
                self._longer = min(self._longer[1], longer), max(self._longer[1], longer)
            self._asked, self._said = now, seconds
            if self.ended == "all" and now + seconds + self._longer[0] > self._end:
                self.ended = "time"
        return self.ended != "all"

    @property
    def search(self) -> Search:
        """How far it got."""
        return Search(self.looked, max(self.ways, self.looked), self.seconds, self.ended, self.unseen)

    def _say(self) -> None:
        if self._tell is not None:
            self._tell(self.looked, max(self.ways, self.looked))
