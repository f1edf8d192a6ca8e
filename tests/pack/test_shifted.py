"""Dumps whose names are one off: they are told by their shapes, said once, and judged where they belong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.files.schemes import SCHEMES
from refnet.graph import SOURCE
from refnet.judge.compare import compare
from refnet.report.comparison import comparison_document

MODEL = "torchvision/mobilenet_v3_small"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build(MODEL, width=0.35, size=(48, 64), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("shifted") / "pack"
    write_pack(net, x, path)
    return net, {SOURCE: x, **net.trace(x)}, path


def inputs(graph, tensors, names):
    """What hooks that run before layers hand over, and what the network returns."""
    return {**{names[n]: tensors[graph[n].inputs[0]] for n in names}, "logits": tensors[graph.output]}


def notes(found):
    return comparison_document(found, pack="", candidate="", precision="")["notes"]


def test_inputs_of_layers_are_judged_where_they_belong(made):
    net, tensors, path = made
    names = {node.name: node.name for node in net.graph.nodes}
    found = compare(path, inputs(net.graph, tensors, names))
    assert found.holds
    assert found.matching.shift == "input"
    assert found.matching.tensors["stem.conv"].source == "stem.bn"
    assert notes(found) == [
        "Each tensor holds the layer's input, not what the layer makes of it: it is judged where it belongs."
    ]


def test_inputs_under_a_vendors_names_and_of_convolutions_alone(made):
    net, tensors, path = made
    modules = SCHEMES["torchvision"].modules(net.graph)
    names = {name: module for name, module in modules.items() if name in net.graph and "conv" in net.graph[name].op}
    assert compare(path, inputs(net.graph, tensors, names), partial=True).matching.shift == "input"


def test_a_wrong_layer_behind_hooks_that_run_before_is_named_at_its_place(made):
    net, tensors, path = made
    wrong = Network(net.graph, {**net.params, "block4.depthwise.bn.var": 2 * net.params["block4.depthwise.bn.var"]})
    names = {node.name: node.name for node in net.graph.nodes}
    tensors = {SOURCE: tensors[SOURCE], **wrong.trace(tensors[SOURCE])}
    assert compare(path, inputs(net.graph, tensors, names), explain=False).wrong() == ["block4.depthwise.bn"]


@pytest.mark.parametrize("style", ["all", "fused"])
@pytest.mark.parametrize("kind", ["before", "after"])
def test_a_list_that_is_one_off(made, style, kind):
    net, tensors, path = made
    kept = [SOURCE, *(n for n in (u.output for u in net.graph.units()))] if style == "fused" else [*tensors]
    pairs = itertools.pairwise(kept)
    dump = {name: tensors[later] for name, later in pairs} if kind == "after" else {b: tensors[a] for a, b in pairs}
    found = compare(path, dump, partial=True)
    assert found.holds
    assert found.matching.shift == kind


@pytest.mark.parametrize("times", [1, 2])
def test_right_names_stay_and_so_do_those_of_a_port_with_larger_maps(made, times):
    _, tensors, path = made
    dump = {name: np.kron(y, np.ones((times, times), y.dtype)) if y.ndim == 4 else y for name, y in tensors.items()}
    assert compare(path, dump, explain=False).matching.shift == ""
