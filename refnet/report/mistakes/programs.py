"""Slips of a first program in words, to follow 'your answers are what one gets when', with the lines they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from refnet.study.programs.search import Slip

__all__ = ["slip_lines", "slip_words"]

_NOUNS: Mapping[str, str] = {
    "h": "the row in the image", "v": "the column in the image", "P": "the number of rows of the result",
    "Q": "the number of columns of the result", "pooled": "the mean of the map", "hidden": "the first linear layer",
    "gate": "the gate", "s": "the factor of a filter", "factor": "the factor", "shift": "the shift",
    "weights": "the weights", "bias": "the bias", "weights[k]": "the weights", "bias[k]": "the bias",
    "patch": "the patch of the image", "x": "the padded image", "w": "the kernel of both",
    "expanded": "the expanded channels", "squeeze": "the width of the squeeze", "stride": "the stride of a block",
    "channels": "the channels before a block", "reach": "the reach of the kernel", "out": "the number of windows",
    "before": "the padding before", "after": "the padding after", "saved": "the saved latency",
    "change": "the change of accuracy", "score": "the score", "best": "the best score so far",
    "chosen": "the index that is kept", "if": "the test", "return": "what is returned",
}  # fmt: skip
_LOOPS: Mapping[str, str] = {
    "n": "image", "k": "filter", "c": "channel", "p": "row of the result", "q": "column of the result",
    "r": "row of the kernel", "s": "column of the kernel", "h": "row", "v": "column", "i": "block",
}  # fmt: skip
_CURVES: Mapping[str, str] = {
    "relu": "ReLU", "relu6": "ReLU6", "hard_sigmoid": "the hard sigmoid", "hard_swish": "hard swish",
    "sigmoid": "the sigmoid", "swish": "swish", "tanh": "tanh", "hard_tanh": "a clip to -1 and 1",
    "step": "a step at 0", "softmax": "softmax", "softplus": "softplus", "gelu": "GELU",
    "leaky_relu": "a leaky ReLU", "elu": "ELU",
    "np.trunc": "cutting to whole numbers", "np.rint": "rounding to whole numbers", "abs": "the absolute value",
    "-": "a minus sign", "np.square": "a square",
}  # fmt: skip
_BORDERS: Mapping[str, str] = {
    "edge": "repeats the last points of the image", "reflect": "mirrors the image at its last points",
    "symmetric": "mirrors the image with its last points", "wrap": "goes on at the other end of the image",
}  # fmt: skip
_WORDS: Mapping[str, str] = {
    "skip first": "the first {loop} is left out",
    "skip last": "the last {loop} is left out",
    "only first": "only the first {loop} is taken",
    "only middle": "only the middle {loop} is taken",
    "only last": "only the last {loop} is taken",
    "one more": "the loop runs one {loop} too far",
    "always": "the test {old} is not made: it is taken as true",
    "never": "{old} is taken as false",
    "line": "the line {old} is left out",
    "lines": "{old} comes after {new}, not before it",
    "inside": "{new} stands inside the loop that begins with {old}",
    "outside": "{old} stands outside the loop that begins with {new}",
    "assign": "{new} stands where {old} should",
    "cut": "numbers are cut to whole ones: {new} stands where {old} should",
    "half": "sums are kept in float16",
    "names": "{old} and {new} are exchanged",
    "curve": "{curve} stands where {known} should",
    "after": "{curve} is put on the result",
    "pad": "the border is not zero: it {border}",
}
_AXES = ("image", "channel", "row", "column")
_PARTS = {
    "first": "in the first {axis} only", "last": "in the last {axis} only",
    "not first": "in all but the first {axis}", "not last": "in all but the last {axis}",
}  # fmt: skip


def slip_words(slip: Slip, axes: Sequence[str] = _AXES) -> str:
    """A slip: 'in the row in the image, p * stride[0] + top stands where p * stride[0] - top should'."""
    edit = slip.edit
    border = next((words for mode, words in _BORDERS.items() if f"'{mode}'" in edit.new), "is 1")
    words = _words(slip).format(
        old=edit.old, new=edit.new, loop=_LOOPS.get(edit.role, "one"), border=border,
        curve=_CURVES.get(edit.new.partition("(")[0], edit.new),
        known=_CURVES.get(edit.function.partition("_of_")[0].partition("_in_")[0], edit.old),
    )  # fmt: skip
    if edit.kind == "name" and edit.new in _CURVES and edit.old in _CURVES:
        words = f"{_CURVES[edit.new]} stands where {_CURVES[edit.old]} should"
    if "both" in edit.axes:
        words += ", and likewise along the other axis"
    if edit.call:
        words += f", in {edit.call}"
    if edit.part is not None:
        axis, which = edit.part
        words += f", {_PARTS[which].format(axis=axes[min(axis, len(axes) - 1)])}"
    return words


def _words(slip: Slip) -> str:
    edit = slip.edit
    if edit.kind in _WORDS:
        return _WORDS[edit.kind]
    noun = _NOUNS.get(edit.role)
    where = f"in {noun}, " if noun and edit.role != "return" else ""
    return where + "{new} stands where {old} should"


def slip_lines(slip: Slip) -> Iterator[str]:
    """The lines that it changes, as they should be and as they give the reader's numbers."""
    if slip.before == slip.after:  # a line that is moved
        return
    yield from (f"  right: {line}" for line in slip.before)
    yield from (f"  yours: {line}" for line in slip.after)
