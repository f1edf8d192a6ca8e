"""A candidate's tensors against a reference: every segment judged on the candidate's own inputs to it.

An innocent layer behind a wrong one stays innocent, because it is given what the wrong one made. A candidate may lack
tensors: the nodes between two tensors that it has are one segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.golden.diagnose import Cause, describe, diagnose
from refnet.golden.segments import Segment, cut, limit, measured
from refnet.golden.verdicts import FAILING, Judgement, judge
from refnet.graph import SOURCE, Graph, Node
from refnet.readings.bounds import Precision
from refnet.readings.cost import shapes

__all__ = ["Accumulated", "Comparison", "Finding", "Reference", "compare"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """What a candidate is compared with.

    Attributes
    ----------
    graph, params : the network
    golden : loads one of its tensors, the input's included, by name; NCHW
    stored : the names that `golden` knows
    """

    graph: Graph
    params: Mapping[str, Array]
    golden: Callable[[str], Array]
    stored: tuple[str, ...]


class Accumulated(NamedTuple):
    """How far a tensor is from the golden one, all that came before it included.

    `relative` is rms over the golden tensor's rms; `border` and `interior` are rms of the outer two rows and columns
    and of the rest; `channels` the relative rms of each channel.
    """

    rms: float
    max: float
    relative: float
    border: float | None
    interior: float | None
    channels: tuple[float, ...]


class Finding(NamedTuple):
    """One golden tensor: its verdict, the nodes of its segment, and how far it is from the golden one."""

    name: str
    judgement: Judgement
    segment: tuple[str, ...] = ()
    accumulated: Accumulated | None = None


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes
    ----------
    findings : one for each golden tensor, in order
    causes : by the name of the tensor, what explains it
    facts : by the name of the tensor, what can be seen where nothing explains it
    holds : whether the candidate is the reference, up to rounding
    """

    findings: tuple[Finding, ...]
    causes: Mapping[str, list[Cause]]
    facts: Mapping[str, str]
    holds: bool

    def wrong(self) -> list[str]:
        """Names of the candidate's tensors that rounding does not explain, in order."""
        failing = [verdict for verdict in FAILING if verdict != "missing"]
        return [each.name for each in self.findings if each.judgement.verdict in failing]


def compare(
    reference: Reference,
    tensors: Mapping[str, Array],
    *,
    precision: Precision | Mapping[str, Precision] | None = None,
    partial: bool = False,
    explain: bool = True,
) -> Comparison:
    """Judge every tensor of a candidate and say why the wrong ones are.

    Parameters
    ----------
    tensors : the candidate's, by node name, in NCHW; 'input' may be among them
    precision : that the candidate declares, for all or by name; by default each tensor's own dtype
    partial : accept that some golden tensors are covered by no segment
    explain : look for causes

    Returns
    -------
    Comparison
    """
    graph, batch = reference.graph, len(reference.golden(SOURCE))
    sizes = shapes(graph)
    full = {name: (batch, *shape) for name, shape in sizes.items()}
    usable = {name: y for name, y in tensors.items() if name in full and not _defect(y, full[name])}
    base = {SOURCE: reference.golden(SOURCE)} if SOURCE not in usable else {}
    given = _Chained(usable, base)
    findings: dict[str, Finding] = {}
    failing: list[tuple[Segment, Precision]] = []
    covered: set[str] = set()
    if SOURCE in usable:
        segment = _input_segment(reference, usable[SOURCE])
        _judge(reference, SOURCE, segment, _precision(precision, SOURCE, usable[SOURCE]), findings, failing)
    relaid: dict[str, Array] = {}
    for node in graph.nodes:
        if node.name not in tensors:
            continue
        if node.name not in usable:
            findings[node.name] = Finding(node.name, Judgement(_defect(tensors[node.name], full[node.name])))
            continue
        segment = cut(graph, reference.params, node.name, given, sizes)
        covered |= {part.name for part in segment.graph.nodes}
        own = _precision(precision, node.name, usable[node.name])
        if set(segment.given) & set(relaid) and not _judgement(segment, own).holds:
            # Its inputs lie in another order than they are dumped in, or the port reads them in the wrong one.
            segment = replace(segment, given={name: relaid.get(name, y) for name, y in segment.given.items()})
        _judge(reference, node.name, segment, own, findings, failing)
        if failing and failing[-1][0] is segment and (moved := _relaid(segment, own)) is not None:
            relaid[node.name] = moved
    for node in graph.nodes:
        if node.name not in findings and node.name in reference.stored:
            findings[node.name] = Finding(node.name, Judgement("inside" if node.name in covered else "missing"))
    causes = {segment_name(s): diagnose(s, p) for s, p in failing} if explain else {}
    facts = {segment_name(s): describe(s, p) for s, p in failing if explain and not causes[segment_name(s)]}
    order = [SOURCE, *(node.name for node in graph.nodes)]
    made = tuple(findings[name] for name in order if name in findings)
    bad = [f for f in made if f.judgement.verdict in FAILING and not (partial and f.judgement.verdict == "missing")]
    return Comparison(made, causes, facts, not bad)


class _Chained(Mapping[str, Array]):
    """Two mappings as one, without loading anything."""

    def __init__(self, first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
        self.first, self.second = first, second

    def __getitem__(self, name: str) -> Array:
        return self.first[name] if name in self.first else self.second[name]

    def __iter__(self) -> Any:
        yield from self.first
        yield from (name for name in self.second if name not in self.first)

    def __len__(self) -> int:
        return len(list(iter(self)))


def segment_name(segment: Segment) -> str:
    """The golden tensor that a segment makes."""
    return SOURCE if segment.end == _FED else segment.end


_FED = "input.fed"


def _input_segment(reference: Reference, x: Array) -> Segment:
    """The candidate's own input as a tensor to be judged: it should be the golden one, as it is."""
    same = Node(_FED, "affine", (SOURCE,), {}, {"slope": 1.0, "offset": 0.0})
    golden = {SOURCE: reference.golden(SOURCE)}
    return Segment(Graph(reference.graph.recipe, (same,)), {}, golden, reference.graph, shapes(reference.graph), {}, x)


def _judge(
    reference: Reference,
    name: str,
    segment: Segment,
    precision: Precision,
    findings: dict[str, Finding],
    failing: list[tuple[Segment, Precision]],
) -> None:
    assert segment.candidate is not None
    judgement = _judgement(segment, precision)
    accumulated = None
    if name in reference.stored:
        accumulated = _accumulated(segment.candidate, reference.golden(name))
    findings[name] = Finding(name, judgement, tuple(node.name for node in segment.graph.nodes), accumulated)
    if not judgement.holds:
        failing.append((segment, precision))


def _judgement(segment: Segment, precision: Precision) -> Judgement:
    assert segment.candidate is not None
    apart = measured(segment, precision)
    if apart is None:
        return judge(segment.candidate, limit(segment, precision))
    return judge(segment.candidate, apart)._replace(yardstick="spread")


def _relaid(segment: Segment, precision: Precision) -> Array | None:
    """The candidate's tensor in the order that it should have, if its numbers are right but lie channels last."""
    y = segment.candidate
    if y is None or y.ndim != 4:
        return None
    N, C, H, W = y.shape
    moved = np.ascontiguousarray(y.reshape(N, H, W, C).transpose(0, 3, 1, 2))
    return moved if _judgement(replace(segment, candidate=moved), precision).holds else None


def _precision(declared: Precision | Mapping[str, Precision] | None, name: str, y: Array) -> Precision:
    if isinstance(declared, Precision):
        return declared
    if declared is not None and name in declared:
        return declared[name]
    return Precision.of(str(y.dtype))


def _defect(y: Array, shape: tuple[int, ...]) -> str:
    if y.shape != shape:
        return "shape"
    return "" if np.isfinite(y).all() else "nonfinite"


def _accumulated(y: Array, golden: Array) -> Accumulated | None:
    if y.shape != golden.shape:
        return None
    error = y.astype(np.float64) - golden
    size, whole = float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(np.square(golden, dtype=np.float64))))
    border = interior = None
    if y.ndim == 4 and min(y.shape[2:]) >= 5:
        inner = error[:, :, 2:-2, 2:-2]
        total, inside = float((error**2).sum()), float((inner**2).sum())
        border = float(np.sqrt(max(total - inside, 0.0) / (error.size - inner.size)))
        interior = float(np.sqrt(inside / inner.size))
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    scale = np.sqrt(np.mean(np.square(golden, dtype=np.float64), axis=axes))
    channels = np.sqrt(np.mean(error**2, axis=axes)) / np.where(scale > 0, scale, 1)
    return Accumulated(
        size,
        float(np.abs(error).max(initial=0.0)),
        size / whole if whole else size,
        border,
        interior,
        tuple(float(channel) for channel in channels),
    )
