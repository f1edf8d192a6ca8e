"""Whether a tensor was looked up in a table: few values for many inputs, each for a run of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.manners import fraction_bits
from refnet.judge.causes.feature import Feature
from refnet.ops import ACTIVATIONS, GATES
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded

__all__ = ["looked_up"]

Array = npt.NDArray[Any]

_LEAST = 3  # entries: two are the ends of a function


def looked_up(segment: Segment, precision: Precision) -> Feature | None:
    """How many entries a table in an activation's place has, and how far it reaches.

    Over its input in order such a tensor is flat but for as many steps as there are entries, twice as many where the
    curve goes down and up; and most entries stand for several of the curve's values. A tensor that is stored in steps
    looks so too, and is none.
    """
    node, target = segment.graph.nodes[-1], segment.candidate
    if precision.step or precision.printed or target is None or node.op not in (*ACTIVATIONS, *GATES) or node.params:
        return None
    ((_, x),) = segment.values({node.inputs[0]})
    entries = np.unique(target).size
    if target.dtype != np.float32 or x.shape != target.shape or not _LEAST <= entries < x.size or _is_stored(target):
        return None
    order = np.argsort(x, axis=None, kind="stable")
    inputs, values, curve = x.ravel()[order], target.ravel()[order], segment.result.ravel()[order]
    starts = np.flatnonzero(np.diff(values)) + 1
    if len(starts) > 3 * entries:  # a third time where rounding parts what belongs together
        return None
    others = np.append(True, np.diff(curve) != 0)  # where the curve has another value
    if np.median(np.add.reduceat(others, np.append(0, starts), dtype=np.int64)) < 2:
        return None
    steps = np.diff(inputs[starts])
    facts = {"entries": entries, "step": float(np.median(steps)) if steps.size else 0.0}
    return Feature("table", {**facts, "low": float(inputs[starts[0]]), "high": float(inputs[starts[-1]])})


def _is_stored(y: Array) -> bool:
    """Whether a tensor is in fixed point, or in a short float."""
    return fraction_bits(y) is not None or any(
        np.array_equal(rounded(y, store), y) for store in ("float16", "bfloat16")
    )
