"""What can be seen in the error of a tensor that no bug explains, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from refnet.judge.causes.feature import Feature
from refnet.judge.causes.widths import VENDORS
from refnet.networks.plan import WidthRule
from refnet.report.mistakes.bugs import of_file
from refnet.report.mistakes.late import part_words
from refnet.report.mistakes.narrower import rounded_words

__all__ = ["algorithm_words", "displaced_words", "feature_sentence"]

_Facts = Mapping[str, Any]

_OF_STORE = (
    "weights that are numbers of {store} explain it, but not those to which its own, or the folded ones, are rounded: "
    "they were rounded on the way, as where batch norm is folded in {store}"
)
_SAID = {
    "affine": "every channel is a slope and an offset away (batch norm, a bias, or weights scaled by channel)",
    "biases": "other biases explain it, with the layer's own weights",
    "norms": "other numbers of batch norm explain it, with the layer's own weights: each channel is scaled, by "
    "{least:.4g} to {most:.4g}, and moved",
    "class-offsets": "each class is off by one number in all images, by {least:+.4g} to {most:+.4g}: {node} with its "
    "own weights and other biases, those of another file or of another state of training, explains it",
    "input-size": "its size, and all behind it, are those of an input of {found[0]} x {found[1]}; the pack is of "
    "{known[0]} x {known[1]}",
    "permuted": "it holds the reference's values in another order",
    "ratio": "it is {factor:.7g} times the reference throughout",
    "limits": "its activation has cut off every number, which mistakes of many kinds make",
    "saturated": "its probabilities are zeros and ones, which mistakes of many kinds make: dump the logits",
    "shift": "it is the reference shifted by {pixels} pixels",
    "fewer-channels": "it has {found} channels or classes, not {known}: those {where} the others, which are right, are "
    "left out",
    "more-channels": "it has {found} channels or classes, not {known}: what is more comes {where} the "
    "reference's, which are right",
    "size-follows": "it has another size, as {before} has, of which it is made",
    "width-follows": "it is made of {before}, which has another number of channels than the reference's",
    "table": "it takes {entries} values, in steps of {step:.2g} of its input from {low:.3g} to {high:.3g}, as a table "
    "does",
}


def feature_sentence(feature: Feature) -> str:
    """What can be seen in an error.

    Examples
    --------
    >>> feature_sentence(Feature("ratio", {"factor": 1.25}))
    'it is 1.25 times the reference throughout'
    """
    if feature.kind in _SAID:
        return _SAID[feature.kind].format(**feature.facts)
    return _WORDED[feature.kind](feature.facts)


def displaced_words(step: int) -> str:
    """Filters that are those of other channels, so many further on; 0 where they are in no such order."""
    words = "its filters are the layer's own in another order"
    return f"{words}: that of channel k is at channel k {'+' if step > 0 else '-'} {abs(step)}" if step else words


def _cut_off(facts: _Facts) -> str:
    ends = " or ".join(f"{side} {value:.6g}" for side, value in facts.items())
    return f"what the reference has {ends} is cut off"


def _few(kind: str, facts: _Facts) -> str:
    return f"only {part_words(kind, facts)} {'are' if len(facts[kind]) > 1 else 'is'} off"


def _lines(facts: _Facts) -> str:
    side = "first" if facts["first"] == 0 else "last"
    held = f", which hold {facts['value']:g} throughout" if "value" in facts else ""
    return f"only the {side} {facts['count']} of {facts['of']} {facts['axis']} are off{held}"


def _offset(facts: _Facts) -> str:
    steps = f": its zero point is {-facts['steps']:+d} off" if "steps" in facts else ""
    return f"{facts['constant']:.6g} is added throughout{steps}"


def _inner_store(facts: _Facts) -> str:
    return f"half a step of a store of {facts['node']} in 8 bits has room for it: if the port stores that, dump it too"


def _algorithm(facts: _Facts) -> str:
    names = facts["names"]
    return f"it is what {algorithm_words(names)}: if the port computes so, --algorithm {names[0]}"


def algorithm_words(names: Sequence[str]) -> str:
    """What the closest of the algorithms that fit leaves, and which others have room for it."""
    rest = f" ({' and '.join(names[1:])}, in which more reaches an element, would too)" if names[1:] else ""
    return f"{names[0]} leaves of rounding{rest}"


def _weights(facts: _Facts) -> str:
    if facts["alike"] is None:
        return "other weights would explain it, but it has too few points to tell"
    if facts["moved"] is not None:
        return displaced_words(facts["moved"])
    if facts["store"]:
        return _OF_STORE.format(store=facts["store"])
    return f"other weights and biases explain it, {100 * facts['alike']:.0f} % like the layer's own"


def _length(facts: _Facts) -> str:
    state = "cut short" if facts["held"] < facts["of"] else "longer than the tensor"
    right = "; what is there is right" if facts["right"] else ""
    return f"the dump is {state}: it has {facts['held']:,} numbers of {facts['of']:,}{right}"


def _not_finite(facts: _Facts) -> str:
    kind = {0: "infinite", facts["count"]: "NaN"}.get(facts["nan"], f"not finite, {facts['nan']:,} of them NaN")
    many, first = f"{facts['count']:,} of {facts['of']:,} values are", ", ".join(map(str, facts["first"]))
    if not facts["dump"]:
        return f"{many} {kind}, the first at [{first}]; what it is made of is finite, so that they begin here"
    where = f"they begin somewhere among the {facts['nodes']} nodes from {facts['from']} on"
    return f"{many} {kind}, the first at [{first}]; {where}: dump {facts['dump']} next, and see whether it is finite"


def _widths(facts: _Facts) -> str:
    by = WidthRule(facts["divisor"], facts["rule"])
    rounded = rounded_words(by) if by != VENDORS else "rounded as its vendor does"
    return (
        f"it has {facts['found']} channels, not {facts['known']}: the widths of the network, of which {facts['count']} "
        f"tensors show another number, are those of multiplier {facts['width']:g} {rounded}"
    )


_WORDED: Mapping[str, Callable[[_Facts], str]] = {
    "algorithm": _algorithm,
    "inner-store": _inner_store,
    "border": lambda facts: f"only the border is off, where the padding is read: {', '.join(facts['sides'])}",
    "channel-run": lambda facts: f"only {part_words('channel-run', facts)} are off",
    "channel-step": lambda facts: f"only {part_words('channel-step', facts)} is off, from {facts['first']} on",
    "channels": partial(_few, "channels"),
    "cut-off": _cut_off,
    "images": lambda facts: f"{_few('images', facts)}: something is kept from one image to the next",
    "length": _length,
    "lines": _lines,
    "not-finite": _not_finite,
    "offset": _offset,
    "own-weights": lambda facts: f"the layer's own weights explain it, but {of_file(facts['mistake'])}",
    "weights": _weights,
    "widths": _widths,
}
