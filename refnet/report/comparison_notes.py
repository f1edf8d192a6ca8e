"""What a comparison has to say beside its verdicts and its causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from refnet.judge.compare import Comparison
from refnet.judge.dumps.ends import LOGARITHMS
from refnet.judge.verdicts import is_left_off
from refnet.report.mistakes.bugs import of_port
from refnet.report.mistakes.channels import otherwise_words
from refnet.report.unexplained import unexplained_notes
from refnet.report.words import MANY, evidence_words, first_of, unfinished

__all__ = ["comparison_notes"]

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

_APART = (
    "{count} tensors, {first} first, agree with what stands before their convolutions, but to the last digits not with "
    "what is dumped of these: they are of runs of their own, as of a runtime that is asked for one tensor at a time."
)
_APART_ALONE = (
    "{first} agrees with what stands before its layer, but to the last digits not with the logits that are dumped: "
    "these are of a run of their own, or were computed beside it."
)
_UNSTEADY = {
    "dropped": "what is zero in one run is not in the other, so dropout is on",
    "path": "in each image the sum has another multiple of the block's result, so stochastic depth (drop path) is on",
    "images": "only in whole images, {part}: a branch that is left out of some (stochastic depth, drop path), or "
    "memory that was not set",
    "part": "only in {part}: memory that was not set, or written while it was read (a race, a buffer that is shared)",
    "order": "by what another order of sums leaves (threads, atomics)",
    "other": "it is not computed from the input alone (training mode such as dropout, memory that was not set, a race)",
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
_FUSED = (
    "{count} tensors, {first} first, hold what batch norm or the activation makes of the layer that they are called "
    "after, as where it is folded or fused. Each is judged as that."
)
_UNFOLDED = (
    "{count} tensors, {first} first, are before batch norm, which the pack has folded: each is judged with the factor "
    "and the offset of each channel that fit it best. To have batch norm itself judged, dump it, or its activation."
)
_NOT_FINITE = (
    "{names}: infinite or NaN in part, and nothing tells what is held there: name the node with --map, or leave it out."
)
_UNLIKE_PICTURE = (
    "{}: the picture is of no use here, since refnet knows no way in which the pack's input was made of it; verdicts "
    "need none, and causes are looked for without it."
)
_LEFT_OFF = (
    "{name}: the port ends before this softmax, and is judged without it. If it is meant to give probabilities, dump "
    "them too."
)
_MISDUMPED = "{names}: what follows was made of the right numbers, so that the dump errs here, not the port."
_ENCODING = {
    "big-endian": "The raw files hold numbers with the highest byte first (big-endian), and are read so.",
    "width": "The raw files hold {dtype}, not float32, and are read so.",
    "decimals": "The numbers were printed with {count} decimals: half a unit of the last one is allowed.",
    "digits": "The numbers were printed with {count} significant digits: half a unit of the last one is allowed.",
    "levels": "Its probabilities are of {count} levels, as bytes hold them: a level is allowed.",
    "images": "The port has {images} of the pack's {of} images, from image {first} on: they alone are judged.",
    "bytes": "The integers are said to be {found}, but their zero points are of {known}: they are read so.",
    "bytes-shifted": "The integers are {found}, but their zero points are of {known}, 128 away: they are read so.",
    "repeated": "The port has {images} images: the first {first} are judged.",
}
_STEPPED = (
    "{count} tensors, {first} first, have at most 256 values, steps apart: they are of integers of 8 bits. If the port "
    "is meant to be so, dump the integers, and give their scales with --scales."
)
_LOGS = (
    "{} holds logarithms of probabilities, as of log_softmax: it is taken for {} up to a number for each image. If it "
    "is meant to be logits, the port has a log_softmax too many."
)
_STEPS = (
    "{count} tensors, {first} first, have at most 256 values, steps apart: they are what integers of 8 bits stand for, "
    "and are judged so."
)
_OF_8_BITS = {
    "judged": "Most of it is right only if the port's weights are integers of 8 bits, and is judged so, as with "
    "--weights int8.",
    "told": "With --weights int8 most of it holds: declare that if the port's weights are integers of 8 bits.",
}
_NARROW = "The arrays are float64, but what they hold was computed in float32, and is judged so."

_SATURATED = (
    "{name}: its probabilities are 0 and 1 alone, which tell the likeliest class and nothing else: dump the logits, or "
    "take another input."
)
_LONG = (
    "{names}: a bound says nothing behind so many nodes ({counts}); the yardstick is refnet's own spread over orders "
    "of summation. Dump a tensor between to have it judged."
)
_UNVOUCHED = (
    "{names}: nothing can vouch for it: a bound says nothing behind so many nodes ({counts}), and refnet has no runs "
    "in this precision. Dump a tensor between."
)
_TOLD_BY_VERIFY = (
    "Weights of another file, or of another state of training, leave such errors too: refnet verify PACK --against "
    "FILE tells whether those of the port are the pack's."
)


def comparison_notes(found: Comparison) -> Iterator[str]:
    """Each as a sentence: how tensors were taken, what nothing explains, by what is judged, what would tell more."""
    judged = found.judged
    yield from _of_places(found)
    yield from _of_integers(found)
    yield from unexplained_notes(found)
    if judged.apart:
        words = _APART if len(judged.apart) > 1 else _APART_ALONE
        yield words.format(count=len(judged.apart), first=judged.apart[0])
    if judged.misdumped:
        yield _MISDUMPED.format(names=first_of(judged.misdumped))
    for yardstick, words in (("spread", _LONG), ("none", _UNVOUCHED)):
        counts = {each.name: len(each.segment) for each in judged.findings if each.judgement.yardstick == yardstick}
        if counts:
            ends = dict.fromkeys((min(counts.values()), max(counts.values())))
            yield words.format(names=first_of([*counts]), counts=" to ".join(map(str, ends)))
    yield from (_SATURATED.format(name=name) for name in found.saturated)
    yield from (evidence_words(name, each) for name, each in judged.evidence.items())
    open_ = [each for each in judged.evidence.values() if each.left >= each.rest and each.nearest is None]
    if open_ and not any(judged.causes.values()):
        yield _TOLD_BY_VERIFY
    if not judged.search.finished:
        yield unfinished(judged.search)
    tied: dict[frozenset[str], list[str]] = {}
    for each in judged.findings:
        ids = frozenset("+".join(cause.ids) for cause in judged.causes.get(each.name, []))
        tied.setdefault(ids, []).append(each.name)
    yield from (_separated(names, ids) for ids, names in tied.items() if len(ids) > 1)
    yield from _declarable(found)
    yield from _of_dump(found)


def _of_places(found: Comparison) -> Iterator[str]:
    """Tensors that are judged as those of other nodes than they are called."""
    if found.matching.shift:
        yield _SHIFTED[found.matching.shift]
    if twins := found.matching.twins:
        yield _TWINS.format(count=len(twins), first=twins[0])
    if fused := found.matching.fused:
        yield _FUSED.format(count=len(fused), first=fused[0])
    if unfolded := found.matching.unfolded:
        yield _UNFOLDED.format(count=len(unfolded), first=next(iter(unfolded)))
    graph, known = found.reference.graph, found.matching.tensors
    yield from (_LEFT_OFF.format(name=name) for name in graph.outputs if is_left_off(graph, name, known))


def _of_integers(found: Comparison) -> Iterator[str]:
    """Tensors that look as if they were integers."""
    if len(found.stepped) >= MANY:
        yield _STEPPED.format(count=len(found.stepped), first=found.stepped[0])


def _of_dump(found: Comparison) -> Iterator[str]:
    """How the candidate's files were read, and what is odd about them."""
    if found.unsteady:
        first = found.unsteady[0]
        part = ", ".join(f"{begin}" if end == begin + 1 else f"{begin}:{end}" for begin, end in first.part)
        how = _UNSTEADY[first.kind].format(part=f"[{part}]")
        yield f"run again, {len(found.unsteady)} tensors are others, {first.node or first.source} first: {how}."
    if found.unlike_picture:
        yield _UNLIKE_PICTURE.format(found.unlike_picture)
    yield from map(otherwise_words, found.otherwise)
    for encoding in found.encodings:
        yield _ENCODING[encoding.kind].format(**encoding.facts)
    logs = ((node, each.source) for node, each in found.matching.tensors.items() if each.layout == LOGARITHMS)
    yield from (_LOGS.format(source, node) for node, source in logs)
    if found.shown.narrow:
        yield _NARROW
    if steps := found.shown.steps:
        yield _STEPS.format(count=len(steps), first=steps[0])
    if found.shown.weights:
        yield _OF_8_BITS[found.shown.weights]
    if found.not_finite:
        yield _NOT_FINITE.format(names=", ".join(found.not_finite))
    if count := len({*found.matching.unmatched} - {*found.not_finite}):
        yield f"{count} of the candidate's tensors may be what is missing: name them with --map or leave them out."


def _separated(names: Sequence[str], ids: frozenset[str]) -> str:
    """What would tell the causes apart that some tensors have in common."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    tied = f"{names[0]}{more}: {' and '.join(sorted(ids))} fit alike"
    if ids <= _ONE_FUNCTION:
        return f"{tied}: here they are one and the same arithmetic."
    if ids == _FLOAT16:
        return (  # of many tensors, so said once
            "Where fp16-accumulate and fp16-storage fit alike, dump the tensor in float32, before it is stored; if it "
            "is in steps of the short format all the same, sums are."
        )
    if ids <= _ALIKE_ON_EVEN_MAPS:
        return f"{tied}: on an even side they sample the same pixels; a pack of odd sides (--size) separates them."
    return f"{tied} on this input; another one, such as that of refnet probe, may separate them."


def _declarable(found: Comparison) -> Iterator[str]:
    """What many tensors have in common, or the only one, that is no mistake where it is meant; and how to say so."""
    alone = [cause.mistakes[0] for causes in found.causes.values() for cause in causes if len(cause.mistakes) == 1]
    counts = Counter((mistake.bug, mistake.form) for mistake in alone)
    said = {(mistake.bug, mistake.form): of_port(mistake) for mistake in alone}
    for key, option in _DECLARED.items():
        if counts[key] > 1 or (counts[key] and len(found.wrong()) == 1):
            tensors = f"{counts[key]} tensor{'s' if counts[key] > 1 else ''}"
            yield f"{tensors}: {said[key]}. If the port is meant to be so, declare it with {option}."
