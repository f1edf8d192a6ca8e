"""Dropout that was left on, in the vectors of a head."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.bounds import Precision
from refnet.report.comparison import cause_sentence

MODELS = {"torchvision/mobilenet_v2": "head.pool", "torchvision/mobilenet_v3_small": "head.hidden.act"}


def judged(model, rate, kept):
    graph = build(model, width=0.25, size=(32, 40), classes=10)
    net = Network(graph, random_params(graph))
    x = probe(graph, 2)
    trace = {SOURCE: x, **net.trace(x)}
    end = MODELS[model]
    drop = np.random.default_rng(0).random(trace[end].shape) < rate
    port = {**trace, end: np.where(drop, 0, trace[end] / np.float32(kept)).astype(np.float32)}
    found = judge_tensors(Reference.of(graph, net.params, trace), port, precision=Precision.of("float32"))
    return [cause_sentence(cause) for cause in found.causes[end]]


@pytest.mark.parametrize(("model", "rate"), [(model, rate) for model in MODELS for rate in (0.2, 0.5)])
def test_dropout_that_is_left_on_is_named_with_its_rate(model, rate):
    assert judged(model, rate, 1 - rate)[0].startswith(f"dropout is on, at a rate of {rate:g}: ")


def test_zeros_that_do_not_go_with_the_factor_are_no_dropout():
    assert not any("dropout is on" in each for each in judged("torchvision/mobilenet_v2", 0.2, 0.5))
