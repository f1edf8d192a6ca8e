"""No finding on honest copies: folded in float32 in two ways, rounded to shorter formats, under other names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import FAMILIES, checkpoint, exported, network, reciprocal, textbook, trained
from hypothesis import given, settings
from strategies import graphs

import refnet
from refnet.readings.orders import rounded
from refnet.verification.sides import Sides, pair
from refnet.verification.values import match_arrays
from refnet.verification.verify import verify


def kinds(original, copy) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in match_arrays(pair(original, copy)):
        found[value.kind] = found.get(value.kind, 0) + 1
    return found


def to_int8(w: np.ndarray) -> np.ndarray:
    """Quantised and back, a scale for each output channel."""
    step = np.abs(w.reshape(len(w), -1)).max(axis=1).reshape(-1, *(1,) * (w.ndim - 1)) / np.float32(127)
    return (np.rint(w / step).clip(-127, 127) * step).astype(np.float32)


def weights(copy, change):
    """A copy with its weights, not its biases, changed."""
    params = {name: change(array) if name.endswith(".w") else array for name, array in copy.params.items()}
    return replace(copy, params=params)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_is_bit_equal(family):
    graph, params = network(family)
    assert set(kinds(checkpoint(graph, params), checkpoint(graph, dict(params), "copy"))) == {"bit-equal"}


@pytest.mark.parametrize("fold", [textbook, reciprocal])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fold_in_float32_is_a_fold(family, fold):
    graph, params = network(family)
    assert set(kinds(checkpoint(graph, params), exported(graph, params, fold))) <= {"folded", "bit-equal"}


@settings(max_examples=15)
@given(graphs())
def test_any_network_may_be_folded(graph):
    params = refnet.random_params(graph)
    for fold in (textbook, reciprocal):
        assert set(kinds(checkpoint(graph, params), exported(graph, params, fold))) <= {"folded", "bit-equal"}


def test_a_fold_may_not_err_by_more_than_rounding_explains():
    """Twice what an honest one may err by is told."""
    graph, params = network("v2")
    original, copy = checkpoint(graph, params), exported(graph, params)
    name = "block3.project.w"
    moved = copy.params[name].copy()
    moved[4, 5] *= np.float32(1 + 14.5 * 2.0**-24)
    values = {
        value.name: value for value in match_arrays(pair(original, replace(copy, params={**copy.params, name: moved})))
    }
    assert values.pop(name).fault
    assert not any(value.fault for value in values.values())


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_weights_are_told_as_such(family, store):
    graph, params = network(family)
    original = checkpoint(graph, params)
    plain = weights(checkpoint(graph, params, "copy"), lambda w: rounded(w, store))
    folded = weights(exported(graph, params), lambda w: rounded(w, store))
    assert set(kinds(original, plain)) == {"bit-equal", store}
    assert set(kinds(original, folded)) <= {"bit-equal", "folded", store, f"folded+{store}"}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_8_bits_are_told_as_such(family):
    graph, params = network(family)
    original = checkpoint(graph, params)
    assert set(kinds(original, weights(checkpoint(graph, params, "copy"), to_int8))) == {"bit-equal", "int8"}
    found = kinds(original, weights(exported(graph, params), to_int8))
    assert set(found) <= {"bit-equal", "folded", "int8", "folded+int8"}
    assert found["folded+int8"] > 5


def test_the_order_of_the_two_files_does_not_matter():
    graph, params = network("v3-small")
    one, other = checkpoint(graph, params), exported(graph, params)
    for pairing in (pair(one, other), pair(other, one)):
        assert pairing.original is one
        assert pairing.copy is other
    half = weights(checkpoint(graph, params, "half"), lambda w: rounded(w, "float16"))
    assert pair(half, one).original is one


def test_two_folded_files_may_be_compared():
    graph, params = network("v3-small")
    copy = exported(graph, params)
    assert set(kinds(copy, replace(copy, path="other"))) == {"bit-equal"}


def test_a_bias_of_zeros_is_no_bias():
    graph, params = network("v2")
    nodes = tuple(
        replace(node, params={**node.params, "b": (node.params["w"][0],)}) if node.name == "block2.expand" else node
        for node in graph.nodes
    )
    zeros = np.zeros(graph["block2.expand"].params["w"][0], np.float32)
    biased = checkpoint(replace(graph, nodes=nodes), {**params, "block2.expand.b": zeros}, "copy")
    assert set(kinds(checkpoint(graph, params), biased)) == {"bit-equal"}
    assert set(kinds(biased, checkpoint(graph, params))) == {"bit-equal"}


@pytest.mark.parametrize("family", ["v2", "v3-small", "v3-large"])
def test_an_honest_export_behaves_as_its_original(family):
    graph, params = network(family)
    params = trained(params)  # a draw that nothing was done to is told
    found = verify(checkpoint(graph, params), exported(graph, params))
    assert found.holds
    assert set(found.behaviour.counts) <= {"exact", "rounding"}
    assert found.behaviour.agree == found.behaviour.images
    assert found.behaviour.difference <= 2 * found.behaviour.spread
    assert not found.health
    assert found.needs == ("folded",)


def test_a_rounded_export_behaves_within_the_bounds_of_its_format():
    graph, params = network("v2")
    copy = weights(exported(graph, params), lambda w: rounded(w, "float16"))
    found = verify(checkpoint(graph, params), copy, allow=("folded", "float16"))
    assert found.holds
    assert not found.behaviour.wrong


def test_what_was_not_meant_does_not_hold():
    graph, params = network("v2")
    copy = weights(exported(graph, params), lambda w: rounded(w, "float16"))
    found = verify(checkpoint(graph, params), copy)
    assert not found.holds
    assert found.unmeant == ("float16",)
    assert not found.faults


def test_files_of_the_same_bits_are_run_and_examined_once_and_nothing_else_is_found(monkeypatch):
    graph, params = network("v3-small")
    large = {**params, "block2.expand.w": params["block2.expand.w"] * np.float32(1e30)}
    one = checkpoint(graph, large)
    copies, keys = {name: y.copy() for name, y in large.items()}, {name: f"net.{name}" for name in large}
    other = checkpoint(graph, copies, "copy", keys=keys)
    shared = verify(one, other)
    monkeypatch.setattr(Sides, "twins", False)
    apart = verify(one, other)
    assert shared.health
    assert shared.health == apart.health
    assert shared.behaviour == apart.behaviour


def test_twins_have_the_same_bits_formats_and_graph():
    graph, params = network("v2")
    one = checkpoint(graph, params)
    assert pair(one, checkpoint(graph, dict(params), "copy")).twins
    nudged = {**params, "stem.conv.w": np.nextafter(params["stem.conv.w"], np.float32(9))}
    assert not pair(one, checkpoint(graph, nudged, "copy")).twins
    zero = {**params, "stem.bn.beta": -np.zeros_like(params["stem.bn.beta"])}
    positive = {**zero, "stem.bn.beta": np.zeros_like(zero["stem.bn.beta"])}
    assert not pair(checkpoint(graph, zero), checkpoint(graph, positive, "copy")).twins
    stored = dict.fromkeys(params, "float16")
    assert not pair(one, checkpoint(graph, dict(params), "copy", stored=stored)).twins
    node = graph["stem.bn"]
    other = graph.replaced("stem.bn", replace(node, attrs={"eps": 0.1}))
    assert not pair(one, checkpoint(other, dict(params), "copy")).twins
