"""What a port's arithmetic may be meant to be, though nobody declares it: it would hold so, or most of it would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from refnet.judge.declared import ShownArithmetic
from refnet.judge.tensors import Judged, Reference, judge_tensors
from refnet.readings.bounds import Precision

__all__ = ["TF32", "is_explained", "with_coarse_weights", "would_hold_in"]

Array = npt.NDArray[Any]

TF32 = Precision.of("tf32")
_LEAST = 0.1  # of what the rms in another precision may be: in that one a port's own is a third of it and more
_FEW = 2  # tensors that nothing explains, without which weights need not be of 8 bits


def is_explained(found: Judged) -> bool:
    """Whether other mistakes than coarse weights explain what is wrong, but for a tensor or two."""
    causes = [[cause.ids for cause in found.causes.get(name, ())] for name in found.wrong()]
    coarse = any(("weights-int8",) in ids for ids in causes)
    return not coarse and sum(not ids for ids in causes) <= _FEW


def with_coarse_weights(
    shown: ShownArithmetic, found: Judged, reference: Reference, tensors: Mapping[str, Array], options: dict[str, Any]
) -> tuple[ShownArithmetic, Judged]:
    """Weights as integers of 8 bits, if most of what is wrong is right so: judged so, or told.

    Parameters
    ----------
    options : of `judge_tensors`
    """
    alone = judge_tensors(reference, tensors, precision=shown.coarse, partial=True, explain=False)
    if 2 * len(alone.wrong()) >= len(found.wrong()):
        return shown, found
    if not shown.steps:
        return shown._replace(weights="told"), found
    return shown._replace(weights="judged"), judge_tensors(reference, tensors, precision=shown.coarse, **options)


def would_hold_in(precision: Precision, found: Judged, reference: Reference, tensors: Mapping[str, Array]) -> bool:
    """Whether all that is wrong would hold in another precision: tensors behind many nodes, which nothing explains.

    Of fewer nodes a bug says it. Errors that are far smaller than those that such a precision leaves are not of it.
    """
    wrong = {each.name: each for each in found.findings if each.name in {*found.wrong()}}
    if not wrong or any(found.causes.get(name) for name in wrong):
        return False
    if any(each.judgement.verdict != "suspect" or each.judgement.yardstick != "spread" for each in wrong.values()):
        return False
    alone = judge_tensors(reference, tensors, precision=precision, partial=True, explain=False)
    left = [each.judgement.rms for each in alone.findings if each.name in wrong]
    return not alone.wrong() and min(left) >= _LEAST
