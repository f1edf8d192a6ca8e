"""A candidate's tensors judged one by one, each on the candidate's own inputs to it: the verdicts, not the causes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Grid, Segment, cut
from refnet.bugs.memory.stored import manners_of
from refnet.graph import SOURCE
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.fused_stores import stored_otherwise
from refnet.judge.causes.sizes import agree, as_map, as_written, with_sizes
from refnet.judge.causes.stores import cut_off_stores
from refnet.judge.dumps.dumped import Mended, mended, with_mended
from refnet.judge.dumps.fed import input_segment
from refnet.judge.measures.accumulated import Accumulated, accumulated_error
from refnet.judge.measures.yardstick import fits, is_refuted, judge_segment, surely
from refnet.judge.reference import Reference
from refnet.judge.verdicts import Judgement, is_left_off
from refnet.ops import CONVOLUTIONS
from refnet.readings.bounds import Precision
from refnet.shares import at_once

__all__ = ["Finding", "Judging"]

Array = npt.NDArray[Any]

_SEVERAL = 3  # tensors that no single mistake leaves a little off what stands right before them


class Finding(NamedTuple):
    """One golden tensor: its verdict, the nodes of its segment, and how far it is from the golden one.

    `follows` is the first tensor that is not finite, where this one was made of it and so cannot be judged.
    """

    name: str
    judgement: Judgement
    segment: tuple[str, ...] = ()
    accumulated: Accumulated | None = None
    follows: str = ""


class Judging:
    """Goes down the graph and judges what the candidate has; keeps the segments that fail.

    A tensor of another size is gone on with: what lies behind it is judged at the candidate's own sizes. Behind
    one that is not finite nothing can be judged.
    """

    def __init__(
        self,
        reference: Reference,
        tensors: Mapping[str, Array],
        precision: Precision | Mapping[str, Precision] | None,
        dumped: bool,
    ) -> None:
        self.reference, self.tensors, self.precision, self.dumped = reference, tensors, precision, dumped
        self.params = dict(reference.params)  # read once: changes are made of them thousands of times
        self.parts = Parts(reference.graph)
        self.batch = len(reference.golden(SOURCE))
        self.given: dict[str, Array] = {}  # what segments start from: the candidate's tensors so far
        self.findings: dict[str, Finding] = {}
        self.failing: list[tuple[Segment, Precision]] = []
        self.misshapen: list[tuple[Segment, Precision]] = []
        self.overflown: list[tuple[Segment, Precision]] = []
        self.finite: dict[str, Segment] = {}  # those whose tensors have the right shape and can be judged
        self.stored: dict[str, tuple[str, ...]] = {}  # by integers how they may be rounded, if not to the nearest
        self.cut_off: dict[str, Cause] = {}  # tensors of a declared short format that their store cut off
        self.covered: set[str] = set()
        self.doubted: dict[str, Segment] = {}  # those of wrong tensors, which a port may only have dumped wrongly
        self.mended: dict[str, Mended | None] = {}  # what it may have instead
        self.misdumped: set[str] = set()  # those of which what follows shows that
        self.ahead: set[str] = set()  # tensors that hold what is made of them later
        self.broken: dict[str, str] = {}  # tensors that are not finite, and the first one that was not before them
        self.known: dict[str, tuple[int, ...]] = {}  # shapes that are the candidate's own
        self.apart: tuple[str, ...] = ()  # tensors of runs of their own
        self.took: dict[str, float] = {}  # seconds of the clock, of each verdict

    def all(self) -> None:
        """Judge every tensor; what the candidate lacks is inside a segment or missing."""
        self._source()
        for node in self.reference.graph.nodes:
            if node.name in self.tensors:
                self._node(node.name)
        self.finite = {name: replace(segment, available=self.given) for name, segment in self.finite.items()}
        looked = at_once([partial(self._looked_at, name, segment) for name, segment in self.finite.items()])
        for (name, segment), (judgement, accumulated) in zip(self.finite.items(), looked, strict=True):
            self._finite(name, segment, judgement, accumulated)
        if self.dumped:
            self._of_other_runs()
            self._of_integers()
            self._of_short_floats()
        for name in self.reference.stored:
            if name not in self.findings:
                there = name in self.covered or is_left_off(self.reference.graph, name, self.tensors)
                self.findings[name] = Finding(name, Judgement("inside" if there else "missing"))

    def _of_other_runs(self) -> None:
        """Tensors that a runtime was asked for one by one: each run fuses other layers, so that last digits differ.

        A tensor agrees with what stands before its convolution, though not with what was dumped of that convolution. A
        mistake would have to be smaller than the rounding of all these convolutions to look so. Of a softmax that is
        one with its layer the logits are another run's, or were computed beside it.
        """
        wrong = [name for name in self.finite if self.findings[name].judgement.verdict in ("wrong", "suspect")]
        soft = [name for name in wrong if self.reference.graph[name].op == "softmax"]
        rest = [name for name in wrong if name not in soft]
        for names in (soft, rest if len(rest) >= _SEVERAL else []):
            if (found := self._from_before(names)) is None:
                continue
            self.failing = [(segment, own) for segment, own in self.failing if segment.end not in found]
            for name, (segment, judgement) in found.items():
                self._judged(name, segment, judgement, self.findings[name].accumulated)
            self.apart += tuple(found)

    def _from_before(self, names: Sequence[str]) -> dict[str, tuple[Segment, Judgement]] | None:
        """Tensors judged on what stands before their convolutions, if all of them hold so."""
        found: dict[str, tuple[Segment, Judgement]] = {}
        for name in names:
            segment = self._from(self.finite[name], self._of_convolutions(name))
            if len(segment.graph) == len(self.finite[name].graph):
                return None
            judgement = self._judgement(segment, self._own(name))
            if not judgement.holds or judgement.yardstick != "bound":
                return None
            found[name] = segment, judgement
        return found

    def _of_convolutions(self, name: str) -> set[str]:
        """What a segment starts from that a convolution made, or the batch norm behind it; flattened or not."""
        ops, graph = (*CONVOLUTIONS, "batch_norm"), self.reference.graph
        read = {each for each in self.finite[name].given if each in graph}
        read |= {graph[each].inputs[0] for each in read if graph[each].op == "flatten"} & graph.by_name.keys()
        made = {each for each in read if graph[each].op in ops}
        return made | {each for each in read if graph[each].op == "flatten" and graph[each].inputs[0] in made}

    def _of_integers(self) -> None:
        """Integers that are suspect though what was stored inside a layer, or wider than dumped, might explain them."""
        self.stored = {name: manners_of(each) for name, each in self.finite.items() if name in each.grids}
        right = {name: segment for name, segment in self.finite.items() if self.findings[name].judgement.holds}
        for name, precision in stored_otherwise(right, self.stored, self._own):
            found = self.findings[name]
            self.findings[name] = found._replace(judgement=found.judgement._replace(verdict="suspect"))
            self.failing.append((right[name], precision))

    def _of_short_floats(self) -> None:
        """Numbers of a declared short format that are suspect, since they were cut off to it."""
        right = {name: segment for name, segment in self.finite.items() if self.findings[name].judgement.holds}
        self.cut_off = cut_off_stores(right, self._own)
        for name in self.cut_off:
            found = self.findings[name]
            self.findings[name] = found._replace(judgement=found.judgement._replace(verdict="suspect"))

    def _source(self) -> None:
        """The input: the golden one is taken where the candidate has none that can be used."""
        golden = self.reference.golden(SOURCE)
        self.given[SOURCE] = golden
        x = self.tensors.get(SOURCE)
        if x is None:
            self.findings[SOURCE] = Finding(SOURCE, Judgement("inside"))
        elif x.shape != golden.shape:
            self.findings[SOURCE] = Finding(SOURCE, Judgement("shape"))
            self._gone_on(SOURCE, x)
        elif not np.isfinite(x).all():
            self.findings[SOURCE] = Finding(SOURCE, Judgement("nonfinite"))
        else:
            self.given[SOURCE] = x
            segment = self._with_pack(input_segment(self.reference, x, self.parts), SOURCE)
            self._judged(SOURCE, segment, *self._looked_at(SOURCE, segment))

    def _node(self, name: str) -> None:
        given = {**self.given, name: self.tensors[name]}
        segment = self._with_pack(cut(self.parts, self.params, name, given), name)
        y = as_map(segment, self._own(name))
        segment = segment if y is segment.candidate else replace(segment, candidate=y)
        self.covered |= {node.name for node in segment.graph.nodes}
        nodes = tuple(node.name for node in segment.graph.nodes)
        first = next((self.broken[each] for each in segment.given if each in self.broken), "")
        is_other = y.shape != (self.batch, *self.parts.sizes[name]) or not agree(self.parts, name)
        written = self._as_written(segment) if is_other and np.isfinite(y).all() else None
        if written is not None and y.shape == (self.batch, *written.sizes[name]):
            self.finite[name] = written
            self._gone_on(name, y)
        elif is_other:
            self.findings[name] = Finding(name, Judgement("shape"), nodes)
            self.misshapen.append((segment, self._own(name)))
            self._gone_on(name, y)
        elif first or not np.isfinite(y).all():
            self.broken[name] = first or name
            verdict = "inside" if np.isfinite(y).all() else "nonfinite"
            self.findings[name] = Finding(name, Judgement(verdict), nodes if not first else (), follows=first)
            self.given[name] = y
            if not first:
                self.overflown.append((segment, self._own(name)))
        else:
            self.given[name] = y
            self.finite[name] = segment

    def _gone_on(self, name: str, y: Array) -> None:
        """Take a tensor of another size for what it is, if what follows can read it."""
        if not (y.ndim == 4 and y.shape[:2] == (self.batch, self.parts.sizes[name][0]) and np.isfinite(y).all()):
            return
        sums = [node.name for node in self.reference.graph.nodes if node.op == "add" and node.name in self.tensors]
        own = {each: self.tensors[each].shape[1:] for each in sums}
        parts = with_sizes(self.reference.graph, {**self.known, name: y.shape[1:]}, own)
        if parts is not None:
            self.parts, self.known, self.given[name] = parts, dict(parts.known), y

    def _looked_at(self, name: str, segment: Segment) -> tuple[Judgement, Accumulated | None]:
        """The verdict on a segment by itself, and how far its tensor is from the golden one."""
        assert segment.candidate is not None
        begun, stored = time.monotonic(), name in self.reference.stored
        accumulated = accumulated_error(segment.candidate, self.reference.golden(name)) if stored else None
        judgement = self._judgement(segment, self._own(name))
        self.took[name] = time.monotonic() - begun
        return judgement, accumulated

    def _finite(self, name: str, segment: Segment, judgement: Judgement, accumulated: Accumulated | None) -> None:
        own, first, wrong = self._own(name), segment, judgement.verdict == "wrong"
        if self.dumped and not judgement.holds:
            segment, judgement = self._as_run(name, segment, judgement)
            if wrong:  # a suspect one may be fitted by chance, which tells nothing of its inputs
                self.misdumped |= {each for each, y in segment.given.items() if y is not first.given.get(each, y)}
            if self._is_ahead(segment, own):
                self.ahead.add(name)
            elif set(segment.given) & self.ahead:
                beyond = self._from(segment, self.ahead)
                if self._is_ahead(beyond, own):
                    segment, judgement = beyond, self._judgement(beyond, own)
        if not self._judged(name, segment, judgement, accumulated) and self.dumped:
            self.doubted[name] = segment

    def _mended(self, name: str) -> Mended | None:
        """What a port may have where its dump is wrong: made once something that follows is wrong on that dump.

        What was dumped wrongly before it is none of its inputs.
        """
        if name in self.doubted and name not in self.mended:
            segment = self.doubted[name]
            known = {each: made for each in segment.given if each in self.misdumped and (made := self._mended(each))}
            self.mended[name] = mended(with_mended(segment, known) if known else segment, self._own(name))
        return self.mended.get(name)

    def _judgement(self, segment: Segment, precision: Precision) -> Judgement:
        """The verdict on a segment; on refnet's own runs, of which no figures are asked for, in less time."""
        if not self.dumped and (verdict := surely(segment, precision)):
            return Judgement(verdict)
        return judge_segment(segment, precision, dumped=self.dumped)

    def _as_run(self, name: str, segment: Segment, judgement: Judgement) -> tuple[Segment, Judgement]:
        """A segment and its verdict as a port may have run it, if it holds so; else as they are."""
        own = self._own(name)
        for other in self._others(name, segment):
            if not is_refuted(other, own) and (found := self._judgement(other, own)).holds:
                return other, found
        return segment, judgement

    def _others(self, name: str, segment: Segment) -> Iterator[Segment]:
        """The segment as a port may have run it though its dump says otherwise."""
        made = {each: self._mended(each) for each in segment.given}
        if known := {each: other for each, other in made.items() if other is not None}:
            yield with_mended(segment, known)
        if set(segment.given) & self.ahead:  # what it dumped as an input holds a later tensor
            yield self._from(segment, self.ahead)
        if (written := self._as_written(segment)) is not None:
            yield written

    def _as_written(self, segment: Segment) -> Segment | None:
        return as_written(segment, self.reference.graph) if segment.parts.known else None

    def _from(self, segment: Segment, without: Set[str]) -> Segment:
        """The segment from earlier tensors on, some being passed over."""
        given = {each: y for each, y in segment.available.items() if each not in without or each == segment.end}
        return self._with_pack(cut(segment.parts, self.params, segment.end, given), segment.end)

    def _is_ahead(self, segment: Segment, precision: Precision) -> bool:
        """Whether a tensor holds what is made of it later; what was not dumped of that is there with it."""
        changes = BUGS["already-normalised"].changes(segment)
        held = next((each.facts["held"] for each in changes if fits(segment.changed(each), precision)), "")
        if held and segment.candidate is not None:
            self.given.setdefault(held, segment.candidate)
        return bool(held)

    def _judged(self, name: str, segment: Segment, judgement: Judgement, accumulated: Accumulated | None) -> bool:
        """Take down the verdict on a segment; whether it holds."""
        nodes = tuple(node.name for node in segment.graph.nodes)
        self.findings[name] = Finding(name, judgement, nodes, accumulated)
        if not judgement.holds:
            self.failing.append((segment, self._own(name)))
        return judgement.holds

    def beside(self, name: str) -> Iterator[tuple[Segment, Precision]]:
        """The segments of right tensors that have nodes in common with that of a wrong one."""
        own = {*self.findings[name].segment}
        for each in self.findings.values():
            judged = each.name in self.tensors and each.judgement.yardstick == "bound"
            if judged and each.judgement.holds and own & {*each.segment}:
                segment = cut(self.parts, self.params, each.name, self.given)
                yield self._with_pack(segment, each.name), self._own(each.name)

    def _with_pack(self, segment: Segment, name: str) -> Segment:
        """A segment with what is known of the port and of the pack besides."""
        known = self.reference
        own = self._own(name)
        grids = {each: grid for each in (name, *segment.given) if (grid := self._grid(each)) is not None}
        slack = {**known.slack, **segment.slack} if segment.slack else known.slack
        centred = name in known.centred
        return replace(
            segment, span=own.span, image=known.image, decoded=known.decoded, centred=centred, slack=slack, grids=grids
        )

    def _grid(self, name: str) -> Grid | None:
        """The numbers that a tensor of integers stands for; None of any other."""
        if name not in self.tensors or not (own := self._own(name)).step or not math.isfinite(own.span[0]):
            return None
        return Grid(2 * own.step, own.span[0])

    def _own(self, name: str) -> Precision:
        """The precision declared for a tensor, or that of its dtype."""
        if isinstance(self.precision, Precision):
            return self.precision
        if self.precision is not None and name in self.precision:
            return self.precision[name]
        return Precision.of(str(self.tensors[name].dtype))
