"""One vector of a layer in an order by a rule: how it is moved is solved for from what the layer makes."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.mistakes.bugs import of_port

GRAPH = build("keras/MobileNet", width=0.25, size=(32, 32), classes=40)
PARAMS, X = random_params(GRAPH), probe(GRAPH, 2)
REFERENCE = Reference.of(GRAPH, PARAMS, {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)})


def port(name, order):
    """Every tensor of a port that holds one vector in another way."""
    given = {**PARAMS, name: order(PARAMS[name]).astype(np.float32)}
    return {SOURCE: X, **Network(GRAPH, given).trace(X)}


def said(tensors):
    found = judge_tensors(REFERENCE, tensors, partial=True)
    (causes,) = found.causes.values()
    (mistake,) = causes[0].mistakes
    return mistake.node, of_port(mistake)


DEALT = "the biases are dealt out in turn to 5 groups: a shuffle of 5 groups undone"
ORDERS = [
    (lambda b: np.roll(b, 3), "the biases are rolled by 3"),
    (lambda b: np.roll(b, -7), "the biases are rolled by -7"),
    (
        lambda b: b.reshape(8, -1).T.ravel(),
        DEALT,
    ),
    (lambda b: np.append(b[4:], b[:4] * 0), "the biases are read from number 4 on, with zeros behind them"),
    (lambda b: np.append(b[-2:] * 0, b[:-2]), "the biases begin 2 places later, with zeros before them"),
]


@pytest.mark.parametrize(("order", "words"), ORDERS)
def test_biases_of_classes_in_another_order_are_told(order, words):
    made = port("head.logits.b", order)
    assert said({name: made[name] for name in ("head.pool", "head.flatten")}) == ("head.logits", words)


def test_they_are_told_from_probabilities_alone():
    probabilities = port("head.logits.b", lambda b: np.roll(b, 5))["output"]
    assert said({"output": probabilities}) == ("head.logits", "the biases are rolled by 5")


@pytest.mark.parametrize("slot", ["gamma", "beta", "mean", "var"])
def test_a_vector_of_a_batch_norm_that_is_moved_on_is_told(slot):
    name = "block4.depthwise.bn"
    words = {"gamma": "gammas", "beta": "betas", "mean": "means", "var": "variances"}[slot]
    tensors = port(f"{name}.{slot}", lambda vector: np.roll(vector, 3))
    assert said(tensors) == (name, f"the {words} are rolled by 3")


def test_other_numbers_are_in_no_order():
    other = np.random.default_rng(1).permutation(PARAMS["head.logits.b"])
    made = port("head.logits.b", lambda _: other)
    found = judge_tensors(REFERENCE, {name: made[name] for name in ("head.pool", "head.flatten")}, partial=True)
    assert found.wrong()
    assert not any("vector-order" in cause.ids for causes in found.causes.values() for cause in causes)
