"""What is wrong with the weights of one file: each finding at the right tensor, and none on honest weights."""

from __future__ import annotations

import numpy as np
import pytest
from exporting import FAMILIES, checkpoint, network, put

from refnet.report.verdict import sentence
from refnet.verification.verify import verify


def zero_row(x: np.ndarray) -> np.ndarray:
    return put(x, 3, 0)


# (tensor, what it becomes, kind, whether it fails, count, first)
SICK = {
    "NaN": ("block2.expand.w", lambda x: put(x, (1, 2), np.nan), "nan", True, 1, (1, 2)),
    "infinity": ("block2.project.bn.beta", lambda x: put(x, 4, -np.inf), "inf", True, 1, (4,)),
    "negative variance": ("block3.expand.bn.var", lambda x: put(x, 2, -0.1), "negative-variance", True, 1, (2,)),
    "zero variance": ("block3.expand.bn.var", lambda x: put(x, 2, 0), "zero-variance", False, 1, (2,)),
    "denormal": ("block3.expand.w", lambda x: put(x, (0, 0), 1e-40), "denormal", False, 1, (0, 0)),
    "dead filters": ("block3.expand.w", zero_row, "dead-channel", False, 1, (3,)),
    "gamma zero": ("block3.expand.bn.gamma", zero_row, "dead-channel", False, 1, (3,)),
    "never fires": ("block3.expand.bn.beta", lambda x: put(x, 3, -30), "dead-channel", False, 1, (3,)),
    "constant": ("block3.expand.bn.gamma", np.ones_like, "constant", False, 48, ()),
    "beyond float16": ("block3.expand.w", lambda x: put(x, (5, 1), 7e4), "float16-overflow", False, 1, (5, 1)),
    "absurd": ("block3.expand.w", lambda x: put(x, (5, 1), 1e9), "absurd", False, 1, (5, 1)),
}


@pytest.mark.parametrize("fault", SICK)
def test_a_finding_names_tensor_count_and_place(fault):
    tensor, edit, kind, fails, count, first = SICK[fault]
    graph, params = network("v2")
    found = verify(checkpoint(graph, {**params, tensor: edit(params[tensor])}))
    (finding,) = [each for each in found.health if each.kind == kind and each.name == tensor]
    assert (finding.fails, finding.count, finding.first) == (fails, count, first)
    assert found.holds is not fails


def test_classes_without_weights_and_bias_fail_a_file():
    graph, params = network("v2")
    w, b = (params[f"head.logits.{slot}"].copy() for slot in "wb")
    w[7:] = 0
    found = verify(checkpoint(graph, {**params, "head.logits.w": w}))
    assert [(each.kind, each.fails) for each in found.health] == [("dead-channel", False), ("pruned", False)]
    b[7:] = 0
    found = verify(checkpoint(graph, {**params, "head.logits.w": w, "head.logits.b": b}))
    (finding,) = found.health
    assert (finding.kind, finding.form, finding.count, finding.first) == ("dead-channel", "class", len(w) - 7, (7,))
    assert not found.holds


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_found_on_honest_weights(family):
    graph, params = network(family)
    found = verify(checkpoint(graph, params))
    assert not found.health
    assert found.holds


def test_overflow_ahead_is_told_of_the_tensor_that_overflows():
    graph, params = network("v2")
    found = verify(checkpoint(graph, {**params, "stem.conv.w": params["stem.conv.w"] * np.float32(3e4)}))
    assert "stem.conv" in [each.name for each in found.health if each.kind == "float16-overflow"]


def test_overflow_fails_a_file_that_is_meant_to_be_float16():
    graph, params = network("v2")
    large = {**params, "block3.expand.w": put(params["block3.expand.w"], (5, 1), 7e4)}
    one, other = checkpoint(graph, large), checkpoint(graph, dict(large), "copy")
    assert verify(one, other).holds
    assert not verify(one, other, allow=("folded", "float16")).holds


def test_float16_overflow_is_told_as_such():
    graph, params = network("v2")
    large = {**params, "block3.expand.w": put(params["block3.expand.w"], (5, 1), 7e4)}
    with np.errstate(over="ignore"):
        half = {name: array.astype(np.float16).astype(np.float32) for name, array in large.items()}
    found = verify(checkpoint(graph, large), checkpoint(graph, half, "copy"), allow=("folded", "float16"))
    (fault,) = found.faults
    assert (fault.name, fault.kind) == ("block3.expand.w", "overflow")


def test_where_a_run_breaks_down_is_told():
    graph, params = network("v2")
    found = verify(checkpoint(graph, {**params, "block3.expand.bn.var": put(params["block3.expand.bn.var"], 2, -2)}))
    assert [each.name for each in found.health if each.kind == "not-finite"] == ["block3.expand.bn"]


def smallest(w: np.ndarray) -> np.ndarray:
    return np.where(np.abs(w) < np.quantile(np.abs(w), 0.6), 0, w).astype(w.dtype)


def two_of_four(w: np.ndarray) -> np.ndarray:
    groups = w.reshape(-1, 4)
    ranks = np.abs(groups).argsort(axis=1).argsort(axis=1)
    return np.where(ranks < 2, 0, groups).reshape(w.shape).astype(w.dtype)


def every_other(w: np.ndarray) -> np.ndarray:
    return w * (np.random.default_rng(0).random(w.shape) < 0.5).astype(w.dtype)


def rows_zero(w: np.ndarray) -> np.ndarray:
    return put(w, slice(0, 3), 0)


@pytest.mark.parametrize(
    ("prune", "form", "words"),
    [
        (smallest, "smallest", "healthy, but 60 % of the weights are zero, and no other is near it"),
        (two_of_four, "groups", "healthy, but 50 % of the weights are zero, as many in each group"),
        (every_other, "some", "of the weights are zero: pruned, or written in part"),
        (rows_zero, "classes", "healthy, but every weight of 30 % of the classes is zero"),
    ],
)
def test_a_pruned_classifier_is_told(prune, form, words):
    graph, params = network("v2")
    found = verify(checkpoint(graph, {**params, "head.logits.w": prune(params["head.logits.w"])}))
    assert found.holds
    assert [each.form for each in found.health if each.kind == "pruned"] == [form]
    assert words in sentence(found)
