"""What few ports do, and no reader, in words: bugs that are replayed where nothing else fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from refnet.bugs.layers.activations import ACTS
from refnet.bugs.memory.flat_reads import FILLED
from refnet.report.mistakes.formulas import formula_words, pieces_words

__all__ = ["LATE_WORDS", "OTHER", "curve_words", "numbered", "ordinal", "part_words", "pooled_words", "terms_words"]

OTHER = "other"  # of a row, the words of every form that it has no words of its own for
_FEW = 5  # numbers of things that are said one by one
_BESIDE = "points beside the map are read from the"
_ENDS = ("first", "last")
_FUNCTIONS = {
    "swish": "swish",
    "gelu": "GELU",
    "gelu tanh": "GELU by its formula with tanh",
    "gelu sigmoid": "x sigmoid(1.702 x), which stands for GELU,",
    "hard fifth": "x clip(0.2 x + 0.5, 0, 1), a hard swish with another hard sigmoid,",
    "mish": "mish",
    "softplus": "softplus",
    "elu": "ELU",
    "selu": "SELU",
    "abs": "the absolute value",
    **{f"leaky {slope}": f"a leaky relu that lets {slope} x through below zero" for slope in (0.01, 0.1, 0.2, 0.3)},
    **{op: op for op in (*ACTS, "tanh", "sigmoid")},
}
LATE_WORDS: Mapping[str, str | Mapping[str, str]] = {
    "vector-index": {
        form: f"{numbers} read as {read}"
        for what, numbers in (
            ("", "numbers that are one for each channel are"),
            ("bias ", "the folded bias is"),
            ("gate ", "the gate is"),
        )
        for way, read in (
            ("modulo", "b[i % C] of a flat NCHW buffer, as if it was NHWC"),
            ("planes", "b[i / (H W)] of a flat NHWC buffer, as if it was NCHW"),
            ("rows", "b[i / W % C] of a flat NCHW buffer, not b[i / (H W)]"),
            ("pixels", "b[p % C], by the number p of the point in its map"),
            ("width", "b[w % C], along the width instead of the channels"),
            ("height", "b[h % C], along the height instead of the channels"),
        )
        for form in (what + way,)
    },
    "gate-throughout": {
        "softmax": "the gate is a softmax over the channels",
        "tanh": "the gate is tanh",
        "twice": "the gate is applied twice",
    },
    "act-throughout": {
        f"{function} {squeezes}{kind}".strip(): f"the activation is {words}{known}{inner}"
        for function, words in _FUNCTIONS.items()
        for kind, known in {"": "", **{act: f" instead of {act}" for act in ACTS}}.items()
        for squeezes, inner in {"": "", "all ": ", in squeeze-and-excite too"}.items()
    },
    "vector-memory": "channels from number {entries} on have {vectors} of channel {at}",
    "pool-elsewhere": "{found} is pooled instead of {known}",
    "bn-beta-scaled": {
        "gamma": "beta is multiplied by gamma",
        "deviation": "beta is divided by the root of the variance and eps",
        "both": "beta is multiplied by gamma and divided by the root of the variance and eps",
    },
    "bn-bias-terms": {OTHER: "the folded bias is {terms}"},
    "fold-rounded": {
        f"{store} {manner} {what}": f"its folded {{what}} are {words}"
        for store in ("float16", "bfloat16")
        for manner, words in (("rounded", f"rounded to {store}"), ("truncated", f"cut off to {store}, toward zero"))
        for what in ("arrays", "weights", "biases")
    }
    | {
        "int8 tensor weights": "its folded weights are quantised to 8 bits per tensor",
        OTHER: "its folded weights and biases were written as text with {places} {figures}",
    },
    "stride-pooled": {
        f"{form}{place}{odd}": f"{words} of 2 x 2 points {where} takes the stride's place{cut}"
        for form, words in (("mean", "a mean"), ("largest", "the largest value"))
        for place, where in (("", "behind it"), (" before", "before it"), (" behind", "behind its activation"))
        for odd, cut in (("", ""), (" cut", ", and leaves out the last line of an odd side"))
    },
    "pool-mixed": {
        "half": "half of the map's mean and half of its largest value are taken (avgmax), not the mean",
        "sum": "the map's largest value is added to its mean",
        "cubes": "the generalised mean of cubes is taken (GeM), not the mean",
    },
    "pool-part": {
        "multiple": "the pool takes in whole multiples of {multiple} rows and columns alone",
        "multiple of all": "the pool takes in whole multiples of {multiple} rows and columns alone, and divides by the "
        "points of the whole map",
        OTHER: "the pool {taken}",
    },
    "bn-twice": {
        "again": "batch norm is applied twice",
        "between": "batch norm is applied twice: the convolution's result is normalised already (folded weights), and "
        "batch norm still follows it",
        "factors": "batch norm is folded into the weights, and applied once more behind them",
        "bias behind": "the folded bias is added behind batch norm, which adds it once more",
        "bias before": "the folded bias is added before batch norm, which adds it once more",
        "behind": "batch norm and its activation are applied once more behind the activation",
    },
    "bn-batch-half": {
        "mean": "the mean is that of the batch (training mode), the variance the stored one",
        "var": "the variance is that of the batch (training mode), the mean the stored one",
    },
    "bn-limited": {
        "least": "variances below {limit:g} are taken for {limit:g}",
        "most": "variances above {limit:g} are taken for {limit:g}",
    },
    "bn-root": {
        "nan": "no numbers are in {channels} of {of}: the variance is below zero there, or an array holds such",
        "infinite": "{channels} of {of} overflow: the variance and eps are zero there, or an array holds infinity",
        "zero": "the variance is zero in {channels} of {of}, and is divided by",
    },
    "kernel-cut": {
        **{
            f"{end} {line}": f"the {end} {line} of the kernel is left out"
            for end in _ENDS
            for line in ("row", "column")
        },
        "middle": "of the {points} x {points} kernel only the middle {used} x {used} counts",
        "corner": "of the {points} x {points} kernel only the first {used} rows and columns count",
        "first": "of the {points} x {points} kernel the first {used} x {used} numbers in memory are taken",
    },
    "bias-twice": {"twice": "its bias is added twice", "taken": "its bias is taken away, not added"},
    "weights-few-bits": "its weights are quantised to {bits} bits per {per}",
    "weights-zero-point": {
        "moved": "one number is added to all weights of a layer, another in each: of weights of 8 bits another zero "
        "point is taken than theirs",
        OTHER: "{addend:.4g} is added to all of its weights: of weights of 8 bits another zero point is taken than "
        "theirs",
    },
    "bias-scale": {
        "all": "its folded bias is so many times what it should be: its integers are counted in other steps than the "
        "weights' times those of what is read",
        "each": "its folded bias has the scale of one filter in all channels, and each should have its own",
    },
    "weights-one-scale": {
        f"{which} {whose}": f"{words} {scale}, and each should have its own"
        for which, words in {
            "sum": "the sums of all channels are rescaled with",
            "weights": "the weights of all channels have",
            "unfolded": "the weights of all channels, before batch norm, have",
        }.items()
        for whose, scale in {"first": "the scale of the first filter", "one": "one scale"}.items()
    },
    "weights-fixed-point": "its {what} are in fixed point, multiples of 1 / 2^{bits}, {manner}",
    "fold-fixed-point": "its folded {what} are in fixed point, multiples of 1 / 2^{bits}, {manner}",
    "join-zero-points": {
        f"{form} {lowest}": words
        for lowest in (-128, 0)
        for form, words in {
            "both": "the zero points of both sides of the sum are not taken off",
            "shortcut": "the zero point of the shortcut is not taken off in the sum",
            "branch": "the zero point of the block's result is not taken off in the sum",
            "sum": "the zero point of the sum is not added",
            "exchanged": "each side of the sum has the zero point of the other taken off",
        }.items()
    },
    "join-unscaled": {
        "both": "the integers are added as they are, and not brought to the scale of the sum",
        "shortcut": "the shortcut's integers are not brought to the scale of the sum",
        "branch": "the block's integers are not brought to the scale of the sum",
        "scale of the shortcut": "both sides of the sum are taken to have the shortcut's scale",
        "scale of the branch": "both sides of the sum are taken to have the scale of the block's result",
        "exchanged": "each side of the sum is taken to have the scale of the other",
    },
    "block-missing": "the block is left out: what it reads is handed on",
    "join-weights": {
        "images": "the block's result is left out of some images, and scaled in the others: stochastic depth (drop "
        "path) is on",
        "chance": "the block's result is left out by chance, and scaled where it is not: stochastic depth (drop path) "
        "is on",
        OTHER: "the sum is {shortcut} times the shortcut plus {branch} times the block's result",
    },
    "join-other": {
        "maximum": "the larger of the shortcut and the block's result is taken, not their sum",
        "product": "the shortcut and the block's result are multiplied, not added",
    },
    "join-elsewhere": "what is added is {found}, not {known}",
    "act-curve": "the activation is {curve}",
    "pool-divisor": {
        "less": "the pool's sum is divided by one less than its points",
        "more": "the pool's sum is divided by one more than its points",
        "height of each": "the pool's sum is divided by the square of its map's height, not by its points",
        "width of each": "the pool's sum is divided by the square of its map's width, not by its points",
        OTHER: "the pool's sum is divided by {found:g}, not by its {known:g} points",
    },
    "pool-scaled": {OTHER: "the pool's mean is multiplied by {factor}"},
    "channels-rolled": {"rolled": "its {of} channels lie {by} places on, the last ones first"},
    "result-shifted": dict.fromkeys(("2", "0.5", "4", "0.25"), "its result is {factor} times what it should be"),
    "computed-in-place": {
        f"{step}{fused}": f"it is computed in place: {step} are made of {step} that were overwritten before{how}"
        for step in ("rows", "points")
        for fused, how in (("", ""), (" fused", ", normalised and activated"))
    },
    "image-kept": {
        "first": "every image has what the first one made",
        "before": "every image has what the one before made",
        "gate first": "the gate of the first image scales every image",
        "gate before": "the gate of the image before scales each",
        "shortcut first": "the shortcut of the first image is added to every image",
        "shortcut before": "the shortcut of the image before is added to each",
        "shortcut reversed": "the shortcuts of the images are in reverse order: each is added to another image",
        "reversed": "the images are in reverse order",
        "gate reversed": "the gates of the images are in reverse order: each scales another image",
    },
    "pad-clamped": {
        "after": "the padding below and on the right is of mode edge instead of zeros",
        "before": "the padding above and on the left is of mode edge instead of zeros",
        "inner": "the innermost line of the padding is of mode edge, those around it of zeros",
        "inner before": "the innermost line of the padding above and on the left is of mode edge, all else of zeros",
        "inner after": "the innermost line of the padding below and on the right is of mode edge, all else of zeros",
        "rows": "the padding above and below is of mode edge instead of zeros",
        "columns": "the padding on the left and right is of mode edge instead of zeros",
    },
    "pad-flat-index": {
        "row": f"{_BESIDE} neighbouring row: only the index into the channel's memory is checked, not the column",
        "row rows": f"{_BESIDE} neighbouring row: rows are checked, columns are not",
        "clamped": f"{_BESIDE} neighbouring row: the index into the channel's memory is clamped, not each coordinate",
        "modulo": f"{_BESIDE} neighbouring row: the index into the channel's memory is taken modulo its size",
        "channel": f"{_BESIDE} neighbouring row or channel: only the index into the tensor's memory is checked",
        "channel columns": f"{_BESIDE} neighbouring channel: columns are checked, rows are not",
        "channel rows": f"{_BESIDE} neighbouring row or channel: rows are checked, columns are not",
        "bounds": "rows are checked against the map's width, and columns against its height",
        "image": f"{_BESIDE} neighbouring row or image: only the index into the tensor's memory (NHWC) is checked",
        "image columns": f"{_BESIDE} neighbouring image: columns are checked, rows are not (NHWC)",
        "image rows": f"{_BESIDE} neighbouring row or image: rows are checked, columns are not (NHWC)",
    },
    "sides-exchanged": {
        "sides": "height and width are exchanged: the layer takes the map for one as wide as it is high"
    },
    "row-pitch": {
        "height": "rows are read as if they were as long as the map is high: H stands for W in the index",
        "border": "the map lies within a border in memory, and its rows are read as if they did not",
        "border all": "the maps lie within a border in memory, and are read as if they did not",
    }
    | {
        f"{form} {many}": words
        for many in FILLED
        for form, words in (
            ("filled", "rows that are filled up to a multiple of {multiple} in memory are read without the filling"),
            (
                "filled all",
                "maps whose rows are filled up to a multiple of {multiple} in memory are read without the filling",
            ),
            ("bare", "rows are read as if they were filled up to a multiple of {multiple} in memory"),
            ("bare all", "maps are read as if their rows were filled up to a multiple of {multiple} in memory"),
            (
                "planes filled",
                "maps that are filled up to a multiple of {multiple} numbers in memory are read without that",
            ),
            ("planes bare", "maps are read as if they were filled up to a multiple of {multiple} numbers in memory"),
        )
    },
    "answer-function": {
        "sigmoid": "a sigmoid follows the logits",
        "log": "the logarithm of the softmax is taken",
        "log 2": "the logarithm of the softmax is taken to the base 2",
        "log 10": "the logarithm of the softmax is taken to the base 10",
        "twice": "the softmax is taken twice",
        "negative": "the softmax is of the logits' negatives",
        "with one": "the softmax divides by its sum plus 1, as if there was a class more whose logit is 0",
        "percent": "the probabilities are given in percent",
        "bytes": "the probabilities are multiplied by 255",
        "exp": "exp follows the logits, which the softmax would divide by its sum",
        "exp above": "the softmax does not divide by its sum: exp of the logits less the largest of them",
        "above": "the largest of the numbers is taken from each, as a softmax begins",
        "abs": "the numbers lose their signs",
        "falling": "the answers are sorted, the largest first",
        "rising": "the answers are sorted, the smallest first",
        "base 2": "the softmax raises 2, not e, to the logits",
        "length": "the numbers are divided by their length (L2)",
        "length over images": "the numbers are divided by their length (L2) over the images of the batch",
        "sizes": "the numbers are divided by the sum of their sizes (L1)",
        "standard": "the numbers have their mean taken away and are divided by their deviation",
        "centred": "the numbers have their mean taken away",
        "sum": "the numbers are divided by their sum",
        "largest": "the numbers are divided by the largest of them",
        "relu": "a relu follows",
        "tanh": "a tanh follows",
    },
    "answer-scaled": "the numbers are multiplied by {factor} before the end",
    "classes-shown": "the classes are in another order: class {other} is at {one} first",
    "channels-left": "the last channels are left out of the sum, which goes on in steps of {lanes}",
}

_CURVES = {
    "identity": "left out",
    "clip": "cut off at {0:.8g} and {1:.8g}",
    "leaky": "a leaky relu that lets {0:g} x through below zero",
    "line": "clip({0:.5g} x + {1:.5g}, 0, 1)",
    "gated line": "x * clip({0:.5g} x + {1:.5g}, 0, 1)",
    "moved": "(x + 3) * relu6(x + 3) / 6: x was overwritten by x + 3 before it was multiplied by",
    "sigmoid": "sigmoid({0:.4g} x)",
    "swish": "x * sigmoid({0:.4g} x)",
    "gelu": "GELU",
    "gelu tanh": "GELU by its approximation with tanh",
    "elu": "ELU",
    "selu": "SELU",
    "softsign": "0.5 + 0.5 x / (1 + |x|), an approximation of the sigmoid",
    "pieces": "an approximation of the sigmoid by four lines (PLAN)",
    "x softsign": "x * (0.5 + 0.5 x / (1 + |x|)), with an approximation of the sigmoid",
    "x pieces": "x times an approximation of the sigmoid by four lines (PLAN)",
    "x tanh": "x * tanh(x)",
}


def curve_words(curve: tuple[str | float, ...]) -> str:
    """A curve as a formula: 'x * sigmoid(1.702 x)'."""
    name, *numbers = curve
    if name == "clip" and -math.inf in numbers:
        return "the identity" if math.inf in numbers else f"min(x, {numbers[1]:.8g})"
    if name == "clip" and math.inf in numbers:
        return f"max(x, {numbers[0]:.8g})"
    if name == "formula":
        return formula_words(*numbers)  # type: ignore[arg-type]
    if name == "piecewise":
        return f"another function: {pieces_words([float(number) for number in numbers])}"
    words = _CURVES.get(str(name), str(name)).format(*numbers)
    capped = name == "leaky" and math.isfinite(float(numbers[1]))
    return f"{words}, and ends at {numbers[1]:g}" if capped else words


def terms_words(counts: Sequence[int]) -> str:
    """What a folded bias is summed from.

    Examples
    --------
    >>> terms_words((2, 1, 0))
    '2 beta - s mean, with s = gamma / sqrt(var + eps)'
    """
    names = "beta", "s mean", "s b"
    signed = [(-n if name == "s mean" else n, name) for n, name in zip(counts, names, strict=True) if n]
    made = [f"{'-' if n < 0 else '+'} {f'{abs(n)} ' if abs(n) > 1 else ''}{name}" for n, name in signed]
    words = " ".join(made).removeprefix("+ ")
    return f"{words}, with s = gamma / sqrt(var + eps)" if "s " in words else words


def pooled_words(taken: tuple[str | int, ...]) -> str:
    """Which part of a map a pool takes in: 'takes in 7 x 7 points in the first corner, not the whole map'."""
    match taken:
        case "all but", rows, columns, *_:
            missed = [f"the last {line}" for count, line in ((rows, "row"), (columns, "column")) if count]
            said = f"leaves out {' and '.join(missed)} of the map"
        case _, rows, columns, top, first, *_:
            where = "in the first corner" if top == first == 0 else f"from [{top}, {first}] on"
            said = f"takes in {rows} x {columns} points {where}, not the whole map"
    return said + (", and divides by the points of the whole map" if taken[-1] == "whole" else "")


def part_words(kind: str, facts: Mapping[str, Any]) -> str:
    """Some images, channels or lines of all: 'the last 16 of 48 channels'; or those that a loop leaves over, of any."""
    match kind:
        case "channel-multiple":
            return f"the channels beyond the last multiple of {facts['multiple']}"
        case "channels-from":
            return f"the channels from number {facts['first']} on"
        case "channels-until":
            return f"the first {facts['count']} channels"
        case "each":
            one, held = facts["part"]
            return f"a part of each tensor, of the first {part_words(one, dict(held))},"
        case "square":
            return "the numbers of an image beyond the first H H C, with H the shorter side of its C maps,"
        case "share":
            share = "half" if facts["of"] == 2 else f"{facts['held']}/{facts['of']}"
            return f"the last {share} of the {facts['axis']}"
        case "images":
            return f"{numbered('image', facts['images'])} of {facts['of']}"
        case "channels":
            return f"{numbered('channel', facts['channels'])} of {facts['of']}"
        case "channel-step":
            return f"every {ordinal(facts['step'])} of {facts['of']} channels"
    first, last, of, things = facts["first"], facts["last"], facts["of"], f"{kind.removesuffix('-run')}s"
    few = f"the {'first' if first == 0 else 'last'} {last - first + 1} of {of} {things}"
    return few if first == 0 or last == of - 1 else f"{things} {first} to {last} of {of}"


def numbered(what: str, numbers: Sequence[int]) -> str:
    """Some things by their numbers, of many the first few: 'channel 3', 'images 0, 1, 2, 4, 5, ...'."""
    more = ", ..." if len(numbers) > _FEW else ""
    return f"{what}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:_FEW]))}{more}"


def ordinal(number: int) -> str:
    """A number that counts places.

    Examples
    --------
    >>> ", ".join(map(ordinal, (2, 10, 12, 21)))
    '2nd, 10th, 12th, 21st'
    """
    endings = {} if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{endings.get(number % 10, 'th')}"
