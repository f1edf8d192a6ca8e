"""How a picture became an input, step by step: first how it was cut or placed, then by which kernel it was resized.

There are some thousand ways in all. Of the input or a few layers, a wrong kernel of the right part of a picture leaves
less of an error than any kernel of a wrong part, so that kernels are tried of the nearest parts first. Of many layers
a pixel may move the result as far as all of the picture does: there what is usual is tried, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.language.changes import Change
from refnet.judge.causes.ways import PICTURED, Way, Ways

__all__ = ["cuts_of_pictures", "kernels_of_pictures", "usual_pictures"]

_Key = Callable[[Way], tuple[str, ...]]

_USUAL = ("", "opencv-bilinear", "opencv-area", "float-bilinear", "bicubic", "first-nearest")
_NEAREST = 2  # parts of a picture, and rules by which one is placed, that are tried with every kernel


def cuts_of_pictures(ways: Ways) -> Iterator[Way]:
    """Each part of the picture by the network's own kernel, and its own part by each kernel."""
    for bug, change in _changes(ways):
        if not change.facts["cut"] or not (change.facts["kernel"] or change.facts.get("place")):
            yield from ways.at_one(bug, change)


def kernels_of_pictures(ways: Ways) -> Iterator[Way]:
    """The parts that came nearest, placed by each rule; then the nearest of these by each kernel."""
    near = _nearest(ways, lambda way: (way.mistake.facts["cut"],))
    for bug, change in _changes(ways):
        if (change.facts["cut"],) in near and not change.facts["kernel"]:
            yield from ways.at_one(bug, change)
    near = _nearest(ways, lambda way: (way.mistake.facts["cut"], way.mistake.facts.get("place", "")))
    for bug, change in _changes(ways):
        if (change.facts["cut"], change.facts.get("place", "")) in near:
            yield from ways.at_one(bug, change)


def usual_pictures(ways: Ways) -> Iterator[Way]:
    """What was not looked at by then: parts as recipes cut them by each kernel, all others by the usual ones."""
    seen = {way.key for way in ways.looked}
    for bug, change in _changes(ways):
        usual = bug is not BUGS["input-placed"] or change.facts["kernel"] in _USUAL
        if usual and (bug.id, change.form, change.node) not in seen:
            yield from ways.at_one(bug, change)


def _changes(ways: Ways) -> Iterator[tuple[Bug, Change]]:
    return ((bug, change) for bug in PICTURED for change in bug.changes(ways.segment) if "cut" in change.facts)


def _nearest(ways: Ways, key: _Key) -> set[tuple[str, ...]]:
    looked = [way for way in ways.looked if way.mistake.bug in _IDS and way.mistake.facts["cut"]]
    found = dict.fromkeys(key(way) for way in sorted(looked, key=lambda way: way.residual))
    return {*list(found)[:_NEAREST]}


_IDS = frozenset(bug.id for bug in PICTURED)
