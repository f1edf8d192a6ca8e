"""How a picture became an input, step by step: how it was cut or placed, and by which kernel it was resized.

There are some thousand ways in all. Of the input or a few layers, a wrong kernel of the right part of a picture leaves
less of an error than any kernel of a wrong part, so that kernels are tried of the nearest parts first. Of many layers
a pixel may move the result as far as all of the picture does: there what is usual is tried, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from refnet.bugs.catalogue import BUGS, Bug
from refnet.judge.causes.ways import PICTURED, Way, Ways

__all__ = ["cuts_of_pictures", "kernels_of_pictures", "usual_pictures"]

_Facts = Mapping[str, Any]
_Key = Callable[[_Facts], tuple[str, ...]]

_USUAL = ("", "opencv-bilinear", "opencv-area", "float-bilinear", "bicubic", "first-nearest")
_NEAREST = 2  # parts of a picture, and places of one, that are tried with every kernel
_IDS = frozenset(bug.id for bug in PICTURED)


def cuts_of_pictures(ways: Ways) -> Iterator[Way]:
    """Each part of the picture by the network's own kernel, and its own part by each kernel."""
    return _run(ways, lambda bug, facts: not facts["cut"] or not (facts["kernel"] or facts.get("place")))


def kernels_of_pictures(ways: Ways) -> Iterator[Way]:
    """The parts that came nearest, placed by each rule; the nearest of these by each kernel; by that all parts.

    Then once more, since what lies around a picture may move a result as little as a kernel does.
    """
    for _ in range(2):
        yield from _at_nearest(ways)


def _at_nearest(ways: Ways) -> Iterator[Way]:
    cuts, kernels = _nearest(ways, _cut, _NEAREST), {("",), *_nearest(ways, _kernel, 1)}
    yield from _run(ways, lambda bug, facts: _cut(facts) in cuts and _kernel(facts) in kernels)
    places = _nearest(ways, _place, _NEAREST)
    yield from _run(ways, lambda bug, facts: _place(facts) in places)
    best = _nearest(ways, _kernel, 1)
    yield from _run(ways, lambda bug, facts: _kernel(facts) in best and not facts.get("place"))


def usual_pictures(ways: Ways) -> Iterator[Way]:
    """What was not looked at by then: parts as recipes cut them by each kernel, all others by the usual ones."""
    return _run(ways, lambda bug, facts: bug is not BUGS["input-placed"] or facts["kernel"] in _USUAL)


def _run(ways: Ways, wanted: Callable[[Bug, _Facts], bool]) -> Iterator[Way]:
    """Those that are wanted and were not run before.

    None that is placed elsewhere is vague: other colours around a picture leave as little as other roundings do.
    """
    seen = {(way.mistake.bug, way.mistake.form) for way in ways.looked}
    for bug in PICTURED:
        placed = bug is BUGS["input-placed"]
        for change in bug.changes(ways.segment):
            if wanted(bug, change.facts) and (bug.id, change.form) not in seen:
                yield from (way._replace(vague=way.vague and not placed) for way in ways.at_one(bug, change))


def _cut(facts: _Facts) -> tuple[str, ...]:
    return (facts["cut"],)


def _place(facts: _Facts) -> tuple[str, ...]:
    return facts["cut"], facts.get("place", "")


def _kernel(facts: _Facts) -> tuple[str, ...]:
    return (facts["kernel"],)


def _nearest(ways: Ways, key: _Key, count: int) -> set[tuple[str, ...]]:
    """What the nearest ways have, of those of another part than the network's own."""
    looked = [way for way in ways.looked if way.mistake.bug in _IDS and way.mistake.facts["cut"]]
    found = dict.fromkeys(key(way.mistake.facts) for way in sorted(looked, key=lambda way: way.residual))
    return {*list(found)[:count]}
