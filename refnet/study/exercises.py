"""The exercises by name: what each asks for, and how its cases are drawn."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refnet.errors import RequestError
from refnet.study.blocks import of_inverted_residual, of_inverted_residual_se, of_squeeze_excite, of_v1_block
from refnet.study.cases import Case, Draw, cases_of
from refnet.study.filters import of_conv2d, of_depthwise, of_pointwise, of_same_padding, of_separable
from refnet.study.functions import of_batch_norm, of_fold, of_hard_sigmoid, of_hard_swish
from refnet.study.rules import of_block_rows, of_netadapt_choice

__all__ = ["EXERCISES", "Exercise", "exercise_of"]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    name : also of the function that the reader writes
    call : how that is called
    line : what it does, in a line
    draw : makes a case of random numbers
    answers : what it returns: 'array', 'arrays' (weights and bias), 'numbers' (before and after), 'rows', 'number'
    """

    name: str
    call: str
    line: str
    draw: Callable[[Draw], Case]
    answers: str = "array"

    def cases(self, seed: int = 0) -> tuple[Case, ...]:
        """The cases of a seed, small ones first."""
        return cases_of(self.draw, seed)


_WINDOW = "x, w, b, *, stride, pad"
_NORM = "gamma, beta, mean, var, *, eps"
_BLOCK = "x, params, *, stride, pad, eps"

EXERCISES: Mapping[str, Exercise] = {
    each.name: each
    for each in (
        Exercise("conv2d", _WINDOW, "slide K filters over all channels of an image", of_conv2d),
        Exercise("depthwise", _WINDOW, "filter each channel with its own kernel", of_depthwise),
        Exercise("pointwise", "x, w, b", "mix the channels of each pixel", of_pointwise),
        Exercise(
            "separable", "x, depthwise_w, pointwise_w, *, stride, pad", "a depthwise, then a pointwise convolution",
            of_separable,
        ),
        Exercise("v1_block", _BLOCK, "the block of MobileNet V1", of_v1_block),
        Exercise("inverted_residual", _BLOCK, "the block of MobileNet V2", of_inverted_residual),
        Exercise(
            "inverted_residual_se", _BLOCK, "the same with squeeze-and-excite before the projection",
            of_inverted_residual_se,
        ),
        Exercise(
            "squeeze_excite", "x, reduce_w, reduce_b, expand_w, expand_b", "scale each channel by a gate",
            of_squeeze_excite,
        ),
        Exercise("hard_sigmoid", "x", "the gate of MobileNet V3", of_hard_sigmoid),
        Exercise("hard_swish", "x", "the activation of MobileNet V3", of_hard_swish),
        Exercise("batch_norm", f"x, {_NORM}", "normalise each channel by stored statistics", of_batch_norm),
        Exercise("fold", f"w, b, {_NORM}", "work a batch norm into the convolution before it", of_fold, "arrays"),
        Exercise(
            "same_padding", "size, kernel, stride, dilation", "TensorFlow's SAME padding as two numbers",
            of_same_padding, "numbers",
        ),
        Exercise("block_rows", "stem, stages", "the rows of a table of your own", of_block_rows, "rows"),
        Exercise(
            "netadapt_choice", "accuracy, latency, accuracies, latencies, delta", "which proposal NetAdapt takes",
            of_netadapt_choice, "number",
        ),
    )
}  # fmt: skip


def exercise_of(name: str) -> Exercise:
    """The exercise of a name.

    Raises
    ------
    RequestError
        if there is none; it names the nearest.
    """
    found = EXERCISES.get(name.replace("-", "_"))
    if found is None:
        near = difflib.get_close_matches(name, EXERCISES, n=3, cutoff=0.4)
        known = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(EXERCISES)}"
        raise RequestError(f"no exercise is called {name!r}; {known}")
    return found
