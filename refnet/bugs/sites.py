"""Every bug at every place where it can be, and how far each moves the segment that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import REPLAYED, Bug
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut, ported, run
from refnet.graph import SOURCE, Graph
from refnet.judge.verdicts import root_mean_square
from refnet.readings.bounds import Bound

__all__ = ["VISIBLE", "Site", "rms", "rms_moved", "segments", "sites", "styles", "visibility"]

Array = npt.NDArray[Any]

VISIBLE = 4.0  # a bug shows if it moves a tensor by this many times what rounding explains


class Site(NamedTuple):
    """A bug at a place, as one of the styles of dumping tensors could show it.

    Attributes
    ----------
    bug : its id
    change : how, and at which node
    segment : the honest segment that it changes
    style : 'all', 'fused' or 'blocks': which tensors the candidate has
    """

    bug: str
    change: Change
    segment: Segment
    style: str

    @property
    def mistake(self) -> Mistake:
        """The same in values alone."""
        return self.change.of(self.bug)

    @property
    def changed(self) -> Segment:
        """The segment with the bug in it."""
        return self.segment.changed(self.change)


def styles(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Which tensors a candidate may have: all; those of a runtime that fuses; those between blocks.

    A fused runtime keeps no tensor between a convolution, its batch norm and its activation. Between blocks there are
    the tensors that blocks read and make, and the head from its pool on.
    """
    return _styles(Parts(graph))


def _styles(parts: Parts) -> dict[str, tuple[str, ...]]:
    between = {block.entry for block in parts.blocks} | {node.name for node in parts.head} | {*parts.graph.outputs}
    between |= {block.end for block in parts.blocks}
    names = tuple(parts.graph.by_name)
    return {"all": names, "fused": parts.graph.fused(), "blocks": tuple(name for name in names if name in between)}


def sites(
    graph: Graph,
    params: Mapping[str, Array],
    tensors: Iterable[tuple[str, Array]],
    wanted: Iterable[Bug] = REPLAYED,
) -> Iterator[Site]:
    """Every bug at every place where it applies, each in the style that shows it best.

    Not among them are bugs that change a shape: no input could hide one, and no further layer runs on it.

    Parameters
    ----------
    tensors : name and array of every tensor of an honest run, in order, the input first; each is let go when no later
        segment reads it
    wanted : the bugs to look at
    """
    known: set[tuple[Any, ...]] = set()
    for style, whole in segments(Parts(graph), params, tensors):
        for bug in wanted:
            for change in bug.changes(whole):
                site = Site(bug.id, change, whole, style)
                key = change.node, site.mistake.what
                if key not in known and change.shape is None:
                    known.add(key)
                    yield site


def segments(
    parts: Parts, params: Mapping[str, Array], tensors: Iterable[tuple[str, Array]]
) -> Iterator[tuple[str, Segment]]:
    """Every segment of every style, with its style; what is one segment in two styles comes once.

    Parameters
    ----------
    tensors : as for `sites`
    """
    dumped = _styles(parts)
    until = _last_uses(parts, dumped)
    have: dict[str, Array] = {}
    for name, y in tensors:
        have[name] = y
        for style, ends in dumped.items():
            if name not in ends:
                continue
            given = {each: have[each] for each in (SOURCE, *ends) if each in have}
            whole = cut(parts, params, name, given, judged=False)
            if style == "all" or len(whole.graph) > 1:  # else as in the style before
                yield style, whole
        for each in [each for each in have if until[each] == name]:
            del have[each]


def _last_uses(parts: Parts, dumped: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """By tensor, the last one whose segment starts from it in any style, or may by mistake (a block's own input)."""
    graph = parts.graph
    until = {SOURCE: SOURCE, **{node.name: node.name for node in graph.nodes}}
    place = {name: index for index, name in enumerate(until)}

    def used(name: str, end: str) -> None:
        until[name] = max(until[name], end, key=place.__getitem__)

    for ends in dumped.values():
        for end in ends:
            part = graph.leading_to(end, starts={SOURCE, *ends})
            for name in {name for node in part.nodes for name in node.inputs} - {node.name for node in part.nodes}:
                used(name, end)
    for block in parts.blocks:
        used(block.entry, block.exit)
    for join in parts.joins:
        for name in parts.twins(join.low.inputs[0]):
            used(name, join.low.name)
    return until


def visibility(site: Site, honest: Bound) -> float:
    """How far the bug moves its segment's result, in units of the rms that rounding explains."""
    moved = rms_moved(site.changed, honest.y, np.float64)
    if honest.rms > 0:
        return moved / honest.rms
    return float("inf") if moved else 0.0


def rms_moved(changed: Segment, honest: Array, dtype: npt.DTypeLike) -> float:
    """The rms by which a bug moves its segment's result; infinite where that is no number any more."""
    with np.errstate(all="ignore"):
        y = run(changed, dtype) if changed.precision is None else ported(changed)  # only a run shows short sums
        return rms(y - honest)


def rms(moved: Array) -> float:
    """The root of the mean square; infinite where that is no number."""
    with np.errstate(all="ignore"):
        size = root_mean_square(moved)
    return size if np.isfinite(size) else float("inf")
