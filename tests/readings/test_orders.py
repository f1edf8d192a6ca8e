"""The other orders of summation compute the same function, and not in the same order."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_input, random_params
from refnet.graph import interpret
from refnet.readings import fast
from refnet.readings.orders import ORDERS


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "fast"])
@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_small@dilated"])
def test_each_order_agrees_in_float64_and_differs_in_float32(name, order):
    graph = build(name, width=0.35, size=(49, 34))
    for dtype in (np.float64, np.float32):
        params, x = random_params(graph, dtype), random_input(graph, 1, dtype)
        one = interpret(graph, fast, params, {"input": x})
        other = interpret(graph, ORDERS[order], params, {"input": x})
        assert other.dtype == dtype
        if dtype is np.float64:
            assert np.abs(one - other).max() <= 1e-11 * np.abs(one).max()
        else:
            assert not np.array_equal(one, other)
