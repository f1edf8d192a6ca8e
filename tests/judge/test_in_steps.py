"""Ports of 8 bits that dump the real numbers that their integers stand for, against a network of floats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.dumps.in_steps import steps_of
from refnet.readings import fast

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 40), classes=10)
NET, X = Network(GRAPH, random_params(GRAPH)), probe(GRAPH, 1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("in-steps") / "golden"
    write_pack(NET, X, path)
    return path


def stored(y, range_of):
    """The real numbers of integers that reach as far as another tensor does."""
    low, high = min(float(range_of.min()), 0.0), max(float(range_of.max()), 0.0)
    step = np.float32((high - low) / 255)
    zero = np.rint(-low / step)
    return (np.clip(np.rint(y / step) + zero, 0, 255) - zero).astype(np.float32) * step


def port(graph=GRAPH, params=NET.params):
    """Every tensor of a port that stores all of them in 8 bits."""
    honest = NET.trace(X)
    made = {SOURCE: stored(X, X)}
    for node in graph.nodes:
        y = interpret(Graph(graph.recipe, (node,)), fast, params, made)
        made[node.name] = stored(y, honest[node.name])
    return made


def test_an_honest_port_holds_and_is_said_to_be_of_integers(pack):
    found = compare(pack, port())
    assert found.holds
    assert (len(found.shown.steps), found.shown.weights) == (len(GRAPH) + 1, "")


def test_a_wrong_gate_is_all_that_is_wrong(pack):
    gates = [node for node in GRAPH.nodes if node.op == "hard_sigmoid"]
    wrong = GRAPH.rewritten({node.name: (replace(node, op="sigmoid", attrs={}),) for node in gates})
    found = compare(pack, port(wrong))
    assert found.wrong() == [node.name for node in gates]
    assert found.judged.patterns[0].mistake.bug == "gate-sigmoid"


def test_one_wrong_layer_is_not_taken_for_one_of_weights_of_8_bits(pack):
    act = GRAPH["block5.expand.act"]
    found = compare(pack, port(GRAPH.replaced(act.name, replace(act, op="relu"))))
    assert (found.wrong(), found.shown.weights) == ([act.name], "")


def test_weights_of_8_bits_are_told_by_what_they_make_right(pack):
    def coarse(w):
        step = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / 127
        return (np.rint(w / step) * step).astype(np.float32)

    found = compare(pack, port(params={k: coarse(w) if k.endswith(".w") else w for k, w in NET.params.items()}))
    assert (found.holds, found.shown.weights) == (True, "judged")


def test_a_few_tensors_in_steps_are_no_port_of_integers(pack):
    made = NET.trace(X)
    found = compare(pack, {**made, **{name: stored(y, y) for name, y in [*made.items()][:9]}}, explain=False)
    assert (found.holds, found.shown.steps) == (False, ())


def test_a_range_goes_on_behind_zero_and_behind_an_activation_and_ends_elsewhere():
    def of(node, low, high):
        y = np.rint(np.linspace(low, high, 16 * 20 * 8)).reshape(1, 8, 16, 20).astype(np.float32)
        arrays = dict.fromkeys(("stem.conv", "stem.bn", "stem.act"), y)
        return steps_of(GRAPH, arrays)[node].span

    assert of("stem.conv", -20, 100) == (-20, 100)
    assert of("stem.conv", 0, 100) == (-155, 100)
    assert of("stem.act", -20, 100) == (-155, 235)
    assert of("stem.act", -20, 127) == (-128, 127)
    assert of("stem.act", -20, 235) == (-20, 235)
