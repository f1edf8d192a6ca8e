"""Tensors that are called alike but for numbers are of one kind, whatever their numbers are like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, random_input, random_params
from refnet.graph import SOURCE
from refnet.pack.matching.match import match_tensors

GRAPH = build("paper/mobilenet_v1", width=0.25, size=(32, 48), classes=5)
NET = Network(GRAPH, random_params(GRAPH))
X = np.random.default_rng(1).normal(size=(1, *GRAPH.input_shape)).astype(np.float32)
TRACE = {SOURCE: X, **NET.trace(X)}
LAYERS = [unit for unit in GRAPH.units() if unit.norm is not None]


def places(held, kind=lambda unit: "layer"):
    """{the layer's number: the node}, of a port that dumps of each layer what `held` says, and the activations."""
    names = {f"{index:02d}_{kind(unit)}": held(index, unit) for index, unit in enumerate(LAYERS)}
    names |= {f"{index:02d}_relu": TRACE[unit.act.name] for index, unit in enumerate(LAYERS)}
    shapes = {name: y.shape for name, y in TRACE.items()}
    found = match_tensors(names, shapes, TRACE.__getitem__, network=NET)
    return {int(each.source[:2]): node for node, each in found.tensors.items() if not each.source.endswith("relu")}


@pytest.mark.parametrize("wrong", [1, 4])
def test_a_layer_whose_batch_norm_is_nearest_to_its_sum_is_taken_as_the_other_layers_are(wrong):
    def held(index, unit):
        return TRACE[unit.conv.name] * np.float32(1.01) if index == wrong else TRACE[unit.norm.name]

    assert places(held)[wrong] == LAYERS[wrong].norm.name


def test_a_sum_that_is_right_stays_one_among_others_that_are_normalised():
    def held(index, unit):
        return TRACE[unit.conv.name] if index == 4 else TRACE[unit.norm.name]

    assert places(held)[4] == LAYERS[4].conv.name


def test_a_kind_of_two_minds_is_what_the_other_kinds_are():
    def held(index, unit):
        if unit.conv.op != "depthwise_conv2d":
            return TRACE[unit.norm.name]
        return TRACE[(unit.conv if index % 4 == 1 else unit.norm).name] * np.float32(1.01)

    found = places(held, lambda unit: unit.conv.op)
    assert [found[index] for index, _ in enumerate(LAYERS)] == [unit.norm.name for unit in LAYERS]


def test_kinds_that_are_settled_tell_what_another_one_is():
    kinds = {op: [i for i, unit in enumerate(LAYERS) if unit.conv.op == op] for op in {unit.conv.op for unit in LAYERS}}
    near = {*kinds["depthwise_conv2d"][1:5], *kinds["pointwise_conv2d"][3:8]}  # of 13 each, and nine of all 27

    def held(index, unit):
        return TRACE[(unit.conv if index in near else unit.norm).name] * np.float32(1.01)

    found = places(held, lambda unit: unit.conv.op)
    assert [found[index] for index, _ in enumerate(LAYERS)] == [unit.norm.name for unit in LAYERS]


def exported(*, folded):
    """Of an exported V2 whose fourth block pads its depthwise layer too little: tensors and nodes by name; the pack."""
    graph = build("torchvision/mobilenet_v2", width=0.5, size=(80, 112), classes=7)
    net, x = Network(graph, random_params(graph)), random_input(graph, 1)
    less = {"block4.depthwise": {"pad": ((0, 0), (0, 0))}}
    nodes = tuple(replace(node, attrs={**node.attrs, **less.get(node.name, {})}) for node in graph.nodes)
    wrong = Network(replace(graph, nodes=nodes), net.params).trace(x)
    nodes = {"/features/features.4/conv/conv.1/conv.1.2/Clip_output_0": "block4.depthwise.act"}
    for block in (2, 4, 7):
        nodes[f"/features/features.{block}/conv/conv.2/Conv_output_0"] = f"block{block}.project{'.bn' * folded}"
    nodes |= {f"/features/features.{block}/Add_output_0": f"block{block}.add" for block in (3, 6, 9)}
    return {name: wrong[node] for name, node in nodes.items()}, nodes, net, {SOURCE: x, **net.trace(x)}


@pytest.mark.parametrize("folded", [True, False])
def test_a_convolution_behind_maps_of_another_size_is_folded_where_another_of_its_name_is(folded):
    dumped, nodes, net, golden = exported(folded=folded)
    found = match_tensors(dumped, {name: y.shape for name, y in golden.items()}, golden.__getitem__, network=net)
    assert {each.source: node for node, each in found.tensors.items()} == nodes
