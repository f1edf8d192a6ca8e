"""What `compare` found, as the one JSON document that every report renders, with the sentences in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.bugs.changes import Mistake
from refnet.judge.cause import Cause
from refnet.judge.compare import Comparison
from refnet.judge.describe import Feature
from refnet.judge.ends import LOGARITHMS
from refnet.judge.search import Pattern
from refnet.judge.tensors import Finding
from refnet.pack.extras import Extra
from refnet.pack.match import Assignment
from refnet.report.bugs import of_port
from refnet.report.late import part_words
from refnet.report.words import evidence_words, search_document, unfinished, where

__all__ = ["cause_sentence", "comparison_document", "comparison_pictures", "extra_sentence", "feature_sentence"]

Array = npt.NDArray[Any]

_ALIKE_ON_EVEN_MAPS = {"pad-same", "pad-lower", "stride-phase", "stride-place"}
_FLOAT16 = {"fp16-storage", "fp16-accumulate"}
_ONE_FUNCTION = {"input-range", "input-meanstd"}

# What may be meant, by bug and form, and how to declare it.
_DECLARED = {
    ("fp16-storage", "float16"): "--precision float16",
    ("fp16-storage", "bfloat16"): "--precision bfloat16",
    ("factors-tf32", "tf32"): "--precision tf32",
    ("weights-int8", "channel"): "--weights int8",
}

_EXTRAS = {
    "copy": "a copy of {node}",
    "padded": "{node} with a border",
    "part": "a part of {node}",
    "reshaped": "{node} in another shape",
    "unknown": "nothing tells what it is; no node lacks a tensor of its shape",
    "unread": "not read: {reason}",
}
_OF_SIZE = ("input-size", "length")  # what is seen of a tensor of another size, which explains it
_MANY = 3  # tensors of which one sentence is said
_OTHER_WEIGHTS = (
    "{count} layers compute what they should with other weights, {alike:.0f} % like the pack's: the port was given "
    "another file, or another state of training. {names}."
)
_PERHAPS_OTHER = (
    "{count} layers have too few points to tell, but other weights would explain them: perhaps the port was given "
    "another file, or another state of training. {names}."
)
_FAST = (
    "{count} tensors, {first} first, are off by what {names} leaves of rounding, and by no bug that is known. If the "
    "port computes so, declare it with --algorithm {name}."
)
_UNSTEADY = {
    "dropped": "what is zero in one run is not in the other, so dropout is on",
    "part": "only in {part}: memory that was not set, or written while it was read (a race, a buffer that is shared)",
    "order": "by what another order of sums leaves (threads, atomics)",
    "other": "it is not computed from the input alone (training mode, memory that was not set, a race)",
}
_SHIFTED = {
    "input": "Each tensor holds the layer's input, not what the layer makes of it: it is judged where it belongs.",
    "before": "Each tensor holds what the layer before it in the list makes: it is judged where it belongs.",
    "after": "Each tensor holds what the layer behind it in the list makes: it is judged where it belongs.",
}
_TWINS = (
    "Everywhere, at {count} places, {first} first, the tensor is already normalised or activated: it is the same as "
    "that of the layer behind it, as where batch norm is folded. It is judged as that layer's."
)
_MISDUMPED = "{names}: what follows was made of the right numbers, so that the dump errs here, not the port."
_ENCODING = {
    "big-endian": "The raw files hold numbers with the highest byte first (big-endian), and are read so.",
    "width": "The raw files hold {dtype}, not float32, and are read so.",
    "decimals": "The numbers were printed with {count} decimals: half a unit of the last one is allowed.",
    "digits": "The numbers were printed with {count} significant digits: half a unit of the last one is allowed.",
    "images": "The port has {images} of the pack's {of} images, from image {first} on: they alone are judged.",
    "bytes": "The integers are said to be {found}, but their zero points are of {known}: they are read so.",
    "bytes-shifted": "The integers are {found}, but their zero points are of {known}, 128 away: they are read so.",
    "repeated": "The port has {images} images: the first {first} are judged.",
}
_STEPPED = (
    "{count} tensors, {first} first, have at most 256 values, steps apart: they are of integers of 8 bits. If the port "
    "is meant to be so, dump the integers, and give their scales with --scales."
)
_CUT = "{} of {} tensors of integers hold within what steps of their inputs allow, but {}."
_LOGS = (
    "{} holds logarithms of probabilities, as of log_softmax: it is taken for {} up to a number for each image. If it "
    "is meant to be logits, the port has a log_softmax too many."
)
_NARROW = "The arrays are float64, but what they hold was computed in float32, and is judged so."

_LONG = (
    "{name}: so many nodes lie before it ({count}) that its bound says nothing; the yardstick is refnet's own spread "
    "over orders of summation. Dump a tensor between to have it judged."
)
_UNVOUCHED = (
    "{name}: nothing can vouch for it: its bound says nothing after {count} nodes, and refnet has no runs in this "
    "precision. Dump a tensor between."
)


def comparison_document(found: Comparison, *, pack: str, candidate: str, precision: str) -> dict[str, Any]:
    """The comparison as JSON: verdict, every golden tensor's entry, causes (best first), what matches nothing."""
    unmatched, findings = list(found.matching.unmatched), found.findings
    return {
        "verdict": "holds" if found.holds and not unmatched else "fails",
        "candidate": candidate,
        "pack": pack,
        "model": found.reference.graph.recipe.model,
        "precision": precision,
        "tensors": [_entry(finding, found.matching) for finding in findings],
        "causes": [entry for finding in findings for entry in _causes(found, finding)],
        "patterns": [_pattern(pattern) for pattern in found.judged.patterns],
        "evidence": [{"name": name, **sure._asdict()} for name, sure in found.judged.evidence.items()],
        "search": search_document(found.judged.search),
        "notes": list(_notes(found)),
        "unmatched": unmatched,
        "unsteady": [each._asdict() for each in found.unsteady],
        "extras": [{**extra._asdict(), "sentence": extra_sentence(extra)} for extra in found.matching.extras],
    }


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


def _notes(found: Comparison) -> Iterator[str]:
    """What is to be said beside the verdicts and the causes."""
    judged = found.judged
    if found.matching.shift:
        yield _SHIFTED[found.matching.shift]
    if twins := found.matching.twins:
        yield _TWINS.format(count=len(twins), first=twins[0])
    manners = Counter(manner for manners in judged.stored.values() for manner in manners)
    for manner, count in manners.most_common(1) if judged.holds else ():
        if count >= _MANY:
            yield _CUT.format(count, len(judged.stored), of_port(Mistake("store-rounding", "", manner, {})))
    if len(found.stepped) >= _MANY:
        yield _STEPPED.format(count=len(found.stepped), first=found.stepped[0])
    other = [name for name, features in judged.features.items() if any(each.kind == "weights" for each in features)]
    if len(other) >= _MANY:
        weights = [each for name in other for each in judged.features[name] if each.kind == "weights"]
        alike = sorted(each.facts["alike"] for each in weights if each.facts["alike"] is not None)
        words = _OTHER_WEIGHTS if alike else _PERHAPS_OTHER
        share = 100 * alike[len(alike) // 2] if alike else 0
        moved = {each.facts["moved"] for each in weights}
        if None not in moved:
            yield f"{_listed(found, other)}: {_moved(moved.pop() if len(moved) == 1 else 0)}."
        else:
            yield words.format(count=len(other), names=_listed(found, other), alike=share)
    fast = {
        name: each.facts["names"]
        for name, features in judged.features.items()
        for each in features
        if each.kind == "algorithm"
    }
    several = len(fast) >= _MANY
    if several:
        alike = [each for each in next(iter(fast.values())) if all(each in names for names in fast.values())]
        names = alike or sorted({each for names in fast.values() for each in names})
        yield _FAST.format(count=len(fast), first=next(iter(fast)), names=" or ".join(names), name=names[0])
    for name, features in judged.features.items():
        if (len(other) >= _MANY and name in other) or (several and name in fast):
            continue
        words = "; ".join(map(feature_sentence, features))
        if features and all(each.kind in _OF_SIZE for each in features):
            yield f"{name}: {words}."
        else:
            yield f"{name}: no hypothesis explains it{': ' + words if words else ''}."
    if judged.misdumped:
        more = len(judged.misdumped) - _MANY
        some = ", ".join(judged.misdumped[:_MANY]) + (f" and {more} more" if more > 0 else "")
        yield _MISDUMPED.format(names=some)
    for yardstick, words in (("spread", _LONG), ("none", _UNVOUCHED)):
        for each in judged.findings:
            if each.judgement.yardstick == yardstick:
                yield words.format(name=each.name, count=len(each.segment))
    yield from (evidence_words(name, each) for name, each in judged.evidence.items())
    if not judged.search.finished:
        yield unfinished(judged.search)
    tied = (_separated(each.name, judged.causes.get(each.name, [])) for each in judged.findings)
    yield from dict.fromkeys(words for words in tied if words)
    yield from _declarable(found)
    if found.unsteady:
        first = found.unsteady[0]
        part = ", ".join(f"{begin}" if end == begin + 1 else f"{begin}:{end}" for begin, end in first.part)
        how = _UNSTEADY[first.kind].format(part=f"[{part}]")
        yield f"run again, {len(found.unsteady)} tensors are others, {first.node or first.source} first: {how}."
    for encoding in found.encodings:
        yield _ENCODING[encoding.kind].format(**encoding.facts)
    logs = ((node, each.source) for node, each in found.matching.tensors.items() if each.layout == LOGARITHMS)
    yield from (_LOGS.format(source, node) for node, source in logs)
    if found.narrow:
        yield _NARROW
    if count := len(found.matching.unmatched):
        yield f"{count} of the candidate's tensors may be what is missing: name them with --map or leave them out."


def _moved(step: int) -> str:
    """Filters that are those of other channels."""
    words = "its filters are the layer's own in another order"
    return f"{words}: that of channel k is at channel k {'+' if step > 0 else '-'} {abs(step)}" if step else words


def _listed(found: Comparison, names: list[str]) -> str:
    """Names of some wrong layers; the first and the last where all layers between are among them."""
    graph, judged = found.reference.graph, [each for each in found.findings if each.segment]
    layers = [each.name for each in judged if any(graph[node].params for node in each.segment if node in graph)]
    names = sorted(names, key=layers.index)
    first, last = (layers.index(names[end]) for end in (0, -1))
    if len(names) > _MANY and not {*layers[first:last]} - {*names}:
        return f"These are all from {names[0]} to {names[-1]}"
    return f"These are {', '.join(names)}"


def _separated(name: str, causes: list[Cause]) -> str:
    """What would tell tied causes apart, or ''."""
    ids = {"+".join(cause.ids) for cause in causes}
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


def _declarable(found: Comparison) -> Iterator[str]:
    """What many tensors have in common that is no mistake where it is meant, and how to say so."""
    alone = [cause.mistakes[0] for causes in found.causes.values() for cause in causes if len(cause.mistakes) == 1]
    counts = Counter((mistake.bug, mistake.form) for mistake in alone)
    said = {(mistake.bug, mistake.form): of_port(mistake) for mistake in alone}
    for key, option in _DECLARED.items():
        if counts[key] > 1:
            yield f"{counts[key]} tensors: {said[key]}. If the port is meant to be so, declare it with {option}."


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
    """What a port does, one mistake or two, and where, if that is at many places."""
    return ", and ".join(
        of_port(mistake) if extent is None else f"{of_port(mistake)}, {where(extent.scope)}"
        for mistake, extent in cause.parts
    )


def feature_sentence(feature: Feature) -> str:
    """What can be seen in an error: 'it is 1.25 times the reference throughout'."""
    facts = feature.facts
    match feature.kind:
        case "cut-off":
            ends = " or ".join(f"{side} {value:.6g}" for side, value in facts.items())
            return f"what the reference has {ends} is cut off"
        case "images" | "channels" | "channel-step" | "channel-run" as kind:
            several = kind == "channel-run" or len(facts.get("images", ())) > 1
            more = {
                "images": ": something is kept from one image to the next",
                "channel-step": f", from {facts.get('first')} on",
            }
            return f"only {part_words(kind, facts)} {'are' if several else 'is'} off{more.get(kind, '')}"
        case "lines":
            side = "first" if facts["first"] == 0 else "last"
            held = f", which hold {facts['value']:g} throughout" if "value" in facts else ""
            return f"only the {side} {facts['count']} of {facts['of']} {facts['axis']} are off{held}"
        case "border":
            return f"only the border is off, where the padding is read: {', '.join(facts['sides'])}"
        case "offset":
            steps = f": its zero point is {-facts['steps']:+d} off" if "steps" in facts else ""
            return f"{facts['constant']:.6g} is added throughout{steps}"
        case "ratio":
            return f"it is {facts['factor']:.7g} times the reference throughout"
        case "affine":
            return "every channel is a slope and an offset away (batch norm, a bias, or weights scaled by channel)"
        case "algorithm":
            names = facts["names"]
            return (
                f"it is what {' or '.join(names)} leaves of rounding: if the port computes so, --algorithm {names[0]}"
            )
        case "weights" if facts["alike"] is None:
            return "other weights would explain it, but it has too few points to tell"
        case "weights" if facts["moved"] is not None:
            return _moved(facts["moved"])
        case "weights":
            return f"other weights and biases explain it, {100 * facts['alike']:.0f} % like the layer's own"
        case "saturated":
            return "its probabilities are zeros and ones, which mistakes of many kinds make: dump the logits"
        case "table":
            reach = f"from {facts['low']:.3g} to {facts['high']:.3g}"
            return (
                f"it takes {facts['entries']} values, in steps of {facts['step']:.2g} of its input {reach}, "
                "as a table does"
            )
        case "input-size":
            (height, width), (own_height, own_width) = facts["found"], facts["known"]
            return f"the port was run on an input of {height} x {width}, and the pack is of {own_height} x {own_width}"
        case "length":
            state = "cut short" if facts["held"] < facts["of"] else "longer than the tensor"
            right = "; what is there is right" if facts["right"] else ""
            return f"the dump is {state}: it has {facts['held']:,} numbers of {facts['of']:,}{right}"
        case "shift":
            return f"it is the reference shifted by {facts['pixels']} pixels"
    return "it holds the reference's values in another order"


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
