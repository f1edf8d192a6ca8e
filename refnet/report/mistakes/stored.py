"""What is said of how numbers are stored: which part is never written, in which order, and in which format."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from refnet.bugs.language.regions import AT_A_TIME, AXES
from refnet.report.mistakes.late import OTHER

__all__ = ["STORED"]

_LINES = {
    "first": "the first {count} of {of} %s",
    "last": "the last {count} of {of} %s",
    "run": "{count} of {of} %s, from number {start} on,",
    "step": "{count} of {of} %s, every {every} from number {start} on,",
}
_PARTS = {f"{axis} {kind}": words % axis for axis, (kind, words) in itertools.product(AXES, _LINES.items())} | {
    "border": "a border of {top}, {bottom}, {left} and {right} points (top, bottom, left, right)",
    "tile": "a tile of {height} x {width} points, {top} from the top and {left} from the left,",
    "tail": "a tail of {count} of {of} numbers in {order} order",
    "all": "all of it",
}
_HELD = {"one": "{value:g}", "each": "one number in each channel", "nan": "what is no number"}
_LEFT = {"stale": "what {tensor} has there", "other": "what the memory held before"}


def _words(held: Mapping[str, str]) -> dict[str, str]:
    """What is said of each part, by what it holds."""
    verbs = {part: ("are", "hold") if " " in part else ("is", "holds") for part in _PARTS}
    return {
        f"{part} {kind}": "{} {} never written and {} {}".format(_PARTS[part], *verb, words)
        for (part, verb), (kind, words) in itertools.product(verbs.items(), held.items())
    }


# In words, by bug and form; 'beyond' where a pattern tells what the parts have in common.
STORED: Mapping[str, str | Mapping[str, str]] = {
    "left-over": _words(_LEFT)
    | {
        f"{axis} {side}": f"{{count}} of {{of}} {axis}, from number {{start}} on in steps of {{step}}, are copies of "
        f"those {{by}} {side} them"
        for axis, side in itertools.product(AXES, ("before", "behind"))
    },
    "never-written": _words(_HELD)
    | {f"beyond {axis}": f"the {axis} beyond the last multiple of {{multiple}} are never written" for axis in AXES},
    "store-rounding": {
        form: f"integers are rounded {form} when they are stored, not to the nearest"
        for form in ("down", "up", "toward zero", "away from zero")
    }
    | {
        "cast": "integers are made by adding half a step and cutting off toward zero, which is wrong below zero",
        "cast signed": "integers are made by adding the zero point and half a step and cutting off toward zero, which "
        "is wrong below zero",
        "truncated signed": "integers are cut off toward zero behind their zero point, not rounded to the nearest",
    },
    "store-scale": {
        "stored": "the scale of {tensor} is {times:.4g} times what it should be",
        "stored as": "{tensor} is stored in the scale of {other}",
        "all as": "{tensor} is stored with the scale and zero point of {other}",
        "all as input": "its result is stored with the scale and zero point of what it reads",
        "read": "{tensor} is read with {times:.4g} times its scale",
        "stored as input": "its result is stored in the scale of what it reads",
        "read as result": "what it reads is taken to have the scale of its result",
        "read as": "{tensor} is read in the scale of {other}",
    },
    "store-wraps": {
        "result": "integers beyond the range wrap around modulo {modulus} instead of saturating",
        "before zero": "integers wrap around modulo {modulus} before the zero point is added, instead of saturating",
        "before act": "integers wrap around modulo {modulus} before the activation, instead of saturating",
        "sides": "the sum of the integers of both sides wraps around modulo {modulus} before it is rescaled",
    },
    "table-entry": {
        "half": "its table is read half of it on: signed bytes are taken for unsigned ones, or the reverse",
        "on": "its table is read {by:+d} entries on",
        "back": "its table is read from the other end",
    },
    "zero-point": {
        "all": "the zero points of all tensors of integers are {steps:+d} off",
        **dict.fromkeys(("left out -128", "left out 0"), "the zero point of what is read is not taken off"),
        OTHER: "the zero point of {tensor} is {steps:+d} off",
    },
    "act-zero-point": {
        f"{end} {lowest}": f"the activation {words}"
        for lowest in (-128, 0)
        for end, words in {
            "lower": "cuts off below the stored integer 0, not below the zero point",
            "upper": "cuts off above six in steps, and the zero point is not added to that",
            "both": "cuts off below the stored integer 0 and above six in steps: the zero point is added to neither",
        }.items()
    },
    "store-lowest": "the lowest integer is not used: integers are cut off one above it, as at -127 in int8",
    "weights-fp16": {
        f"{store}{manner}{whose}": f"its weights are {words}{bare}"
        for store in ("float16", "bfloat16")
        for manner, words in (("", f"rounded to {store}"), (" truncated", f"cut off to {store}, toward zero"))
        for whose, bare in (("", ""), (" alone", ", and its bias is not"))
    },
    "factors-tf32": dict.fromkeys(("tf32", "bfloat16"), "both factors of each product are rounded to {store}")
    | {
        f"{store} truncated": "both factors of each product are cut off to {store}, toward zero"
        for store in ("tf32", "bfloat16")
    }
    | {
        f"read {store}{manner}": f"what it reads is {words}, and its weights are not"
        for store in ("tf32", "bfloat16", "float16")
        for manner, words in (("", "rounded to {store}"), (" truncated", "cut off to {store}, toward zero"))
    },
    "factors-int8": "both factors of each product are in 8 bits: weights per {per}, inputs by their own {ends} range",
    "fixed-point": "its values are in fixed point of {bits} bits of fraction, {manner}{ends_at}",
    "weights-int8": "its weights are quantised to {bits} bits per {per}",
    "outputs-left": {
        f"{number}{fused}": f"the {what} beyond the last multiple of {number} are left out and hold 0"
        for number in AT_A_TIME
        for fused, what in (("", "channels"), (" fused", "channels of what batch norm makes"))
    },
    "weights-rounded": {
        **{
            f"{store}{manner}": f"its weights are {words}, biases and batch norm are not"
            for store in ("float16", "bfloat16")
            for manner, words in (("", f"rounded to {store}"), (" truncated", f"cut off to {store}, toward zero"))
        },
        OTHER: "its weights were written as text with {places} {figures}, biases and batch norm were not",
    },
    "result-order": {
        "lying": "its numbers lie as {found} in memory, under a shape of {known}: reshaped, not transposed",
        "read": "its numbers, which lie as {known} in memory, are taken to lie as {found}, and transposed",
        "blocks lying": "its channels lie in blocks of {lanes} (NC{lanes}HW{lanes}), under a shape of NCHW",
        "blocks read": "its channels are taken to lie in blocks of {lanes} (NC{lanes}HW{lanes}), and lie as NCHW",
        "turned": "its maps are turned by {degrees} degrees",
        "backwards": "all its numbers are in reverse order",
        OTHER: "its {arrays} are in another order",
    },
    "weights-printed": "its weights were written as text with {places} {figures}",
    "fp16-storage": {
        f"{store}{manner}": f"its values are {words}"
        for store in ("float16", "bfloat16", "tf32")
        for manner, words in (
            ("", f"rounded to {store}"),
            (" truncated", f"cut off to {store}, toward zero"),
            (" at random", f"rounded to {store} up or down at random"),
        )
    },
    "fp16-accumulate": {"": "sums are kept in float16", "bfloat16": "sums are kept in bfloat16"},
}
