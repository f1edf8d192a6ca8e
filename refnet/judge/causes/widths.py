"""Tensors of other numbers of channels than the network's: its widths by another multiplier, or by another rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment
from refnet.errors import RequestError
from refnet.files.identify.names import ROUNDINGS, WIDTHS
from refnet.graph import Recipe
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.sizes import other_channels
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.networks.plan import WidthRule
from refnet.readings.bounds import Precision
from refnet.readings.shapes import shapes

__all__ = ["VENDORS", "OtherWidths", "of_widths"]

VENDORS = WidthRule(0, "")  # as the vendor rounds widths
_SEVERAL = 3  # tensors of other channels: fewer may have them by mistakes of their own
_NEAR = 0.15  # how far rounding may take half of all widths from what a multiplier makes of them


class OtherWidths(NamedTuple):
    """What can be seen of a candidate whose layers have other widths than the reference's.

    Attributes
    ----------
    names : the tensors of another number of channels that one rule explains
    features : of the first of them the rule; of a wrong tensor that is made of such ones, the first of these
    """

    names: frozenset[str] = frozenset()
    features: Mapping[str, tuple[Feature, ...]] = {}


def of_widths(
    parts: Parts,
    tensors: Mapping[str, npt.NDArray[Any]],
    misshapen: Sequence[tuple[Segment, Precision]],
    causes: Mapping[str, Collection[Cause]],
    failing: Iterable[Segment],
) -> OtherWidths:
    """Where nothing else explains the numbers of channels of a candidate: the rule for them, and what they spoil.

    Parameters
    ----------
    parts : of the pack's network
    tensors : the candidate's, by node name, in NCHW
    misshapen : the segments of those of another shape, in order
    causes : by the name of one of these what explains it
    failing : the segments that end in a tensor of the right shape, and are wrong
    """
    found = {name: y.shape[1] for name, y in tensors.items() if name in parts.graph and y.ndim in (2, 4)}
    known = {name: shape[0] for name, shape in parts.sizes.items()}
    other = [segment for segment, _ in misshapen if segment.end in found and found[segment.end] != known[segment.end]]
    if len(other) < _SEVERAL or all(causes.get(segment.end) for segment in other):
        return OtherWidths()
    made = _rule(parts, found)
    if made is None:
        own = [each for each in misshapen if each[0] in other and not causes.get(each[0].end)]
        off = {segment.end for segment, precision in own if not other_channels(segment, precision)}
        return OtherWidths(features=dict(_spoilt(failing, off)) if len(off) >= _SEVERAL else {})
    width, (divisor, rule), counts = made
    names = [segment.end for segment in other if counts.get(segment.end) == found[segment.end]]
    if not names:  # the squeezes alone have another rule
        return OtherWidths()
    first = names[0]
    facts = {"found": found[first], "known": known[first], "count": len(names), "width": width}
    features = {first: (Feature("widths", {**facts, "divisor": divisor, "rule": rule}),)}
    off = {name for name, count in counts.items() if known.get(name, count) != count}
    return OtherWidths(frozenset(names), {**features, **dict(_spoilt(failing, off))})


def _spoilt(failing: Iterable[Segment], off: Collection[str]) -> Iterator[tuple[str, tuple[Feature, ...]]]:
    """The tensors that are made of some others, and of which first."""
    for segment in failing:
        made_of = (*segment.given, *(node.name for node in segment.graph.nodes[:-1]))
        before = next((name for name in made_of if name in off), None)
        if before is not None:
            yield segment.end, (Feature("width-follows", {"before": before}),)


def _rule(parts: Parts, found: Mapping[str, int]) -> tuple[float, WidthRule, Mapping[str, int]] | None:
    """The multiplier and the rule that give all channels that were found, and those of all tensors then."""
    inside = [parts.graph.leading_to(each.expand.inputs[0], starts=each.reduce.inputs) for each in parts.squeezes]
    squeezed = {node.name for each in inside for node in each.nodes}  # of which the rule may be another
    asked = {name: count for name, count in found.items() if name not in squeezed}
    if not asked:
        return None
    ratio = median(count / parts.sizes[name][0] for name, count in asked.items())
    rules = _rules(parts.graph.recipe, ratio)
    return next((each for each in rules if asked.items() <= each[2].items()), None)


def _rules(recipe: Recipe, ratio: float) -> Iterator[tuple[float, WidthRule, Mapping[str, int]]]:
    """Multipliers and rules, the usual ones first, each with the channels that all tensors of the network have by it.

    Parameters
    ----------
    ratio : about which the multiplier is, over the network's own
    """
    if recipe.model not in MODELS:
        return
    near = [each for each in WIDTHS if abs(each / (recipe.width * ratio) - 1) <= _NEAR]
    for width in dict.fromkeys((recipe.width, *near)):
        for by in (None, *ROUNDINGS):
            try:
                graph = build(recipe.model, width=width, classes=recipe.classes, divisor=by)
            except RequestError:
                continue
            yield width, by or VENDORS, {name: shape[0] for name, shape in shapes(graph).items()}
