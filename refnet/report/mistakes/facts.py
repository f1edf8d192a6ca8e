"""The facts of a mistake as they stand in its sentence: numbers, places and curves, by their keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from refnet.bugs.language.regions import AXES
from refnet.bugs.memory.channel_orders import VECTORS
from refnet.report.mistakes.formulas import varying_words
from refnet.report.mistakes.inputs import PICTURE_FACTS
from refnet.report.mistakes.late import curve_words, numbered, ordinal, pooled_words, terms_words

__all__ = ["fact_words"]

_KNOBS = ("kernel", "padding", "stride")
_VECTORS = {word: word for word in VECTORS.values()}
_LINES = {axis: axis for axis in (*AXES, "classes")}  # of a tensor, along each of its axes
_SAID: Mapping[str, Mapping[Any, str]] = {
    "side": {
        "output": "channels",
        "input": "input channels",
        "scales": "scales of its channels",
        "conv": "channels of its weights",
        "norm": "channels of its batch norm",
        "conv+norm": "channels of its weights and batch norm",
        **_LINES,
        **_VECTORS,
    },
    "whose": {"expanded": "expanded channels", "entry": "block's input"},
    "how": {"": "", "bare": ", not rounded", "rounded": ", rounded to 8"},
    "arrays": {
        "conv": "weights",
        "norm": "batch norm",
        "conv+norm": "weights and the batch norm",
        **_LINES,
        **_VECTORS,
    },
    "vectors": {
        "bias": "the bias",
        "norm": "all numbers of batch norm",
        "factors": "the factor",
        **{slot: f"the {slot}" for slot in ("beta", "gamma", "mean")},
        "var": "the variance",
    },
    "what": {"arrays": "weights and biases", **{word: word for word in ("weights", "biases", *_KNOBS)}},
    "zero": {True: "rounded", False: "not the nearest to it"},
    "figures": {"decimals": "decimals", "digits": "significant digits"},
    "past": {True: "is beyond", False: "may be rounded on its way beyond"},
    "empty": {True: " and all zero", False: ""},
    "finite": {True: "", False: ", not finite"},
    **PICTURE_FACTS,
}


def fact_words(key: str, value: Any) -> Any:
    """A value as it stands in a sentence."""
    if key in _SAID:
        return _SAID[key][value]
    match key:
        case "factor":
            return _factor(value)
        case "factors":
            return ", ".join(map(_factor, value[:3]))
        case "parts":
            least, most = (f"{each:.3g}" for each in value)
            return least if least == most else f"{least} to {most}"
        case "of_scale":
            return (
                ""
                if value == 1
                else f", and the scale is {'255/256' if value < 1 else '256/255'} of that of the integers"
            )
        case "ends_at":
            return f", and end at {value:.7g}" if math.isfinite(value) else ""
        case "at":
            return f"c modulo {value[1]}, not c" if value[0] == "wrapped" else f"{value[1] - 1}"
        case "later":
            return _later(*value)
        case "blocks":
            return "one block" if value == 1 else f"{value} blocks"
        case "every":
            return ordinal(value)
        case "curve":
            return curve_words(value)
        case "planes":
            *first, last = (each if isinstance(each, str) else f"{each:g} throughout" for each in value)
            return f"{', '.join(first)} and {last}"
        case "taken":
            return pooled_words(value)
        case "terms":
            return terms_words(value)
        case "shortcut" | "branch" | "filling" | "aside":
            return varying_words(value) if isinstance(value, tuple) else f"{value:g}"
        case "channels":
            return numbered("channel", value)
        case "found" | "known" | "mean" | "std" | "slopes" | "offsets" if isinstance(value, tuple) and all(
            isinstance(each, float) for each in value
        ):
            return f"{value[0]:.6g}" if len(set(value)) == 1 else f"({', '.join(f'{each:.6g}' for each in value)})"
        case "rows":
            return f"[{'; '.join(' '.join(f'{each:.4g}' for each in row) for row in value)}]"
        case "offset":
            return f" {'plus' if value > 0 else 'minus'} {abs(value):.6g}" if value else ""
        case "padded":
            return f", padded {fact_words('known', value)} as such a layer is" if value else ""
        case "padding":
            return f", padded {fact_words('known', value)}" if value else ""
        case "first":
            return f"[{', '.join(map(str, value))}]"
        case "found" | "known" if isinstance(value, tuple) and value[0] == value[1]:
            return value[0]  # pads that are the same along both axes
    return value


def _factor(factor: float) -> str:
    """A factor as people write it: 255, 1/255, 1.0234; one that is nearly 1 to as many figures as show that."""
    if 0 < abs(factor - 1) < 1e-5:
        return f"{factor:.9g}"
    for number, form in ((factor, "{:g}"), (1 / factor if factor else 0.0, "1/{:g}")):
        if abs(number) >= 1 and abs(number - round(2 * number) / 2) < 1e-5 * abs(number):
            return form.format(round(2 * number) / 2)
    if factor and not _is_short(factor) and _is_short(1 / factor):
        return f"1/{1 / factor:.3g}"
    return f"{factor:.6g}"


def _is_short(number: float) -> bool:
    """Whether it has no more than three figures."""
    return math.isclose(number, float(f"{number:.3g}"), rel_tol=1e-12)


def _later(rows: int, columns: int) -> str:
    """By how many rows and columns something begins later, or earlier: '1 column later'."""
    words = (
        (abs(by), what, "later" if by > 0 else "earlier") for by, what in ((rows, "row"), (columns, "column")) if by
    )
    return " and ".join(f"{by} {what}{'s' if by > 1 else ''} {when}" for by, what, when in words)
