"""Layers of fewer channels than they have, in words: how many, and by which rule for their number."""

from __future__ import annotations

from collections.abc import Mapping

from refnet.bugs.layers.narrower import NARROWER_RULES, SQUEEZED
from refnet.networks.plan import WidthRule

__all__ = ["NARROWER_WORDS", "rounded_words"]

_ROUNDED = {
    "floor": "cut off to whole numbers",
    "plain": "rounded to multiples of {divisor} even where over 10 % is lost",
    "up": "rounded up to multiples of {divisor}",
    "down": "rounded down to multiples of {divisor}",
}


def rounded_words(by: WidthRule) -> str:
    """How widths are rounded: 'rounded to multiples of 4'."""
    words = "rounded to whole numbers" if by == WidthRule(1) else "rounded to multiples of {divisor}"
    return _ROUNDED.get(by.rule, words).format(divisor=by.divisor)


_RULES = {how: rounded_words(rule) for how, rule in NARROWER_RULES.items()}
_SHARES = {4: "a quarter", 8: "an eighth", 16: "a sixteenth"}
_WHOSE = {"expanded": "the expanded width", "entry": "the width that its block reads"}
_SQUEEZED = {
    f"{whose} {divisor} {how}": f"{_SHARES[divisor]} of {_WHOSE[whose]}, {words}"
    for whose, divisor in SQUEEZED
    for how, words in _RULES.items()
}
_SOME_CHANNELS = {
    "": "the first {found} of its {known} channels are all that it has, ",
    " of each": "it has its first channels alone, ",
}
NARROWER_WORDS: Mapping[str, Mapping[str, str]] = {
    "squeeze-narrower": {
        f"{form}{each}": some + words for form, words in _SQUEEZED.items() for each, some in _SOME_CHANNELS.items()
    },
    "widths-narrower": {
        f"{form}{each}": f"{some}of a width {words}"
        for form, words in _RULES.items()
        for each, some in _SOME_CHANNELS.items()
    },
}
