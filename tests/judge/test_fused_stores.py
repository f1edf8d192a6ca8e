"""Integers of fused layers: what a store inside has room for, and one mistake explains to half a step."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.compare import TensorScale, compare
from refnet.readings import fast
from refnet.report.bugs import of_port
from refnet.report.comparison import comparison_document


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(40, 48), classes=10)
    net = Network(graph, random_params(graph)).fold()
    path, x = tmp_path_factory.mktemp("fused") / "pack", probe(graph, 1)
    write_pack(net, x, path)
    return net, x, path


def fused(net, x, whole=np.rint, curve=None, *, inside=False):
    """A port that stores what its layers make in 8 bits; what is inside them too, or nothing of it."""
    golden, tensors, dump, scales = net.trace(x), {SOURCE: np.float32(x)}, {}, {}
    ends = {unit.output for unit in net.graph.units()}
    for node in net.graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        y = np.asarray(interpret(Graph(net.graph.recipe, (node,)), fast, net.params, given), np.float64)
        if node.op == "hard_swish" and curve is not None:
            y = curve(np.asarray(given[node.inputs[0]], np.float64))
        if node.name in ends or (inside and node.op != "flatten"):
            low, high = min(0.0, float(golden[node.name].min())), max(0.0, float(golden[node.name].max()))
            scale = float(np.float32((high - low) / 255))
            zero = round(-128 - low / scale)
            stored = np.clip(whole(y / scale) + zero, -128, 127).astype(np.int8)
            y = (stored.astype(np.float64) - zero) * scale
            if node.name in ends:
                dump[node.name], scales[node.name] = stored, TensorScale(scale, zero)
        tensors[node.name] = y.astype(np.float32)
    return dump, scales


def test_integers_of_fused_layers_hold(made):
    net, x, path = made
    dump, scales = fused(net, x)
    assert compare(path, dump, scales=scales).holds


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (lambda x: x / (1 + np.exp(-1.702 * np.maximum(x, -99))), "the activation is x * sigmoid(1.702 x)"),
        (lambda x: x / (1 + np.exp(-np.maximum(x, -99))), "the activation is the true swish"),
    ],
)
def test_a_curve_near_the_right_one_is_named_though_a_store_inside_has_room_for_it(made, curve, words):
    net, x, path = made
    dump, scales = fused(net, x, curve=curve)
    found = compare(path, dump, scales=scales)
    assert not found.holds
    assert of_port(found.judged.patterns[0].mistake) == words
    assert found.judged.patterns[0].scope.kind != "at"


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (np.floor, "integers are rounded down when they are stored"),
        (lambda v: np.trunc(v + 0.5), "adding half a step and cutting off toward zero, which is wrong below zero"),
    ],
)
def test_integers_of_fused_layers_that_are_cut_off_are_suspect_everywhere(made, whole, words):
    net, x, path = made
    dump, scales = fused(net, x, whole=whole)
    found = compare(path, dump, scales=scales)
    assert not found.holds
    assert words in of_port(found.judged.patterns[0].mistake)
    assert len(found.judged.patterns[0].nodes) > 30


def test_integers_that_a_store_inside_explains_are_never_wrong(made):
    net, x, path = made
    dump, scales = fused(net, x, inside=True)
    found = compare(path, dump, scales=scales)
    suspect = [each.name for each in found.findings if each.judgement.verdict == "suspect"]
    assert suspect == found.wrong()
    assert all(feature.kind == "inner-store" for name in suspect for feature in found.judged.features[name])
    notes = comparison_document(found, pack="", candidate="", precision="")["notes"]
    assert any("if the port stores" in each and "dump" in each for each in notes)
