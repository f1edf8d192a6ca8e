"""Tensors of real numbers that integers of 8 bits stand for, and what those integers can hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph
from refnet.ops import ACTIVATIONS, GATES
from refnet.pack.encodings import in_few_steps
from refnet.readings.orders import whole_steps
from refnet.readings.precision import BYTE_STEPS
from refnet.readings.shapes import shapes

__all__ = ["InSteps", "steps_of"]

Array = npt.NDArray[Any]

_FEWEST = 3  # tensors that show that a port stores integers
_ENDS = (-128, -127, 127, BYTE_STEPS)  # integers, from zero on, at which a range ends


class InSteps(NamedTuple):
    """How far apart the numbers of a tensor are, and the least and the largest that it can hold."""

    step: float
    span: tuple[float, float]


def steps_of(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, InSteps]:
    """The steps of a port's tensors, by node, where most of those that are large enough to tell are in steps.

    The input says nothing, for pixels are in steps anyway.
    """
    sides = shapes(graph)
    read = {name: y for name, y in arrays.items() if y.shape[1:] == sides[name]}
    large = [in_few_steps(y) for name, y in read.items() if name != SOURCE and y.size > 2 * BYTE_STEPS]
    if sum(large) < _FEWEST or 2 * sum(large) <= len(large):
        return {}
    curves = {node.name for node in graph.nodes if node.op in (*ACTIVATIONS, *GATES)}
    read = {name: y for name, y in read.items() if y.dtype.kind == "f" and y.size and np.isfinite(y).all()}
    found = {name: _steps(y, curved=name in curves) for name, y in read.items()}
    return {name: each for name, each in found.items() if each is not None}


def _steps(y: Array, *, curved: bool) -> InSteps | None:
    """Of one tensor; None where its numbers are no steps apart. Of two numbers the finest steps are taken.

    A range ends where all steps of 8 bits are used, or at an integer where it often does; that of what no activation
    makes, at its last number anyway, if that is not zero, where an activation may end it. Else it may go on as far as
    there are steps left.
    """
    low, high = float(y.min()), float(y.max())
    made = whole_steps(y, BYTE_STEPS, apart=BYTE_STEPS)
    if made is None and len(np.unique(y)) > 2:
        return None
    count, step = made or (BYTE_STEPS, (max(high, 0.0) - min(low, 0.0)) / BYTE_STEPS)
    if step == 0:
        return None
    at = [_is_near(end / step, _ENDS) or (not curved and not _is_near(end / step, (0,))) for end in (low, high)]
    closed = [count == BYTE_STEPS or each for each in at]
    return InSteps(
        step, (low if closed[0] else high - BYTE_STEPS * step, high if closed[1] else low + BYTE_STEPS * step)
    )


def _is_near(integer: float, others: Collection[int]) -> bool:
    return any(abs(integer - each) < 0.5 for each in others)
