"""Which part of a tensor is off while all else is right: some of its images, channels, or lines at an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.regions import RUN, lines_off
from refnet.judge.causes.feature import Feature

__all__ = ["part_off", "share_off"]

Array = npt.NDArray[Any]

_FEW = 3  # channels that are named one by one
_NEARLY = 0.9  # of all channels, from which on a run is no run
_CHANCE = 1e-3  # that the channels beside a run are right by chance: beyond that it is none


def part_off(beyond: Array) -> Feature | None:
    """The images that are off, the channels, or the lines at an end, if some are while all others are right."""
    found = share_off(beyond)
    for axis, kind in ((2, "row-run"), (3, "column-run")) if found is None and beyond.ndim == 4 else ():
        lines, of = lines_off(beyond, axis), beyond.shape[axis]
        first, last = (int(lines[0]), int(lines[-1])) if len(lines) else (0, of - 1)
        if (first == 0) != (last == of - 1) and len(lines) > RUN * (last + 1 - first):
            return Feature(kind, {"first": first, "last": last, "of": of})
    return found


def share_off(beyond: Array) -> Feature | None:
    """The images that are off, or the channels, if some are while all others are right."""
    return _images(beyond) or _channels(beyond)


def _images(beyond: Array) -> Feature | None:
    off = beyond.reshape(len(beyond), -1).any(axis=1)
    if off.all() or not off.any():
        return None
    return Feature("images", {"images": tuple(map(int, np.flatnonzero(off))), "of": len(beyond)})


def _channels(beyond: Array) -> Feature | None:
    """A few channels that are off, or a run of them while the others are not."""
    if beyond.ndim < 2 or beyond.shape[1] < 2:
        return None
    count = beyond.shape[1]
    channels = lines_off(beyond, 1)
    if 0 < len(channels) <= min(_FEW, count - 1):
        return Feature("channels", {"channels": tuple(map(int, channels)), "of": count})
    if not len(channels):
        return None
    first, last = int(channels[0]), int(channels[-1])
    if (step := _step(channels, count)) > 1:
        return Feature("channel-step", {"first": first, "step": step, "of": count})
    run = beyond[:, first : last + 1]
    by_chance = float(1 - run.mean()) ** (beyond.size - run.size)  # that no element is off in the other channels
    some = run.shape[1] < _NEARLY * count  # else the others are right by chance: nothing reaches them
    if some and by_chance < _CHANCE and len(channels) > RUN * run.shape[1]:  # one may be right by chance
        return Feature("channel-run", {"first": first, "last": last, "of": count})
    return None


def _step(channels: Array, count: int) -> int:
    """How far apart the channels lie that are off, some of which may be right by chance; 1 where they lie anywhere."""
    steps = np.diff(channels)
    step = int(np.gcd.reduce(steps))
    most = len(range(int(channels[0]), count, max(step, 1)))
    regular = bool((steps == step).all()) or (len(channels) > RUN * most and step ** (1.0 - len(channels)) < _CHANCE)
    return step if len(channels) > _FEW and regular else 1
