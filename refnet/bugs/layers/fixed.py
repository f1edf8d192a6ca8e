"""Bugs of weights in fixed point: multiples of a power of two, as circuits keep them, rounded or rounded down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.folds import FoldFormat, in_fold, is_alone
from refnet.bugs.numbers.precision import each_moved
from refnet.judge.verdicts import root_mean_square
from refnet.ops import CONVOLUTIONS

Array = npt.NDArray[Any]

_BITS = (4, 6, 8)  # behind the point, where the numbers do not tell how many
_MOST = 20
_MANNERS: Mapping[str, Callable[[Array], Array]] = {"rounded": np.rint, "rounded down": np.floor}


def weights_fixed_point(segment: Segment) -> Iterator[Change]:
    """weights in fixed point.

    Multiples of a power of two, rounded or rounded down, as circuits keep them: weights, or biases too.
    """
    for unit in segment.units:
        for bits, manner in _fixed_points(segment, unit) if "w" in unit else ():
            for slots in ("w", "wb") if "b" in unit else ("w",):
                held = {slot: unit.names[slot] for slot in slots}
                move = partial(_in_fixed_point, bits=bits, manner=manner)
                params = Deferred(held.values(), partial(each_moved, unit, held, move))
                what = "arrays" if "b" in slots else "weights"
                facts = {"what": what, "bits": bits, "manner": manner}
                yield Change(unit.name, f"{bits} {manner} {what}", facts, params=params)


def fold_fixed_point(segment: Segment) -> Iterator[Change]:
    """folded weights in fixed point.

    Batch norm is worked in, then weights, biases or both are brought to multiples of a power of two.
    """
    for unit in segment.units:
        if unit.foldable and is_alone(segment, unit):
            formats = (
                FoldFormat(
                    f"{bits} {manner}",
                    {"bits": bits, "manner": manner},
                    partial(_in_fixed_point, bits=bits, manner=manner),
                )
                for bits, manner in _fixed_points(segment, unit, folded=True)
            )
            yield from in_fold(segment, unit, formats)


def _in_fixed_point(y: Array, bits: int, manner: str) -> Array:
    """Numbers as multiples of 2^-bits."""
    made: Array = _MANNERS[manner](y.astype(np.float64) * 2.0**bits) / 2.0**bits
    return made


def _fixed_points(segment: Segment, unit: UnitArrays, *, folded: bool = False) -> list[tuple[int, str]]:
    """How many bits behind the point weights may have, and in what manner they were brought there.

    Weights that are rounded to steps of h are off by h / sqrt(12), each for itself, so that a sum of their products
    with x is off by that times the root of the sum of x^2. Rounded down they are h / 2 too small besides, all of them,
    and a sum by that times the sum of x. That many bits, and one more or fewer, may be; fewer still where an activation
    or a gate hands on a part of an error.

    Parameters
    ----------
    folded : whether batch norm was worked in before
    """
    t, last = segment.candidate, segment.graph.nodes[-1]
    end = last.inputs[0] if last.op == "flatten" else last.name
    if (
        t is None
        or end not in {node.name for node in unit.unit.nodes}
        or t.shape != segment.result.shape
        or not np.isfinite(t).all()
    ):
        return [(bits, manner) for manner in _MANNERS for bits in _BITS]
    ((_, x),) = segment.values({unit.unit.conv.inputs[0]})
    error, points = root_mean_square(t.astype(np.float64) - segment.result), unit["w"][0].size
    normed = unit.norm is not None and end != unit.unit.conv.name and not folded
    factor = root_mean_square(unit.factor) if normed else 1.0
    scatter = factor * root_mean_square(x) * math.sqrt(points / 12)
    drift = factor * abs(float(x.mean())) * points / 2
    nearby = (0, 1, -1, 2) if segment.whole[end].op in (*CONVOLUTIONS, "batch_norm") else (0, -1, 1, -2, -3, 2)
    found = []
    for manner, size in (("rounded", scatter), ("rounded down", math.hypot(scatter, drift))):
        if error and size:
            bits = round(-math.log2(error / size))
            found += [(bits + more, manner) for more in nearby if 1 <= bits + more <= _MOST]
    return found
