"""Logits that a temperature divides, and their softmax: beside the logits they are no part of the network."""

from __future__ import annotations

import numpy as np
import pytest
from feeding import shallow

from refnet import Row, compare, probe, write_pack
from refnet.report.comparison import cause_sentence

ROWS = (Row(3, 16, 8, False, "relu6", 1), Row(3, 48, 12, False, "relu6", 2))
NET, _ = shallow((32, 40), ROWS, classes=12)
X = probe(NET.graph, 2)
Z = NET.trace(X)["head.flatten"].astype(np.float32)
T = np.float32(1.7)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated") / "pack"
    write_pack(NET, X, folder, origin={"input": "probe"})
    return folder


def softmax(z):
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def beside(found):
    return {each.source: (each.kind, each.node) for each in found.matching.extras}


def test_calibrated_probabilities_are_not_judged_where_the_logits_that_they_are_of_are_there(pack):
    found = compare(pack, {"logits": Z, "calibrated": Z / T, "scores": softmax(Z / T)})
    assert found.holds
    assert beside(found) == {"calibrated": ("scaled", "head.flatten"), "scores": ("scaled-softmax", "head.flatten")}


def test_nor_are_they_in_float16(pack):
    halves = {"calibrated": (Z / T).astype(np.float16), "scores": softmax(Z / T).astype(np.float16)}
    found = compare(pack, {"logits": Z, **halves})
    assert found.holds
    assert {kind for kind, _ in beside(found).values()} == {"scaled", "scaled-softmax"}


def test_nor_are_such_logits_alone(pack):
    found = compare(pack, {"logits": Z, "calibrated": Z / T})
    assert found.holds
    assert beside(found) == {"calibrated": ("scaled", "head.flatten")}


def test_a_softmax_of_other_logits_is_judged(pack):
    found = compare(pack, {"logits": Z, "calibrated": Z / T, "scores": softmax(Z / np.float32(1.6))})
    assert found.wrong() == ["output"]


@pytest.mark.parametrize(("factor", "words"), [(1 / T, "1/1.7"), (np.float32(0.25), "1/4"), (np.float32(1.3), "1.3")])
def test_a_temperature_of_the_softmax_itself_is_a_mistake(pack, factor, words):
    found = compare(pack, {"logits": Z, "probabilities": softmax(Z * factor)})
    (cause,) = found.causes["output"]
    assert f"the numbers are multiplied by {words} before the end" in cause_sentence(cause)
