"""What slips of a first program are called in words, to follow 'your answers are what one gets when'."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

__all__ = ["SLIPS"]

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
