"""Dropout that was left on: in tensors, before a linear layer that alone is dumped, and as a tensor of its own."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.comparison import cause_sentence

MODELS = {"torchvision/mobilenet_v2": "head.pool", "torchvision/mobilenet_v3_small": "head.hidden.act"}


def dropped(y, rate, kept, channels=False):
    """Zeros by chance, and the rest larger."""
    shape = (*y.shape[:2], 1, 1) if channels else y.shape
    drop = np.random.default_rng(0).random(shape) < rate
    return np.where(drop, 0, y / np.float32(kept)).astype(np.float32)


def judged(model, end, rate, kept, *, channels=False):
    graph = build(model, width=0.25, size=(32, 40), classes=10)
    net = Network(graph, random_params(graph))
    x = probe(graph, 2)
    trace = {SOURCE: x, **net.trace(x)}
    port = {**trace, end: dropped(trace[end], rate, kept, channels)}
    found = judge_tensors(Reference.of(graph, net.params, trace), port)
    return [cause_sentence(cause) for cause in found.causes[end]]


@pytest.mark.parametrize(
    ("model", "end", "rate"),
    [
        *((model, end, rate) for model, end in MODELS.items() for rate in (0.2, 0.5)),
        ("torchvision/mobilenet_v2", "block8.project.bn", 0.1),
    ],
)
def test_dropout_that_is_left_on_is_named_with_its_rate(model, end, rate):
    assert judged(model, end, rate, 1 - rate)[0].startswith(f"dropout is on, at a rate of {rate:g}: ")


def test_dropout_of_whole_channels_is_named():
    (only,) = judged("torchvision/mobilenet_v2", "block4.depthwise.act", 0.2, 0.8, channels=True)
    assert only.startswith("dropout is on, at a rate of 0.2: ")
    assert "channels are zero" in only


def test_zeros_that_do_not_go_with_the_factor_are_no_dropout():
    said = judged("torchvision/mobilenet_v2", "head.pool", 0.2, 0.5)
    assert not any("dropout is on" in each for each in said)


@pytest.mark.parametrize(
    ("classes", "named"),
    [
        (300, True),  # more than the 256 inputs
        (210, True),  # fewer, but for those that are zero
        (60, False),  # too few to tell
    ],
)
@pytest.mark.parametrize("dumped", ["head.logits", "output"])
def test_dropout_before_a_linear_layer_is_solved_for_where_the_layer_alone_is_dumped(dumped, classes, named):
    graph = build("keras/MobileNet", width=0.25, size=(32, 40), classes=classes)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    trace = {SOURCE: x, **net.trace(x)}
    read = dropped(trace["head.pool"], 0.2, 0.8).ravel()
    w, b = (net.params[f"head.logits.{slot}"].astype(np.float64) for slot in ("w", "b"))
    z = w.reshape(classes, -1) @ read + b
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    made = {"head.logits": z.reshape(1, -1, 1, 1), "output": p.reshape(1, -1)}[dumped].astype(np.float32)
    port = {SOURCE: x, "head.pool": trace["head.pool"], dumped: made}
    found = judge_tensors(Reference.of(graph, net.params, trace), port, partial=True)
    said = [cause_sentence(each) for each in found.causes.get(dumped, [])]
    assert any(each.startswith("dropout is on before it, at a rate of 0.2: ") for each in said) is named


@pytest.mark.parametrize(("left_on", "wrong"), [(True, ["head.pool"]), (False, [])])
def test_a_dump_of_what_dropout_makes_is_what_the_layer_behind_it_is_judged_on(left_on, wrong, tmp_path):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 40), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    write_pack(net, x, tmp_path / "pack")
    port = net.trace(x)
    port["classifier.0"] = port["head.pool"].reshape(1, -1)
    if left_on:
        port["classifier.0"] = dropped(port["classifier.0"], 0.2, 0.8)
        w, b = (net.params[f"head.logits.{slot}"] for slot in ("w", "b"))
        port["head.flatten"] = port["classifier.0"] @ w.reshape(10, -1).T + b
        port["head.logits"] = port["head.flatten"].reshape(1, -1, 1, 1)
    found = compare(tmp_path / "pack", port)
    assert found.wrong() == wrong
    assert {cause.ids for name in wrong for cause in found.causes[name]} <= {("dropout-left-on",)}
