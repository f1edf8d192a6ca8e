"""On how many threads of BLAS one image runs: on one, until more were measured to pay on this machine.

A network that is run again and again is tried on all of them, and takes them only where that makes the same bits and
is clearly quicker. A run that then takes far longer than the best one ends it: another program wants the cores.
"""

from __future__ import annotations

import statistics

__all__ = ["Pace"]

_ALONE = 3  # runs on one thread before the others are tried; most programs run fewer
_TRIALS = 3  # runs on all threads
_QUICKER = 0.9  # of one thread's best, below which all threads pay
_FAR = 3.0  # times its own best, beyond which a run has waited


class Pace:
    """What was measured of one session.

    Attributes
    ----------
    count : threads that a run takes now
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.count = threads, 1
        self._runs, self._best, self._trials = 0, float("inf"), list[float]()
        self._decided = threads == 1

    @property
    def to_try(self) -> bool:
        """Whether the image that was just run is to be run on all threads too."""
        return not self._decided and self._runs >= _ALONE

    def ran(self, seconds: float) -> None:
        """Take note of a run on `count` threads."""
        self._runs += 1
        if self.count > 1 and seconds > _FAR * self._best:
            self.count = 1
        self._best = min(self._best, seconds)

    def tried(self, seconds: float, *, same: bool) -> None:
        """Take note of a run on all threads, and of whether it made the same bits."""
        self._trials.append(seconds)
        if not same or seconds > _FAR * self._best:
            self._decided = True
        elif len(self._trials) == _TRIALS:
            self._decided = True
            if statistics.median(self._trials) < _QUICKER * self._best:
                self.count, self._best = self.threads, min(self._trials)
