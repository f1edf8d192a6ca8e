"""Units of files that lack arrays: every bug of arrays is asked, and none asks for what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.graph import Node, Unit

K = 5
SHAPES = {"conv2d": (K, 3, 3, 3), "depthwise_conv2d": (K, 3, 3), "pointwise_conv2d": (K, 4)}
NORM = Node("a.bn", "batch_norm", ("a",), dict.fromkeys(("gamma", "beta", "mean", "var"), (K,)), {"eps": 1e-3})
WINDOW = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}


def lacking(op, biased, norm):
    """A unit whose file holds other numbers, of every array but one, and each of them to be explained."""
    rng = np.random.default_rng(1)
    params = {"w": SHAPES[op]} | ({"b": (K,)} if biased else {})
    conv = Node("a", op, ("input",), params, {} if op == "pointwise_conv2d" else WINDOW)
    nodes = (conv, NORM) if norm else (conv,)
    shapes = {slot: shape for node in nodes for slot, shape in node.params.items()}
    tensors = {slot: Expected.exactly(rng.uniform(0.5, 2, shape)) for slot, shape in shapes.items()}
    for gone in (None, *tensors):
        held = {slot: each for slot, each in tensors.items() if slot != gone}
        seen = {slot: each.value * rng.uniform(0.9, 1.1, each.value.shape) for slot, each in held.items()}
        for slot in seen:
            steps, others = {f"a.{slot}": np.full(shapes[slot], 0.01)}, {"z": lambda held=held: held}
            yield UnitArrays(Unit(conv, NORM if norm else None, None), tensors, seen, slot, others, steps)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("op", SHAPES)
def test_no_bug_asks_a_unit_for_an_array_that_its_file_lacks(op, biased, norm):
    with np.errstate(all="ignore"):
        for unit in lacking(op, biased, norm):
            for bug in BUGS.values():
                for change in bug.of_arrays(unit):
                    assert dict(change.params) or change.nodes
