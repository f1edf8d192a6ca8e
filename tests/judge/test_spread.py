"""How far runs of one network lie apart, in round numbers: rules that are off by known amounts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.judge.measures.spread import spread
from refnet.readings import fast
from refnet.readings.orders import ORDERS

NODES = (
    Node("conv", "pointwise_conv2d", (SOURCE,), {"w": (2, 1)}),
    Node("bn", "batch_norm", ("conv",), dict.fromkeys(("gamma", "beta", "mean", "var"), (2,)), {"eps": 0.0}),
    Node("act", "relu", ("bn",)),
    Node("pool", "max_pool2d", ("act",), {}, {"kernel": (1, 1), "stride": (1, 1), "pad": ((0, 0), (0, 0))}),
)
PARAMS = {"conv.w": np.array([[1.0], [2.0]]), "bn.gamma": np.ones(2), "bn.var": np.ones(2), "bn.beta": np.zeros(2)}
NET = Network(check(Graph(Recipe("", 1.0, (1, 2), 2, 1), NODES)), PARAMS | {"bn.mean": np.zeros(2)})
X = np.array([[[[4.0, 8.0]]]])


def off(by, op="max_pool2d"):
    """The rules, whose results of one operation are off by so much in each channel."""
    rule, error = getattr(fast, op), np.reshape(by, (-1, 1, 1))
    return SimpleNamespace(**{**vars(fast), op: lambda *args, **attrs: rule(*args, **attrs) + error})


def test_runs_that_are_alike_are_not_apart():
    assert spread(NET, X, "pool", {"one": fast, "other": fast}) == 0


def test_it_is_the_largest_distance_between_two_runs_of_one_element():
    """Of the first channel 2 and -1, of the second 1 and -4: not 2 and -4, nor from the middle of them."""
    assert spread(NET, X, "pool", {"one": off([2.0, 1.0]), "other": off([-1.0, -4.0])}) == 5
    assert spread(NET, X, "pool", {"one": off([2.0, 1.0]), "true": fast, "other": off([-1.0, 0.0])}) == 3


def test_a_folded_network_is_run_too():
    """Its batch norm is no more, and cannot be off."""
    assert spread(NET, X, "pool", {"one": off([0.5, 0.25], "batch_norm")}) == 0.5


@pytest.mark.parametrize(("last", "apart"), [("act", 0.0), ("pool", 3.0)])
def test_it_is_that_of_the_tensor_that_is_asked_for(last, apart):
    assert spread(NET, X, last, {"one": off([3.0, 0.0]), "other": fast}) == apart


def test_by_default_it_is_over_all_orders_of_summation():
    """Sums of one term have one order: only folding rounds, and here it does not."""
    assert len(ORDERS) > 2
    assert spread(NET, X, "pool") == 0
