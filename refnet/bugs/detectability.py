"""What an input could show of each bug: bug by bug and place by place, with given weights.

A bug is replayed until it has moved its segment far enough to be seen: on the first channels of the first image, then
on all of it, then on the other images. Most are seen at once, and what is asked is whether, not how far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BY_NUMBERS, REPLAYED, Bug
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.narrow import first_channels
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, limit, run
from refnet.bugs.sites import VISIBLE, rms, rms_moved, segments
from refnet.graph import SOURCE, Graph
from refnet.network import Network
from refnet.readings.bounds import Bound, Precision
from refnet.shares import shares_begun

__all__ = ["Detectability", "detectability", "detectability_begun"]

Array = npt.NDArray[Any]

_FLOAT32 = Precision.of("float32")
_LARGE, _CHANNELS = 1 << 14, 16  # elements of a tensor, and channels of it, so that a part of it takes less time
_NODE = 1 << 16  # elements that take as long as what a node takes whatever its size
_BESIDES = 0.12  # of the work on all blocks: what a golden pack takes to be made and written
_PART, _SURE = 8, 2.0  # which part of the channels is tried first, and how much more than enough it has to move


class Detectability(NamedTuple):
    """At how many places a bug applies, and at which of them an input does not show it."""

    bug: Bug
    places: int
    hidden: tuple[Mistake, ...]


@dataclass
class _Site:
    """A bug at a place: the segment that shows it, what it has to move and what it has moved so far.

    Both are squares of the rms, summed over images.
    """

    segment: int
    enough: float
    mistake: Mistake
    moved: float = 0.0

    @property
    def visible(self) -> bool:
        return self.moved > self.enough


_Sites = dict[tuple[Any, ...], _Site]


def detectability(net: Network, x: Array, *, jobs: int = 1) -> list[Detectability]:
    """For each bug: at how many places it applies, and where this input does not show it.

    Parameters
    ----------
    net : it is run in float32, one image at a time, and no tensor is kept longer than a segment reads it
    x : (N, C, H, W) float32
    jobs : how many processes share the blocks, each with its own copy of the network; the result is the same

    Notes
    -----
    Bugs are replayed in float32, whose own rounding is less than a fifth of what a bug has to show. Short sums are not
    run, which takes as long as all else: they show where their bound is that much wider than float32's. Where only
    some images have what a bug needs, the bug moves the others by nothing.
    """
    with detectability_begun(net, x, jobs=jobs) as rest:
        return rest()


@contextmanager
def detectability_begun(net: Network, x: Array, *, jobs: int) -> Iterator[Callable[[], list[Detectability]]]:
    """A block during which other processes are at it; what it yields does the rest and returns all.

    This process has fewer of the blocks than the others, so that it can do something else in the block.
    """
    x = net.checked(x)
    given = net.graph, dict(net.params), x, _owners(Parts(net.graph), jobs)
    # One share each: the later of more shares would run again all that lies before them.
    with shares_begun(sites_of_share, given, jobs) as rest:
        yield lambda: _merged(rest())


def _merged(shares: Iterable[_Sites]) -> list[Detectability]:
    seen: _Sites = {}
    for sites in shares:
        for key, site in sites.items():  # what two shares have is the earlier segment's
            if key not in seen or site.segment < seen[key].segment:
                seen[key] = site
    by_bug: dict[str, list[_Site]] = {bug.id: [] for bug in REPLAYED}
    for key, site in sorted(seen.items(), key=lambda item: item[1].segment):  # within a segment as its bugs came
        by_bug[key[0]].append(site)
    return [_reported(bug, by_bug[bug.id]) for bug in REPLAYED]


def _owners(parts: Parts, jobs: int) -> tuple[int, ...]:
    """By block, which share it is of; what ends a network counts as one block more.

    A block takes as long as it has elements and nodes. The first process has fewer of them, for what it does besides.
    """
    ends = {each.end for each in parts.blocks}
    costs = [0]
    for node in parts.graph.nodes:
        costs[-1] += _NODE + math.prod(parts.sizes[node.name])
        if node.name in ends:
            costs.append(0)
    middles = (np.cumsum(costs) - np.array(costs) / 2) / sum(costs)
    return tuple(np.clip((middles + _BESIDES) * jobs / (1 + _BESIDES), 0, jobs - 1).astype(int).tolist())


def sites_of_share(given: tuple[Graph, dict[str, Array], Array, tuple[int, ...]], share: int, of: int) -> _Sites:
    """The places that the blocks of one share have.

    Behind the first image a bug is asked for where an image may show other places of it, or where some do not show yet.
    """
    graph, params, x, owners = given
    net, parts = Network(graph, params), Parts(graph)
    explained: dict[int, float] = {}  # by segment, squares of what rounding may move, of all images
    for image in range(1, len(x)):
        for index, segment in _segments(net, parts, x[image : image + 1], owners, share):
            explained[index] = explained.get(index, 0.0) + _honest(segment)[1] ** 2
    seen: _Sites = {}
    for image in range(len(x)):
        known: set[tuple[Any, ...]] = set()
        hidden = {(site.segment, key[0]) for key, site in seen.items() if not site.visible}
        for index, segment in _segments(net, parts, x[image : image + 1], owners, share):
            y: Array | None = None
            if not image:
                y, rounding = _honest(segment)
                explained[index] = explained.get(index, 0.0) + rounding**2
            bugs = [each for each in REPLAYED if not image or each.id in BY_NUMBERS or (index, each.id) in hidden]
            for key, change in _new(segment, bugs, known):
                site = seen.setdefault(key, _Site(index, VISIBLE**2 * explained[index], change.of(key[0])))
                if not site.visible:
                    site.mistake = change.of(key[0])
                    y = run(segment, np.float32) if y is None else y
                    site.moved += _square(change, segment, y, site.enough)
    return seen


def _reported(bug: Bug, sites: Sequence[_Site]) -> Detectability:
    return Detectability(bug, len(sites), tuple(site.mistake for site in sites if not site.visible))


def _segments(net: Network, parts: Parts, x: Array, owners: Sequence[int], share: int) -> Iterator[tuple[int, Segment]]:
    """The segments of some blocks that follow one another, and their places among all; what lies behind is not run."""
    tensors = chain([(SOURCE, x)], ((node.name, y) for node, y in net.steps(x)))
    ends, block = {each.end for each in parts.blocks}, 0
    last: str | None = None
    for index, (_, segment) in enumerate(segments(parts, net.params, tensors)):
        if last in ends and segment.end != last:
            block += 1
        last = segment.end
        if owners[block] > share:
            return
        if owners[block] == share:
            yield index, segment


def _honest(segment: Segment) -> tuple[Array, float]:
    """What an honest run makes of a segment, and the rms that rounding explains; the bounds themselves are let go."""
    made = limit(segment, _FLOAT32, dtype=np.float32)
    return made.y, made.rms


def _new(
    segment: Segment, bugs: Iterable[Bug], known: set[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], Change]]:
    """Every one of some bugs at every place of a segment that was not in one before.

    A place is known by bug, node, form, and how many of these came before it.
    """
    for bug in bugs:
        count: dict[tuple[str, str], int] = {}
        for change in bug.changes(segment):
            here = change.node, change.form
            count[here] = count.get(here, 0) + 1
            key = bug.id, *here, count[here]
            if key not in known and change.shape is None:
                known.add(key)
                yield key, change


def _square(change: Change, segment: Segment, y: Array, enough: float) -> float:
    """The square of the rms by which a change moves a segment's result; or a part of it, if that is enough.

    Of short sums it is how far they may move it.
    """
    if change.view is not None and not (change.nodes or change.params or change.given):
        return rms(change.view(y) - y) ** 2
    changed = segment.changed(change)
    part = _of_part(changed, y)
    return part if part > _SURE * enough else _moved(changed, y) ** 2


def _moved(changed: Segment, y: Array) -> float:
    if changed.precision is None:
        return rms_moved(changed, y, np.float32)
    made: Bound = limit(changed, _FLOAT32, dtype=np.float32)
    return made.rms


def _of_part(changed: Segment, y: Array) -> float:
    """The square of what the first channels alone add to the rms; 0 where all of them take no longer."""
    if y.ndim != 4 or y.size < _LARGE or y.shape[1] < 2 * _CHANNELS:
        return 0.0
    count = max(_CHANNELS, y.shape[1] // _PART)
    part = first_channels(changed, count)
    return 0.0 if part is None else _moved(part, y[:, :count]) ** 2 * (count / y.shape[1])
