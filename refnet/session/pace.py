"""Whether a worker runs half of one image: only where that was measured to pay on this machine.

A network that is run again and again is tried so, and stays with it as long as the worker saves time: an account is
kept of what it saves, run by run, and of what is lost where a run waits for it in vain. Where more is lost than it has
saved, another program wants the cores, or the network is too small: the network is run alone for a while.

A run after a pause has an account of its own. It finds empty caches and cores that were idle, and may take several
times as long as one that follows another, with a worker or alone: only runs of one kind tell what a worker saves.
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["Pace"]

_BEFORE = 0.25  # seconds of runs of one image after which a worker is started; most programs run fewer
_SHORT = 1e-3  # seconds of a run, below which meetings take most of what a worker saves
_PAUSE = 0.02  # seconds between two runs, after which the second one takes much longer
_RUNS = 8  # alone, whose median a run with a worker is compared with
_QUICKER = 0.95  # of that median: what a worker has to come below to save anything
_FAR = 3.0  # times the best run, beyond which a run with a worker is given up; after a pause, the slowest one alone
_LENT, _MOST_SAVED = 2.0, 8.0  # best runs: what is lent at first, when caches are empty; the most that counts as saved
_REST, _MOST = 1, 256  # runs alone after that: at first, and four times as many each time until they are so many


class _Account:
    """What a worker has saved in runs of one kind: those after a pause, whose time varies with it, or all others."""

    def __init__(self, *, paused: bool) -> None:
        self.paused, self.best = paused, float("inf")
        self.alone = deque[float](maxlen=_RUNS)
        self.leave()

    def leave(self) -> None:
        self.together, self.rest = False, 0.0
        self._next, self._saved = _REST, 0.0

    @property
    def patience(self) -> float:
        return _FAR * (max(self.alone, default=self.best) if self.paused else self.best)

    def ran_alone(self, seconds: float) -> None:
        self.rest -= 1
        self.alone.append(seconds)
        self.best = min(self.best, seconds)

    def tried(self, seconds: float, *, ran: bool, same: bool) -> None:
        self.together, self._saved = True, _LENT * self.best
        if not self.paused or not ran:  # a trial follows a run, and tells nothing of those after a pause
            self.ran_together(seconds, ran=ran)
        if not same:
            self.together, self.rest = False, float("inf")

    def ran_together(self, seconds: float, *, ran: bool) -> None:
        most = _MOST_SAVED * self.best
        alone = _QUICKER * statistics.median(self.alone) if ran else 0.0
        self._saved = min(self._saved + alone - seconds, most)
        if ran:
            self.best = min(self.best, seconds)
        if self._saved < 0:
            self.together, self.rest = False, self._next
            self._next = min(4 * self._next, _MOST)
        elif self._saved == most:
            self._next = _REST


class Pace:
    """What was measured of one session.

    Attributes
    ----------
    before : seconds of runs after which a worker is to be there
    """

    def __init__(self) -> None:
        self.before = _BEFORE
        self._kinds = _Account(paused=False), _Account(paused=True)
        self._account, self._ended = self._kinds[0], float("-inf")
        self.leave()

    def leave(self) -> None:
        """Begin again, without a worker."""
        self._spent = 0.0
        for account in self._kinds:
            account.leave()

    def begin(self, now: float) -> None:
        """Take note that a run begins, at a time in seconds; until the next one, all else is of runs of its kind."""
        self._account = self._kinds[now - self._ended > _PAUSE]
        self._ended = now

    @property
    def together(self) -> bool:
        """Whether such a run is shared with a worker now."""
        return self._account.together

    @property
    def wants_worker(self) -> bool:
        """Whether enough was run for a worker to pay for its start."""
        return self._spent > self.before and min(self._account.alone, default=0.0) > _SHORT

    @property
    def to_try(self) -> bool:
        """Whether the image that was just run alone is to be run with a worker too."""
        return not self._account.together and self._account.rest <= 0

    @property
    def patience(self) -> float:
        """Seconds that a run with a worker may take."""
        return self._account.patience

    def ran_alone(self, seconds: float) -> None:
        """Take note of a run without a worker."""
        self._spent += seconds
        self._ended += seconds
        self._account.ran_alone(seconds)

    def tried(self, seconds: float, *, ran: bool = True, same: bool = True) -> None:
        """Take note of a first run with a worker, and of whether it made the same bits."""
        self._ended += seconds
        self._account.tried(seconds, ran=ran, same=same)

    def ran_together(self, seconds: float, *, ran: bool = True) -> None:
        """Take note of a run with a worker; where it was given up, what it took is lost."""
        self._ended += seconds
        self._account.ran_together(seconds, ran=ran)
