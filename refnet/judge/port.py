"""A port against a golden pack: match its tensors to nodes, judge them, and say it as one document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import HYPOTHESES
from refnet.bugs.ends import INT8_WEIGHTS, SHORT_STORE
from refnet.errors import RequestError
from refnet.graph import SOURCE
from refnet.judge.compare import Comparison, Finding, Reference, compare
from refnet.network import Network
from refnet.pack.candidate import read_candidate
from refnet.pack.match import Assignment, MatchedTensor, match_tensors, shapes_of
from refnet.pack.pack import Pack, read_pack
from refnet.readings.bounds import Precision
from refnet.readings.precision import WEIGHTS
from refnet.readings.shapes import shapes
from refnet.runtimes.models import is_model, run_model

__all__ = ["Judged", "Scale", "document", "judge_port", "pictures"]

Array = npt.NDArray[Any]
_MUCH = 16  # times a node's size: no bug in the table makes a result so large, so its values are not read

Candidate = str | Path | Mapping[str, Array] | Callable[[Array], Mapping[str, Array]]


class Scale(NamedTuple):
    """How an integer tensor stands for real numbers: value = scale * (stored - zero_point)."""

    scale: float
    zero_point: int = 0


class Judged(NamedTuple):
    """What was found, and which of the candidate's tensors was taken for which node."""

    comparison: Comparison
    matching: Assignment
    reference: Reference


def judge_port(
    pack: str | Path | Pack,
    candidate: Candidate,
    *,
    names: Mapping[str, str] | None = None,
    precision: str | None = None,
    accumulate: str | None = None,
    scales: Mapping[str, Scale] | None = None,
    weights: str | None = None,
    partial: bool = False,
    explain: bool = True,
) -> Judged:
    """Judge every tensor of a port on its own inputs, and say why the wrong ones are.

    Parameters
    ----------
    pack : a golden pack or its path
    candidate : a folder of .npy or raw floats, an .npz, a .safetensors file; an .onnx or .tflite file, which its own
        runtime runs on the pack's input; a dict {name: array}, or a callable that is given the pack's input
        (N, C, H, W) and returns such a dict
    names : candidate's name -> node name; other names are matched by equality, then by content
    precision, accumulate : 'float32', 'tf32', 'float16', 'bfloat16' of stored tensors and of sums; by default as stored
    scales : by the candidate's name, of integer tensors; half a step per store joins the bound
    weights : 'int8' where the port's are integers and the pack's are not: half a step of each joins the bound; of a
        .tflite file that is plain from the file
    partial : accept golden tensors that no segment covers
    explain : look for causes

    Returns
    -------
    Judged

    Raises
    ------
    RequestError, FormatError
        if nothing matches, if a name of `names` does not exist, or if a file is unreadable.

    Examples
    --------
    >>> judged = judge_port("golden/", {"conv1": y1, "relu1": y2})  # doctest: +SKIP
    >>> judged.comparison.holds, judged.comparison.wrong()  # doctest: +SKIP
    """
    pack = pack if isinstance(pack, Pack) else read_pack(pack)
    if callable(candidate):
        candidate = candidate(pack.tensor(SOURCE))
    scales = dict(scales or {})
    runs = isinstance(candidate, str | Path) and is_model(candidate)
    if isinstance(candidate, str | Path) and runs:
        candidate, own, stored = run_model(candidate, pack.tensor(SOURCE))
        scales = {name: Scale(*scale) for name, scale in own.items()} | scales
        weights = weights or stored
    tensors = read_candidate(candidate) if isinstance(candidate, str | Path) else candidate
    if unknown := [name for name in scales if name not in tensors]:
        raise RequestError(f"scales: the candidate has no tensor {unknown[0]!r}; it has {', '.join(list(tensors)[:5])}")
    real = _Real(tensors, scales)
    batch = len(pack.tensor(SOURCE))
    full = {name: (batch, *shape) for name, shape in shapes(pack.graph).items()}
    golden = _Golden(pack)
    matching = match_tensors(real, full, golden.tensor, names=names)
    if not matching.tensors:
        first = ", ".join(list(tensors)[:4])
        raise RequestError(f"nothing in the candidate is any tensor of the pack ({first} ...); name them with --map")
    reference = Reference(pack.graph, pack.params, pack.tensor, pack.names)
    arrays = {node: _read(found, real.shapes[found.source], full[node]) for node, found in matching.tensors.items()}
    levels = WEIGHTS[weights] if weights else 0
    declared = _precisions(matching, arrays, real, precision, accumulate, levels)
    found = compare(reference, arrays, precision=declared, partial=partial, explain=explain)
    if runs and all(finding.judgement.yardstick == "bound" for finding in found.findings):
        matching = matching._replace(unmatched=[])  # a runtime's inner tensors: every segment was judged without them
    return Judged(found, matching, reference)


class _Golden:
    """A pack's tensors; those that it does not store are computed again, once, should a name need them."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.computed: dict[str, Array] = {}

    def tensor(self, name: str) -> Array:
        """One tensor, stored or not."""
        if name in self.pack.names:
            return self.pack.tensor(name)
        if not self.computed:
            net = Network(self.pack.graph, {key: y.astype(np.float64) for key, y in self.pack.params.items()})
            trace = net.trace(self.pack.tensor(SOURCE).astype(np.float64))
            self.computed = {key: y.astype(np.float32) for key, y in trace.items() if key not in self.pack.names}
        return self.computed[name]


def _read(found: MatchedTensor, shape: tuple[int, ...], node: tuple[int, ...]) -> Array:
    """A candidate's tensor; of one that is far larger than the node's, and so of another shape, the shape alone."""
    if math.prod(shape) > _MUCH * math.prod(node):
        return np.broadcast_to(np.float32(0), shape)
    return np.asarray(found.array)


class _Real(Mapping[str, Array]):
    """A candidate's tensors as real numbers, read when asked for; `shapes` are known before."""

    def __init__(self, tensors: Mapping[str, Array], scales: Mapping[str, Scale]) -> None:
        self.tensors, self.scales = tensors, scales
        self.shapes = shapes_of(tensors)

    def __getitem__(self, name: str) -> Array:
        y = np.asarray(self.tensors[name])
        if name in self.scales:
            scale = self.scales[name]
            return ((y.astype(np.float64) - scale.zero_point) * scale.scale).astype(np.float32)
        if y.dtype.kind not in "f":
            raise RequestError(f"{name}: holds {y.dtype}; give its scale and zero point with --scales")
        return y

    def span(self, name: str) -> tuple[float, float]:
        """The least and the largest real number that an integer tensor can hold."""
        scale, dtype = self.scales[name], np.asarray(self.tensors[name]).dtype
        if dtype.kind not in "iu":
            return -math.inf, math.inf
        limits = np.iinfo(dtype)
        low, high = (scale.scale * (int(limit) - scale.zero_point) for limit in (limits.min, limits.max))
        return low, high

    def __iter__(self) -> Any:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def _precisions(
    matching: Assignment,
    arrays: Mapping[str, Array],
    real: _Real,
    precision: str | None,
    accumulate: str | None,
    levels: int,
) -> dict[str, Precision]:
    """By node: the declared precision, or that of the stored tensor; steps and range of integers on top."""
    found = {}
    for node, matched in matching.tensors.items():
        own = Precision.of(precision or str(arrays[node].dtype), accumulate)._replace(levels=levels)
        if matched.source in real.scales:
            own = own._replace(step=real.scales[matched.source].scale / 2, span=real.span(matched.source))
        found[node] = own
    return found


def document(judged: Judged, *, pack: str, candidate: str, precision: str) -> dict[str, Any]:
    """The comparison as JSON: verdict, every golden tensor's entry, causes (best first), what matches nothing."""
    comparison, matching, reference = judged
    unmatched = list(matching.unmatched)
    causes = [entry for finding in comparison.findings for entry in _causes(comparison, finding)]
    notes = [
        f"{name}: no hypothesis explains it{': ' + words if words else ''}." for name, words in comparison.facts.items()
    ]
    notes += [
        f"{f.name}: so many nodes lie before it ({len(f.segment)}) that its bound says nothing; the yardstick is "
        "refnet's own spread over orders of summation. Dump a tensor between to have it judged."
        for f in comparison.findings
        if f.judgement.yardstick == "spread"
    ]
    notes += [
        f"{f.name}: nothing can vouch for it: its bound says nothing after {len(f.segment)} nodes, and refnet has no "
        "runs in this precision. Dump a tensor between."
        for f in comparison.findings
        if f.judgement.yardstick == "none"
    ]
    tied = [words for finding in comparison.findings if (words := _separated(comparison, finding.name))]
    notes += dict.fromkeys(tied)
    notes += _declarable(comparison)
    if unmatched:
        notes.append(
            f"{len(unmatched)} of the candidate's tensors match nothing: name them with --map or leave them out."
        )
    return {
        "verdict": "holds" if comparison.holds and not unmatched else "fails",
        "candidate": candidate,
        "pack": pack,
        "model": reference.graph.recipe.model,
        "precision": precision,
        "tensors": [_entry(finding, matching) for finding in comparison.findings],
        "causes": causes,
        "notes": notes,
        "unmatched": unmatched,
    }


_ALIKE_ON_EVEN_MAPS = {"pad-same", "pad-lower", "stride-phase", "stride-place"}
_SHORT_STORE = {store: SHORT_STORE.replace("float16", store) for store in ("float16", "bfloat16")}
_FLOAT16 = {"fp16-storage", "fp16-accumulate"}
_ONE_FUNCTION = {"input-range", "input-meanstd"}


def _separated(comparison: Comparison, name: str) -> str:
    """What would tell tied causes apart, or ''."""
    ids = {"+".join(cause.ids) for cause in comparison.causes.get(name, [])}
    if len(ids) < 2:
        return ""
    tied = f"{name}: {' and '.join(sorted(ids))} fit alike"
    if ids <= _ONE_FUNCTION:
        return f"{tied}: here they are one and the same arithmetic."
    if ids == _FLOAT16:
        return (  # of many tensors, so said once
            "Where fp16-accumulate and fp16-storage fit alike, dump the tensor in float32, before it is stored; if it "
            "is in steps of float16 all the same, sums are."
        )
    if ids <= _ALIKE_ON_EVEN_MAPS:
        return (
            f"{tied}: on maps of even sides they sample the same pixels; a pack of an odd size (--size) separates them."
        )
    return f"{tied} on this input; another one, such as that of refnet probe, may separate them."


def _declarable(comparison: Comparison) -> list[str]:
    """What many tensors have in common that is no mistake where it is meant, and how to say so."""
    found = Counter(cause.detail for causes in comparison.causes.values() for cause in causes if len(cause.ids) == 1)
    means = {_SHORT_STORE[store]: f"--precision {store}" for store in _SHORT_STORE} | {INT8_WEIGHTS: "--weights int8"}
    return [
        f"{found[words]} tensors: {words}. If the port is meant to be so, declare it with {option}."
        for words, option in means.items()
        if found[words] > 1
    ]


def _causes(comparison: Comparison, finding: Finding) -> list[dict[str, Any]]:
    found = comparison.causes.get(finding.name, [])
    return [
        {
            "id": "+".join(cause.ids),
            "node": finding.name,
            "place": cause.node,
            "sentence": cause.detail,
            "detail": "; ".join(HYPOTHESES[bug].sentence for bug in cause.ids),
            "link": " ".join(cause.links),
            "tie": index > 0,
        }
        for index, cause in enumerate(found)
    ]


def _entry(finding: Finding, matching: Assignment) -> dict[str, Any]:
    judgement, apart = finding.judgement, finding.accumulated
    matched = matching.tensors.get(finding.name)
    judged = bool(finding.segment)
    return {
        "name": finding.name,
        "verdict": judgement.verdict,
        "worst": _figure(judgement.worst) if judged and judgement.yardstick == "bound" else None,
        "expected": _figure(judgement.expected) if judged else None,
        "rms": _figure(judgement.rms) if judged else None,
        "error": _figure(judgement.error) if judged else None,
        "yardstick": judgement.yardstick if judged else None,
        "accumulated": None
        if apart is None
        else {key: _figure(value) for key, value in apart._asdict().items() if key != "channels"},
        "channels": None if apart is None else [_figure(value) for value in apart.channels[:64]],
        "segment": list(finding.segment),
        "source": matched.source if matched else None,
        "layout": matched.layout if matched else None,
    }


def _figure(value: float | None) -> float | str | None:
    """A JSON number, or 'inf' and 'nan' in words."""
    if value is None or np.isfinite(value):
        return value
    return str(value)


def pictures(judged: Judged) -> tuple[dict[str, Array], dict[str, tuple[Array, Array]]]:
    """Error maps and histograms of the tensors that are not fine, for the HTML report."""
    maps, histograms = {}, {}
    for name in judged.comparison.wrong():
        if name not in judged.matching.tensors or name not in judged.reference.stored:
            continue
        y, golden = judged.matching.tensors[name].array, judged.reference.golden(name)
        if y.shape != golden.shape or not np.isfinite(y).all():
            continue
        error = y.astype(np.float64) - golden
        histograms[name] = np.histogram(error, bins=41)
        if error.ndim == 4:
            maps[name] = np.abs(error).max(axis=(0, 1))
    return maps, histograms
