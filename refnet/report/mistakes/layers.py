"""What ports do in layers, in words: to follow 'it equals the reference when', one row for each bug."""

from __future__ import annotations

from collections.abc import Mapping

from refnet.report.mistakes.late import OTHER

__all__ = ["LAYER_WORDS"]

_ACTS = ("relu", "relu6", "hard_swish")
_OTHER_ACT = "the activation is {found} instead of {known}"
_PAD_RULES = {"same": "TF SAME", "symmetric": "symmetric"}
_NO_BIAS = "its bias is left out"
_FROM = "leaves the port's format, scaled as it is there: up to {most:.4g} it is finite, from {least:.4g} on it is not"
_BEYOND = "{most:.5g} {past} {store}, whose largest number is {largest:g}"
_QUARTER = "The layer has {found} channels, a quarter of the {whose} ({width}){how}, and should have {known}"

_ELSEWHERE = {
    OTHER: "it has the {arrays} of {layer}",
    "before": "it has the numbers of the same layer {blocks} before",
    "behind": "it has the numbers of the same layer {blocks} behind",
}
LAYER_WORDS: Mapping[str, str | Mapping[str, str]] = {
    "pad-same": {form: f"the padding is {rule} {{found}} instead of {{known}}" for form, rule in _PAD_RULES.items()},
    "pad-lower": "the padding is SAME_LOWER {found} instead of {known}",
    "pad-split": {
        OTHER: "the padding is {found} instead of {known}",
        "shifted": "sampling begins {later}: the padding is {found} instead of {known}, or as of other kernels",
    },
    "inputs-left-out": "the {which} {count} of the {of} numbers that it reads are left out, or are zero",
    "classes-left": {
        "weights": "the {which} {count} of {of} classes have their bias alone: their sums are left out",
        "all": "the {which} {count} of {of} classes are left out: their logits are 0",
    },
    "outputs-unmade": {
        form: f"channels {{start}} to {{last}} of {{of}} are never made: {what} 0 there"
        for form, what in (
            ("sums", "their sums are"),
            ("biases too", "what the convolution makes is"),
            ("norms too", "what batch norm makes is"),
        )
    },
    "fold-sign": {
        "absolute": "the fold takes the absolute value of gamma, in {channels} of {of}: there the weights have the "
        "opposite sign, and the bias is another one",
        "clipped": "the fold takes 0 for a gamma below 0, in {channels} of {of}: there the weights are zero, and the "
        "bias is another one",
    },
    "norm-left": "an empty batch norm is run behind what it was folded into, and divides by the root of 1 + {eps:g}",
    "pad-value": {
        "edge": "the padding is of mode edge instead of zeros",
        "reflect": "the padding is of mode reflect instead of zeros",
        "symmetric": "the padding mirrors the map with its edge (mode symmetric) instead of zeros",
        "wrap": "the padding is circular instead of zeros",
        "edge same": "the padding is {found} of mode edge instead of zeros",
        "reflect same": "the padding is {found} of mode reflect instead of zeros",
        "symmetric same": "the padding is {found} of mode symmetric instead of zeros",
        "wrap same": "the padding is {found} and circular instead of zeros",
        **{
            f"{mode} {axis}": f"the padding of {axis} is {words} instead of zeros"
            for mode, words in (
                *((mode, f"of mode {mode}") for mode in ("edge", "reflect", "symmetric")),
                ("wrap", "circular"),
            )
            for axis in ("rows", "columns")
        },
        "-1": "the padding is filled with -1 instead of zeros",
        "1": "the padding is filled with 1 instead of zeros",
        "integer 0": "the padding is the stored integer 0, not the zero point",
        "lowest integer": "the padding is the lowest integer (0 of uint8, -128 of int8), not the zero point",
        "zero point of result": "the padding is the zero point of the layer's result, not of what it reads",
        "integer": "the padding is filled with another integer than the zero point, away from it by {aside}",
        "number": "the padding is filled with {filling} instead of zeros",
        "black": "the padding is black, -mean/std, instead of zeros",
    },
    "kernel-transpose": "height and width of the kernel are exchanged",
    "depthwise-axes": {
        "RSC>CRS": "(R, S, C) weights are read as (C, R, S)",
        "CRS>RSC": "(C, R, S) weights are read as (R, S, C)",
    },
    "weights-transpose": {
        "RSCK>KCRS": "HWIO weights are read as OIHW",
        "CK>KC": "({shape[1]}, {shape[0]}) weights are read as ({shape[0]}, {shape[1]})",
        "KC>CK": "({shape[0]}, {shape[1]}) weights are read as ({shape[1]}, {shape[0]})",
    },
    "vector-axis": {
        "width": "numbers that are one for each channel run along the width instead",
        "height": "numbers that are one for each channel run along the height instead",
        "batch": "numbers that are one for each channel run along the batch instead",
        "gate width": "the gate runs along the width instead of the channels",
        "gate height": "the gate runs along the height instead of the channels",
        "bias width": "the folded bias runs along the width instead of the channels",
        "bias height": "the folded bias runs along the height instead of the channels",
        "bias batch": "the folded bias runs along the batch instead of the channels",
    },
    "channel-permute": {
        "two": "channels {one} and {other} are exchanged",
        "halves": "the halves of the channels are exchanged",
        "held": "{moved} of {of} channels hold other ones, channel {one} that of {other} first",
    },
    "channel-rule": "{arrays}",
    "vector-order": "{arrays}",
    "lanes-repeated": {
        side: "channels of its sums, from number {start} on in steps of {step}, are copies of those " + side + " them"
        for side in ("before", "behind")
    },
    "weights-elsewhere": _ELSEWHERE,
    "layer-elsewhere": _ELSEWHERE,
    "block-elsewhere": {
        OTHER: "block {block} has the weights of block {other}",
        "before": "all layers of its block have the numbers of those {blocks} before",
        "behind": "all layers of its block have the numbers of those {blocks} behind",
    },
    "blocks-exchanged": {
        OTHER: "blocks {block} and {other} have each other's weights",
        "before": "of blocks {least} to {most}, each but the first has the weights of the one before",
        "behind": "of blocks {least} to {most}, each but the last has the weights of the one behind",
        "reversed": "blocks {least} to {most} have their weights in reverse order",
    },
    "channels-last": "the tensor is right but lies in NHWC order under an NCHW shape",
    "stride-place": "the stride {stride} is taken before this layer, not in it",
    "stride-phase": "sampling starts one pixel later",
    "dilation": "the dilation is {found} instead of {known}",
    "pool-count": {
        "": "the average counts one row of padding on each side",
        "avg_pool2d": "the average counts its padding (count_include_pad), as zeros",
        "max_pool2d": "the largest value is taken over a padding of zeros, too",
        "alone": "the average leaves out its padding (count_include_pad is False)",
    },
    "stride-dilated": {
        "": "the kernel is spread by a dilation of {dilation}, and the stride {stride} is left out",
        "undone": "the stride is {stride}, and the dilation of {dilation} is left out",
    },
    "output-stride": {
        "dense": "the stride of {layer} is left out, and kernels from there on are spread by a dilation of {rate}",
        "classes": "{layer} has a stride of {rate}, and no kernel from there on is spread by a dilation of {rate}",
    },
    "stride-changed": "the stride is {found} instead of {known}{padded}",
    "stride-moved": {
        "next": "the stride is left to {layer} in the next block",
        "last": "the stride is left to {layer} in the last block of the stage",
        "later": "the stride is left to {layer}",
        "earlier": "the stride of {layer} is taken here",
        "next of each": "the stride is left to the next block",
        "last of each": "the stride is left to the last block of the stage",
        "later of each": "the stride is left to a later block",
        "earlier of each": "the stride of a later layer is taken here",
    },
    "pad-amount": {
        OTHER: "the padding is {found} instead of {known}",
        "exchanged": "the padding is {found} instead of {known}: that of rows and that of columns are exchanged",
        "by as much": "the padding is {found} instead of {known}, or as much more or less at other kernels",
    },
    "dilation-alone": "the dilation is {found} instead of {known}, and the padding as it was",
    "pool-fixed": {
        "once": "the pool is of 7 x 7 points at a time instead of the whole map",
        "strided": "the pool is of 7 x 7 points, side by side, instead of the whole map",
        "kernel": "the pool is of {found} points at a time instead of the whole map of {known}",
    },
    "pool-window": {
        OTHER: "the pool's {what} is {found} instead of {known}{padding}",
        "avg_pool2d": "the pool takes the mean of its points, not the largest",
        "max_pool2d": "the pool takes the largest of its points, not the mean",
    },
    "pool-ceil": {
        "up": "the number of its windows is rounded up (ceil_mode), not down: {windows}",
        "down": "the number of its windows is rounded down, not up (ceil_mode): {windows}",
    },
    "resize-corners": {
        "True": "align_corners is {found} instead of {known}",
        "False": "align_corners is {found} instead of {known}",
        "asymmetric": "it is sampled asymmetrically: at p n / P, not at centres of pixels",
        "nearest": "the nearest pixel is taken, at floor(p n / P)",
        "nearest centre": "the nearest pixel is taken",
        "nearest corners": "the nearest pixel is taken, with corners aligned",
        "border": "zeros are mixed in at the border, as by a transposed convolution",
        **dict.fromkeys(
            ("factor", "factor above"), "it is enlarged {times:g} times, and what is over is cut off, not to the size"
        ),
        **dict.fromkeys(
            ("factor corners", "factor above corners"),
            "it is enlarged {times:g} times with corners aligned, and what is over is cut off, not to the size",
        ),
        **dict.fromkeys(("cubic -0.75", "cubic -0.5"), "a bicubic kernel (a = {a:g}) makes it, not the bilinear one"),
    },
    "resize-size": {
        "out": "it is not resized: the map stays of {found} points instead of {known}",
        "other": "it is resized to {found} points instead of {known}",
        "out of each": "nothing is resized: the first map stays of {found} points instead of {known}",
        "other of each": "each is resized to another size, the first to {found} points instead of {known}",
    },
    "lraspp-pool": {
        "fixed": "the gate pools {windows} points at strides of {steps}, not the whole map",
        "share": "the gate pools {windows} points at strides of {steps}, not the whole map",
        "global": "the gate pools the whole map",
    },
    "lraspp-gate": {
        "twice": "the gate is a sigmoid of its sigmoid",
        "softmax": "the gate is a softmax over the channels",
        "tanh": "the gate is a tanh",
        "squared": "the map is multiplied by the gate twice",
    },
    "lraspp-branch": "the fine branch reads {found}, not {known}",
    "lraspp-order": {
        "after": "it stands behind the last enlargement, not before it: its map is {found}, not {known}",
        "before": "it stands before the first enlargement, not behind it: its map is {found}, not {known}",
    },
    "flatten-order": "the map is flattened in NHWC order, not NCHW",
    "bn-eps": "eps is {found:g} instead of {known:g}",
    "already-normalised": {
        "norm": "the tensor is already normalised: it holds what batch norm makes of it",
        "act": "the tensor is already activated: it holds what its activation makes of it",
        "sum": "the tensor is already the sum with the shortcut",
        "gate": "the tensor is already scaled by its gate",
    },
    "bn-batch-stats": {
        "": "mean and variance are those of the batch (training mode)",
        "unbiased": "mean and variance are those of the batch (training mode), the variance unbiased",
    },
    "bn-missing": "there is no batch norm",
    "bn-var-std": {
        "with-eps": "the variance plus eps divides instead of its root",
        "alone": "the variance divides instead of its root",
    },
    "bn-fold-axis": {"": "batch norm is folded along the wrong axis of the kernel"},
    "bn-fold-bias": {
        "mean": "the mean is forgotten (the folded bias is beta alone)",
        "no-root": "the folded bias is beta - gamma * mean, without the root",
        "lost": "the folded bias is lost: beta and mean are gone",
        "unwritten": "the mean is 0 and the variance 1: the statistics were never loaded",
        "own": "the fold forgets the convolution's own bias",
    },
    "bn-swapped": {
        "beta-mean": "mean and beta are exchanged",
        "gamma-var": "gamma and variance are exchanged",
        "gamma-beta": "gamma and beta are exchanged",
        "mean-var": "mean and variance are exchanged",
    },
    "bn-order": {
        f"{slot} {form}": f"{vector} {words}"
        for slot, vector in (("b", "bias"), ("gamma", "gamma"), ("beta", "beta"), ("mean", "mean"), ("var", "variance"))
        for form, words in (
            ("reversed", "is in reverse order of channels"),
            ("next", "of each channel is in the next one's place"),
            ("previous", "of each channel is in the place of the one before it"),
        )
    },
    "hsigmoid-slope": "the gate is clip(0.2 x + 0.5, 0, 1)",
    "hsigmoid-half": "the gate is clip((x + 1) / 2, 0, 1)",
    "hsigmoid-beta0": "the gate is clip(x / 6, 0, 1), its offset dropped",
    "gate-sigmoid": {form: f"the gate is the {form} sigmoid" for form in ("hard", "true")},
    "gate-hswish": "the gate is hard swish",
    "gate-bare": {
        "none": "the gate is what its last layer makes, without a sigmoid",
        "uncut": "the gate is not cut off at 0 and 1",
    },
    "hswish-swish": "the activation is the true swish",
    "hswish-nodiv": {"none": "the division by 6 is left out"}
    | {sixth: f"1/6 is rounded to {sixth}" for sixth in ("0.1667", "0.16667")},
    "hswish-divisor": "x * relu6(x + 3) is divided by {found:g}, not by 6",
    "relu6-relu": _OTHER_ACT,
    "act-swap": _OTHER_ACT,
    "hsigmoid-shared": {
        "true": "the sigmoid, of gates and in swish, is the true one",
        OTHER: "the hard sigmoid, of gates and in hard swish, is {formula}",
    },
    "bn-own-outside": "the layer's own eps is added to the root of the variance, not to the variance",
    "act-exchanged": {
        "blocks": "ReLU and hard swish are exchanged in the blocks",
        "all": "ReLU and hard swish are exchanged in all layers",
    },
    "act-missing": "the activation is left out",
    "act-on-linear": {f"{act} made": "{act} follows the linear bottleneck" for act in _ACTS}
    | {f"{act} read": "{act} is put on the linear bottleneck that it reads" for act in _ACTS},
    "se-order": {
        "before": "squeeze-and-excite comes before the activation, not after it",
        "after": "squeeze-and-excite comes after the activation, not before it",
        "pooled": "the gate is made of what comes before the activation, and scales what comes after it",
    },
    "se-missing": "squeeze-and-excite is left out",
    "se-width": _QUARTER,
    "se-bias": {"one": _NO_BIAS, "both": "the biases of both squeeze-and-excite layers are left out"},
    "shortcut-missing": "the shortcut is left out",
    "shortcut-extra": {
        "": "a shortcut is added where there is none",
        "zeros": "a shortcut is added where there is none: it leaves out points, and missing channels are zeros",
    },
    "shortcut-late": {f"{act} before": "{act} is applied before the shortcut is added" for act in _ACTS}
    | {f"{act} after": "{act} is applied after the shortcut is added" for act in _ACTS},
    "expand-extra": "an expansion's {act} is run in a block that has no expansion",
    "head-bn": "an untrained batch norm (eps {eps:g}) follows",
    "head-dropout": "what it reads is multiplied by {factor}, as by dropout that scales when it should not",
    "dropout-left-on": {
        f"{what}{each}": f"dropout is on, at a rate of {{rate:g}}: {count} {what} are zero, and the others are larger"
        for what in ("numbers", "channels")
        for each, count in (("", "{count} of {of}"), (" of each", "some"))
    },
    "dropout-unseen": "dropout is on before it, at a rate of {rate:g}: {count} of {of} numbers that it reads are zero, "
    "and the others are larger",
    "head-act-pool": "the activation comes after the pool, not before it",
    "bias-missing": _NO_BIAS,
    "classes-shift": {
        "later": "class k is where class k - 1 should be",
        "earlier": "class k is where class k + 1 should be",
        "background": "a background class that is always zero comes first, and the last class is cut",
    },
    "mask-turned": {
        "columns": "the map is mirrored left to right",
        "rows": "the map is mirrored top to bottom",
        "both": "the map is turned upside down",
        "exchanged": "height and width of the map are exchanged under its own shape",
    },
    "softmax-twice": {
        "twice": "softmax is applied twice",
        "out": "softmax is left out",
        "extra": "softmax is applied where logits are expected",
        "before": "softmax is applied before the map is resized, where logits are expected",
        "batch": "softmax runs over the images of the batch, not over the classes",
        "all": "softmax runs over the images of the batch and the classes at once",
    },
    "sum-overflow": {
        "pool": f"the pool's sum of {_BEYOND}, before it is divided",
        "product": f"the product of {_BEYOND}, before it is divided",
        "exponential": f"an exponential of {_BEYOND}: the largest logit is not taken away first",
        "result": f"its result of {_BEYOND}",
        "partial": f"a sum on the way of {_BEYOND}, though the result may not be",
        "terms": f"the sum of the sizes of its terms, {_BEYOND}, so that a sum on the way may be",
        "pool from": f"the pool's sum, before it is divided, {_FROM}",
        "product from": f"the product, before it is divided, {_FROM}",
        "logarithm": "the logarithm is taken of probabilities that are zero in {store}",
        "exponential from": f"an exponential {_FROM}",
        "result from": f"its result {_FROM}",
        "above from": "it is not finite where what it reads is above {most:.4g}, as far as {least:.4g} and beyond: "
        "an exponential, or a power, of that leaves the port's format",
        "below from": "it is not finite where what it reads is below {least:.4g}, from {most:.4g} on: "
        "a root, a logarithm or an exponential there is no number",
    },
}
