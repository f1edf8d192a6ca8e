"""The ways in which a port may have run a segment: each is run, and what it leaves of the error is kept.

A way is a mistake at one place, or the same one at many. What it moves (its effect) tells how much of an error it could
explain at all: of an error r and an effect d, <r, d>^2 / (<d, d> <r, r>).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS, REPLAYED, Bug, bug_of
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.probabilities import as_it_is, lens
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.curves import Curve, curved
from refnet.bugs.layers.knobs import Knob
from refnet.bugs.systematic import ALL, Scope, by_place, changed_at, changes_by_place, scopes
from refnet.graph import SOURCE, Node
from refnet.judge.causes.affine import scaled_inputs
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.replays import EVERY, Replays, elements
from refnet.judge.causes.sketch import explained, first_order
from refnet.judge.measures.yardstick import is_coarse
from refnet.judge.verdicts import root_mean_square

__all__ = ["EXACT", "LAST", "LOOSE", "PICTURED", "SHARE", "SHORT", "SHOWN", "VAGUE", "Extent", "Way", "Ways", "closest"]

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
VAGUE = 0.3
_POINTS = 2048  # elements by which effects are told apart
_STEPS, _NEARBY = 6, 0.1  # of solving for a number; from one of a grid, which is near, by that share of it
_ALONE = ("pool-divisor", "join-weights")  # what may well be otherwise in the last of its places alone
_TOGETHER = 1 << 18  # numbers of inputs that are run together: of larger ones no two are quicker than one by one
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
    long : whether it is long: then it is run in float32, on one image if that is enough, and ways are made again
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
        runs = (self.honest, self.lens(self.runs.unfolded())) if long else ()
        self.rounding = max((root_mean_square(self.lens(segment.result)[images] - y) for y in runs), default=0.0)
        flat, size = np.arange(target.size), target.size
        some = flat if size <= _POINTS else np.random.default_rng(0).choice(size, _POINTS, replace=False)
        self._picked = np.unravel_index(some, target.shape)
        self.error = self.target[self._picked] - self.honest[self._picked]
        self.looked: list[Way] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._slow: list[tuple[Mistake, Extent, Segment]] = []
        self._known: dict[tuple[str, bool], tuple[Change, ...]] = {}
        self.counts = self._counted()
        budget.expect(sum(self.counts.values()))

    def _counted(self) -> dict[str, int]:
        """How many changes there are at each place."""
        found = set[tuple[str, str, str]]()
        for bug in (*EXACT, *LOOSE):
            self.budget.check()
            found |= {(bug.id, change.form, change.node) for change in self._alone(bug)}
        return Counter(node for *_, node in found)

    def _changes(self, bug: Bug) -> tuple[Change, ...]:
        """Those of a bug, made once; but again where they hold what follows from whole maps."""
        known = self._known.get((bug.id, bug.rare))
        if known is None:
            known = tuple(bug.changes(self.segment, joint=True))
            if not any(change.fed and change.given for change in known):
                self._known[bug.id, bug.rare] = known
        return known

    def _alone(self, bug: Bug) -> Iterator[Change]:
        """Those that can be made by themselves, and keep the shape."""
        return (change for change in self._changes(bug) if change.shape is None and change.alone)

    def singles(self, bugs: Iterable[Bug], at: Collection[str] = ()) -> Iterator[Way]:
        """Every change at one place; once `at` holds any, at those alone."""
        for bug in bugs:
            for change in self._alone(bug):
                if not at or change.node in at:
                    yield from self.at_one(bug, change)

    def ends(self, groups: Collection[str] = _ENDS) -> Iterator[Way]:
        """What is wrong with the input, or with how the result is laid out; or what some modules of bugs are about."""
        for bug in EXACT:
            for change in self._alone(bug) if bug.group in groups else ():
                yield from self.at_one(bug, change)

    def foremost(self, at: Collection[str]) -> Iterator[Way]:
        """Changes at one place, the first by what they could explain of the error; once `at` holds any, all at those.

        As far as that is known to first order; of what is alike in the order of bugs. Not of the input.
        """
        own = [(bug, change) for bug in EXACT if bug.group not in _ENDS for change in self._alone(bug)]
        last = self.segment.graph.nodes[-1]
        end = last.inputs[0] if self.lens is not as_it_is and last.op == "softmax" else last.name
        shares = first_order(self.runs, [change for _, change in own], self.target - self.honest, end)
        for rank, number in enumerate(sorted(range(len(own)), key=lambda number: -shares[number])):
            bug, change = own[number]
            if change.node in at or (not at and rank < _FOREMOST):
                yield from self.at_one(bug, change)

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
        """The changes of a bug by form and place."""
        return by_place(self._changes(bug))

    def solved(self, knob: Knob, *, kinds: bool = False) -> Iterator[Way]:
        """Another number in all nodes that have it and in the last of them, or in those of each kind, solved for."""
        names = tuple(node.name for node in self.segment.nodes(*knob.ops))
        every = scopes(self.segment.parts, names) if len(names) > 1 else {}
        found: dict[Scope | None, tuple[str, ...]] = {kind: of for kind, of in every.items() if (kind == ALL) != kinds}
        if names and not kinds and (knob.bug in _ALONE or len(names) == 1):
            found[None] = names[-1:]
        self.budget.expect(len(found))
        for scope, those in found.items():
            nodes = [self.segment.graph[name] for name in those]
            for number, mistake in knob.said(self.segment, nodes[0], self._number(knob, nodes)):
                extent = None if scope is None else Extent(scope, those)
                yield from self.made(mistake, extent, self._turned(knob, nodes, number))
            self.budget.passed()

    def scaled(self) -> Iterator[Way]:
        """The input scaled and moved, by how much being solved for."""
        for change in scaled_inputs(self.segment, self._left, self.before):
            yield from self.made(change.of("input-solved"), None, self.segment.changed(change))

    def _left(self, inputs: Sequence[Array]) -> Iterator[Array | None]:
        """What is left of the error on other inputs; small ones are run together, as more images, if all images are."""
        together = max(1, _TOGETHER // self.segment.given[SOURCE].size) if self.runs.images == EVERY else 1
        for first in range(0, len(inputs), together):
            some = inputs[first : first + together]
            changed = self.segment.changed(Change(SOURCE, given={SOURCE: np.concatenate(some)}))
            yield from (None if y is None else self.target - y for y in self._parts(changed, len(some)))

    def curved(self, curves: Iterable[tuple[Curve, str]]) -> Iterator[Way]:
        """Functions that other tensors show in the place of activations: at one place, and at all of their kind.

        Parameters
        ----------
        curves : with the activation that each takes the place of
        """
        for curve, op in curves:
            changes = curved(self.segment, curve, op)
            for change in changes.values():
                yield from self.at_one(BUGS["act-curve"], change)
            for form in {change.form for change in changes.values()} if len(changes) > 1 else ():
                yield from self.at_scopes(BUGS["act-curve"], form, changes, {ALL: tuple(changes)})

    def _number(self, knob: Knob, nodes: Sequence[Node]) -> float:
        """The number that leaves least of the error: each step goes as far as the effect of another one explains.

        NaN where that is next to nothing.
        """
        start = knob.start(nodes[0])
        number = min((start, *knob.grid), key=lambda each: self._left_at(knob, nodes, each)) if self.long else start
        for index in range(_STEPS):
            step = max(abs(number) * (1 if number == start else _NEARBY), knob.step) if knob.grid else knob.step
            here, there = (self._made(self._turned(knob, nodes, each)) for each in (number, number + step))
            if here is None or there is None:
                break
            slope, rest = there - here, self.target - here
            square = float((slope * slope).sum())
            if not square > 0 or (not index and number == start and explained(rest.ravel(), slope.ravel()) < SHARE):
                break
            number += step * float((slope * rest).sum()) / square
            number = max(number, 0.0) if knob.grid and min(knob.grid) >= 0 else number
        return number if number != start else math.nan

    def _left_at(self, knob: Knob, nodes: Sequence[Node], number: float) -> float:
        y = self._made(self._turned(knob, nodes, number))
        return math.inf if y is None else root_mean_square(self.target - y)

    def _turned(self, knob: Knob, nodes: Sequence[Node], number: float) -> Segment:
        made = {node.name: knob.nodes(node, number) for node in nodes}
        return self.segment.changed(Change(nodes[0].name, nodes=made))

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

    def at_one(self, bug: Bug, change: Change) -> Iterator[Way]:
        """A change at one place: of a long segment, whose steps have places in common, once."""
        key = bug.id, change.form, change.node
        if (known := key in self._seen) and self.long:
            return
        self._seen.add(key)
        way = self.run(change.of(bug.id), None, self.segment.changed(change))
        if not known:
            self.budget.passed()
        yield from self._kept(way)

    def at_scopes(
        self, bug: Bug, form: str, changes: Mapping[str, Change], found: Mapping[Scope, tuple[str, ...]]
    ) -> Iterator[Way]:
        """The same change at the places of each of some scopes."""
        self.budget.expect(len(found))
        for scope, nodes in found.items():
            done, changed = changed_at(bug, self.segment, form, {node: changes[node] for node in nodes})
            extent = Extent(scope, tuple(each.node for each in done))
            if len(done) > 1 and self.long and self.runs.is_slow(changed):
                self._slow.append((done[0].of(bug.id), extent, changed))
                continue
            if len(done) == 1:  # behind it the others make nothing else
                yield from self.at_one(bug, done[0])
            elif done:
                yield from self._kept(self.run(done[0].of(bug.id), extent, changed))
            self.budget.passed()

    def slow(self) -> Iterator[Way]:
        """What was left out until now because it takes long: strides left out everywhere; the shortest first."""
        for mistake, extent, changed in sorted(self._slow, key=lambda each: elements(each[2])):
            yield from self._kept(self.run(mistake, extent, changed))
            self.budget.passed()

    def made(self, mistake: Mistake, extent: Extent | None, changed: Segment) -> Iterator[Way]:
        """A way whose segment no bug makes again."""
        way = self.run(mistake, extent, changed)
        yield from self._kept(None if way is None else way._replace(changed=changed))

    def _kept(self, way: Way | None) -> Iterator[Way]:
        if way is not None:
            self.looked.append(way)
            yield way

    def run(self, mistake: Mistake, extent: Extent | None, changed: Segment) -> Way | None:
        """A way by what it makes of the segment; None where that is no tensor like the candidate's."""
        y = self._made(changed)
        if y is None:
            return None
        effect = y[self._picked] - self.honest[self._picked]
        vague, left = changed.slack is not self.segment.slack and is_coarse(changed), root_mean_square(self.target - y)
        kept = not self.long and (left < self.before or changed.precision is not None)
        return Way(mistake, extent, left, effect, changed if kept else None, vague)

    def _made(self, changed: Segment) -> Array | None:
        """What a segment makes when run in another way; None where that is no tensor like the candidate's."""
        return self._parts(changed, 1)[0]

    def _parts(self, changed: Segment, count: int) -> list[Array | None]:
        """The same of a segment that is given several inputs as one, for each of them."""
        try:
            with np.errstate(all="ignore"):
                made = [self.lens(y) for y in np.split(self.runs.run(changed), count)]
        except (ValueError, IndexError):  # two bugs at once may leave shapes that nothing runs on
            return [None] * count
        return [y if y.shape == self.target.shape and np.isfinite(y).all() else None for y in made]


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
    left = [way for way in tried if way.residual < (VAGUE if way.vague else near) * before]
    ordered = sorted(left, key=lambda way: way.residual)
    return [way for index, way in enumerate(ordered) if not (index and way.vague)]
