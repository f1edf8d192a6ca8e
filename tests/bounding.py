"""Values and precisions of round numbers, in which bounds can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Graph, Node, Recipe
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, Value, bound

__all__ = ["LONG", "SHORT", "figures", "judged", "single", "value"]

# As large as float32 at the store, so params are not rounded; sums round much more, so that each term can be seen.
# An underflow costs 2^-17.
LONG = Precision(u=2.0**-10, u_store=2.0**-23, tiny=2.0**-16)
# Stored in two bits: params are rounded, too. An underflow costs 1/16.
SHORT = Precision(u=2.0**-10, u_store=2.0**-2, tiny=2.0**-3)


def value(y, worst=0.0, expected=0.0, var=0.0, precision=LONG, **fields):
    """What flows along the edges, errors given for all elements at once or for each."""
    y = np.asarray(y, np.float64)
    spread = (np.broadcast_to(np.asarray(each, np.float64), y.shape).copy() for each in (worst, expected, var))
    return Value(y, tuple(spread), precision, **fields)


def single(found: Value):
    """(y, worst, expected, variance) of a value of one element."""
    return tuple(each.item() for each in (found.y, *found.total))


def figures(y, worst, expected, var):
    """What `single` should give, to within the rounding of the bounds themselves."""
    return pytest.approx((y, worst, expected, var), rel=1e-13, abs=0)


def judged(op, inputs, y, precision, params=None, **attrs):
    """What the bound of one node says of a result."""
    params = params or {}
    names = tuple(f"x{i}" for i in range(len(inputs)))
    node = Node("y", op, names, {slot: array.shape for slot, array in params.items()}, attrs)
    graph = Graph(Recipe("", 1.0, (1, 1), 1), (node,))
    values = {f"y.{slot}": array for slot, array in params.items()}
    return judge(y, bound(graph, values, dict(zip(names, inputs, strict=True)), precision))
