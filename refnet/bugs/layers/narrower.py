"""Layers that a port makes of fewer channels than they have, since it has another rule for their number.

It reads the arrays of the first channels alone. What the layer should make in the others is left out, or is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.shared import without_outputs
from refnet.errors import RequestError
from refnet.networks.build import build
from refnet.networks.dialects import MODELS, Dialect
from refnet.networks.plan import WidthRule, round_width

__all__ = ["NARROWER_RULES", "SQUEEZED"]

# What a port may do instead of rounding to the nearest multiple of eight, no more than a tenth below.
NARROWER_RULES: Mapping[str, WidthRule] = {
    "cut": WidthRule.to(0),
    "8": WidthRule(8),
    "8 plain": WidthRule(8, "plain"),
    "8 down": WidthRule(8, "down"),
    "4": WidthRule(4),
    "16": WidthRule(16),
    "16 down": WidthRule(16, "down"),
}
# Of what a squeeze may be a part, and by how much it is divided: four is the papers', sixteen that of SE networks.
SQUEEZED = (("expanded", 4), ("entry", 4), ("expanded", 8), ("expanded", 16), ("entry", 16))


def squeeze_narrower(segment: Segment) -> Iterator[Change]:
    """squeeze layers of fewer channels, by another rule for their number.

    Source: https://github.com/keras-team/keras-cv/issues/1756
    """
    units = {unit.unit.conv.name: unit for unit in segment.units}
    squeezes = [(block.squeeze.reduce.name, block.entry) for block in segment.parts.blocks if block.squeeze is not None]
    seen: list[dict[str, int]] = []
    for whose, divisor in SQUEEZED:
        of = {
            name: segment.parts.graph[name].params["w"][1] if whose == "expanded" else segment.parts.sizes[entry][0]
            for name, entry in squeezes
        }
        for how, rule in NARROWER_RULES.items():
            counts = {name: _rounded(width // divisor, rule) for name, width in of.items()}
            if counts in seen:
                continue
            seen.append(counts)
            for name, count in counts.items():
                if name in units:
                    yield from _narrower(units[name], count, f"{whose} {divisor} {how}")


def widths_narrower(segment: Segment) -> Iterator[Change]:
    """layers of fewer channels: the widths of all are rounded by another rule."""
    recipe = segment.whole.recipe
    for how in NARROWER_RULES if recipe.model in MODELS else ():
        counts = _widths(recipe.model, recipe.width, how)
        for unit in segment.units:
            yield from _narrower(unit, counts.get(unit.unit.conv.name, 0), how)


def _rounded(width: int, rule: WidthRule) -> int:
    return round_width(width, Dialect("", rounding=rule.rule, divisor=rule.divisor))


@lru_cache(maxsize=32)
def _widths(model: str, width: float, how: str) -> Mapping[str, int]:
    """How many channels each convolution has by a rule; of no network, none."""
    try:
        graph = build(model, width=width, divisor=NARROWER_RULES[how])
    except RequestError:
        return {}
    return {node.name: node.params["w"][0] for node in graph.nodes if "w" in node.params}


def _narrower(unit: UnitArrays, count: int, form: str) -> Iterator[Change]:
    """A layer whose channels from a number on are zero, where it has more."""
    known = len(unit["w"]) if "w" in unit else 0
    if 0 < count < known:
        names = {slot: unit.names[slot] for slot in ("w", "b", "gamma", "beta") if slot in unit}
        params = Deferred(names.values(), lambda: without_outputs(unit, names, slice(count, None)))
        yield Change(unit.name, form, {"found": count, "known": known}, params=params)
