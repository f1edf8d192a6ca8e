"""What has happened to the arrays of a file, in words, by bug and form."""

from __future__ import annotations

from collections.abc import Mapping

from refnet.readings.precision import FLOATS

__all__ = ["FILE_WORDS", "FOLDED_WORDS"]

_Words = Mapping[str, str | Mapping[str, str]]

_AXES = "axes {written} are read as {read}"
_ROLLED = "class {known} of the original is class {found} here: all are rolled by one"
# Of an order, by rule.
_ORDERS = {
    "reverse": "the {side} are in reverse order",
    "two": "{side} {one} and {other} are exchanged",
    "halves": "the halves of the {side} are exchanged",
    "rolled": "the {side} are rolled by {by}",
    "later": "the {side} begin {by} places later, with zeros before them",
    "earlier": "the {side} are read from number {by} on, with zeros behind them",
    "shuffled": "the {side} are shuffled in {groups} groups: the first of each, then the second of each",
    "dealt": "the {side} are dealt out in turn to {groups} groups: a shuffle of {groups} groups undone",
    "text": "the {side} are in the order of their numbers as text: 0, 1, 10, 11, ...",
    "text undone": "the {side} are taken for ones in the order of their numbers as text: 0, 1, 10, 11, ...",
    "text from 1": "the {side} are in the order of their numbers from 1 on as text: 1, 10, 11, ..., 2, ...",
    "text from 1 undone": "the {side} are taken for ones in the order of their numbers from 1 on as text: 1, 10, ...",
    "turned": "the {side} are in reverse order within every {size}",
    "groups turned": "the {side} are in groups of {size}, and the groups in reverse order",
    "order": "{moved} of {of} {side} are in another order, from {start} on",
}

_PART = "{parts} of a step is added to every weight{of_scale}"
_MANNERS = {
    "nearest": "rounded",
    "cut": "cut off toward zero",
    "down": "rounded down",
    "up": "rounded up",
    "half": "cut off toward zero once half a step is added",
}

_ESTIMATED = "1 over the root of variance and eps is estimated by"
_NEWTON = {0: "none of Newton's steps", 1: "one of Newton's steps", 2: "two of Newton's steps"}

# What has happened to an array of a file.
FILE_WORDS: _Words = {
    "bias-missing": "the bias is lost",
    "weights-zeroed": "all its elements are zero",
    "bn-eps": "batch norm was folded with eps {found:g} instead of {known:g}",
    "bn-eps-outside": "{eps:g} is added to the root of the variance, not to the variance",
    "bn-eps-inverse": "{eps:g} is added to 1 over the root of the variance, not to the variance",
    "bn-eps-floor": "{eps:g} is taken for every {floor} below it, and eps is not added",
    "bn-fix-gamma": "gamma is taken as 1",
    "bn-missing": "batch norm is gone without having been worked in",
    "bn-var-std": {
        "with-eps": "the variance plus eps divides instead of its root",
        "alone": "the variance divides instead of the root of it and eps",
        "multiplied": "it is multiplied by the root instead of divided",
    },
    "bn-fold-axis": {
        "": "batch norm is folded along the wrong axis of the kernel",
        "inputs": "batch norm is folded into the inputs instead of the outputs",
    },
    "bn-fold-bias": {
        "mean": "the mean is taken as 0",
        "own": "the convolution's own bias is taken as 0",
        "beta": "beta is taken as 0",
        "var": "the variance is taken as 1",
        "mean-added": "the mean is added instead of taken away",
        "no-root": "the folded bias is beta - gamma mean, without the root",
        "no-gamma": "the folded bias is beta - mean / root, without gamma",
        "lost": "the folded bias is lost",
        "unwritten": "mean 0 and variance 1 are taken for the statistics, which were never loaded",
        "mean-alone": "the folded bias is the mean taken away, unscaled",
        "own-unscaled": "the convolution's own bias is added unscaled",
        "beta-first": "beta is added before the scaling",
        "beta-away": "the folded bias is beta taken away",
    },
    "bn-gamma-function": {
        "absolute": "the absolute value of gamma is taken",
        "clipped": "0 is taken for every gamma below 0",
        "squared": "gamma is squared",
        "one more": "1 + gamma is taken for gamma",
    },
    "bn-root-estimated": {
        **{f"bits {steps}": f"{_ESTIMATED} the bits of a float, with {words}" for steps, words in _NEWTON.items()},
        **{f"arm {steps}": f"{_ESTIMATED} Arm's table (vrsqrte), with {words}" for steps, words in _NEWTON.items()},
    },
    "bn-beta-scaled": {
        "gamma": "beta is multiplied by gamma in the fold",
        "deviation": "beta is divided by the root of the variance and eps in the fold",
        "both": "beta is multiplied by gamma, and divided by the root of the variance and eps, in the fold",
    },
    "norm-parts": {
        "mean unscaled": "the mean is taken away unscaled in the fold",
        "gamma added": "gamma is added instead of multiplied by in the fold",
        "gamma divides": "gamma divides instead of multiplying in the fold",
        "weights divided": "the weights are divided by the fold's factor, not multiplied",
        "bias as it was": "the bias is the convolution's own, and the weights are folded",
    },
    "fold-repeated": {
        "weights": "batch norm is folded twice into the weights",
        "both": "batch norm is folded twice",
    },
    "fold-elsewhere": "the batch norm of {layer} is folded in",
    "normalisation-folded": "the input's normalisation is worked in: (x - {mean}) / {std}",
    "bn-swapped": "it holds the layer's {other}",
    "classes-shift": {
        "earlier": _ROLLED,
        "later": _ROLLED,
        "shifted": "all classes are shifted by one, and one is new",
        "more first": "a class more, the first",
        "more last": "a class more, the last",
        "fewer first": "a class fewer: the first is gone",
        "fewer last": "a class fewer: the last is gone",
    },
    "kernel-transpose": _AXES,
    "depthwise-axes": _AXES,
    "weights-transpose": _AXES,
    "kernel-flip": {
        "180": "the kernel is turned by 180 degrees",
        "90": "the kernel is turned by 90 degrees",
        "270": "the kernel is turned by 270 degrees",
        "left-right": "the kernel is mirrored left to right",
        "top-bottom": "the kernel is mirrored top to bottom",
        "diagonal": "the kernel is mirrored across its other diagonal",
    },
    "channel-permute": _ORDERS,
    "scales-moved": _ORDERS
    | {
        "layer": "it has the scales of {layer}",
        "one": "all channels have one scale, and each should have its own",
        "made by one": "its integers are made by one scale for all channels, and each has its own",
        "made by a channel's": "its integers are made by the scale of channel {channel}, and each channel has its own",
        "inputs": "the scales of its channels run along its inputs",
    },
    "integers-misread": {
        "moved": "every integer is {by:+d} off: another zero point",
        "left": "the zero point is left in: every integer is {by:+.0f} off",
        "each": "the integers of each channel are off, by {least:+d} to {most:+d}: other zero points",
        "turned": "signed bytes are taken for unsigned ones moved by 128",
        "unsigned": "signed bytes are read as unsigned ones",
    },
    "integers-unnudged": {
        "minimum": f"{_PART}: the integers count from the unrounded minimum, and the zero point is {{zero}}",
        "maximum": f"{_PART}: the integers count down from the unrounded maximum, and the zero point is {{zero}}",
        "part": f"{_PART}, as where integers count from an unrounded end of the range, and the zero point is rounded",
    },
    "weights-misplaced": {"": "it holds {layer}.{slot}", "transposed": "it holds {layer}.{slot}, transposed"},
    "weights-shifted": {
        "early": "each number is the one that lies {by} further on: it is read from too far on",
        "late": "each number is the one that lies {by} before it: it is read from too early on",
    },
    "channels-displaced": {
        form: f"{{side}} {{first_of}} to {{last_of}} of {{of}} each hold the values of {whose}"
        for form, whose in {
            "next": "the next one: they are shifted by one",
            "previous": "the one before: they are shifted by one",
            "later": "the one {by} further on",
            "earlier": "the one {by} before",
        }.items()
    },
    "weights-negated": {
        "all": "every sign is the opposite",
        "channels": "the signs of {channels} are the opposite",
    },
    "weights-scaled": "it is {factor} times what it should be",
    "channels-scaled": {
        "few": "{channels} of {of} are scaled, by {factors}",
        "all": "every channel is scaled, by {least:.4g} to {most:.4g}",
    },
    "inputs-scaled": {
        "few": "the input channels are scaled, by {factors}",
        "all": "every input channel is scaled, by {least:.4g} to {most:.4g}",
    },
    "bn-variance-stored": {
        "root": "in place of the variance stands its root",
        "root with eps": "in place of the variance stands the root of it and eps",
        "inverse root with eps": "in place of the variance stands 1 over the root of it and eps",
        "inverse root": "in place of the variance stands 1 over its root",
        "inverse": "in place of the variance stands 1 over it",
        "inverse with eps": "in place of the variance stands 1 over it and eps",
        "with eps": "in place of the variance stands the sum of it and eps",
        "square": "in place of the variance stands its square",
    },
    "bn-statistics-scaled": {
        "both": "running means and variances are {times:.6g} times what they should be",
        "mean": "the running mean is {times:.6g} times what it should be",
        "var": "the running variance is {times:.6g} times what it should be",
    },
    "weights-offset": "{constant:.6g} is added to every element",
    "weights-affine": "it is {factor} times what it should be, and {constant:.6g} is added",
    "weights-overflow": {
        "infinite": "beyond float16, {count} of {of} elements are infinite",
        "cut": f"beyond float16, {{count}} of {{of}} elements are cut off at {FLOATS['float16'].largest:g}",
    },
    "weights-clipped": "values are cut off at {low:.6g} and {high:.6g}",
    "weights-flushed": "values below float16's smallest normal number are zero",
    "weights-pruned": {
        "run": "its {side} {first_of} to {last_of} of {of} are all zero",
        "channels": "{percent:.3g} % of its elements are pruned to 0, in whole channels",
        "groups": "it is pruned: {kept} of every {group} weights are left",
        "smallest": "it is pruned: the smallest {percent:.3g} % of its elements are 0",
        "some": "it is pruned: {percent:.3g} % of its elements are 0",
    },
    "weights-damaged": {
        "channel": "only {channels} of {of} is off{empty}{finite}",
        "channels": "only {channels} of {of} are off{empty}{finite}",
        "elements": "{count} of {of} elements are off, the first at {first}{finite}",
        "run": "only {side} {first_of} to {last_of} of {of} are off{empty}{finite}",
        "step": "only every {every} of {of} {side} is off, from {first_of} on{empty}{finite}",
        "tail": "only the last {count} of {of} elements are off, in the order of memory{empty}{finite}",
    },
    "weights-fp16": {
        "float16": "every element was rounded to float16 before it was made what it is",
        "bfloat16": "every element was rounded to bfloat16 before it was made what it is",
        **{
            f"{store} truncated": f"every element is cut off to {store}, toward zero"
            for store in ("float16", "bfloat16")
        },
    },
    "bytes-misread": {
        "swapped": "the bytes of every number are read in the opposite order",
        "swapped float16": "the bytes of every float16 are read in the opposite order",
        "bfloat16 as float16": "what was stored as bfloat16 is read as float16",
        "float16 as bfloat16": "what was stored as float16 is read as bfloat16",
    },
    "weights-stepped": {
        f"{per} {how}": f"it is {done} to {{bits}} bits, with {steps}"
        for per, steps in (("tensor", "one step for all"), ("channel", "a step for each channel"))
        for how, done in _MANNERS.items()
    }
    | {
        "integers nearest": "its scale is too small for the largest weights, which the ends of the integers cut off",
        "integers cut": "its integers are cut off toward zero instead of rounded",
        "integers down": "its integers are rounded down, not to the nearest",
        "integers up": "its integers are rounded up, not to the nearest",
        "integers half": "its integers are cut off toward zero once half is added, so that negative ones are too large",
    }
    | {f"float8 {kind}": f"it is rounded to float8, {kind}" for kind in ("e4m3", "e5m2")},
    "weights-binarised": {
        f"{per} {form}": f"only the signs of its weights are left, {less}times {number}"
        for per, whose in (("tensor", "for all"), ("channel", "for each channel"))
        for form, less, number in (
            ("mean", "", f"the mean of their sizes, one {whose}"),
            ("three", "and zero for the smallest, ", f"a number, one {whose}"),
            ("other", "", f"a number, one {whose}"),
        )
    },
    "weights-in-powers": {
        "nearest exponent": "every weight is a power of two, the exponent rounded",
        "nearest": "every weight is the nearest power of two",
        "down": "every weight is a power of two, cut off toward zero",
        "up": "every weight is a power of two, the next larger one",
    },
    "weights-clustered": {
        "nearest": "each weight is the nearest of {count} values",
        "order": "each weight is one of {count} values, that of its place in the order of all",
    },
    "weights-printed": "it was written as text with {places} {figures}",
    "weights-coarse": "every element agrees to {bits} bits: rounded further, or folded in a shorter format",
}

# The same where batch norm was folded into the array, if that is said otherwise.
FOLDED_WORDS: _Words = {
    "bn-fold-bias": {
        "mean": "the mean is forgotten in the fold",
        "own": "the convolution's own bias is forgotten in the fold",
        "beta": "beta is forgotten in the fold",
    },
    "bn-swapped": "{one} and {other} are exchanged in the fold",
}
