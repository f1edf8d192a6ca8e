"""How good is the diagnosis of what is wrong everywhere? Make the same mistake throughout a network, and judge it.

The candidate is a float32 run of the network with a mistake at all of its places, of which all tensors are dumped,
those of a runtime that fuses, or the logits alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import REPLAYED, Bug
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut, limit
from refnet.bugs.sites import VISIBLE, styles
from refnet.bugs.systematic import changed_at, changes_by_place
from refnet.graph import SOURCE, walk
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.measures.spread import spread
from refnet.judge.scorecard import FLOAT32, Subject
from refnet.judge.tensors import Judged, judge_tensors
from refnet.judge.verdicts import root_mean_square
from refnet.readings import fast

__all__ = ["DUMPS", "SYSTEMATIC", "Sweep", "sweep"]

Array = npt.NDArray[Any]

SYSTEMATIC = ("V1", "MnasNet A1", "V3 Large", "V3 Small")  # families
DUMPS = ("all", "fused", "logits")
_OF_FOLDS = ("bn-fold-axis",)  # where batch norm is folded there is no tensor before it


class Sweep(NamedTuple):
    """What became of a mistake that was made everywhere.

    Attributes
    ----------
    bug, form : of the mistake
    places : how many
    dump : which tensors the candidate had
    visible : whether it moves any of them by more than rounding explains
    named : 'named' (it comes first where it is found most), 'tied', 'missed'
    found : the first pattern or cause, as (bug, form)
    seconds : of processor time
    """

    bug: str
    form: str
    places: int
    dump: str
    visible: bool
    named: str
    found: tuple[tuple[str, str], ...]
    seconds: float


def sweep(
    subject: Subject,
    dumps: tuple[str, ...] = DUMPS,
    bugs: tuple[str, ...] | None = None,
    *,
    forms: int | None = None,
    seconds: float = 60,
) -> Iterator[Sweep]:
    """Every form of every bug that can be at two places or more, made at all of them, in each style of dump.

    Parameters
    ----------
    dumps : of `DUMPS`
    bugs : by default all
    forms : how many forms of each bug, by default all
    seconds : for each search
    """
    graph, x = subject.graph, subject.tensors[SOURCE]
    whole = cut(Parts(graph), subject.net.params, graph.output, {SOURCE: x}, judged=False)
    apart = spread(subject.net, x, graph.output)
    kept = {**{style: names for style, names in styles(graph).items() if style in dumps}, "logits": (graph.output,)}
    for bug in REPLAYED:
        if bugs is not None and bug.id not in bugs:
            continue
        for form, places, tensors in itertools.islice(_everywhere(bug, whole), forms):
            for dump in dumps if bug.id not in _OF_FOLDS else [dump for dump in dumps if dump != "all"]:
                candidate = {name: tensors[name] for name in kept[dump] if name in tensors}
                finite = all(np.isfinite(y).all() for y in candidate.values())
                visible = finite and _visible(subject, whole.parts, candidate, apart)
                begun, budget = time.process_time(), SearchBudget(seconds)
                found = judge_tensors(subject.reference, candidate, precision=FLOAT32, partial=True, budget=budget)
                named, first = _named(found, (bug.id, form))
                took = time.process_time() - begun
                yield Sweep(bug.id, form, places, dump, visible, named, first, took)


def _everywhere(bug: Bug, whole: Segment) -> Iterator[tuple[str, int, dict[str, Array]]]:
    """Every form of a bug that is at two places or more: at how many, and what it makes; what makes the same, once."""
    seen: list[Array] = []
    for form, changes in changes_by_place(bug, whole).items():
        done, changed = changed_at(bug, whole, form, changes, np.float32)
        if len(done) > 1:
            tensors = _run(changed)
            end = tensors[whole.end]
            if not any(np.array_equal(end, other, equal_nan=True) for other in seen):
                seen.append(end)
                yield form, len(done), tensors


def _run(changed: Segment) -> dict[str, Array]:
    params = {name: np.asarray(changed.params[name], np.float32) for name in changed.graph.params()}
    given = {name: np.asarray(y, np.float32) for name, y in changed.given.items()}
    with np.errstate(all="ignore"):
        return {node.name: y for node, y in walk(changed.graph, fast, params, given, keep=True)}


def _visible(subject: Subject, parts: Parts, candidate: dict[str, Array], apart: float) -> bool:
    """Whether any tensor is moved by more than rounding explains, given the candidate's own inputs."""
    have = {SOURCE: subject.tensors[SOURCE], **candidate}
    if list(candidate) == [subject.graph.output]:
        y = candidate[subject.graph.output]
        return bool(np.abs(y - subject.tensors[subject.graph.output]).max() > VISIBLE * apart)
    for name, y in candidate.items():
        if y.shape[1:] != parts.sizes[name]:
            return True
        honest = limit(cut(parts, subject.net.params, name, have), FLOAT32)
        if root_mean_square(y - honest.y) > VISIBLE * honest.rms:
            return True
    return False


def _named(found: Judged, wanted: tuple[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Whether the mistake comes first, is among those that fit, or is missed; and what comes first."""
    kinds: tuple[tuple[str, str], ...]
    if found.patterns:
        first = found.patterns[0].mistake
        kinds = ((first.bug, first.form),)
    else:
        causes = next((causes for causes in found.causes.values() if causes), [])
        kinds = tuple((mistake.bug, mistake.form) for mistake in causes[0].mistakes) if causes else ()
    bug, form = wanted
    if kinds in ((wanted,), ((bug, f"{form} of each"),)):  # so said of places of which each has facts of its own
        return "named", kinds
    tied = any(
        [(mistake.bug, mistake.form) for mistake in cause.mistakes] == [wanted]
        for causes in found.causes.values()
        for cause in causes
    )
    return ("tied" if tied else "missed"), kinds
