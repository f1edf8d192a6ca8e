"""Probabilities that are looked at as logits: those that a softmax can have made, in the format that holds them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.bugs.language.probabilities import apart_from_one, as_it_is, is_saturated, lens
from refnet.readings.orders import ORDERS, rounded
from refnet.report.comparison_notes import comparison_notes

GRAPH = build("keras/MobileNet", width=0.25, size=(32, 32), classes=10)
STORES = ("float32", "float16", "bfloat16")


def softmax(classes, order="sequential", spread=3.0):
    """What honest float32 makes of logits, summed in an order."""
    z = np.random.default_rng(classes).normal(0, spread, (64, classes)).astype(np.float32)
    return ORDERS[order].softmax(z)


def seen(p):
    return lens(SimpleNamespace(candidate=p, end=GRAPH.output, whole=GRAPH, centred=False))


def off(p):
    return float(np.abs(p.sum(axis=1, dtype=np.float64) - 1).max())


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("classes", [2, 10, 1001, 21843])
def test_honest_probabilities_add_up_to_one_in_every_order_of_summation(classes, store):
    for order in ORDERS:
        p = softmax(classes, order)
        p = p if store == "float32" else rounded(p, store)
        assert off(p) < apart_from_one(p)


def test_the_slack_of_each_format_is_reached_to_a_tenth():
    """What is derived is no wider than it must be: by a factor of ten it would be too narrow."""
    for store in STORES:
        made = [softmax(2, spread=spread) for spread in (0.1, 1.0, 3.0)]
        made = made if store == "float32" else [rounded(p, store) for p in made]
        assert max(off(p) / apart_from_one(p) for p in made) > 0.1


def test_probabilities_are_looked_at_as_logits():
    p = softmax(10)
    np.testing.assert_allclose(seen(p)(p), np.log(p) - np.log(p).mean(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("store", STORES)
def test_what_lacks_more_than_rounding_is_looked_at_as_it_is(store):
    p = softmax(10) * np.float32(1 - 3e-5 if store == "float32" else 1 - 3e-2)
    assert seen(p if store == "float32" else rounded(p, store)) is as_it_is


def test_probabilities_of_which_one_is_zero_are_looked_at_as_they_are():
    assert seen(np.float32([[0, 0.25, 0.75]])) is as_it_is


def test_a_tensor_that_no_node_of_the_network_makes_is_looked_at_as_it_is():
    one = SimpleNamespace(candidate=np.full((1, 2), 0.5), end="input.fed", whole=GRAPH, centred=False)
    assert lens(one) is as_it_is


@pytest.mark.parametrize(
    ("p", "told"),
    [
        ([[0, 1, 0]], True),
        ([[0, 1 - 2.0**-24, 2.0**-130]], True),
        ([[0, 1 - 2.0**-16, 2.0**-16]], False),
        ([[0, 1.001, 0]], False),
        ([[-0.5, 1, 0.5]], False),
    ],
)
def test_zeros_and_ones_within_what_float32_tells_are_saturated(p, told):
    segment = SimpleNamespace(candidate=np.float32(p), graph=SimpleNamespace(nodes=[GRAPH[GRAPH.output]]))
    assert is_saturated(segment) is told


@pytest.mark.parametrize(("times", "told"), [(1e6, ("output",)), (1e-3, ())])
def test_a_lone_answer_of_zeros_and_ones_is_said_to_tell_little(times, told, tmp_path):
    graph = build("keras/MobileNet", width=0.25, size=(32, 32), classes=5)
    params = random_params(graph)
    params["head.logits.w"] = params["head.logits.w"] * np.float32(times)
    net = Network(graph, params)
    x = probe(graph, 1)
    write_pack(net, x, tmp_path / "pack")
    found = compare(tmp_path / "pack", {"output": net.trace(x)["output"]}, partial=True)
    assert found.saturated == told
    assert any("dump the logits" in note for note in comparison_notes(found)) is bool(told)


@pytest.mark.parametrize("name", ["predictions", "anything"])
def test_probabilities_spoilt_by_exponentials_beyond_their_format_are_taken_for_such_and_named(name, tmp_path):
    params, x = random_params(GRAPH), probe(GRAPH, 2)
    largest = Network(GRAPH, params).trace(x)["head.logits"].max()
    for slot in ("w", "b"):
        params[f"head.logits.{slot}"] *= 13 / largest  # whose exponential is 442,413, and float16 ends at 65,504
    net, pack = Network(GRAPH, params), tmp_path / "golden"
    write_pack(net, x, pack)
    with np.errstate(all="ignore"):
        e = np.exp(net.trace(x)["head.flatten"]).astype(np.float16)
        p = (e / e.sum(axis=1, keepdims=True)).astype(np.float32)
    found = compare(pack, {name: p})
    assert np.isnan(p).any()
    assert [cause.ids for cause in found.judged.causes["output"]] == [("sum-overflow",)]
