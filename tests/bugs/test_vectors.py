"""Numbers of the channels that are read by a wrong index: that of another layout, or of a memory that is too small."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE, interpret
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(32, 40), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = {SOURCE: X, **NET.trace(X)}
FUSED = [SOURCE, *GRAPH.fused()]


def ported(nodes, bias=None, factors=None):
    """What a port in float32 makes that folds batch norm and lays the biases, or the factors, of some layers out."""
    made = {SOURCE: X}
    for node in GRAPH.nodes:
        params = [NET.params.get(f"{node.name}.{slot}") for slot in node.params]
        if node.op == "batch_norm":
            x = made[node.inputs[0]]
            gamma, beta, mean, var = (NET.params[f"{node.name}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
            s = gamma / np.sqrt(var + np.float32(node.attrs["eps"]))
            b = beta - s * mean
            here = node.name in nodes
            s, b = (
                move(y, x.shape) if here and move is not None else y.reshape(-1, 1, 1)
                for y, move in ((s, factors), (b, bias))
            )
            made[node.name] = x * s + b
        else:
            given = {name: made[name] for name in node.inputs}
            own = {f"{node.name}.{slot}": y for slot, y in zip(node.params, params, strict=True)}
            part = GRAPH.leading_to(node.name, starts=set(given))
            made[node.name] = interpret(part, fast, own, given)
    return {name: made[name] for name in FUSED}


def judged(tensors):
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), tensors, partial=True)
    said = {name: of_port(causes[0].mistakes[0]) for name, causes in found.causes.items() if causes}
    assert said.keys() == found.causes.keys()
    return found, set(said.values())


def modulo(b, shape):
    return b[np.arange(np.prod(shape[1:])) % len(b)].reshape(shape[1:])


def planes(b, shape):
    _, C, H, W = shape
    return b[np.arange(C * H * W) // (H * W) % C].reshape(H, W, C).transpose(2, 0, 1)


def rows(b, shape):
    _, C, H, W = shape
    return b[np.arange(C * H * W) // W % C].reshape(C, H, W)


def pixels(b, shape):
    _, C, H, W = shape
    return np.broadcast_to(b[np.arange(H * W) % C].reshape(H, W), (C, H, W))


def columns(b, shape):
    return np.broadcast_to(b[np.arange(shape[3]) % len(b)], shape[1:])


INDICES = {
    columns: "b[w % C], along the width instead of the channels",
    modulo: "b[i % C] of a flat NCHW buffer, as if it was NHWC",
    planes: "b[i / (H W)] of a flat NHWC buffer, as if it was NCHW",
    rows: "b[i / W % C] of a flat NCHW buffer, not b[i / (H W)]",
    pixels: "b[p % C], by the number p of the point in its map",
}


@pytest.mark.parametrize("move", INDICES)
def test_a_bias_by_the_index_of_another_layout_is_named(move):
    _, said = judged(ported({"block3.expand.bn", "block5.project.bn"}, bias=move))
    assert said == {f"the folded bias is read as {INDICES[move]}"}


def test_factors_and_biases_by_the_index_of_another_layout_are_named():
    _, said = judged(ported({"block3.depthwise.bn"}, bias=modulo, factors=modulo))
    assert said == {f"numbers that are one for each channel are read as {INDICES[modulo]}"}


def test_a_bias_by_the_index_of_another_layout_in_pointwise_layers_is_one_pattern():
    own = {"block3.expand.bn", "block3.project.bn", "block4.expand.bn"}
    found, _ = judged(ported(own, bias=modulo))
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.mistake.form) == ("vector-index", "bias modulo")
    assert set(pattern.nodes) == own


def wrapped(b, shape):
    return b[np.arange(len(b)) % 64].reshape(-1, 1, 1)


def clamped(b, shape):
    return b[np.minimum(np.arange(len(b)), 63)].reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("what", "move", "channel"),
    [("bias", wrapped, "c modulo 64, not c"), ("bias", clamped, "63"), ("factor", wrapped, "c modulo 64, not c")],
)
def test_a_memory_that_has_fewer_numbers_than_channels_is_named(what, move, channel):
    own = {"block8.expand.bn", "block9.depthwise.bn"}
    found, said = judged(ported(own, **{"bias" if what == "bias" else "factors": move}))
    (pattern,) = found.patterns
    assert said == {f"channels from number 64 on have the {what} of channel {channel}"}
    assert set(pattern.nodes) == own


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("width", "move", "words"),
    [
        (32, lambda gate, x: gate.swapaxes(1, 3), "the gate runs along the width instead of the channels"),
        (
            48,
            lambda gate, x: gate.ravel()[np.arange(x.size) % x.shape[1]].reshape(x.shape),
            "the gate is read as b[i % C] of a flat NCHW buffer, as if it was NHWC",
        ),
    ],
)
def test_a_gate_that_meets_its_map_otherwise_is_told(width, move, words, inside):
    """Of 8 channels of 10 x 8 points, or 10 x 12; with what is inside the squeeze-and-excite, and without."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, width), classes=6)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    trace, made = {SOURCE: x, **net.trace(x)}, {SOURCE: x}
    for node in graph.nodes:
        given = {name: made[name] for name in node.inputs}
        if node.name == "block1.se.scale":
            y, gate = given.values()
            made[node.name] = y * move(gate, y)
        else:
            made[node.name] = interpret(graph.leading_to(node.name, starts=set(given)), fast, net.params, given)
    dumped = {name: y for name, y in made.items() if inside or ".se." not in name or name.endswith("scale")}
    found = judge_tensors(Reference.of(graph, net.params, trace), dumped, partial=True)
    assert found.wrong() == ["block1.se.scale"]
    assert of_port(found.causes["block1.se.scale"][0].mistakes[0]) == words
