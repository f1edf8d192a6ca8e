"""What a port computes in and how its tensors are stored: as it declares, else as the arrays show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.judge.dumps.ends import PROBABILITIES
from refnet.judge.dumps.in_steps import InSteps, steps_of
from refnet.judge.dumps.real_tensors import RealTensors
from refnet.judge.tensors import Reference, judge_tensors
from refnet.pack.matching.match import Assignment
from refnet.pack.printed import in_levels
from refnet.readings.bounds import Precision
from refnet.readings.precision import WEIGHTS, Printed

__all__ = ["Declared", "ShownArithmetic"]

Array = npt.NDArray[Any]


class ShownArithmetic(NamedTuple):
    """What the arrays of a port show of its arithmetic.

    Attributes
    ----------
    precision : by node
    coarse : the same with weights that are integers of 8 bits, where tensors are such and nobody says so of weights
    narrow : whether arrays of float64 hold what float32 arithmetic makes
    steps : the tensors of real numbers that integers of 8 bits stand for, and that are judged so
    weights : 'judged' where its weights are judged as integers of 8 bits, though nobody says so; 'told' where most of
        what is wrong would hold if they were declared so; '' where nothing is, or mistakes explain it
    factors : 'tf32' where nothing explains what is wrong, and it would hold if factors were declared so; else ''
    """

    precision: dict[str, Precision]
    coarse: dict[str, Precision]
    narrow: bool = False
    steps: tuple[str, ...] = ()
    weights: str = ""
    factors: str = ""


class Declared(NamedTuple):
    """What is known of a port's arithmetic for all of its tensors.

    Attributes
    ----------
    precision, accumulate : as declared, or None
    algorithm : of its convolutions, or ''
    levels : of its weights, where they are integers, else 0
    printed : how its numbers were printed, or None
    """

    precision: str | None
    accumulate: str | None
    algorithm: str
    levels: int
    printed: Printed | None

    def of(
        self, reference: Reference, matching: Assignment, arrays: Mapping[str, Array], real: RealTensors
    ) -> ShownArithmetic:
        """The precision of each node's tensor, and what else the arrays show."""
        steps = steps_of(reference.graph, arrays) if self.precision is None and not real.scales else {}
        own = self._replace(printed=None) if steps else self
        found, narrow = own._stored(matching, arrays, real, steps), False
        if own.precision is None:
            narrow = own.printed is None and not steps and _is_narrow(reference, arrays, found)
            if narrow or own.printed is not None:
                found = own._replace(precision="float32")._stored(matching, arrays, real, steps)
        if not steps:
            ends = {node.name for node in reference.graph.nodes if node.op == "softmax"}
            found = {
                name: each._replace(printed=own.printed or (in_levels(arrays[name]) if name in ends else None))
                for name, each in found.items()
            }
        found = {node: each._replace(algorithm=self.algorithm) for node, each in found.items()}
        levels = WEIGHTS["int8"] if (steps or real.scales) and not self.levels else 0
        coarse = {node: each._replace(levels=levels) for node, each in found.items()}
        return ShownArithmetic(found, coarse if levels else {}, narrow, tuple(steps))

    def _stored(
        self, matching: Assignment, arrays: Mapping[str, Array], real: RealTensors, steps: Mapping[str, InSteps]
    ) -> dict[str, Precision]:
        """By node: the declared precision, or that of the stored tensor; steps and range of integers on top."""
        found = {}
        for node, matched in matching.tensors.items():
            made = node == PROBABILITIES  # maybe of their logarithms
            dtype = real[matched.source].dtype if made else arrays[node].dtype
            own = Precision.of(self.precision or str(dtype), self.accumulate)._replace(levels=self.levels)
            if matched.source in real.scales:
                own = own._replace(step=real.scales[matched.source].scale / 2, span=real.span(matched.source))
            if node in steps:
                own = own._replace(step=steps[node].step / 2, span=steps[node].span)
            found[node] = own
        return found


def _is_narrow(reference: Reference, arrays: Mapping[str, Array], declared: Mapping[str, Precision]) -> bool:
    """Whether arrays of float64 hold what float32 arithmetic makes.

    All their numbers are float32's; or most of what is wrong in float64 is right in float32.
    """
    wide = {name: y for name, y in arrays.items() if y.dtype == np.float64}
    if not wide or len(wide) < len(arrays):
        return False
    with np.errstate(over="ignore"):
        if all(np.array_equal(y.astype(np.float32), y, equal_nan=True) for y in wide.values()):
            return True
    return _is_better(reference, arrays, declared, Precision.of("float32"))


def _is_better(
    reference: Reference,
    arrays: Mapping[str, Array],
    one: Mapping[str, Precision],
    other: Mapping[str, Precision] | Precision,
) -> bool:
    """Whether most of what is wrong in one precision is right in another."""

    def count(precision: Mapping[str, Precision] | Precision) -> int:
        return len(judge_tensors(reference, arrays, precision=precision, partial=True, explain=False).wrong())

    wrong = count(one)
    return wrong > 0 and 2 * count(other) < wrong
