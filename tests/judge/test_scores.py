"""Probabilities beside logits, right or wrong, and tensors that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.report.comparison import cause_sentence, comparison_document

GRAPH = build("timm/mobilenetv1_100", width=0.25, size=(32, 32), classes=12)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 2)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores") / "pack"
    write_pack(NET, X, folder, origin={"input": "probe"})
    return folder


def logits(net=NET):
    return net.trace(X)["head.flatten"]


def softmax(z, axis=1):
    p = np.exp(z - z.max(axis=axis, keepdims=True))
    return p / p.sum(axis=axis, keepdims=True)


def said(found):
    return [cause_sentence(cause) for causes in found.causes.values() for cause in causes]


def steep(factor, folder):
    """The network with logits so many times larger, and a pack of it."""
    net = Network(GRAPH, {key: y * factor if key.startswith("head.logits") else y for key, y in NET.params.items()})
    write_pack(net, X, folder, origin={"input": "probe"})
    return net


def naive(z):
    with np.errstate(all="ignore"):
        e = np.exp(z)
        return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["probabilities", "y"])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda z: 1 / (1 + np.exp(-z)), "a sigmoid follows the logits"),
        (lambda z: softmax(z, axis=0), "softmax runs over the images of the batch, not over the classes"),
        (lambda z: np.exp(z - z.max(axis=1, keepdims=True)), "the softmax does not divide by its sum"),
    ],
)
def test_wrong_probabilities_beside_right_logits_are_judged(pack, name, function, words):
    found = compare(pack, {**NET.trace(X), name: function(logits())})
    assert found.wrong() == ["output"]
    assert said(found)[0].startswith(words)


@pytest.mark.parametrize("beside", [{}, {"classifier": None}])
def test_probabilities_whose_exponentials_leave_the_format_are_named(tmp_path, beside):
    net = steep(150, tmp_path / "pack")
    z = logits(net)
    assert np.isnan(naive(z)).any()
    assert not np.isnan(naive(z)).all()
    found = compare(tmp_path / "pack", {"probabilities": naive(z), **dict.fromkeys(beside, z)}, partial=True)
    assert found.wrong() == ["output"]
    assert "the largest logit is not taken away first" in said(found)[0]


def test_logits_under_a_name_that_says_what_follows_them_are_no_probabilities(pack):
    z = logits()
    assert compare(pack, {**NET.trace(X), "pre_softmax": z}).holds


def test_a_tensor_of_no_node_that_is_not_finite_does_not_hold(pack):
    odd = np.full((3, 5), np.nan, np.float32)
    found = compare(pack, {**NET.trace(X), "scratch": odd})
    assert not found.holds
    assert found.not_finite == ("scratch",)
    (note,) = comparison_document(found, pack="pack", candidate="y", precision="float32")["notes"]
    assert note.startswith("scratch: infinite or NaN in part, and nothing tells what is held there")


def test_the_logarithm_of_a_probability_that_is_zero_in_the_format_is_named(tmp_path):
    net = steep(20, tmp_path / "pack")
    with np.errstate(divide="ignore"):
        logs = np.log(softmax(logits(net)).astype(np.float16))
    assert np.isneginf(logs).any()
    found = compare(tmp_path / "pack", {"classifier": logits(net), "log_probs": logs}, partial=True)
    assert said(found) == ["the logarithm is taken of probabilities that are zero in float16"]


@pytest.mark.parametrize("name", ["log_probs", "y"])
def test_honest_logarithms_beside_all_tensors_hold(pack, name):
    assert compare(pack, {**NET.trace(X), name: np.log(softmax(logits()))}).holds


def test_what_is_infinite_elsewhere_is_no_logarithm_of_zero(pack):
    logs = np.log(softmax(logits()))
    logs[:, logs[0].argmax()] = -np.inf
    found = compare(pack, {"classifier": logits(), "log_probs": logs}, partial=True)
    assert not any("logarithm" in each for each in said(found))
