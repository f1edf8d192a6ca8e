"""What a port computes in and how its tensors are stored: as it declares, else as the arrays show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.judge.dumps.ends import PROBABILITIES
from refnet.judge.dumps.real_tensors import RealTensors
from refnet.judge.tensors import Reference, judge_tensors
from refnet.pack.encodings import Encoding
from refnet.pack.matching.match import Assignment
from refnet.readings.bounds import Precision

__all__ = ["Declared"]

Array = npt.NDArray[Any]


class Declared(NamedTuple):
    """What is known of a port's arithmetic for all of its tensors.

    Attributes
    ----------
    precision, accumulate : as declared, or None
    algorithm : of its convolutions, or ''
    levels : of its weights, where they are integers, else 0
    printed : with how many decimals its numbers were printed, or None
    """

    precision: str | None
    accumulate: str | None
    algorithm: str
    levels: int
    printed: Encoding | None

    def of(
        self, reference: Reference, matching: Assignment, arrays: Mapping[str, Array], real: RealTensors
    ) -> tuple[dict[str, Precision], bool]:
        """The precision of each node's tensor; and whether arrays of float64 hold what float32 arithmetic makes."""
        found, narrow = self._stored(matching, arrays, real), False
        if self.precision is None:
            narrow = self.printed is None and _is_narrow(reference, arrays, found)
            if narrow or self.printed is not None:
                found = self._replace(precision="float32")._stored(matching, arrays, real)
        if self.printed is not None:
            found = {node: _printed(each, self.printed) for node, each in found.items()}
        return {node: each._replace(algorithm=self.algorithm) for node, each in found.items()}, narrow

    def _stored(self, matching: Assignment, arrays: Mapping[str, Array], real: RealTensors) -> dict[str, Precision]:
        """By node: the declared precision, or that of the stored tensor; steps and range of integers on top."""
        found = {}
        for node, matched in matching.tensors.items():
            made = node == PROBABILITIES  # maybe of their logarithms
            dtype = real[matched.source].dtype if made else arrays[node].dtype
            own = Precision.of(self.precision or str(dtype), self.accumulate)._replace(levels=self.levels)
            if matched.source in real.scales:
                own = own._replace(step=real.scales[matched.source].scale / 2, span=real.span(matched.source))
            found[node] = own
        return found


def _printed(own: Precision, printed: Encoding) -> Precision:
    """A precision of tensors that were printed: half a unit of the last decimal joins the store."""
    count = printed.facts["count"]
    if printed.kind == "decimals":
        return own._replace(step=own.step + 0.5 * 10.0**-count)
    return own._replace(u_store=max(own.u_store, 0.5 * 10.0 ** (1 - count)))


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
    single = Precision.of("float32")
    wrong, left = (
        len(judge_tensors(reference, arrays, precision=each, partial=True, explain=False).wrong())
        for each in (declared, single)
    )
    return 2 * left < wrong
