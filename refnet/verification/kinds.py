"""What goes wrong with weights on their way through exporters: one table.

Each kind is an id, a sentence and a function that tries it: from a tensor that is not what it should be to what it
would be if that had gone wrong. The first kind that fits within rounding names the fault, so particular kinds stand
before general ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from refnet.verification.cases import Case, Reading
from refnet.verification.faults import folds, orders, scales

__all__ = ["KINDS", "Kind"]


class Kind(NamedTuple):
    """One way in which weights go wrong.

    Attributes
    ----------
    id : short, 'transposed'
    sentence : what happened
    tries : from a tensor to what it would be, in the ways in which that can happen
    """

    id: str
    sentence: str
    tries: Callable[[Case], Iterator[Reading]]


_TABLE = (
    # The fold
    Kind("lost", "a bias that is zero, or gone", folds.lost),
    Kind("eps", "another eps in the fold", folds.eps),
    Kind("gamma-ignored", "gamma taken as 1", folds.gamma_ignored),
    Kind("mean-forgotten", "the mean, or the convolution's own bias, forgotten", folds.mean_forgotten),
    Kind("fold-bias", "another formula of the folded bias", folds.bias_formulas),
    Kind("var-std", "the variance taken for the standard deviation", folds.var_std),
    Kind("not-folded", "batch norm gone without having been worked in", folds.not_folded),
    Kind("fold-axis", "the fold along the wrong axis", folds.wrong_axis),
    Kind("swapped", "another array of the same layer in this one's place", folds.swapped),
    Kind("zeroed", "all zeros where there were weights", folds.zeroed),
    # Order
    Kind("classes", "classes shifted by one", orders.classes),
    Kind("transposed", "axes exchanged", orders.transposed),
    Kind("turned", "kernels turned or mirrored", orders.turned),
    Kind("permuted", "channels in another order", orders.permuted),
    Kind("misplaced", "the weights of another layer", orders.misplaced),
    # Size
    Kind("sign", "the opposite sign", scales.sign),
    Kind("scaled", "a constant factor", scales.scaled),
    Kind("channel-scaled", "a factor for each channel", scales.by_channel),
    Kind("offset", "a constant added", scales.offset),
    Kind("overflow", "beyond what float16 holds", scales.overflow),
    Kind("clipped", "cut off at the ends", scales.clipped),
    Kind("flushed", "small values flushed to zero", scales.flushed),
    Kind("damaged", "few elements off", scales.damaged),
    Kind("coarse", "rounded further", scales.coarse),
)

KINDS: Mapping[str, Kind] = {kind.id: kind for kind in _TABLE}
