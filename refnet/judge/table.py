"""Whether a tensor was looked up in a table: few values for many inputs, each for a run of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.precision import fraction_bits
from refnet.bugs.segments import Segment
from refnet.ops import ACTIVATIONS, GATES
from refnet.readings.bounds import Precision

__all__ = ["Feature", "looked_up"]

Array = npt.NDArray[Any]

# Of a table: how many entries at least, how many points for each, and how much rounding may part a run.
_LEAST, _POINTS, _PARTED = 4, 4, 1.5


class Feature(NamedTuple):
    """One thing that can be seen, in values; `report` words it.

    Attributes
    ----------
    kind : 'cut-off', 'images', 'channels', 'channel-step', 'channel-run', 'lines', 'border', 'ratio', 'affine',
        'shift', 'permuted', 'offset', 'table', 'saturated', 'weights', or 'algorithm' where a fast algorithm of
        convolution rounds so
    facts : its figures
    """

    kind: str
    facts: Mapping[str, Any]


def looked_up(segment: Segment, precision: Precision) -> Feature | None:
    """How many entries a table in an activation's place has, and how far it reaches.

    Over its input in order such a tensor is flat but for as many steps as there are entries. A tensor that is stored
    in steps looks so too, and is none.
    """
    node, target = segment.graph.nodes[-1], segment.candidate
    stored = precision.step or target is None or target.dtype != np.float32 or fraction_bits(target) is not None
    if stored or target is None or node.op not in (*ACTIVATIONS, *GATES) or node.params:
        return None
    ((_, x),) = segment.values({node.inputs[0]})
    if x.shape != target.shape or _POINTS * np.unique(target).size > min(target.size, np.unique(segment.result).size):
        return None
    order = np.argsort(x, axis=None, kind="stable")
    inputs, values = x.ravel()[order], target.ravel()[order]
    starts = np.flatnonzero(np.diff(values)) + 1
    entries = np.unique(values).size
    if entries < _LEAST or len(starts) > 2 * _PARTED * entries:
        return None
    steps = np.diff(inputs[starts])
    facts = {"entries": entries, "step": float(np.median(steps)) if steps.size else 0.0}
    return Feature("table", {**facts, "low": float(inputs[starts[0]]), "high": float(inputs[starts[-1]])})
