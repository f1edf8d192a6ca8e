"""Batch norm measured anew and the last layer solved for: by hand, against least squares, and refused."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import RequestError, build, load, random_input, random_params
from refnet.graph import SOURCE, Graph, Node, Recipe, walk
from refnet.readings import fast
from refnet.search.head import (
    classifying_layer,
    head_features,
    measured_norms,
    proportion_right,
    refitted,
    ridge,
    split_scans,
)


@pytest.fixture
def graph():
    return build("torchvision/mobilenet_v3_small", width=0.25, size=32, classes=10)


def test_no_scan_is_in_two_parts():
    parts = split_scans()
    whole = np.concatenate([part.x[:, 0, ::4, ::4].reshape(len(part.x), -1) for part in parts])
    assert (len(whole), len(parts.held_out.x)) == (1797, 599)
    assert len(np.unique(whole, axis=0)) == len(whole)


def test_a_measured_norm_makes_mean_beta_and_variance_gamma_squared(graph):
    params, x = random_params(graph, np.float64), random_input(graph, 20, np.float64)
    found = measured_norms(graph, params, x)
    for node, y in walk(graph, fast, found, {SOURCE: x}):
        if node.op == "batch_norm":
            gamma, var = params[f"{node.name}.gamma"], found[f"{node.name}.var"]
            wanted = gamma**2 * var / (var + node.attrs["eps"])
            assert np.allclose(y.mean(axis=(0, 2, 3)), params[f"{node.name}.beta"], rtol=0, atol=1e-12)
            assert np.allclose(y.var(axis=(0, 2, 3)), wanted, rtol=1e-11, atol=1e-14)


def test_only_the_statistics_and_the_last_layer_change(graph):
    params, scans = random_params(graph), split_scans()
    found = refitted(graph, params, scans.fitted.x[:100], scans.fitted.labels[:100])
    changed = {name for name in params if not np.array_equal(found[name], params[name])}
    norms = {f"{node.name}.{slot}" for node in graph.nodes if node.op == "batch_norm" for slot in ("mean", "var")}
    assert changed == norms | {"head.logits.w", "head.logits.b"}
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_ridge_the_layer_is_that_of_least_squares(bias):
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
    w, b = ridge(features, labels, 3, 0.0, bias=bias)
    asked = np.column_stack([features, np.ones(40)]) if bias else features
    best, *_ = np.linalg.lstsq(asked, np.eye(3)[labels])
    assert np.allclose(np.column_stack([w, b])[:, : asked.shape[1]].T, best, rtol=0, atol=1e-12)


def test_features_that_are_all_alike_tell_how_often_each_class_is():
    w, b = ridge(np.ones((4, 2)), np.array([0, 0, 0, 1]), 2)
    assert not w.any()
    assert b.tolist() == [0.75, 0.25]


def test_the_shipped_network_loses_nothing_by_a_layer_that_was_solved_for():
    net, scans = load(), split_scans()
    params = refitted(net.graph, net.params, *scans.fitted)
    before = proportion_right(net.graph, net.params, *scans.held_out)
    assert proportion_right(net.graph, params, *scans.held_out) >= before


def test_statistics_may_stay_as_they_are():
    net, scans = load(), split_scans()
    params = refitted(net.graph, net.params, *scans.fitted, norms=False)
    w, _ = ridge(head_features(net.graph, net.params, scans.fitted.x), scans.fitted.labels, 10)
    assert np.array_equal(params["head.logits.w"], w.astype(np.float32))
    assert np.array_equal(params["stem.bn.mean"], net.params["stem.bn.mean"])


def test_the_same_arrays_give_the_same_bits(graph):
    params, scans = random_params(graph), split_scans()
    first, second = (refitted(graph, params, *scans.judged) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["keras/MobileNet", "keras/MobileNetV2", "keras/MobileNetV3Small"])
def test_the_last_linear_layer_is_found_before_a_softmax(name):
    assert classifying_layer(build(name)).name == "head.logits"


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused():
    graph = Graph(Recipe("", 1.0, (8, 8), 3), (Node("last", "relu", (SOURCE,)),))
    with pytest.raises(RequestError, match="last: the network does not end in a linear layer"):
        classifying_layer(graph)
    maps = Graph(Recipe("", 1.0, (8, 8), 3), (Node("last", "pointwise_conv2d", (SOURCE,), {"w": (3, 3)}),))
    with pytest.raises(RequestError, match="last: the network does not end in a linear layer"):
        classifying_layer(maps)


def test_features_that_are_not_finite_are_refused(graph):
    params, scans = random_params(graph), split_scans()
    params["head.hidden.b"] = np.full_like(params["head.hidden.b"], np.nan)
    with pytest.raises(RequestError, match="not finite"):
        refitted(graph, params, *scans.judged)
