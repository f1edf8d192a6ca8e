"""What is left of other tensors, images and tails in a port's buffers is named."""

from __future__ import annotations

import numpy as np
from few_ports import GRAPH, PARAMS, is_short, named, ran

from refnet.graph import Graph, interpret
from refnet.readings import fast


def test_a_shortcut_from_elsewhere_is_found_among_the_tensors():
    def change(node, made):
        return made["block5.add"] + made[node.inputs[1]] if node.name == "block7.add" else None

    assert named(ran(change)) == {"what is added is block5.add, not block6.add"}


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


def test_the_shortcut_of_the_first_image_added_to_all():
    def change(node, made):
        if node.op != "add":
            return None
        shortcut, branch = (made[name] for name in node.inputs)
        return shortcut[:1] + branch

    assert named(ran(change)) == {"the shortcut of the first image is added to every image"}


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


def test_an_activation_missing_in_the_tail_of_the_channels():
    place = next(
        n for n in GRAPH.nodes if n.op == "relu" and GRAPH[n.inputs[0]].op == "batch_norm" and "block2" in n.name
    )

    def change(node, made):
        if node is not place:
            return None
        y = made[node.inputs[0]]
        return np.concatenate([np.maximum(y[:, :16], 0), y[:, 16:]], axis=1)

    count = PARAMS[f"{place.inputs[0]}.gamma"].size
    assert named(ran(change)) == {f"the activation is left out, in the last {count - 16} of {count} channels alone"}
