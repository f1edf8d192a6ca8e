"""Whether a worker runs half of one image: only where that was measured to pay on this machine.

A network that is run again and again is tried so, and stays with it as long as the worker saves time: an account is
kept of what it saves, run by run, and of what is lost where a run waits for it in vain. Where more is lost than it has
saved, another program wants the cores, or the network is too small: the network is run alone for a while.
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["Pace"]

_BEFORE = 0.25  # seconds of runs of one image after which a worker is started; most programs run fewer
_SHORT = 1e-3  # seconds of a run, below which meetings take most of what a worker saves
_RUNS = 8  # alone, whose median a run with a worker is compared with
_QUICKER = 0.95  # of that median: what a worker has to come below to save anything
_FAR = 3.0  # times the best run, beyond which a run with a worker is given up
_LENT, _MOST_SAVED = 2.0, 8.0  # best runs: what is lent at first, when caches are empty; the most that counts as saved
_REST, _MOST = 1, 256  # runs alone after that: at first, and four times as many each time until they are so many


class Pace:
    """What was measured of one session.

    Attributes
    ----------
    together : whether a run is shared with a worker now
    before : seconds of runs after which a worker is to be there
    """

    def __init__(self) -> None:
        self.before, self._best = _BEFORE, float("inf")
        self._alone = deque[float](maxlen=_RUNS)
        self.leave()

    def leave(self) -> None:
        """Begin again, without a worker."""
        self.together, self._spent, self._rest = False, 0.0, 0.0
        self._next, self._saved = _REST, 0.0

    @property
    def wants_worker(self) -> bool:
        """Whether enough was run for a worker to pay for its start."""
        return self._spent > self.before and min(self._alone) > _SHORT

    @property
    def to_try(self) -> bool:
        """Whether the image that was just run alone is to be run with a worker too."""
        return not self.together and self._rest <= 0

    @property
    def patience(self) -> float:
        """Seconds that a run with a worker may take."""
        return _FAR * self._best

    def ran_alone(self, seconds: float) -> None:
        """Take note of a run without a worker."""
        self._spent += seconds
        self._rest -= 1
        self._alone.append(seconds)
        self._best = min(self._best, seconds)

    def tried(self, seconds: float, *, ran: bool = True, same: bool = True) -> None:
        """Take note of a first run with a worker, and of whether it made the same bits."""
        self.together, self._saved = True, _LENT * self._best
        self.ran_together(seconds, ran=ran)
        if not same:
            self.together, self._rest = False, float("inf")

    def ran_together(self, seconds: float, *, ran: bool = True) -> None:
        """Take note of a run with a worker; where it was given up, what it took is lost."""
        most = _MOST_SAVED * self._best
        alone = _QUICKER * statistics.median(self._alone) if ran else 0.0
        self._saved = min(self._saved + alone - seconds, most)
        if ran:
            self._best = min(self._best, seconds)
        if self._saved < 0:
            self.together, self._rest = False, self._next
            self._next = min(4 * self._next, _MOST)
        elif self._saved == most:
            self._next = _REST
