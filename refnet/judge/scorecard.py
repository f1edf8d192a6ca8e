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

from refnet.bugs.probes import VISIBLE, Place, places, probe, styles, visibility
from refnet.bugs.segments import limit, ported
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.compare import Comparison, Reference, compare
from refnet.network import Network
from refnet.networks.build import build
from refnet.networks.random import random_params
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision
from refnet.readings.orders import ORDERS

__all__ = ["FAMILIES", "Outcome", "Subject", "inject", "outcomes", "subject", "tally"]

Array = npt.NDArray[Any]


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


class Outcome(NamedTuple):
    """What became of one injected bug.

    Attributes
    ----------
    visible : whether float64 replay moves its segment by more than rounding explains
    detected : whether anything was found wrong
    located : whether exactly the segment with the bug was
    named : 'named' (its id comes first), 'tied' (among several that fit), 'missed'
    found : ids of the first cause
    """

    bug: str
    node: str
    detail: str
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
    golden = {
        SOURCE: x,
        **{n: y.astype(np.float32) for n, y in net.astype(np.float64).trace(x.astype(np.float64)).items()},
    }
    return Subject(net, {SOURCE: x, **net.trace(x)}, Reference(graph, net.params, golden.__getitem__, tuple(golden)))


def inject(subject: Subject, *bugs: Place) -> dict[str, Array]:
    """A candidate: the tensors of a float32 run in which some segments are run in another way.

    All bugs are dumped in the style of the most sparing one. The input is not among the tensors.
    """
    wrong = {place.segment.end: place for place in bugs}
    tensors: dict[str, Array] = {SOURCE: subject.tensors[SOURCE]}
    for node in subject.graph.nodes:
        if node.name in wrong:
            variation = wrong[node.name].variation.segment
            given = {name: tensors.get(name, array) for name, array in variation.given.items()}
            if SOURCE in given and wrong[node.name].variation.node == SOURCE:
                given[SOURCE] = variation.given[SOURCE]
            tensors[node.name] = ported(replace(variation, given=given))
        else:
            part = Graph(subject.graph.recipe, (node,))
            tensors[node.name] = interpret(part, fast, subject.net.params, {n: tensors[n] for n in node.inputs})
    order = list(styles(subject.graph))
    style = max((place.style for place in bugs), key=order.index, default="all")
    return {name: tensors[name] for name in styles(subject.graph)[style]}


def outcomes(
    subject: Subject, *, sample: int | None = None, seed: int = 0, bugs: tuple[str, ...] | None = None
) -> Iterator[Outcome]:
    """Inject one bug at a time, at `sample` places of each bug (all by default), and judge the candidate."""
    rng = np.random.Generator(np.random.PCG64(seed))
    by_bug: dict[str, list[Place]] = {}
    for place in places(subject.graph, subject.net.params, subject.tensors.items()):
        if bugs is None or place.hypothesis.id in bugs:
            by_bug.setdefault(place.hypothesis.id, []).append(place)
    bounds: dict[tuple[str, str], Bound] = {}
    for found in by_bug.values():
        chosen = range(len(found)) if sample is None else sorted(rng.permutation(len(found))[:sample])
        for index in chosen:
            place = found[index]
            key = place.style, place.segment.end
            if key not in bounds:
                bounds[key] = limit(place.segment, Precision.of("float32"))
            yield judged(subject, place, visibility(place, bounds[key]) > VISIBLE)


def judged(subject: Subject, place: Place, visible: bool) -> Outcome:
    """Inject one bug and see what comparison says."""
    found = compare(subject.reference, inject(subject, place), precision=Precision.of("float32"), partial=True)
    wrong = found.wrong()
    located = wrong == [place.segment.end]
    causes = found.causes.get(place.segment.end, [])
    return Outcome(
        place.hypothesis.id,
        place.variation.node,
        place.variation.detail,
        place.style,
        visible,
        bool(wrong),
        located,
        _named(place, found),
        causes[0].ids if causes else (),
    )


def _named(place: Place, found: Comparison) -> str:
    causes = found.causes.get(place.segment.end, [])
    if causes and causes[0].ids == (place.hypothesis.id,):
        return "named"
    return "tied" if any(cause.ids == (place.hypothesis.id,) for cause in causes) else "missed"


def pairs(subject: Subject, count: int, seed: int = 0) -> Iterator[tuple[bool, tuple[str, str]]]:
    """Two bugs in different segments at once: whether exactly both were found wrong, and which they were."""
    rng = np.random.Generator(np.random.PCG64(seed))
    alone = [p for p in places(subject.graph, subject.net.params, subject.tensors.items()) if p.style == "all"]
    bound_of: dict[str, Bound] = {}
    for _ in range(100 * max(count, 0)):  # enough, unless hardly any bug shows
        if not count:
            return
        first, second = (alone[index] for index in rng.integers(0, len(alone), 2))
        for place in (first, second):
            end = place.segment.end
            if end not in bound_of:
                bound_of[end] = limit(place.segment, Precision.of("float32"))
        if first.segment.end == second.segment.end or any(
            visibility(p, bound_of[p.segment.end]) <= VISIBLE for p in (first, second)
        ):
            continue
        candidate = inject(subject, first, second)
        made = compare(subject.reference, candidate, precision=Precision.of("float32"), partial=True, explain=False)
        both = {first.segment.end, second.segment.end}
        yield set(made.wrong()) == both, (first.hypothesis.id, second.hypothesis.id)
        count -= 1


def false_alarms(subject: Subject) -> dict[str, list[str]]:
    """What is found wrong in honest float32 runs: other orders of summation, folded and not, in every style of dump."""
    found = {}
    norms = {node.inputs[0]: node.name for node in subject.graph.nodes if node.op == "batch_norm"}
    for order, rules in ORDERS.items():
        for words, net in (("", subject.net), (", folded", subject.net.fold())):
            made = {node.name: y for node, y in walk(net.graph, rules, net.params, {SOURCE: subject.tensors[SOURCE]})}
            if words:
                made = {norms.get(name, name): y for name, y in made.items()}
            for style, names in styles(subject.graph).items():
                dumped = {name: made[name] for name in names if name in made}
                result = compare(subject.reference, dumped, partial=True, explain=False)
                found[f"{order}{words}, {style}"] = result.wrong()
    return found


def tally(rows: list[Outcome]) -> dict[str, Any]:
    """Counts and rates of a list of outcomes."""
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
