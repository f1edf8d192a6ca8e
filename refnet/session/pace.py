"""Whether a worker runs half of one image: only where that was measured to pay on this machine.

A network that is run again and again is tried so, and stays with it if that is clearly quicker than the runs before. A
run that takes far longer than the best one ends it for a while: another program wants the cores.
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["Pace"]

_BEFORE = 0.25  # seconds of runs of one image after which a worker is started; most programs run fewer
_SHORT = 1e-3  # seconds of a run, below which meetings take most of what a worker saves
_RUNS = 8  # that are compared, alone and with a worker; the first ones with it find its caches empty
_QUICKER = 0.9  # of the median alone, below which a worker pays
_FAR = 3.0  # times the best run, beyond which a run has waited
_REST, _MOST = 1, 256  # runs alone after that: at first, and four times as many each time until they are so many
_GOOD = 64  # runs with a worker after which they are few again


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
        self._next, self._good = _REST, 0
        self._trials = list[float]()

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

    def tried(self, seconds: float, *, same: bool) -> None:
        """Take note of a first run with a worker, and of whether it made the same bits."""
        self.together = True
        self._trials.clear()
        self.ran_together(seconds)
        if not same:
            self.together, self._rest = False, float("inf")

    def ran_together(self, seconds: float) -> None:
        """Take note of a run with a worker, of which the first few decide."""
        if seconds > self.patience:
            self.together, self._rest, self._good = False, self._next, 0
            self._next = min(4 * self._next, _MOST)
            return
        self._best = min(self._best, seconds)
        self._good += 1
        if self._good == _GOOD:
            self._next = _REST
        if len(self._trials) < _RUNS:
            self._trials.append(seconds)
            if len(self._trials) == _RUNS and statistics.median(self._trials) > _QUICKER * statistics.median(
                self._alone
            ):
                self.together, self._rest = False, _MOST
