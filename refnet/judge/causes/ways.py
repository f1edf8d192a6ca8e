"""The ways in which a port may have run a segment: each is run, and what it leaves of the error is kept.

A way is a mistake at one place, or the same one at many. What it moves (its effect) tells how much of an error it could
explain at all: of an error r and an effect d, <r, d>^2 / (<d, d> <r, r>).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS, REPLAYED, Bug, bug_of
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.curves import Curve, curved
from refnet.bugs.systematic import ALL, KnownRuns, Scope, by_place, changed_at, changes_by_place, scopes
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.lanes import side_by_side
from refnet.judge.causes.replays import EVERY, Replays, elements
from refnet.judge.causes.sketch import explained, first_order
from refnet.judge.measures.probabilities import as_it_is, lens
from refnet.judge.measures.yardstick import is_coarse
from refnet.judge.verdicts import root_mean_square

__all__ = ["EXACT", "LAST", "LOOSE", "PICTURED", "SHARE", "SHORT", "SHOWN", "Extent", "Way", "Ways", "closest"]

Array = npt.NDArray[Any]

PICTURED = (BUGS["input-resample"], BUGS["input-placed"])  # by steps of their own, since they are so many
_OTHERS = ("precision", "overflow", "leftovers")
EXACT = tuple(bug for bug in REPLAYED if bug.group not in _OTHERS and bug not in PICTURED)
LOOSE = tuple(bug for bug in REPLAYED if bug.group == "precision")
# With what few ports have and a tensor shows without a run: its channels do, or the scales of a sum.
_SHOWN = ("bn-order", "weights-one-scale", "bias-scale", "join-zero-points", "join-unscaled")
SHOWN = (*EXACT, *(BUGS[bug] for bug in _SHOWN))
SHORT = (*LOOSE, BUGS["weights-printed"], BUGS["fold-rounded"])
LAST = tuple(bug for bug in REPLAYED if bug.group == "leftovers")
_EXACT_IDS = frozenset(bug.id for bug in (*EXACT, *PICTURED))

# Modules of the catalogue.
_ENDS = ("ends", "preprocessing", "raster", "decoding", "pictures", "colour_spaces", "pitch", "solved")
# Of an error, what the right way leaves less than where a library rounds a few pixels in its own way. Tuned, on the
# table in tests/judge/test_shares.py: the tenth between right kernels and wrong ones.
_VAGUE = 0.3
_POINTS = 2048  # elements by which effects are told apart
# Of an error, what an effect must explain to be looked at as a part of it. Tuned, on the table in
# tests/judge/test_long.py: the largest of 1, 2 or 5 tenths, hundredths, ... that keeps seven of eight.
SHARE = 0.05
# Changes that are run before what is everywhere, since they could explain most of an error: as many as take a second or
# two. Only the order of the search depends on it.
_FOREMOST = 128
# Of the rms of an error, what may be left of it at each element. Tuned, on the table there: the smallest power of ten
# that keeps nineteen of twenty.
_NEARLY = 1e-2
_ENOUGH = 10 / SHARE  # numbers that tell effects apart: by chance one explains one part in so many of an error


Wanted = tuple[Mistake, "Extent | None", Segment]  # a way that is to be run


class Extent(NamedTuple):
    """At which places a mistake is made that is made more than once: of what kind they are, and which."""

    scope: Scope
    nodes: tuple[str, ...]


class Way(NamedTuple):
    """A mistake in a segment; the rms of the error that it leaves, and some elements of what it moves.

    `changed` is the segment run so, where it is short and comes closer; `Ways.changed` makes it again. `vague` says
    that a port's own input may lie some levels of a pixel from that of the way.
    """

    mistake: Mistake
    extent: Extent | None
    residual: float
    effect: Array
    changed: Segment | None
    vague: bool = False

    @property
    def key(self) -> tuple[str, str, Extent | str]:
        """What tells it from all others."""
        return self.mistake.bug, self.mistake.form, self.extent or self.mistake.node

    @property
    def is_exact(self) -> bool:
        """Whether its bug makes other numbers, and none that are only coarser; nor is it one of few ports."""
        return self.mistake.bug in _EXACT_IDS


class Ways:
    """The ways of one segment with a candidate's tensor.

    Parameters
    ----------
    long : whether the segment is long: it is run in float32, on one image if that tells enough, and ways are made again
        instead of kept
    """

    def __init__(self, segment: Segment, budget: SearchBudget, *, long: bool) -> None:
        assert segment.candidate is not None
        self.segment, self.budget, self.long = segment, budget, long
        self.lens = lens(segment) if long else as_it_is
        images = _telling(segment, self.lens) if long else EVERY
        self.runs = Replays(segment, budget, np.float32 if long else np.float64, images, fold=long)
        target = self.lens(segment.candidate)[images]
        self.honest = self.lens(self.runs.y)
        self.target = np.empty_like(self.honest, dtype=np.float64, shape=target.shape)  # as runs lie in memory
        self.target[...] = target
        self.before = root_mean_square(self.target - self.honest)
        self.rounding = root_mean_square(self.lens(segment.result)[images] - self.honest) if long else 0.0
        flat, size = np.arange(target.size), target.size
        some = flat if size <= _POINTS else np.random.default_rng(0).choice(size, _POINTS, replace=False)
        self._picked = np.unravel_index(some, target.shape)
        self.error = self.target[self._picked] - self.honest[self._picked]
        self.looked: list[Way] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._slow: list[tuple[Mistake, Extent, Segment]] = []
        # Of one form of a bug, changes by place, with arrays at hand, and what runs have told of them.
        self._made: tuple[Mapping[str, Change], dict[str, Change], KnownRuns] = {}, {}, KnownRuns({})
        self._at_places: dict[tuple[str, str, tuple[str, ...]], list[Way]] = {}
        self._by_place: dict[tuple[str, bool], dict[str, dict[str, Change]]] = {}
        self.at_hand: dict[object, Segment] = {}  # run in a way that others are put on top of
        self.counts = self._counted()
        budget.expect(sum(self.counts.values()))

    def _counted(self) -> dict[str, int]:
        """How many changes there are at each place."""
        found = set[tuple[str, str, str]]()
        for bug in (*EXACT, *LOOSE):
            self.budget.check()
            changes = (change for change in bug.changes(self.segment) if change.shape is None)
            found |= {(bug.id, change.form, change.node) for change in changes}
        return Counter(node for *_, node in found)

    def singles(self, bugs: Iterable[Bug], at: Collection[str] = ()) -> Iterator[Way]:
        """Every change at one place; once `at` holds any, at those alone."""
        return self.alone(self._single(bugs, at), at)

    def _single(self, bugs: Iterable[Bug], at: Collection[str]) -> Iterator[tuple[Bug, Change]]:
        for bug in bugs:
            segment, every = self.segment.asked(at) if at else self.segment, list[Change]()
            for change in bug.changes(segment):
                every.append(change)
                if change.shape is None and (not at or change.node in at):
                    yield bug, change
            if segment is self.segment:  # then these are all that there are
                self._keep(bug, by_place(every))

    def ends(self, groups: Collection[str] = _ENDS) -> Iterator[Way]:
        """What is wrong with the input, or with how the result is laid out; or what some modules of bugs are about."""
        own = ((bug, change) for bug in EXACT if bug.group in groups for change in bug.changes(self.segment))
        return self.alone((bug, change) for bug, change in own if change.shape is None)

    def foremost(self, at: Collection[str]) -> Iterator[Way]:
        """Changes at one place, the first by what they could explain of the error; once `at` holds any, all at those.

        As far as that is known to first order; of what is alike in the order of bugs. Not of the input.
        """
        own = [(bug, change) for bug in EXACT if bug.group not in _ENDS for change in bug.changes(self.segment)]
        own = [(bug, change) for bug, change in own if change.shape is None]
        last = self.segment.graph.nodes[-1]
        end = last.inputs[0] if self.lens is not as_it_is and last.op == "softmax" else last.name
        shares = first_order(self.runs, [change for _, change in own], self.target - self.honest, end)
        order = sorted(range(len(own)), key=lambda number: -shares[number])
        likely = (own[number] for rank, number in enumerate(order) if at or rank < _FOREMOST)
        return self.alone((each for each in likely if not at or each[1].node in at), at)

    def everywhere(self, bugs: Iterable[Bug]) -> Iterator[Way]:
        """The same change at all of its places."""
        for bug in bugs:
            for form, changes in self.placed(bug).items():
                yield from self.at_scopes(bug, form, changes, {ALL: tuple(changes)} if len(changes) > 1 else {})

    def of_kinds(
        self, bugs: Iterable[Bug], forms: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Way]:
        """The same change at all of its places of a kind; of some forms or by some kinds alone, if they are given."""
        for bug in bugs:
            for form, changes in self.placed(bug).items():
                if forms is None or form in forms:
                    found = scopes(self.segment.parts, tuple(changes))
                    those = {
                        scope: of for scope, of in found.items() if scope != ALL and scope.kind in (kinds or scope)
                    }
                    yield from self.at_scopes(bug, form, changes, those)

    def placed(self, bug: Bug) -> dict[str, dict[str, Change]]:
        """The changes of a bug by form and place, made once; but again those that hold what follows from whole maps."""
        known = self._by_place.get((bug.id, bug.rare))
        return self._keep(bug, changes_by_place(bug, self.segment)) if known is None else known

    def _keep(self, bug: Bug, found: dict[str, dict[str, Change]]) -> dict[str, dict[str, Change]]:
        if not any(change.fed for changes in found.values() for change in changes.values()):
            self._by_place[bug.id, bug.rare] = found
        return found

    def curved(self, curves: Iterable[tuple[Curve, str]]) -> Iterator[Way]:
        """Functions that other tensors show in the place of activations: at one place, and at all of their kind.

        Parameters
        ----------
        curves : with the activation that each takes the place of
        """
        for curve, op in curves:
            changes = curved(self.segment, curve, op)
            yield from self.alone((BUGS["act-curve"], change) for change in changes.values())
            for form in {change.form for change in changes.values()} if len(changes) > 1 else ():
                yield from self.at_scopes(BUGS["act-curve"], form, changes, {ALL: tuple(changes)})

    def on_top(self, first: Way, bugs: Iterable[Bug], is_open: Callable[[Segment], bool]) -> Iterator[Way]:
        """Every change at one place beside another one, if it can explain what that leaves; those that come closer.

        Parameters
        ----------
        is_open : whether a segment run in a way may be the candidate's; only then all of it is run
        """
        known = {way.key: way.effect for way in self.looked}
        rest, changed = self.error - first.effect, self.changed(first)
        for bug in bugs:
            for change in bug.changes(changed):
                effect = known.get((bug.id, change.form, change.node))
                if change.shape is None and (effect is None or explained(rest, effect) >= SHARE):
                    both = changed.changed(change)
                    way = self.run(change.of(bug.id), None, both) if is_open(both) else None
                    if way is not None and way.residual < first.residual:
                        yield way
            self.budget.check()

    def nearly(self, expected: Array) -> Iterator[Way]:
        """Those at one place of which each element that was looked at is as the port has it, or the honest run is.

        Parameters
        ----------
        expected : how far rounding moves each element of the segment's tensor
        """
        rounding = np.broadcast_to(expected, self.target.shape)[self._picked]
        most = np.maximum(_NEARLY * root_mean_square(self.error), rounding)
        for way in self.looked:
            if way.extent is None and not self.long and (way.changed is None or way.changed.precision is None):
                left = np.minimum(np.abs(self.error), np.abs(self.error - way.effect))
                if (left < most).all():
                    yield way

    def changed(self, way: Way, on: Segment | None = None) -> Segment:
        """The segment run in a way; on top of another one, if that is given."""
        if way.changed is not None and on is None:
            return way.changed
        segment = on or self.segment
        bug, form = bug_of(way.mistake, segment), way.mistake.form
        if way.extent is None:
            there = bug.changes(segment.asked([way.mistake.node]))
            change = next((each for each in there if (each.form, each.node) == (form, way.mistake.node)), None)
            return segment if change is None else segment.changed(change)
        found = changes_by_place(bug, segment).get(form, {})
        return changed_at(bug, segment, form, {node: found[node] for node in way.extent.nodes if node in found})[1]

    def alone(self, changes: Iterable[tuple[Bug, Change]], at: Collection[str] = ()) -> Iterator[Way]:
        """Each change at one place: of a long segment, whose steps have places in common, once.

        Parameters
        ----------
        at : once it holds any, what is at other places is left out, even if it was run by then
        """
        wanted = self._not_seen(changes)
        for some in side_by_side(wanted, lambda each: not self.long or each[1].fed):
            made = [(change.of(bug.id), None, self.segment.changed(change)) for bug, change in some]
            for way in self.run_several(made):
                if way is None or not at or way.mistake.node in at:
                    yield from self.kept(way)

    def _not_seen(self, changes: Iterable[tuple[Bug, Change]]) -> Iterator[tuple[Bug, Change]]:
        for bug, change in changes:
            key = bug.id, change.form, change.node
            if key not in self._seen:
                self.budget.passed()
            elif self.long:
                continue
            self._seen.add(key)
            yield bug, change

    def at_scopes(
        self, bug: Bug, form: str, changes: Mapping[str, Change], found: Mapping[Scope, tuple[str, ...]]
    ) -> Iterator[Way]:
        """The same change at the places of each of some scopes: of a long segment, what was run so is not run again."""
        self.budget.expect(len(found))
        known = {scope: (bug.id, form, nodes) for scope, nodes in found.items()}
        new = {scope: nodes for scope, nodes in found.items() if not self.long or known[scope] not in self._at_places}
        wanted = self._at_each(bug, form, changes, new)
        fed = any(change.fed for change in changes.values())  # which may hold whole maps
        for some in side_by_side(wanted, lambda _: fed):
            for (_, extent, _), way in zip(some, self.run_several(some), strict=True):
                self.budget.passed()
                self._at_places[known[extent.scope]] = [*self.kept(way)]
        for scope in found:
            if scope not in new:
                self.budget.passed()
            yield from self._at_places.get(known[scope], ())

    def _at_each(
        self, bug: Bug, form: str, changes: Mapping[str, Change], found: Mapping[Scope, tuple[str, ...]]
    ) -> Iterator[tuple[Mistake, Extent, Segment]]:
        """Ways to be run: the same change at the places of each of some scopes, its arrays made once for them."""
        if self._made[0] is not changes:
            fed = any(change.fed for change in changes.values())
            self._made = changes, {}, KnownRuns(self._honest if fed else {})
        _, made, walked = self._made
        dtype = self.runs.dtype if self.long else None
        for scope, nodes in found.items():
            made |= {node: changes[node].made(dtype) for node in nodes if node not in made}
            here = {node: made[node] for node in nodes}
            done, changed = changed_at(bug, self.segment, form, here, self.runs.dtype, walked)
            extent = Extent(scope, tuple(each.node for each in done))
            if len(done) > 1 and self.long and self.runs.is_slow(changed):
                self._slow.append((done[0].of(bug.id), extent, changed))
            elif len(done) > 1:
                yield done[0].of(bug.id), extent, changed
            else:
                self.budget.passed()

    @cached_property
    def _honest(self) -> dict[str, Array]:
        """Every tensor of the segment as it is, of all images."""
        if self.runs.images == EVERY:
            return dict(self.runs.values)
        return dict(Replays(self.segment, self.budget, self.runs.dtype).values)

    def slow(self) -> Iterator[Way]:
        """What was left out until now because it takes long: strides left out everywhere; the shortest first."""
        for mistake, extent, changed in sorted(self._slow, key=lambda each: elements(each[2])):
            yield from self.kept(self.run(mistake, extent, changed))
            self.budget.passed()

    def kept(self, way: Way | None) -> Iterator[Way]:
        """A way, if it is one, which is kept as one that was looked at."""
        if way is not None:
            self.looked.append(way)
            yield way

    def run(self, mistake: Mistake, extent: Extent | None, changed: Segment) -> Way | None:
        """A way by what it makes of the segment; None where that is no tensor like the candidate's."""
        return self.run_several([(mistake, extent, changed)])[0]

    def run_several(self, wanted: Sequence[Wanted]) -> list[Way | None]:
        """The same of several ways, side by side."""
        made = self.made_by(*(changed for *_, changed in wanted))
        with np.errstate(all="ignore"):
            return [self._way(*each, y) for each, y in zip(wanted, made, strict=True)]

    def _way(self, mistake: Mistake, extent: Extent | None, changed: Segment, y: Array | None) -> Way | None:
        if y is None:
            return None
        effect = y[self._picked] - self.honest[self._picked]
        vague, left = changed.slack is not self.segment.slack and is_coarse(changed), root_mean_square(self.target - y)
        kept = not self.long and (left < self.before or changed.precision is not None)
        return Way(mistake, extent, left, effect, changed if kept else None, vague)

    def made_by(self, *changed: Segment) -> list[Array | None]:
        """What a segment makes when run in each of some ways; None where that is no tensor like the candidate's."""
        with np.errstate(all="ignore"):
            return [self._usable(y) for y in self.runs.several(changed)]

    def _usable(self, made: Array | Exception) -> Array | None:
        """What was made, through the lens, if it is like the candidate's tensor."""
        if isinstance(made, Exception):  # two bugs at once may leave shapes that nothing runs on
            return None
        y = self.lens(made)
        return y if y.shape == self.target.shape and np.isfinite(y).all() else None


def _telling(segment: Segment, lens: Callable[[Array], Array]) -> slice:
    """The image whose error is largest, if its numbers are enough; else all of them."""
    if segment.batch == 1:
        return EVERY
    target, honest = lens(np.asarray(segment.candidate)), lens(segment.result)
    if target.shape != honest.shape or len(target) != segment.batch or target[:1].size < _ENOUGH:
        return EVERY
    error = np.square(target - honest).reshape(len(target), -1).sum(axis=1)
    image = int(error.argmax())
    return slice(image, image + 1)


def closest(tried: Iterable[Way], before: float, near: float) -> list[Way]:
    """Those that leave less than a share of the error, the closest first; a vague one where none is closer."""
    left = [way for way in tried if way.residual < (_VAGUE if way.vague else near) * before]
    ordered = sorted(left, key=lambda way: way.residual)
    return [way for index, way in enumerate(ordered) if not (index and way.vague)]
