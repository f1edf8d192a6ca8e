"""Dumps that hold fewer digits than the port computes with: printed numbers, and probabilities in bytes."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.pack.printed import in_levels, written_as
from refnet.readings.precision import Printed
from refnet.report.comparison import cause_sentence

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(32, 40), classes=12)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 2)
LOGITS = NET.trace(X)["head.flatten"]
MIRRORED = NET.trace(np.ascontiguousarray(X[..., ::-1]))["head.flatten"]
FORMS = [Printed("decimals", 3), Printed("decimals", 2), Printed("digits", 4), Printed("digits", 3)]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("printed") / "pack"
    write_pack(NET, X, folder, origin={"input": "probe"})
    return folder


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
    return p / p.sum(axis=1, keepdims=True)


def printed(y, form):
    return form.rounded(y.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_honest_logits_alone_that_are_printed_hold(pack, form):
    found = compare(pack, {"y": printed(LOGITS, form)})
    assert found.holds
    assert [(each.kind, each.facts["count"]) for each in found.encodings] == [tuple(form)]


@pytest.mark.parametrize("form", FORMS)
def test_a_mistake_is_named_in_printed_logits_alone(pack, form):
    (cause, *_) = compare(pack, {"y": printed(MIRRORED, form)}).causes["head.flatten"]
    assert "mirrored" in cause_sentence(cause)


def test_three_units_more_than_was_printed_fail(pack):
    form = Printed("decimals", 3)
    y = printed(LOGITS, form)
    y[0, 5] += 6 * form.step
    assert not compare(pack, {"y": printed(y, form)}, explain=False).holds


def test_honest_probabilities_in_bytes_hold(pack):
    found = compare(pack, {"y": printed(softmax(LOGITS), Printed("levels", 256))})
    assert found.holds
    assert [each.kind for each in found.encodings] == ["levels"]


def test_a_mistake_is_named_in_probabilities_in_bytes(pack):
    (cause, *_) = compare(pack, {"y": printed(softmax(MIRRORED), Printed("levels", 256))}).causes["output"]
    assert "mirrored" in cause_sentence(cause)


def test_probabilities_in_bytes_of_many_classes_may_add_up_to_less(tmp_path):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=1000)
    net = Network(graph, random_params(graph))
    x = probe(graph, 2)
    p = printed(softmax(net.trace(x)["head.flatten"]), Printed("levels", 256))
    assert (np.abs(p.sum(axis=1) - 1) > 0.05).all()
    write_pack(net, x, tmp_path / "pack", origin={"input": "probe"})
    assert compare(tmp_path / "pack", {"y": p}).holds


@pytest.mark.parametrize("step", [0.5, 0.125, 2.0**-7])
def test_binary_fractions_are_not_printed(step):
    assert written_as([(np.arange(-90, 90) * step).astype(np.float32)]) is None


@pytest.mark.parametrize("store", [np.float16, np.float32])
def test_numbers_with_all_their_digits_are_not_printed(store):
    assert written_as([LOGITS.astype(store).astype(np.float32)]) is None
    assert in_levels(softmax(LOGITS).astype(store).astype(np.float32)) is None


def test_few_numbers_are_not_printed():
    assert written_as([np.float32([0.1, 0.2, 0.7])]) is None


@pytest.mark.parametrize("form", [Printed("digits", 4), Printed("decimals", 4)])
def test_of_two_forms_that_fit_the_coarser_one_is_told(form):
    x = np.random.default_rng(0).uniform(0.2, 40, 60)
    assert written_as([form.rounded(x)]) == form
