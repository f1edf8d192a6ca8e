"""What `compare` found, as the one JSON document that every report renders, with the sentences in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.patterns import Pattern
from refnet.judge.causes.search import Evidence
from refnet.judge.compare import Comparison
from refnet.judge.tensors import Finding, Judged
from refnet.pack.matching.extras import Extra
from refnet.pack.matching.match import Assignment
from refnet.report.comparison_notes import comparison_notes
from refnet.report.mistakes.bugs import of_port
from refnet.report.words import made_words, search_document, where

__all__ = ["cause_sentence", "comparison_document", "comparison_pictures", "extra_sentence", "verdict_line"]

Array = npt.NDArray[Any]

_EXTRAS = {
    "copy": "a copy of {node}",
    "padded": "{node} with a border",
    "part": "a part of {node}",
    "reshaped": "{node} in another shape",
    "before-bias": "what {node} makes before its bias is added",
    "before-norm": "what {node} makes before its batch norm, which the pack has folded",
    "unit": "as {node}, divided by its length",
    "scaled": "as {node}, times one number",
    "scaled-softmax": "what a softmax makes of {node}, times one number",
    "unknown": "nothing tells what it is: to have it judged, give its node with --map",
    "unread": "not read: {reason}",
}


def comparison_document(found: Comparison, *, pack: str, candidate: str, precision: str) -> dict[str, Any]:
    """The comparison as JSON: verdict, every golden tensor's entry, causes (best first), what matches nothing."""
    unmatched, findings = list(found.matching.unmatched), found.findings
    return {
        "verdict": "holds" if found.holds and not unmatched else "fails",
        "candidate": candidate,
        "pack": pack,
        "model": found.reference.graph.recipe.model,
        "precision": precision,
        "partial": found.judged.partial,
        "tensors": [_entry(finding, found.matching) for finding in findings],
        "causes": [entry for finding in findings for entry in _causes(found, finding)],
        "patterns": [_pattern(pattern) for pattern in found.judged.patterns],
        "evidence": [_evidence(name, sure) for name, sure in found.judged.evidence.items()],
        "search": search_document(found.judged.search),
        "notes": list(comparison_notes(found)),
        "unmatched": unmatched,
        "unsteady": [each._asdict() for each in found.unsteady],
        "extras": [{**extra._asdict(), "sentence": extra_sentence(extra)} for extra in found.matching.extras],
    }


def verdict_line(found: Judged) -> str:
    """What is known before causes are: how many tensors are off, and which is the first; '' where none is."""
    if not (off := found.wrong()):
        return ""
    count = f"{off[0]} is off" if len(off) == 1 else f"{len(off)} tensors are off, {off[0]} first"
    return f"{count}; looking for causes (Ctrl-C ends that)"


def _pattern(pattern: Pattern) -> dict[str, Any]:
    bug = BUGS[pattern.mistake.bug]
    return {
        "id": bug.id,
        "sentence": of_port(pattern.mistake),
        "where": where(pattern.scope),
        "places": list(pattern.nodes),
        "of": pattern.of,
        "tensors": list(pattern.tensors),
        "link": bug.link,
    }


def extra_sentence(extra: Extra) -> str:
    """What a tensor is that is no node's: 'a copy of stem.conv'."""
    return _EXTRAS[extra.kind].format(node=extra.node, reason=extra.reason)


def _evidence(name: str, sure: Evidence) -> dict[str, Any]:
    nearest = "" if sure.nearest is None else made_words(*sure.nearest)
    return {"name": name, **sure._asdict(), "nearest": nearest}


def _causes(found: Comparison, finding: Finding) -> Iterator[dict[str, Any]]:
    for index, cause in enumerate(found.causes.get(finding.name, [])):
        bugs = [BUGS[bug] for bug in cause.ids]
        yield {
            "id": "+".join(cause.ids),
            "node": finding.name,
            "place": finding.name if any(cause.extents) else ", ".join(cause.nodes),
            "places": list(cause.nodes),
            "sentence": cause_sentence(cause),
            "detail": "; ".join(bug.sentence for bug in bugs),
            "link": " ".join(bug.link for bug in bugs if bug.link),
            "tie": index > 0,
        }


def cause_sentence(cause: Cause) -> str:
    """What a port does, one mistake or two, and where, if one of them is at many places."""
    said = []
    for mistake, extent in cause.parts:
        alone = extent is None and any(cause.extents)
        said.append(made_words(mistake, extent) + (f", at {mistake.node}" if alone else ""))
    return ", and ".join(said)


def _entry(finding: Finding, matching: Assignment) -> dict[str, Any]:
    judgement, apart = finding.judgement, finding.accumulated
    matched = matching.tensors.get(finding.name)
    judged = bool(finding.segment) and judgement.verdict not in ("shape", "nonfinite")
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
        "follows": finding.follows or None,
        "source": matched.source if matched else None,
        "layout": matched.layout if matched else None,
    }


def _figure(value: float | None) -> float | str | None:
    """A JSON number, or 'inf' and 'nan' in words."""
    if value is None or np.isfinite(value):
        return value
    return str(value)


def comparison_pictures(found: Comparison) -> tuple[dict[str, Array], dict[str, tuple[Array, Array]]]:
    """Error maps and histograms of the tensors that are not fine, for the page."""
    maps, histograms = {}, {}
    for name in found.wrong():
        if name not in found.matching.tensors or name not in found.reference.stored:
            continue
        y, golden = found.matching.tensors[name].array, found.reference.golden(name)
        if y.shape != golden.shape or not np.isfinite(y).all():
            continue
        error = y.astype(np.float64) - golden
        if not np.isfinite(error.max() - error.min()):  # no histogram has such a range
            continue
        histograms[name] = np.histogram(error, bins=41)
        if error.ndim == 4:
            maps[name] = np.abs(error).max(axis=(0, 1))
    return maps, histograms
