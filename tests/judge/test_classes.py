"""What is wrong with some classes alone is told from logits, from their logarithms, and through a softmax."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.bounds import Precision
from refnet.report.mistakes.bugs import of_port

CLASSES = 43
TAIL, MOST = np.arange(CLASSES) >= 40, np.arange(CLASSES) < 35
W, B = "head.logits.w", "head.logits.b"
MISTAKES = {
    "bias": (lambda w, b: (w, np.where(TAIL, 0, b)), "its bias is left out, in the last 3 of 43 channels alone"),
    "most": (lambda w, b: (w, np.where(MOST, 0, b)), "its bias is left out, in the first 35 of 43 channels alone"),
    "twice": (
        lambda w, b: (w, np.where(TAIL, 2 * b, b)),
        "its bias is added twice, in the last 3 of 43 channels alone",
    ),
    "sums": (
        lambda w, b: (np.where(TAIL[:, None], 0, w), b),
        "the last 3 of 43 classes have their bias alone: their sums are left out",
    ),
    "all": (
        lambda w, b: (np.where(TAIL[:, None], 0, w), np.where(TAIL, 0, b)),
        "the last 3 of 43 classes are left out: their logits are 0",
    ),
}


@cache
def network():
    graph = build("keras/MobileNet", width=0.25, size=(32, 32), classes=CLASSES)
    net, x = Network(graph, random_params(graph)), probe(graph, 2)
    return net, Reference.of(graph, net.params, {SOURCE: x, **net.astype(np.float64).trace(x.astype(np.float64))})


def judged(mistake, *dumped):
    net, reference = network()
    w, b = mistake(net.params[W], net.params[B])
    made = Network(net.graph, {**net.params, W: w.astype(np.float32), B: b.astype(np.float32)}).trace(
        probe(net.graph, 2)
    )
    return judge_tensors(
        reference, {name: made[name] for name in dumped}, precision=Precision.of("float32"), partial=True
    )


def causes(mistake, *dumped):
    """The causes of the wrong tensor, in words."""
    found = judged(mistake, *dumped)
    (wrong,) = found.wrong()
    return [of_port(one) for cause in found.causes[wrong] for one in cause.mistakes]


@pytest.mark.parametrize("what", MISTAKES)
def test_what_is_wrong_with_some_classes_is_told_by_probabilities(what):
    mistake, words = MISTAKES[what]
    assert causes(mistake, "head.pool", "output") == [words]


@pytest.mark.parametrize("end", ["output", "head.flatten"])
def test_a_bias_that_some_classes_lack_is_told_from_the_end_alone(end):
    mistake, words = MISTAKES["bias"]
    assert causes(mistake, end) == [words]


def test_a_bias_in_a_memory_that_has_fewer_is_told_by_probabilities():
    (words,) = causes(lambda w, b: (w, b[np.arange(CLASSES) % 16]), "head.pool", "output")
    assert "16" in words


@pytest.mark.parametrize("end", ["output", "head.flatten"])
def test_other_biases_of_the_classes_are_told_by_offsets_that_all_images_have(end):
    offsets = np.random.default_rng(3).normal(size=CLASSES)
    found = judged(lambda w, b: (w, b + offsets), end)
    ((feature,),) = (found.features[name] for name in found.wrong())
    assert (feature.kind, feature.facts["node"]) == ("class-offsets", "head.logits")
    assert feature.facts["most"] - feature.facts["least"] == pytest.approx(np.ptp(offsets), rel=1e-4)
    assert not found.evidence


def test_other_weights_of_the_classes_move_them_otherwise_from_image_to_image():
    found = judged(lambda w, b: (w * np.random.default_rng(3).normal(1, 0.1, w.shape), b), "head.pool", "head.flatten")
    assert "class-offsets" not in {each.kind for own in found.features.values() for each in own}
