"""Two networks run side by side: which of their tensors are compared, and what is said of their ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import checkpoint, exported, network

from refnet.graph import Node
from refnet.report.verdict import sentence
from refnet.verification import behaviour
from refnet.verification.behaviour import Behaviour, Remark, behave, inputs, traced
from refnet.verification.sides import pair
from refnet.verification.verify import verify


@pytest.fixture(scope="module")
def runs():
    """An original with its trace, and an honest copy with its."""
    graph, params = network("v2")
    two = pair(checkpoint(graph, params), exported(graph, params))
    x = inputs(two.original)
    return two, x, traced(two.original, x), traced(two.copy, x)


def test_nothing_is_said_of_runs_that_were_not_compared():
    made = Behaviour()
    assert (made.images, made.size, made.agree, made.end, made.wrong, made.counts) == (0, (0, 0), 0, "", [], {})
    assert np.isnan(made.difference)
    assert np.isnan(made.spread)


def test_the_probe_is_of_two_images(runs):
    two, x, *_ = runs
    assert x.shape == (2, 3, 48, 40)
    assert inputs(two.original, 3).shape[0] == 3


def test_what_could_not_be_run_is_told_of_the_original_first(runs):
    two, x, first, second = runs
    one, other = Remark("not-run", {"file": "one"}), Remark("not-run", {"file": "other"})
    for given, remark in (((one, other), one), ((one, second), one), ((first, other), other)):
        found = behave(two, x, *given)
        assert (found.images, found.size, found.remark, found.end) == (2, (48, 40), remark, "")


def test_a_file_whose_network_does_not_fit_its_arrays_is_not_run(runs):
    two, x, *_ = runs
    params = {**two.original.params, "stem.conv.w": np.zeros((3, 3), np.float32)}
    found = traced(replace(two.original, params=params), x)
    assert isinstance(found, Remark)
    assert (found.kind, found.facts["file"]) == ("not-run", "file")
    assert found.facts["error"]


def test_ends_are_apart_relative_to_the_largest_of_the_original_and_agree_by_class(runs, monkeypatch):
    """One logit off by half the largest, so that one of two images has another class."""
    two, x, first, second = runs
    logits = np.zeros((2, 10), np.float32)
    logits[0, 3], logits[0, 7], logits[1, 4] = 2, -4, -1
    logits[1, 5] = 1
    other = logits.copy()
    other[1, 6] = 2
    monkeypatch.setattr(behaviour, "spread", lambda net, x, end: 0.25 if (len(x), end) == (1, "head.flatten") else 0)
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {"a": "exact", "b": "wrong", "c": "wrong", "d": "suspect"})
    found = behave(two, x, {**first, "head.flatten": logits}, {**second, "head.flatten": other})
    assert (found.end, found.agree, found.difference, found.spread) == ("head.flatten", 1, 0.5, 0.0625)
    assert found.wrong == ["b", "c", "d"]
    assert found.counts == {"exact": 1, "wrong": 2, "suspect": 1}
    assert found.remark is None


def test_ends_of_zeros_are_apart_by_what_the_other_has(runs, monkeypatch):
    two, x, first, second = runs
    zeros, other = np.zeros((2, 10), np.float32), np.full((2, 10), 0.5, np.float32)
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {})
    assert behave(two, x, {**first, "head.flatten": zeros}, {**second, "head.flatten": other}).difference == 0.5


def test_ends_of_other_shapes_are_not_compared(runs, monkeypatch):
    two, x, first, second = runs
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {})
    found = behave(two, x, first, {**second, "head.flatten": np.zeros((2, 11))})
    assert found.remark == Remark("shape", {"node": "head.flatten", "copy": (2, 11), "original": (2, 10)})
    assert (found.end, found.agree) == ("head.flatten", 0)


def test_of_weights_in_8_bits_only_the_ends_are_compared(runs):
    two, x, first, second = runs
    found = behave(two, x, first, second, "int8")
    assert found.remark == Remark("int8", {})
    assert found.verdicts == {}
    assert found.agree == 2


def test_a_pool_with_a_factor_is_wrong_and_what_reads_it_is_not():
    graph, params = network("v2")
    affine = Node("own", "affine", ("head.pool",), {}, {"slope": 1.5, "offset": 0.0})
    copy = checkpoint(graph.inserted(affine, after="head.pool"), params, "copy")
    found = verify(checkpoint(graph, params), copy)
    assert found.behaviour.wrong == ["head.pool"]
    assert "head.pool is 1.5 times the mean of its map" in sentence(found)


def test_every_tensor_that_both_have_is_judged_and_the_originals_names_are_used(runs):
    two, x, first, second = runs
    found = behave(two, x, first, second)
    assert "stem.bn" in found.verdicts
    assert "stem.conv" not in found.verdicts  # the copy's, which is the batch norm's tensor
    assert "input" not in found.verdicts
    spoiled = {**second, "block3.expand.act": second["block3.expand.act"] + 1}
    assert behave(two, x, first, spoiled).wrong == ["block3.expand.act", "block3.depthwise.bn"]
