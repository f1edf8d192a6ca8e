"""What slips of a first program are called in words, to follow 'your answers are what one gets when'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from typing import Any

from refnet.report.formulas import formula_words, pieces_words

__all__ = ["LATE_WORDS", "SLIPS", "curve_words", "part_words"]

_LINE = "it is min(max({gate_slope:.5g} x + {gate_offset:.5g}, {low:g}), {high:g})"
_GATE = {
    "no clip": "it is x / 6 + 1/2, cut at neither end",
    "no high": "it is not cut off above: relu stands where relu6 should",
    "no low": "it is not cut off below",
    "no sixth": "the division by 6 is left out",
    "no three": "x is clipped without the 3 that is added to it first",
    "0.1667": "1/6 is rounded to 0.1667",
    "0.1667 behind": "1/6 is rounded to 0.1667",
    "0.16667": "1/6 is rounded to 0.16667",
    "0.167": "1/6 is rounded to 0.167",
    "0.167 behind": "1/6 is rounded to 0.167",
    "0.17": "1/6 is rounded to 0.17",
    "constant": "minimum and maximum are exchanged, so that it is the same for every x",
}
_LINES = (
    "a line", "one", "one, plain", "a third", "a third, cut", "a third, half", "half", "half, three", "quarter",
    "fifth", "low", "half high", "six", "sign", "minus three", "relu6",
)  # fmt: skip
_SWISH = {
    **{form: f"x is multiplied by a gate where {words}" for form, words in _GATE.items()},
    **dict.fromkeys(_LINES, _LINE.replace("it is", "x is multiplied by")),
}

SLIPS: Mapping[str, str | Mapping[str, str]] = {
    "pad-sides": {
        "axes": "the pads of height and width are exchanged: {found} instead of {known}",
        "before": "the pad before is used on both sides: {found} instead of {known}",
        "after": "the pad after is used on both sides: {found} instead of {known}",
        "reversed": "the pads before and after are exchanged: {found} instead of {known}",
        "rows": "the pads of the height are used for the width too: {found} instead of {known}",
        "columns": "the pads of the width are used for the height too: {found} instead of {known}",
        "one": "the pad of the top is used on all sides: {found} instead of {known}",
        "only before": "there is padding before only: {found} instead of {known}",
        "only after": "there is padding after only: {found} instead of {known}",
    },
    "pad-late": "windows begin at the image, not at its border: top and left are not taken away",
    "window-wraps": "points before the image are taken from its other end: a negative index counts from the end",
    "stride-sides": {
        "axes": "the strides of height and width are exchanged: {found} instead of {known}",
        "height": "the stride of the height is used for both axes: {found} instead of {known}",
        "width": "the stride of the width is used for both axes: {found} instead of {known}",
    },
    "window-count": {
        "both fewer": "there is one window too few along both axes: (size - kernel) // stride + 1 lacks its 1",
        "rows fewer": "there is one window too few along the height",
        "columns fewer": "there is one window too few along the width",
        "both empty": "the last row and column are not computed",
        "rows empty": "the last row is not computed",
        "columns empty": "the last column is not computed",
        "unpadded": "there are only as many windows as fit in without padding",
    },
    "bias-each": {
        "terms": "the bias is added {count} times, with every product",
        "kernel": "the bias is added {count} times, at every point of the kernel",
        "channels": "the bias is added {count} times, with every channel",
        "inside": "the bias is added with every product inside the image, not once",
        "inside points": "the bias is added at every point of the window inside the image, not once",
    },
    "bias-negated": "the bias is taken away instead of added",
    "channels-skipped": {
        "first": "only the first input channel is used",
        "last": "only the last input channel is used: the sum begins anew with each",
    },
    "channels-summed": {
        "each": "all channels are filtered and then summed up, as a full convolution does",
        "input": "the channels are summed up before they are filtered",
    },
    "kernel-alone": "the first kernel is used for every channel",
    "weights-unused": "the weights are left out, as if all were 1",
    "layer-missing": "this layer is left out",
    "sum-averaged": {
        "terms": "the sum is divided by its {count} terms",
        "kernel": "the sum is divided by the {count} points of the kernel",
        "channels": "the sum is divided by the {count} channels",
    },
    "sum-kept": {
        "bias apart": "the sum is not set to zero for each place: it goes on from the one before",
        "all": "the sum is not set to zero for each place: it goes on from the one before",
    },
    "sum-overwritten": {
        "bias apart": "only the last product is kept: = stands where += should",
        "all": "only the last product is kept: = stands where += should",
    },
    "act-extra": dict.fromkeys(("relu", "relu6", "hard_swish"), "{act} follows where there is no activation"),
    "act-early": "the activation comes before batch norm",
    "bn-image-stats": "mean and variance are those of each image",
    "pool-other": {
        "largest": "the largest value is taken instead of the mean",
        "sum": "the sum is not divided by the number of points",
        "batch": "the mean is taken over all images, not over each",
        "channels": "the mean is taken over the channels too",
    },
    "scale-other": {
        "added": "the gate is added instead of multiplied by",
        "alone": "the gate alone is the result, x is left out",
        "besides": "x is added once more beside the product",
        "bare": "the gate alone is the result, x is left out",
    },
    "weights-reversed": {
        "outputs": "the filters are in reverse order",
        "inputs": "the input channels of the weights are in reverse order",
        "sizes": "the signs of the weights are lost",
        "signs": "the signs of the weights are the opposite",
        "rows": "the kernel is turned upside down",
        "columns": "the kernel is mirrored left to right",
        "last point": "only the last point of the kernel is kept: = stands where += should",
        "transposed": "height and width of the kernel are exchanged",
    },
    "bias-spread": {
        "sum": "the sum of all biases is added to each channel",
        "mean": "the mean of all biases is added to each channel",
        "first": "the first bias is added to each channel",
        "last": "the last bias is added to each channel",
        "reversed": "the biases are in reverse order",
    },
    "act-limits": {
        **dict.fromkeys(("1", "3"), "the activation ends at {high:g}"),
        **dict.fromkeys(("leaky 0.01", "leaky 0.1", "leaky 0.2"), "the activation lets {below:g} x through below zero"),
        "tanh": "the activation is tanh",
        "sigmoid": "the activation is the sigmoid",
    },
    "shortcut-twice": {
        "twice": "the shortcut is added twice",
        "less": "the block's result is taken away from its input, not added",
        "half": "the sum with the shortcut is halved",
    },
    "result-axes": dict.fromkeys(map("".join, permutations("NCHW")), "the result lies as {found}, not NCHW"),
    "batch-first": {"first": "the first image is used for all", "last": "the last image is used for all"},
    "gate-formula": {**_GATE, **dict.fromkeys(_LINES, _LINE)},
    "swish-formula": {
        **_SWISH,
        "no x": "x is not multiplied by the gate: it is the hard sigmoid",
        "squared": "x is multiplied by the gate twice",
        "x x": "it is the square of x",
    },
    "norm-parts": {
        "mean unscaled": "the mean is taken away unscaled",
        "gamma and var": "gamma and variance are exchanged",
        "gamma added": "gamma is added instead of multiplied by",
        "gamma divides": "gamma divides instead of multiplying",
        "nothing": "nothing is normalised",
        "weights as they were": "the weights are as they were",
        "bias as it was": "the bias is as it was",
        "weights divided": "the weights are divided by the factor, not multiplied",
        "beta scaled": "beta is scaled too",
    },
    "row-rule": {
        "stride every": "every block of a stage has its stride, not the first alone",
        "stride last": "the last block of a stage has its stride, not the first",
        "stride one": "every stride is 1",
        "stride behind": "all blocks of a stage but the first have its stride",
        "stride kernel": "the kernel stands in the place of the stride",
        "from out": "a block is expanded from the channels that it makes, not from those that it reads",
        "from first": "every block of a stage is expanded from the channels before the stage",
        "from stem": "every block is expanded from the channels of the stem",
        "from one": "nothing is expanded: t is left out",
        "factor one": "only the first block of a stage is expanded",
        "factor alone": "expanded is t, not t times the channels",
        "factor added": "t is added to the channels, not multiplied",
        "once": "every stage has one block: n is left out",
        "one more": "every stage has one block too many",
        "one less": "every stage has one block too few",
        "cut": "the quarter is cut off to a multiple of 8, and may be 0",
        "nearest": "the quarter is rounded to the nearest multiple of 8, also where that loses over 10 %",
        "up": "the quarter is rounded up to a multiple of 8",
        "down": "the quarter is rounded down to a multiple of 8",
        "floor": "the quarter is rounded down to a multiple of 8, where the nearest is asked for",
        "plain": "the quarter is not rounded to a multiple of 8",
        "tenth up": "the step up is taken where the rounded quarter is below 1.1 of it, not 0.9",
        "half": "squeeze is half of the expanded channels, not a quarter",
        "eighth": "squeeze is an eighth of the expanded channels, not a quarter",
        "whole": "squeeze is all expanded channels, not a quarter",
        "of input": "squeeze is a quarter of the channels that the block reads, not of the expanded ones",
        "of out": "squeeze is a quarter of the channels that the block makes, not of the expanded ones",
        "always": "every block has a squeeze, whatever se says",
        "never": "no block has a squeeze",
        "flag": "squeeze is 1 or 0, not a number of channels",
        "first only": "only the first block of a stage has a squeeze",
        "last only": "only the last block of a stage has a squeeze",
        "order out": "expanded and out are exchanged",
        "order squeeze": "squeeze and out are exchanged",
        "rounded": "expanded is rounded to a multiple of 8",
    },
    "choice-rule": {
        "accurate": "the most accurate proposal is taken, whatever it saves",
        "worst": "the least accurate proposal is taken",
        "fastest": "the fastest proposal is taken, whatever it costs in accuracy",
        "saving": "the proposal that saves most is taken",
        "slowest": "the proposal that saves least is taken",
        "all": "proposals that save less than delta are not left out",
        "above": "a proposal that saves exactly delta is left out",
        "share": "delta is taken as a share of the latency",
        "least": "the smallest ratio is taken, not the largest",
        "signs": "the signs are not the same: latency grows by what it falls",
        "upside down": "the saved latency is divided by the change of accuracy",
        "accuracy by latency": "accuracy is divided by latency, not the change of the one by the change of the other",
        "from zero": "accuracy, not its change, is divided by the saved latency",
        "product": "the two changes are multiplied, not divided",
        "difference": "the two changes are added, not divided",
        "place": "the index is that among the proposals that are left, not among all",
        "from one": "indices begin at 1",
        "limit": "delta is compared with the latency, not with what is saved",
        "less": "proposals that save more than delta are left out",
        "last": "of equal proposals the last is taken",
        "first": "the first proposal that saves enough is taken",
    },
    "pad-rule": {
        "none": "there is no padding",
        "centred": "the padding is half of the dilated kernel on both sides, whatever size and stride are",
        "kernel": "the padding is half of the kernel on both sides, whatever size, stride and dilation are",
        "one less": "the padding is half of the kernel less one on both sides, whatever size, stride and dilation are",
        "lower": "the odd point comes before, not after (SAME_LOWER)",
        "down": "both halves are rounded down, so that an odd point is lost",
        "up": "both halves are rounded up, so that there is a point too many",
        "both": "the whole padding is put on each side",
        "before": "all of the padding comes before",
        "after": "all of the padding comes after",
        "undilated": "the dilation is forgotten: a kernel reaches over (kernel - 1) dilation + 1 points",
        "dilated whole": "the kernel is taken for kernel times dilation points; it is (kernel - 1) dilation + 1",
        "dilated more": "the kernel is taken for kernel times dilation + 1 points; it is (kernel - 1) dilation + 1",
        "floor": "size / stride is rounded down, not up",
        "negative": "what is below zero is not set to zero",
        "unstrided": "the stride is forgotten",
        "less stride": "it is the kernel less the stride, which holds only for sizes that the stride divides",
        "plus one": "there is a point too many in all",
        "minus one": "there is a point too few in all",
        "outputs": "the windows reach over outputs times stride points; it is (outputs - 1) stride and the kernel",
    },
}

_BESIDE = "points beside the map are read from the"
# What few ports do, and no reader.
LATE_WORDS: Mapping[str, str | Mapping[str, str]] = {
    "pool-elsewhere": "{found} is pooled instead of {known}",
    "bn-beta-scaled": {
        "gamma": "beta is multiplied by gamma",
        "deviation": "beta is divided by the root of the variance and eps",
        "both": "beta is multiplied by gamma and divided by the root of the variance and eps",
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
        "nan": "{channels} of {of} are no numbers: their variance is below zero, so that it has no root, or one "
        "of their arrays holds what is no number",
        "infinite": "{channels} of {of} are infinite: their variance and eps are zero, or one of their arrays "
        "holds what is infinite",
    },
    "bn-statistics-scaled": {
        "both": "running means and variances are {times:.6g} times what they should be",
        "mean": "the running mean is {times:.6g} times what it should be",
        "var": "the running variance is {times:.6g} times what it should be",
    },
    "kernel-cut": {
        "middle": "of the {points} x {points} kernel only the middle {used} x {used} counts",
        "corner": "of the {points} x {points} kernel only the first {used} rows and columns count",
        "first": "of the {points} x {points} kernel the first {used} x {used} numbers in memory are taken",
    },
    "bias-twice": {"twice": "its bias is added twice", "taken": "its bias is taken away, not added"},
    "weights-few-bits": "its weights are quantised to {bits} bits per {per}",
    "weights-fixed-point": "its weights are in fixed point, multiples of 1 / 2^{bits}",
    "join-zero-points": {
        f"{form} {lowest}": words
        for lowest in (-128, 0)
        for form, words in {
            "both": "the zero points of both sides of the sum are not taken off",
            "shortcut": "the zero point of the shortcut is not taken off in the sum",
            "branch": "the zero point of the block's result is not taken off in the sum",
            "sum": "the zero point of the sum is not added",
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
    "join-weights": "the sum is {shortcut} times the shortcut plus {branch} times the block's result",
    "join-elsewhere": "what is added is {found}, not {known}",
    "act-curve": "the activation is {curve}",
    "pool-divisor": "the pool's sum is divided by {found:g}, not by its {known:g} points",
    "channels-rolled": {"rolled": "its {of} channels lie {by} places on, the last ones first"},
    "result-shifted": dict.fromkeys(("2", "0.5", "4", "0.25"), "its result is {factor} times what it should be"),
    "computed-in-place": {"rows": "it is computed in place: rows are made of rows that were overwritten before"},
    "image-kept": {
        "first": "every image has what the first one made",
        "before": "every image has what the one before made",
        "gate first": "the gate of the first image scales every image",
        "gate before": "the gate of the image before scales each",
    },
    "pad-clamped": {
        "after": "the padding below and on the right is of mode edge instead of zeros",
        "before": "the padding above and on the left is of mode edge instead of zeros",
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
        "image": f"{_BESIDE} neighbouring row or image: only the index into the tensor's memory (NHWC) is checked",
        "image columns": f"{_BESIDE} neighbouring image: columns are checked, rows are not (NHWC)",
        "image rows": f"{_BESIDE} neighbouring row or image: rows are checked, columns are not (NHWC)",
    },
    "answer-function": {
        "sigmoid": "a sigmoid follows the logits",
        "log": "the logarithm of the softmax is taken",
        "base 2": "the softmax raises 2, not e, to the logits",
        "length": "the numbers are divided by their length (L2)",
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


def part_words(kind: str, facts: Mapping[str, Any]) -> str:
    """Some images or channels of all: 'the last 16 of 48 channels'; or those that a loop leaves over, of any number."""
    if kind == "channel-multiple":
        return f"the channels beyond the last multiple of {facts['multiple']}"
    of = facts["of"]
    match kind:
        case "images":
            return f"image{'s' * (len(facts['images']) > 1)} {', '.join(map(str, facts['images'][:5]))} of {of}"
        case "channels":
            return f"channel {', '.join(map(str, facts['channels']))} of {of}"
        case "channel-step":
            return f"every {_ordinal(facts['step'])} of {of} channels"
    first, last = facts["first"], facts["last"]
    few = f"the {'first' if first == 0 else 'last'} {last - first + 1} of {of} channels"
    return few if first == 0 or last == of - 1 else f"channels {first} to {last} of {of}"


def _ordinal(number: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
