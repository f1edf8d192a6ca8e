"""What a comparison has to say beside its verdicts and its causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from refnet.bugs.language.changes import Mistake
from refnet.judge.compare import Comparison
from refnet.judge.dumps.ends import LOGARITHMS
from refnet.judge.judging import Finding
from refnet.judge.verdicts import is_left_off
from refnet.readings.bounds.algorithms import ALGORITHMS
from refnet.report.mistakes.bugs import of_file, of_port
from refnet.report.mistakes.channels import otherwise_words
from refnet.report.mistakes.features import algorithm_words, displaced_words, feature_sentence
from refnet.report.words import evidence_words, unfinished

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

# What is seen of a tensor that explains it, by itself or beside what else is seen.
_PLAIN = ("input-size", "length", "more-channels", "fewer-channels", "not-finite", "size-follows", "widths")
_EXPLAINS = ("algorithm", "biases", "class-offsets", "norms", "own-weights", "permuted", "ratio", "shift", "weights")
_ENDS: Mapping[str, Callable[[Iterable[float]], float]] = {"least": min, "most": max}
_MANY = 3  # tensors of which one sentence is said
_OTHER_WEIGHTS = (
    "{count} layers compute what they should with other weights, {alike:.0f} % like the pack's: the port was given "
    "another file, or another state of training. {names}."
)
_PERHAPS_OTHER = (
    "{count} layers have too few points to tell, but other weights would explain them: perhaps the port was given "
    "another file, or another state of training. {names}."
)
_SHORT_WEIGHTS = (
    "{count} layers compute what they should with weights that are numbers of {store}, {alike:.0f} % like the pack's, "
    "but not those to which the pack's, folded or not, are rounded: they were rounded on the way, as where batch norm "
    "is folded in {store}. {names}."
)
_OWN_WEIGHTS = "{count} layers compute what they should with their own weights, but {words}. {names}."
_OTHER_BIASES = (
    "{count} layers compute what they should with the pack's weights, folded or not, and other biases: those of "
    "another file, or of another fold, or other means or betas of batch norm. {names}."
)
_OTHER_NORMS = (
    "{count} layers compute what they should with the pack's weights and other numbers of batch norm, each channel "
    "scaled, by {least:.4g} to {most:.4g}, and moved: other running statistics, as after passes in training mode, or "
    "with another average, or other gammas and betas. {names}."
)
_NONE = {True: "no hypothesis", False: "nothing that was looked at"}  # by whether all was looked at
_NONE_ELSE = {_NONE[True]: "no other hypothesis", _NONE[False]: "nothing else that was looked at"}
_NOTHING = "{count} tensors, {first} first: {none} explains any of them."
_NONE_RIGHT = (
    " No layer that is dumped is right by itself, as where the port has other weights: hold its file against the "
    "pack's with refnet verify, or dump each layer, whose weights can then be solved for."
)
_APART = (
    "{count} tensors, {first} first, agree with what stands before their convolutions, but to the last digits not with "
    "what is dumped of these: they are of runs of their own, as of a runtime that is asked for one tensor at a time."
)
_APART_ALONE = (
    "{first} agrees with what stands before its layer, but to the last digits not with the logits that are dumped: "
    "these are of a run of their own, or were computed beside it."
)
_OF_OTHER_WIDTHS = (
    "{names}: made of tensors that have another number of channels than the reference's, which its weights do not fit."
)
_FAST = (
    "{count} tensors, {first} first, are off by what {names}, and by no bug that is known. If the port computes so, "
    "declare it with --algorithm {name}."
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
_INNER = (
    "{count} tensors of integers are off by what half a step of a store inside their layers has room for, {first} "
    "first: if the port stores what their activations read in 8 bits, such as {node}, dump that too."
)
_LOGS = (
    "{} holds logarithms of probabilities, as of log_softmax: it is taken for {} up to a number for each image. If it "
    "is meant to be logits, the port has a log_softmax too many."
)
_STEPS = (
    "{count} tensors, {first} first, have at most 256 values, steps apart: they are what integers of 8 bits stand for, "
    "and are judged so."
)
_OF_SHORT_FACTORS = (
    "{names}: off by as much as where both factors of each product are rounded to tf32, as graphics processors do it "
    "unless they are told otherwise, and {none} explains it. With --precision tf32 it holds: declare that if so."
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
    yield from _unexplained(found)
    if judged.apart:
        words = _APART if len(judged.apart) > 1 else _APART_ALONE
        yield words.format(count=len(judged.apart), first=judged.apart[0])
    if judged.misdumped:
        yield _MISDUMPED.format(names=_first(judged.misdumped))
    for yardstick, words in (("spread", _LONG), ("none", _UNVOUCHED)):
        counts = {each.name: len(each.segment) for each in judged.findings if each.judgement.yardstick == yardstick}
        if counts:
            ends = dict.fromkeys((min(counts.values()), max(counts.values())))
            yield words.format(names=_first([*counts]), counts=" to ".join(map(str, ends)))
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


def _first(names: Sequence[str]) -> str:
    """Of many names the first, and how many more there are."""
    return ", ".join(names[:_MANY]) + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")


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
    if len(found.stepped) >= _MANY:
        yield _STEPPED.format(count=len(found.stepped), first=found.stepped[0])


def _unexplained(found: Comparison) -> Iterator[str]:
    """What no hypothesis explains: what many tensors have in common in one sentence, then each of the others."""
    features, said = found.judged.features, list[str]()
    none = _NONE[found.judged.search.finished]
    if found.shown.factors:
        yield _OF_SHORT_FACTORS.format(names=_first(found.wrong()), none=_NONE_ELSE[none])
        said += found.wrong()
    for words, names in _of_own_weights(found):
        yield _OWN_WEIGHTS.format(count=len(names), words=words, names=_listed(found, names))
        said += names
    weights = {name: own for name in features if (own := _facts_of(found, name, "weights"))}
    norms = {name: own[0] for name in features if (own := _facts_of(found, name, "norms"))}
    if len(weights) >= _MANY:  # of which file the norms beside them are then, too
        said += (told := [name for name in features if name in weights or name in norms])
        yield _of_weights(found, weights, told)
        norms = {}
    biases = [name for name in features if _facts_of(found, name, "biases")]
    if len(norms) >= _MANY:
        ends = {end: pick(facts[end] for facts in norms.values()) for end, pick in _ENDS.items()}
        said += (told := [*norms, *biases])  # where a norm's slopes are right too
        yield _OTHER_NORMS.format(count=len(told), names=_listed(found, told), **ends)
    elif len(biases) >= _MANY:
        yield _OTHER_BIASES.format(count=len(biases), names=_listed(found, biases))
        said += biases
    fast = {name: own[0]["names"] for name in features if (own := _facts_of(found, name, "algorithm"))}
    if len(fast) >= _MANY:
        yield _of_algorithms(fast)
        said += fast
    follows = [name for name in features if _facts_of(found, name, "width-follows")]
    said += follows
    inner = {name: own[0]["node"] for name in features if (own := _facts_of(found, name, "inner-store"))}
    if len(inner) >= _MANY:
        yield _INNER.format(count=len(inner), first=next(iter(inner)), node=next(iter(inner.values())))
        said += inner
    bare = [name for name, own in features.items() if not own and name not in said]
    if len(bare) > _MANY:
        more = _NONE_RIGHT if {*bare} == {each.name for each in found.findings if _has_weights(found, each)} else ""
        yield _NOTHING.format(count=len(bare), first=bare[0], none=none) + more
        said += bare
    for name in (each for each in features if each not in said):
        words, kinds = "; ".join(map(feature_sentence, features[name])), {each.kind for each in features[name]}
        if kinds and (kinds <= {*_PLAIN} or kinds & {*_EXPLAINS}):
            yield f"{name}: {words}."
        else:
            yield f"{name}: {none} explains it{': ' + words if words else ''}."
    if follows:
        yield _OF_OTHER_WIDTHS.format(names=_first(follows))


def _has_weights(found: Comparison, finding: Finding) -> bool:
    """Whether a tensor was judged, and layers with parameters lie between it and what stands before it."""
    graph = found.reference.graph
    return any(graph[node].params for node in finding.segment if node in graph)


def _facts_of(found: Comparison, name: str, kind: str) -> list[Mapping[str, Any]]:
    return [each.facts for each in found.judged.features[name] if each.kind == kind]


def _of_weights(found: Comparison, weights: Mapping[str, list[Mapping[str, Any]]], names: Collection[str]) -> str:
    """Many layers that compute with other weights, or with their own in another order.

    Parameters
    ----------
    names : these layers, and what else is of the same file
    """
    seen = [facts for each in weights.values() for facts in each]
    moved = {facts["moved"] for facts in seen}
    if None not in moved:
        return f"{_listed(found, names)}: {displaced_words(moved.pop() if len(moved) == 1 else 0)}."
    alike = sorted(facts["alike"] for facts in seen if facts["alike"] is not None)
    share = 100 * alike[len(alike) // 2] if alike else 0
    words = _OTHER_WEIGHTS if alike else _PERHAPS_OTHER
    ((store, many),) = Counter(facts["store"] for facts in seen).most_common(1)
    words = _SHORT_WEIGHTS if store and 2 * many > len(alike) else words
    return words.format(count=len(names), names=_listed(found, names), alike=share, store=store)


def _of_own_weights(found: Comparison) -> Iterator[tuple[str, list[str]]]:
    """How the weights of many layers are taken, and of which; what differs from layer to layer as far as it reaches."""
    taken: dict[tuple[str, str, int], dict[str, Mistake]] = {}
    for name in found.judged.features:
        for mistake in (facts["mistake"] for facts in _facts_of(found, name, "own-weights")):
            taken.setdefault((mistake.bug, mistake.form, mistake.facts.get("by", 0)), {})[name] = mistake
    for each in taken.values():
        first, every = next(iter(each.values())), [mistake.facts for mistake in each.values()]
        ends = {end: pick(facts[end] for facts in every) for end, pick in _ENDS.items() if end in first.facts}
        if len(each) >= _MANY:
            yield of_file(first._replace(facts={**first.facts, **ends})), [*each]


def _of_algorithms(fast: Mapping[str, Sequence[str]]) -> str:
    """Many tensors that a fast algorithm of convolution explains: all of them, if any does."""
    first, every = next(iter(fast)), [name for names in fast.values() for name in names]
    open_ = [name for name in ALGORITHMS if name in every]
    names = [name for name in open_ if every.count(name) == len(fast)] or open_
    return _FAST.format(count=len(fast), first=first, names=algorithm_words(names), name=names[0])


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


def _listed(found: Comparison, names: Collection[str]) -> str:
    """Names of some wrong layers; the first and the last where all layers between are among them."""
    layers = [each.name for each in found.findings if _has_weights(found, each)]
    ordered = sorted(names, key=layers.index)
    first, last = (layers.index(ordered[end]) for end in (0, -1))
    if len(ordered) > _MANY and not {*layers[first:last]} - {*ordered}:
        return f"These are all from {ordered[0]} to {ordered[-1]}"
    return f"These are {', '.join(ordered)}"


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
