"""How good is the diagnosis? Inject every bug at every place and see whether it is detected, located and named.

The candidate is a float32 run of the network with the bug in one place, dumped in the style that could show it. It is
judged as any candidate is. The bugs come from the same table that diagnosis replays, so this measures whether the
machinery tells them apart, not whether the table is complete: for that there are ports written apart from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.segments import limit, ported
from refnet.bugs.sites import VISIBLE, Site, sites, styles, visibility
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.tensors import Reference, judge_tensors
from refnet.network import Network
from refnet.networks.build import build
from refnet.networks.random import random_params
from refnet.networks.rewrite import norms
from refnet.pack.probe import probe
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision
from refnet.readings.orders import ORDERS

__all__ = ["FAMILIES", "Subject", "Trial", "inject", "subject", "tally", "trials"]

Array = npt.NDArray[Any]

FLOAT32 = Precision.of("float32")


class Family(NamedTuple):
    """A small network of each family."""

    model: str
    width: float
    size: tuple[int, int]


FAMILIES: Mapping[str, Family] = {
    "V1": Family("timm/mobilenetv1_100", 0.25, (48, 64)),
    "V2": Family("torchvision/mobilenet_v2", 0.25, (48, 64)),
    "MnasNet B1": Family("torchvision/mnasnet0_5", 0.5, (48, 64)),
    "MnasNet A1": Family("timm/semnasnet_050", 0.5, (48, 64)),
    "V3 Large": Family("torchvision/mobilenet_v3_large", 0.35, (48, 64)),
    "V3 Small": Family("torchvision/mobilenet_v3_small", 0.35, (48, 64)),
    "V3 Small, SAME": Family("timm/tf_mobilenetv3_small_075", 0.5, (48, 64)),
    "V3 minimalistic": Family("keras/MobileNetV3Small_minimalistic", 0.35, (48, 64)),
    "d-li14": Family("d-li14/mobilenetv3_small", 0.35, (48, 64)),
    "LR-ASPP": Family("torchvision/lraspp_mobilenet_v3_large", 0.35, (48, 64)),
    "LR-ASPP, paper": Family("paper/lraspp_mobilenet_v3_small", 0.35, (48, 1120)),
}


@dataclass(frozen=True)
class Subject:
    """A network with an honest float32 run of it on the probe, and the reference to compare with."""

    net: Network
    tensors: Mapping[str, Array]
    reference: Reference

    @property
    def graph(self) -> Graph:
        """The network's graph."""
        return self.net.graph


class Trial(NamedTuple):
    """What became of one injected bug.

    Attributes
    ----------
    mistake : what was injected
    style : in which the candidate was dumped
    visible : whether float64 replay moves its segment by more than rounding explains
    detected : whether anything was found wrong
    located : whether exactly the segment with the bug was
    named : 'named' (its id comes first), 'tied' (among several that fit), 'missed'
    found : ids of the first cause
    """

    mistake: Mistake
    style: str
    visible: bool
    detected: bool
    located: bool
    named: str
    found: tuple[str, ...]


def subject(family: Family, batch: int = 2) -> Subject:
    """Build, weight and run a network on its probe."""
    graph = build(family.model, width=family.width, size=family.size, classes=10)
    net = Network(graph, random_params(graph))
    x = probe(graph, batch)
    exact = net.astype(np.float64).trace(x.astype(np.float64))
    golden = {SOURCE: x, **{name: y.astype(np.float32) for name, y in exact.items()}}
    return Subject(net, {SOURCE: x, **net.trace(x)}, Reference.of(graph, net.params, golden))


def inject(subject: Subject, *bugs: Site) -> dict[str, Array]:
    """A candidate: the tensors of a float32 run in which some segments are run in another way.

    All bugs are dumped in the style of the most sparing one. The input is not among the tensors.
    """
    wrong = {site.segment.end: site for site in bugs}
    tensors: dict[str, Array] = {SOURCE: subject.tensors[SOURCE]}
    for node in subject.graph.nodes:
        if node.name in wrong:
            site = wrong[node.name]
            given = {name: tensors.get(name, array) for name, array in site.changed.given.items()}
            if SOURCE in given and site.change.node == SOURCE:
                given[SOURCE] = site.changed.given[SOURCE]
            tensors[node.name] = ported(replace(site.changed, given=given))
        else:
            part = Graph(subject.graph.recipe, (node,))
            with np.errstate(all="ignore"):  # a bug may leave what is not finite
                tensors[node.name] = interpret(part, fast, subject.net.params, {n: tensors[n] for n in node.inputs})
    dumped = styles(subject.graph)
    order = list(dumped)
    style = max((site.style for site in bugs), key=order.index, default="all")
    return {name: tensors[name] for name in dumped[style]}


def trials(
    subject: Subject, *, sample: int | None = None, seed: int = 0, bugs: tuple[str, ...] | None = None
) -> Iterator[Trial]:
    """Inject one bug at a time, at `sample` places of each bug (all by default), and judge the candidate."""
    rng = np.random.Generator(np.random.PCG64(seed))
    by_bug: dict[str, list[Site]] = {}
    for site in sites(subject.graph, subject.net.params, subject.tensors.items()):
        if bugs is None or site.bug in bugs:
            by_bug.setdefault(site.bug, []).append(site)
    bounds: dict[tuple[str, str], Bound] = {}
    for found in by_bug.values():
        chosen = range(len(found)) if sample is None else sorted(rng.permutation(len(found))[:sample])
        for index in chosen:
            site = found[index]
            key = site.style, site.segment.end
            if key not in bounds:
                bounds[key] = limit(site.segment, FLOAT32)
            yield trial(subject, site, visibility(site, bounds[key]) > VISIBLE)


def trial(subject: Subject, site: Site, visible: bool) -> Trial:
    """Inject one bug and see what is found."""
    tensors, end = inject(subject, site), site.segment.end
    found = judge_tensors(subject.reference, tensors, precision=FLOAT32, partial=True)
    wrong, causes = found.wrong(), found.causes.get(end, [])
    # Sums in float16 that leave it are told as such.
    beyond = site.bug == "fp16-accumulate" and not np.isfinite(tensors[end]).all()
    wanted = ("sum-overflow",) if beyond else (site.bug,)
    first = causes[0].ids if causes else ()
    named = "named" if first == wanted else "tied" if any(cause.ids == wanted for cause in causes) else "missed"
    return Trial(site.mistake, site.style, visible, bool(wrong), wrong == [end], named, first)


def pairs(subject: Subject, count: int, seed: int = 0) -> Iterator[tuple[bool, tuple[str, str]]]:
    """Two bugs in different segments that both show: whether exactly both were found wrong, and which they were."""
    rng = np.random.Generator(np.random.PCG64(seed))
    alone = [s for s in sites(subject.graph, subject.net.params, subject.tensors.items()) if s.style == "all"]
    bound_of: dict[str, Bound] = {}
    for _ in range(100 * max(count, 0)):  # enough, unless hardly any bug shows
        if not count:
            return
        first, second = (alone[index] for index in rng.integers(0, len(alone), 2))
        for site in (first, second):
            end = site.segment.end
            if end not in bound_of:
                bound_of[end] = limit(site.segment, FLOAT32)
        if first.segment.end == second.segment.end or any(
            visibility(s, bound_of[s.segment.end]) <= VISIBLE for s in (first, second)
        ):
            continue
        candidate = inject(subject, first, second)
        own = {SOURCE: subject.tensors[SOURCE], **candidate}
        if not (_shows(first, own) and _shows(second, own)):
            continue
        made = judge_tensors(subject.reference, candidate, precision=FLOAT32, partial=True, explain=False)
        both = {first.segment.end, second.segment.end}
        yield set(made.wrong()) == both, (first.bug, second.bug)
        count -= 1


def _shows(site: Site, tensors: Mapping[str, Array]) -> bool:
    """Whether a bug shows on a candidate's own tensors: what another one made of them may hide it."""
    given = {name: tensors.get(name, y) for name, y in site.segment.given.items()}
    own = site._replace(segment=replace(site.segment, given=given))
    return visibility(own, limit(own.segment, FLOAT32)) > VISIBLE


def false_alarms(subject: Subject) -> dict[str, list[str]]:
    """What is found wrong in honest float32 runs: other orders of summation, folded and not, in every style of dump."""
    found = {}
    folded = {conv: norm.name for conv, norm in norms(subject.graph).items()}
    for order, rules in ORDERS.items():
        for words, net in (("", subject.net), (", folded", subject.net.fold())):
            made = {node.name: y for node, y in walk(net.graph, rules, net.params, {SOURCE: subject.tensors[SOURCE]})}
            if words:
                made = {folded.get(name, name): y for name, y in made.items()}
            for style, names in styles(subject.graph).items():
                dumped = {name: made[name] for name in names if name in made}
                result = judge_tensors(subject.reference, dumped, partial=True, explain=False)
                found[f"{order}{words}, {style}"] = result.wrong()
    return found


def tally(rows: list[Trial]) -> dict[str, Any]:
    """Counts and rates of a list of trials."""
    seen = [row for row in rows if row.visible]
    located = [row for row in seen if row.located]
    first = [row for row in seen if row.located and row.named != "missed"]
    return {
        "injected": len(rows),
        "visible": len(seen),
        "detected": sum(row.detected for row in seen),
        "located": len(located),
        "named": sum(row.named == "named" for row in located),
        "tied": sum(row.named == "tied" for row in located),
        "missed": len(seen) - len(first),
    }
