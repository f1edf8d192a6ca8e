"""Kinds of bugs that reports named: the fold's bias lost, pads by side, stores that saturate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet import Network, build, probe, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.causes.diagnose import diagnose
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


V3 = build("torchvision/mobilenet_v3_small", width=0.35, size=(48, 64), classes=10)
V3_NET = Network(V3, random_params(V3))
V3_X = probe(V3, 2)
V3_TRACE = {SOURCE: V3_X, **V3_NET.trace(V3_X)}


def first_said(changed, kept=lambda node: True, graph=V3, net=V3_NET, trace=V3_TRACE, arrays=V3_NET.params):
    """What is said first of a port that makes some nodes in its own way, of which some tensors are dumped."""
    made = {SOURCE: trace[SOURCE]}
    for node in graph.nodes:
        own = changed(node, made)
        if own is None:
            params = {f"{node.name}.{slot}": arrays[f"{node.name}.{slot}"] for slot in node.params}
            own = interpret(
                Graph(graph.recipe, (node,)), fast, params, {each: made[each] for each in dict.fromkeys(node.inputs)}
            )
        made[node.name] = np.asarray(own, np.float32)
    candidate = {node.name: made[node.name] for node in graph.nodes if kept(node)}
    found = judge_tensors(Reference.of(graph, net.params, trace), candidate, precision=FLOAT32, partial=True)
    return [cause_sentence(found.causes[name][0]) if found.causes[name] else "" for name in found.wrong()]


def test_a_variance_of_one_point_fewer_is_said():
    def norm(node, made):
        if node.op != "batch_norm":
            return None
        x = made[node.inputs[0]].astype(np.float64)
        gamma, beta = (V3_NET.params[f"{node.name}.{slot}"][:, None, None] for slot in ("gamma", "beta"))
        mean, var = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), ddof=1, keepdims=True)
        return (x - mean) / np.sqrt(var + np.float32(node.attrs["eps"])) * gamma + beta

    words = "mean and variance are those of the batch (training mode), the variance unbiased"
    said_of = first_said(norm, lambda node: node.op in ("conv2d", "batch_norm"))
    assert said_of[0] == words
    assert {each.removesuffix(", everywhere") for each in said_of} == {words}


def test_gamma_and_beta_exchanged_are_said():
    def norm(node, made):
        if node.name != "block4.depthwise.bn":
            return None
        gamma, beta, mean, var = (
            V3_NET.params[f"{node.name}.{slot}"][:, None, None] for slot in ("gamma", "beta", "mean", "var")
        )
        return (made[node.inputs[0]] - mean) / np.sqrt(var + np.float32(node.attrs["eps"])) * beta + gamma

    assert first_said(norm) == ["gamma and beta are exchanged"]


def test_a_hard_swish_by_shifts_is_said():
    def act(node, made):
        x = made[node.inputs[0]]
        return x * np.clip(x + 3, 0, 6) / 8 if node.op == "hard_swish" else None

    assert set(first_said(act)) == {"x * relu6(x + 3) is divided by 8, not by 6"}


def test_a_gate_without_its_curve_is_said():
    def bare(node, made):
        return made[node.inputs[0]] if node.name == "block9.se.gate" else None

    def uncut(node, made):
        return made[node.inputs[0]] / 6 + np.float32(0.5) if node.op == "hard_sigmoid" else None

    assert first_said(bare) == ["the gate is what its last layer makes, without a sigmoid"]
    assert set(first_said(uncut)) == {"the gate is not cut off at 0 and 1"}


def test_a_gate_made_of_what_comes_before_the_activation_is_said_whether_that_is_dumped_or_not():
    def pool(node, made):
        if not node.name.endswith("se.pool"):
            return None
        return made[V3[node.inputs[0]].inputs[0]].mean(axis=(2, 3), keepdims=True)

    words = "the gate is made of what comes before the activation, and scales what comes after it"
    assert set(first_said(pool)) == {words}
    fused = set(first_said(pool, lambda node: node.op not in ("batch_norm", "conv2d", "depthwise_conv2d")))
    assert fused == {words}


def test_pads_of_rows_and_columns_exchanged_are_said_by_the_shape():
    graph = build("keras/MobileNetV2", width=0.35, size=(48, 65), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    honest = {SOURCE: x, **net.trace(x)}
    name = "block2.depthwise"
    rows, columns = graph[name].attrs["pad"]
    assert rows != columns
    node = replace(graph[name], attrs={**graph[name].attrs, "pad": (columns, rows)})
    params = {f"{name}.w": net.params[f"{name}.w"]}
    y = interpret(Graph(graph.recipe, (node,)), fast, params, {node.inputs[0]: honest[node.inputs[0]]})
    found = judge_tensors(Reference.of(graph, net.params, honest), {**honest, name: y}, partial=True)
    said = cause_sentence(found.causes[name][0])
    assert said.startswith("the padding is ((1, 1), (0, 1)) instead of ((0, 1), (1, 1))")
    assert said.endswith("that of rows and that of columns are exchanged")


def as_it_is(node, made):
    return None


def test_the_arrays_of_another_layer_are_said_one_by_one():
    names = [name for name in V3.params() if name.startswith(("block10.expand", "block10.depthwise"))]
    there = {name: V3_NET.params[name.replace("block10.", "block11.", 1)] for name in names}
    assert first_said(as_it_is, arrays=V3_NET.params | there) == [
        "it has the weights of block11.expand",
        "it has the batch norm of block11.expand",
        "it has the weights of block11.depthwise",
        "it has the batch norm of block11.depthwise",
    ]
    fused = first_said(as_it_is, lambda node: node.op == "batch_norm", arrays=V3_NET.params | there)
    assert fused[0] == "it has the weights and the batch norm of block11.expand"


def test_channels_that_hold_their_neighbours_are_said():
    w = V3_NET.params["block9.project.w"].copy()
    w[3::4] = w[2::4]
    said_of = first_said(as_it_is, lambda node: node.op == "batch_norm", arrays=V3_NET.params | {"block9.project.w": w})
    assert said_of == ["8 of 32 channels hold other ones, channel 3 that of 2 first"]


def test_a_folded_bias_along_the_wrong_axis_is_said():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(48, 32), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    honest = {SOURCE: x, **net.trace(x)}
    name = next(node.name for node in graph.nodes if node.op == "batch_norm" and honest[node.name].shape[1] == 16)
    gamma, beta, mean, var = (net.params[f"{name}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
    s = gamma / np.sqrt(var + np.float32(graph[name].attrs["eps"]))
    y = s.reshape(-1, 1, 1) * honest[graph[name].inputs[0]] + (beta - mean * s)
    reference = Reference.of(graph, net.params, honest)
    found = judge_tensors(reference, {**honest, name: y}, precision=FLOAT32, partial=True)
    assert cause_sentence(found.causes[name][0]) == "the folded bias runs along the width instead of the channels"


def test_a_bias_of_the_classes_along_the_batch_is_said():
    """As many images as classes."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=3)
    net, x = Network(graph, random_params(graph)), probe(graph, 3)
    honest = {SOURCE: x, **net.trace(x)}
    b = net.params["head.logits.b"]
    logits = honest["head.flatten"] - b + b[:, None]
    wrong = {**{n: y for n, y in honest.items() if n != "head.logits"}, "head.flatten": logits}
    found = judge_tensors(Reference.of(graph, net.params, honest), wrong, precision=FLOAT32)
    (cause,) = found.causes["head.flatten"]
    assert cause_sentence(cause) == "numbers that are one for each channel run along the batch instead"


def test_of_activations_that_a_map_does_not_tell_apart_the_networks_own_is_said_first():
    name, scale = "block3.add", np.float32(5 / TRACE["block3.add"].max())  # nothing is beyond 6
    given = {each: TRACE[each] * scale for each in GRAPH[name].inputs}
    segment = cut(Parts(GRAPH), NET.params, name, {**given, name: (TRACE[name] * scale).clip(0)})
    assert [cause.mistakes[0].form for cause in diagnose(segment, FLOAT32)] == ["relu6 after", "relu after"]
