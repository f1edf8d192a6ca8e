"""What a comparison has to say of the wrong tensors that no hypothesis explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from refnet.bugs.language.changes import Mistake
from refnet.judge.compare import Comparison
from refnet.judge.judging import Finding
from refnet.readings.bounds.algorithms import ALGORITHMS
from refnet.report.mistakes.bugs import of_file
from refnet.report.mistakes.features import algorithm_words, displaced_words, feature_sentence
from refnet.report.words import MANY, first_of

__all__ = ["unexplained_notes"]

_Facts = Mapping[str, Any]
_Said = tuple[Collection[str], str]  # tensors, and the sentence that is said of them

# What is seen of a tensor that explains it, by itself or beside what else is seen.
_PLAIN = {"input-size", "length", "more-channels", "fewer-channels", "not-finite", "size-follows", "widths"}
_EXPLAINS = {"algorithm", "biases", "class-offsets", "norms", "own-weights", "permuted", "ratio", "shift", "weights"}
_ENDS: Mapping[str, Callable[[Iterable[float]], float]] = {"least": min, "most": max}
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
_NOTHING = "{count} tensors, {first} first: {none} explains any of them."
_NONE_RIGHT = (
    " No layer that is dumped is right by itself, as where the port has other weights: hold its file against the "
    "pack's with refnet verify, or dump each layer, whose weights can then be solved for."
)
_OF_OTHER_WIDTHS = (
    "{names}: made of tensors that have another number of channels than the reference's, which its weights do not fit."
)
_FAST = (
    "{count} tensors, {first} first, are off by what {names}, and by no bug that is known. If the port computes so, "
    "declare it with --algorithm {name}."
)
_INNER = (
    "{count} tensors of integers are off by what half a step of a store inside their layers has room for, {first} "
    "first: if the port stores what their activations read in 8 bits, such as {node}, dump that too."
)
_OF_SHORT_FACTORS = (
    "{names}: off by as much as where both factors of each product are rounded to tf32, as graphics processors do it "
    "unless they are told otherwise, and {none} explains it. With --precision tf32 it holds: declare that if so."
)


def unexplained_notes(found: Comparison) -> Iterator[str]:
    """What many tensors have in common in one sentence, then each of the others."""
    said = set[str]()
    for group in _GROUPS:
        for names, sentence in group(found, [name for name in found.judged.features if name not in said]):
            said |= {*names}
            yield sentence
    follows = [name for name in found.judged.features if _facts_of(found, name, "width-follows")]
    for name in found.judged.features:
        if name not in said and name not in follows:
            yield _of_one(found, name)
    if follows:
        yield _OF_OTHER_WIDTHS.format(names=first_of(follows))


def _none(found: Comparison) -> str:
    """The subject of a sentence about what was looked at in vain."""
    return "no hypothesis" if found.judged.search.finished else "nothing that was looked at"


def _of_short_factors(found: Comparison, _: Sequence[str]) -> Iterator[_Said]:
    """What holds where both factors of each product are short."""
    if found.shown.factors:
        none = "no other hypothesis" if found.judged.search.finished else "nothing else that was looked at"
        yield found.wrong(), _OF_SHORT_FACTORS.format(names=first_of(found.wrong()), none=none)


def _of_own_weights(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    """Layers that take their own weights in one wrong way; what differs among them, as far as it reaches."""
    taken: dict[tuple[str, str, int], dict[str, Mistake]] = {}
    for name in left:
        for mistake in (facts["mistake"] for facts in _facts_of(found, name, "own-weights")):
            taken.setdefault((mistake.bug, mistake.form, mistake.facts.get("by", 0)), {})[name] = mistake
    for each in taken.values():
        first, every = next(iter(each.values())), [mistake.facts for mistake in each.values()]
        ends = {end: pick(facts[end] for facts in every) for end, pick in _ENDS.items() if end in first.facts}
        if len(each) >= MANY:
            words = of_file(first._replace(facts={**first.facts, **ends}))
            yield each, _OWN_WEIGHTS.format(count=len(each), words=words, names=_listed(found, each))


def _of_other_weights(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    """Layers with other weights, and the norms beside them, which are of the same file then."""
    weights = {name: facts for name in left if (facts := _facts_of(found, name, "weights"))}
    if len(weights) >= MANY:
        names = [name for name in left if name in weights or _facts_of(found, name, "norms")]
        yield names, _weights_sentence(found, [each for facts in weights.values() for each in facts], names)


def _weights_sentence(found: Comparison, seen: Sequence[_Facts], names: Collection[str]) -> str:
    """Many layers that compute with other weights, or with their own in another order.

    Parameters
    ----------
    seen : what was seen of each of these layers
    names : these layers, and what else is of the same file
    """
    moved = {facts["moved"] for facts in seen}
    if None not in moved:
        return f"{_listed(found, names)}: {displaced_words(moved.pop() if len(moved) == 1 else 0)}."
    alike = sorted(facts["alike"] for facts in seen if facts["alike"] is not None)
    share = 100 * alike[len(alike) // 2] if alike else 0
    words = _OTHER_WEIGHTS if alike else _PERHAPS_OTHER
    ((store, many),) = Counter(facts["store"] for facts in seen).most_common(1)
    words = _SHORT_WEIGHTS if store and 2 * many > len(alike) else words
    return words.format(count=len(names), names=_listed(found, names), alike=share, store=store)


def _of_other_norms(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    """Layers with other numbers of batch norm, or with other biases alone, where a norm's slopes are right too."""
    norms = {name: facts[0] for name in left if (facts := _facts_of(found, name, "norms"))}
    biases = [name for name in left if _facts_of(found, name, "biases")]
    if len(norms) >= MANY:
        names = [*norms, *biases]
        ends = {end: pick(facts[end] for facts in norms.values()) for end, pick in _ENDS.items()}
        yield names, _OTHER_NORMS.format(count=len(names), names=_listed(found, names), **ends)
    elif len(biases) >= MANY:
        yield biases, _OTHER_BIASES.format(count=len(biases), names=_listed(found, biases))


def _of_algorithms(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    """What fast algorithms of convolution explain, called by those that explain each of the tensors, if any does."""
    fast = {name: facts[0]["names"] for name in left if (facts := _facts_of(found, name, "algorithm"))}
    if len(fast) >= MANY:
        fitting = Counter(each for names in fast.values() for each in names)
        any_ = [each for each in ALGORITHMS if fitting[each]]
        all_ = [each for each in any_ if fitting[each] == len(fast)] or any_
        yield fast, _FAST.format(count=len(fast), first=next(iter(fast)), names=algorithm_words(all_), name=all_[0])


def _of_inner_stores(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    """Integers that are stored once more inside their layers."""
    inner = {name: facts[0]["node"] for name in left if (facts := _facts_of(found, name, "inner-store"))}
    if len(inner) >= MANY:
        first, node = next(iter(inner.items()))
        yield inner, _INNER.format(count=len(inner), first=first, node=node)


def _of_which_nothing_is_seen(found: Comparison, left: Sequence[str]) -> Iterator[_Said]:
    bare = [name for name in left if not found.judged.features[name]]
    if len(bare) > MANY:
        more = _NONE_RIGHT if {*bare} == {each.name for each in found.findings if _has_weights(found, each)} else ""
        yield bare, _NOTHING.format(count=len(bare), first=bare[0], none=_none(found)) + more


_GROUPS = (
    _of_short_factors,
    _of_own_weights,
    _of_other_weights,
    _of_other_norms,
    _of_algorithms,
    _of_inner_stores,
    _of_which_nothing_is_seen,
)


def _of_one(found: Comparison, name: str) -> str:
    """What is seen of one tensor, and whether that explains it."""
    features = found.judged.features[name]
    words, kinds = "; ".join(map(feature_sentence, features)), {each.kind for each in features}
    if kinds and (kinds <= _PLAIN or kinds & _EXPLAINS):
        return f"{name}: {words}."
    return f"{name}: {_none(found)} explains it{': ' + words if words else ''}."


def _has_weights(found: Comparison, finding: Finding) -> bool:
    """Whether a tensor was judged, and layers with parameters lie between it and what stands before it."""
    graph = found.reference.graph
    return any(graph[node].params for node in finding.segment if node in graph)


def _facts_of(found: Comparison, name: str, kind: str) -> list[_Facts]:
    return [each.facts for each in found.judged.features[name] if each.kind == kind]


def _listed(found: Comparison, names: Collection[str]) -> str:
    """Names of some wrong layers; the first and the last where all layers between are among them."""
    layers = [each.name for each in found.findings if _has_weights(found, each)]
    ordered = sorted(names, key=layers.index)
    first, last = (layers.index(ordered[end]) for end in (0, -1))
    if len(ordered) > MANY and not {*layers[first:last]} - {*ordered}:
        return f"These are all from {ordered[0]} to {ordered[-1]}"
    return f"These are {', '.join(ordered)}"
