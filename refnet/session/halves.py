"""Two processes at one image: each makes a half of every map, and they meet where one reads what the other has made.

They meet in shared memory: each writes the number of the meeting that it has come to, and waits for the other's. NumPy
writes maps before Python writes that number, and a processor of the x86 family lets another core see both in this
order. On others that is not so, and an image has one half there: all of it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

__all__ = ["LINES", "Half", "halves", "in_vectors", "is_halvable"]

# Looks for the other half, about 40 ns each, before this one sleeps between them. One that has slept comes late, and
# lets the other one wait for it: so both would sleep at every meeting that follows.
_SPINS = 20_000
_NAP = 50e-6  # seconds, or a tenth of what it has waited
_LINE = 64  # bytes of a cache line
LINES = 2 * _LINE  # bytes in which the halves say how far they are


class Half:
    """One of the two at an image.

    Parameters
    ----------
    index : 0 for the one that does what cannot be divided
    patience : called again and again while the other half lets this one wait; an error that it raises ends the run

    Attributes
    ----------
    places : in shared memory, how far each half is, a line for each
    meetings : of a run
    before : meetings of all runs before
    """

    def __init__(self, index: int, patience: Callable[[], None]) -> None:
        self.index, self.patience = index, patience
        self.places = memoryview(bytearray(LINES)).cast("q")
        self.meetings = self.before = 0
        self._own, self._other = (_LINE // 8 * place for place in (index, 1 - index))

    def meet(self, meeting: int) -> None:
        """Say that this half has come to a meeting, and wait until the other one has."""
        places, other = self.places, self._other
        meeting += self.before
        places[self._own] = meeting
        for _ in range(_SPINS):
            if places[other] >= meeting:
                return
        began = time.monotonic()
        while places[other] < meeting:
            self.patience()
            time.sleep(max(_NAP, (time.monotonic() - began) / 10))

    def end(self) -> None:
        """Let the other half wait no more in this run, whether this one has come to its end or not."""
        self.before += self.meetings
        self.places[self._own] = self.before

    @property
    def other_is_done(self) -> bool:
        """Whether the other half has come to the end of the last run."""
        return self.places[self._other] >= self.before


def halves(total: int, unit: int = 1) -> tuple[slice, slice]:
    """So many rows or channels in two, of which the first has whole units."""
    cut = round(total / 2 / unit) * unit
    return slice(0, cut), slice(cut, total)


def in_vectors(channels: int) -> int:
    """Channels that stay together in a half: where there are many, those of a whole vector of a processor."""
    return 16 if channels >= 128 else 8 if channels >= 48 else 1


def is_halvable() -> bool:
    """Whether the cores of this machine see each other's stores in order."""
    return platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
