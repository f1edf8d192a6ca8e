"""What has become of the arrays of a file, in words: kinds of faults, each finding, health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refnet.bugs.language.changes import Mistake
from refnet.readings.precision import FLOATS
from refnet.report.mistakes.bugs import of_file
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.behaviour import Remark
from refnet.verification.findings import HealthFinding
from refnet.verification.roundings import Rounding

__all__ = ["KIND_SENTENCES", "detail", "health_detail", "norm_words", "remark_sentence"]

KIND_SENTENCES: Mapping[str, str] = {
    "lost": "a bias that is zero, or gone",
    "eps": "another eps in the fold",
    "gamma-ignored": "gamma taken as 1",
    "gamma": "another function of gamma",
    "mean-forgotten": "statistics, or the convolution's own bias, forgotten",
    "fold-bias": "another formula of the folded bias",
    "var-std": "the variance taken for the standard deviation",
    "formula": "another formula of the fold",
    "fold-again": "batch norm folded again",
    "fold-misplaced": "another layer's batch norm folded in",
    "normalised": "the input's normalisation worked in",
    "not-folded": "batch norm gone without having been worked in",
    "fold-axis": "the fold along the wrong axis",
    "swapped": "another array of the same layer in this one's place",
    "zeroed": "all zeros where there were weights",
    "classes": "classes shifted by one",
    "transposed": "axes exchanged",
    "turned": "kernels turned or mirrored",
    "permuted": "channels in another order",
    "misplaced": "the weights of another layer",
    "shifted": "numbers read from the wrong place on",
    "displaced": "channels that hold the values of others",
    "scales": "right integers under other scales",
    "sign": "the opposite sign",
    "scaled": "a constant factor",
    "channel-scaled": "a factor for each channel",
    "variance": "another form of the variance",
    "offset": "a constant added, or a factor and a constant",
    "overflow": "beyond what float16 holds",
    "clipped": "cut off at the ends",
    "flushed": "small values flushed to zero",
    "damaged": "few elements off",
    "pruned": "weights cut to zero",
    "misread": "bytes or integers read as other numbers",
    "binarised": "only the signs of the weights left",
    "powers": "rounded to powers of two",
    "unnudged": "a constant part of a step added to all integers",
    "cut-off": "integers cut off instead of rounded",
    "stepped": "rounded to few bits",
    "clustered": "each weight is one of few values",
    "truncated": "cut off to a short format",
    "short-first": "rounded to a short format on the way",
    "printed": "written with few digits",
    "coarse": "rounded further",
    "stale": "of another training step, or of another network",
    "left-behind": "left in the original's order, though its channels are in another one",
    "renormalised": "other numbers of batch norm, folded in",
    "unloaded": "never loaded, as at initialisation",
    "shape": "of other shapes",
    "retrained": "of another training step, or of another network",
}

# Of an array that no bug of the catalogue is about.
_ARRAY = {
    "misfit": "{words}",
    "bias-left-out": "the original's bias is zero, and the copy has none",
    "bias-of-zeros": "a bias of zeros, which the original does without",
    "not-in-copy": "the copy has no such array",
    "not-in-original": "the original has no such array",
    "shapes": "{found} instead of {known}",
    "not-finite": "not finite",
    "begun": "as an initialiser leaves it",
}
# Of folded layers: which numbers of batch norm are others, and how that shows.
_NORMS = {
    "both": (
        "the running statistics",
        "each channel of the weights is scaled, by {least:.4g} to {most:.4g}, and the bias moved, as after passes in "
        "training mode, or with another average; other gammas and betas would look the same",
    ),
    "var": (
        "the running variances, or gammas,",
        "each channel of the weights is scaled, by {least:.4g} to {most:.4g}, and the bias with it about beta",
    ),
    "mean": (
        "the running means, or betas,",
        "the weights agree, and the bias does not; one that was corrected after the fold would look the same",
    ),
}
_ROUNDING = {
    "": "",
    "float": "rounded to {store}",
    "integers": "quantised",
    "fold": "folded in {store}",
    "grid": "quantised to 8 bits {per}",
    "moved": "stored with the {constant:g} of the activation behind it added{store}",
}
_PER = {"channel": "by channel", "tensor": "as a whole"}

_HALF_MAX = FLOATS["float16"].largest
# Of a file by itself, by kind and form.
_HEALTH = {
    ("nan", ""): "not a number",
    ("inf", ""): "infinite",
    ("negative-variance", ""): "a variance below zero",
    ("zero-variance", ""): "a variance of zero: a channel that never varied in training",
    ("denormal", ""): "subnormal: slow on some processors, zero on others",
    ("float16-overflow", ""): f"beyond {_HALF_MAX:g}, the largest number of float16",
    ("float16-overflow", "run"): f"the probe drives it to {{value:.4g}}, beyond float16's {_HALF_MAX:g}",
    ("constant", ""): "every element is {value:g}",
    ("absurd", ""): "2^24 times nine tenths of the others: a float32 sum loses them beside it",
    (
        "untrained-norms",
        "",
    ): "the statistics of batch norm were never written{places}: means of 0, variances of 1, trained gammas",
    (
        "untrained-norms",
        "var",
    ): "the variances of batch norm were never written{places}: all are 1, beside trained means",
    (
        "untrained-norms",
        "mean",
    ): "the means of batch norm were never written{places}: all are 0, beside trained variances",
    (
        "untrained-norms",
        "steps",
    ): "the statistics of batch norm were hardly written: no variance lies below {value:.4g}, as after {steps}",
    ("untrained", ""): "the network was never trained: batch norms and weights are as initialisers leave them",
    (
        "untrained-affine",
        "",
    ): "gamma is 1, beta 0 in so many of {value:.0f} norms with trained statistics: never trained, or not loaded",
    ("equal-channels", ""): "so many channels, up to channel {value:.0f}, hold one and the same filter",
    (
        "untrained-part",
        "",
    ): "{value:.0f} layers, up to {other}, were never trained: all is as initialisers leave it",
    ("untrained-head", ""): "the classifier was never trained: its weights are spread as an initialiser spreads them",
    ("scale", ""): "no training leaves such a scale: root(fan in) times the rms is {value:.3g}",
    ("whole-numbers", ""): "whole numbers up to {value:.0f}, all of them: integers that no scale was multiplied to",
    ("repeated", ""): "the numbers of {other}, bit for bit, which no training leaves: one was written twice",
    (
        "pruned",
        "classes",
    ): "every weight of {value:.3g} % of the classes is zero: rows of the classifier are pruned",
    ("pruned", "groups"): "{value:.3g} % of the weights are zero, as many in each group of 4 or 2: pruned",
    ("pruned", "smallest"): "{value:.3g} % of the weights are zero, and no other is near it: the smallest are pruned",
    ("pruned", "some"): "{value:.3g} % of the weights are zero: pruned, or written in part",
    ("dead-channel", "w"): "every weight of the channel is zero: it has the same value for every input",
    ("dead-channel", "class"): "the weights of the class and its bias are zero: they were never written, or cut off",
    ("dead-channel", "gamma"): "gamma is zero: it has the same value for every input",
    ("dead-channel", "beta"): "beta is more than 6 gamma below zero: the ReLU behind lets nothing through",
    ("not-finite", "run"): "the tensor that it makes of the probe is not finite",
}
_REMARK = {
    "not-run": "{file} cannot be run: {error}",
    "large": "{file} takes images of {size[0]}x{size[1]}, of which its network makes {mib} MiB: more than is run",
    "size": "{file} takes images of another size: nothing can be run on both",
    "int8": "weights of 8 bits are off by more than rounding of sums explains: the ends alone are compared",
    "shape": "{node} has shape {copy} in the copy, {original} in the original",
}


def detail(finding: ArrayFinding) -> str:
    """What has become of an array: 'the bias is lost'; '' where its kind says all."""
    words = []
    if finding.mistake is not None and finding.mistake.bug:
        words.append(of_file(finding.mistake, folded="folded" in finding.needs, before=finding.before))
    elif finding.mistake is not None:
        words.append(_said(finding.mistake.form, finding.mistake.facts))
    if finding.rounding is not None and finding.rounding.form:
        words.append(_rounding(finding.rounding))
    return f"of the original: {'; '.join(words)}" if finding.backward else "; ".join(words)


def _said(form: str, facts: Mapping[str, Any]) -> str:
    if form in _NORMS:
        return _NORMS[form][1].format(**facts)
    if form != "unlike":
        return _ARRAY[form].format(**facts)
    what = "of another training step" if facts["alike"] > 0.5 else "unrelated"
    if facts["relative"] is None:
        return what
    return f"{what}: {facts['relative']:.2g} of its size away, correlation {facts['alike']:.3g}"


def norm_words(mistakes: Sequence[Mistake]) -> tuple[str, str]:
    """Which numbers of batch norm are others in some folded layers, and how that shows."""
    forms = {each.form for each in mistakes}
    which, how = _NORMS[forms.pop() if len(forms) == 1 else "both"]
    ends = [each.facts for each in mistakes if each.facts]
    least, most = min((each["least"] for each in ends), default=1.0), max((each["most"] for each in ends), default=1.0)
    return which, how.format(least=least, most=most)


def _rounding(rounding: Rounding) -> str:
    facts = dict(rounding.facts)
    if rounding.form == "moved":
        facts["store"] = {"float16": ", in float16", "int8": ", quantised"}.get(facts["store"], "")
    if rounding.form == "grid":
        facts["per"] = _PER[facts["per"]]
    return _ROUNDING[rounding.form].format(**facts)


def health_detail(finding: HealthFinding, places: str = "") -> str:
    """What is wrong, or about to be, with an array of one file; of some layers, in which."""
    facts = {"value": finding.value, "other": finding.other, "places": places}
    if finding.steps:
        momentum = finding.value ** (1 / finding.steps)
        facts["steps"] = f"{finding.steps} step{'s' if finding.steps > 1 else ''} of momentum {momentum:.4g}"
    return _HEALTH[finding.kind, finding.form].format(**facts)


def remark_sentence(remark: Remark | None) -> str:
    """Why something was not done; '' where all was."""
    return "" if remark is None else _REMARK[remark.kind].format(**remark.facts)
