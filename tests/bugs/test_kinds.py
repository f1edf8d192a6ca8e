"""Kinds of bugs that reports named: the fold's bias lost, pads by side, stores that saturate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.report.comparison import cause_sentence

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(48, 64), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = {SOURCE: X, **NET.trace(X)}
FLOAT32 = Precision.of("float32")


def said(name, tensors, precision=FLOAT32, **dumped):
    kept = dumped.get("kept", tuple(TRACE))
    candidate = {each: {**TRACE, **tensors}[each] for each in kept}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), candidate, precision=precision, partial=True)
    assert found.wrong()[0] == name  # and what reads it, for the rest is of an honest run
    return [cause_sentence(cause) for cause in found.causes[name]]


def test_a_lost_bias_of_the_fold_is_said():
    name = "block3.expand.bn"
    node = GRAPH[name]
    params = {f"{name}.{slot}": NET.params[f"{name}.{slot}"] for slot in node.params}
    params |= {f"{name}.{slot}": np.zeros_like(params[f"{name}.{slot}"]) for slot in ("beta", "mean")}
    y = interpret(Graph(GRAPH.recipe, (node,)), fast, params, {node.inputs[0]: TRACE[node.inputs[0]]})
    assert said(name, {name: y})[0] == "the folded bias is lost: beta and mean are gone"


def test_columns_that_are_padded_otherwise_are_said():
    name = "block3.depthwise"
    node = replace(GRAPH[name], attrs={**GRAPH[name].attrs, "pad": ((1, 1), (0, 2))})
    params = {f"{name}.w": NET.params[f"{name}.w"]}
    y = interpret(Graph(GRAPH.recipe, (node,)), fast, params, {node.inputs[0]: TRACE[node.inputs[0]]})
    assert said(name, {name: y})[0].startswith("the padding is ((1, 1), (0, 2)) instead of")


def test_a_bug_is_told_through_a_store_that_saturates():
    """An int8 store of [-1.5, 6], with ReLU6 left out."""
    name, step = "block3.expand.act", np.float32(7.5 / 255)
    y = (np.rint(TRACE["block3.expand.bn"] / step) * step).clip(-1.5, 6).astype(np.float32)
    own = dict.fromkeys(TRACE, FLOAT32) | {name: FLOAT32._replace(step=float(step) / 2, span=(-1.5, 6.0))}
    kept = tuple(each for each in TRACE if each != "block3.expand.bn")
    assert said(name, {name: y}, own, kept=kept)[0] == "the activation is left out"


def test_vectors_along_the_wrong_axis_are_said():
    """A map as wide as it has channels: arrays of (C,) meet its last axis."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(48, 32), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    honest = {SOURCE: x, **net.trace(x)}
    name = next(node.name for node in graph.nodes if node.op == "batch_norm" and honest[node.name].shape[1] == 16)
    gamma, beta, mean, var = (net.params[f"{name}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
    assert honest[name].shape[3] == len(gamma)
    root = np.sqrt(var + np.float32(graph[name].attrs["eps"]))
    y = gamma * (honest[graph[name].inputs[0]] - mean) / root + beta
    reference = Reference.of(graph, net.params, honest)
    found = judge_tensors(reference, {**honest, name: y}, precision=FLOAT32, partial=True)
    (first, *_) = found.causes[name]
    assert cause_sentence(first) == "numbers that are one for each channel run along the width instead"
