"""What few ports do is tried where nothing else fits, and is named: curves, joins, buffers, slips."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.catalogue import LATE, REPLAYED
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.budget import SearchBudget
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.bugs import of_port

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 48), classes=6)
PARAMS = random_params(GRAPH)
X = probe(GRAPH, 2)


def ran(change):
    """What a port dumps, in float32, some of whose nodes are computed otherwise."""
    made = {SOURCE: X}
    for node in GRAPH.nodes:
        y = change(node, made)
        if y is None:
            y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, {name: made[name] for name in node.inputs})
        made[node.name] = np.asarray(y, np.float32)
    return made


def named(dumped):
    """The first cause of each wrong tensor, in words."""
    golden = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
    found = judge_tensors(Reference.of(GRAPH, PARAMS, golden), dumped, partial=True, budget=SearchBudget(60))
    assert found.wrong()
    return {of_port(causes[0].mistakes[0]) for causes in found.causes.values() if causes}


def is_short(node):
    """Of the first blocks, so that little is searched."""
    return node.name.startswith(("stem", "block1.", "block2.", "block3.", "block4."))


def curved(op, f):
    return lambda node, made: f(made[node.inputs[0]]) if node.op == op and is_short(node) else None


@pytest.mark.parametrize(
    ("op", "f", "words"),
    [
        ("relu", lambda x: np.where(x < 0, 0.1 * x, x), "lets 0.1 x through below zero"),
        ("relu", lambda x: x.clip(0, 127 / 64), "the activation is cut off at 0 and 1.984375"),
        ("hard_swish", lambda x: (x + 3) * (x + 3).clip(0, 6) / 6, "(x + 3) * relu6(x + 3) / 6"),
        ("hard_swish", lambda x: x / (1 + np.exp(-1.702 * x.astype(float))), "x * sigmoid(1.702 x)"),
        ("hard_sigmoid", lambda x: 0.5 + 0.5 * x / (1 + abs(x)), "0.5 + 0.5 x / (1 + |x|)"),
        ("hard_sigmoid", lambda x: (0.15 * x + 0.5).clip(0, 1), "clip(0.15 x + 0.5, 0, 1)"),
    ],
)
def test_another_curve_is_solved_for(op, f, words):
    assert any(words in each for each in named(ran(curved(op, f))))


def test_weights_of_a_sum_are_solved_for():
    def change(node, made):
        return made[node.inputs[0]] + np.float32(0.85) * made[node.inputs[1]] if node.op == "add" else None

    assert named(ran(change)) == {"the sum is 1 times the shortcut plus 0.85 times the block's result"}


def test_a_shortcut_from_elsewhere_is_found_among_the_tensors():
    def change(node, made):
        return made["block5.add"] + made[node.inputs[1]] if node.name == "block8.add" else None

    assert named(ran(change)) == {"what is added is block5.add, not block7.add"}


def test_a_depthwise_convolution_computed_in_place():
    place = next(n for n in GRAPH.nodes if n.op == "depthwise_conv2d" and n.attrs["stride"] == (1, 1))

    def change(node, made):
        if node is not place:
            return None
        y, w = made[node.inputs[0]].copy(), PARAMS[f"{node.name}.w"]
        (top, _), (left, _) = node.attrs["pad"]
        for row in range(y.shape[2]):
            wide = np.pad(y, ((0, 0), (0, 0), (top, top), (left, left)))
            taps = ((r, s) for r in range(w.shape[1]) for s in range(w.shape[2]))
            y[:, :, row] = sum(wide[:, :, row + r, s : s + y.shape[3]] * w[None, :, r, s, None] for r, s in taps)
        return y

    assert named(ran(change)) == {"it is computed in place: rows are made of rows that were overwritten before"}


def test_the_gate_of_the_first_image_used_for_all():
    def change(node, made):
        return made[node.inputs[0]] * made[node.inputs[1]][:1] if node.op == "scale" and is_short(node) else None

    assert named(ran(change)) == {"the gate of the first image scales every image"}


def test_the_tail_of_a_sum_over_channels_left_out():
    place = next(n for n in GRAPH.nodes if n.op == "pointwise_conv2d" and n.params["w"][1] % 16)
    w = PARAMS[f"{place.name}.w"].copy()
    w[:, w.shape[1] // 16 * 16 :] = 0

    def change(node, made):
        if node is place:
            return interpret(Graph(GRAPH.recipe, (node,)), fast, {**PARAMS, f"{node.name}.w": w}, made)
        return None

    if w.any():
        assert any("in steps of 16" in each for each in named(ran(change)))


def test_batch_norm_of_each_image_by_itself():
    def change(node, made):
        if node.op != "batch_norm" or not is_short(node):
            return None
        x = made[node.inputs[0]].astype(float)
        gamma, beta = (PARAMS[f"{node.name}.{slot}"][:, None, None] for slot in ("gamma", "beta"))
        centred = x - x.mean(axis=(2, 3), keepdims=True)
        return gamma * centred / np.sqrt(x.var(axis=(2, 3), keepdims=True) + node.attrs["eps"]) + beta

    assert named(ran(change)) == {"mean and variance are those of each image"}


def test_what_is_tried_late_is_tried_only_then():
    assert not {bug for bug in LATE if not bug.rare} & {*REPLAYED}
