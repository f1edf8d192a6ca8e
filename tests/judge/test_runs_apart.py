"""Tensors that a runtime was asked for one by one: each run fuses other layers, so that their last digits differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from feeding import shallow

from refnet import build, probe, random_params
from refnet.graph import SOURCE, Graph, Node, interpret, walk
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast

NET, _ = shallow((40, 56))
GRAPH, PARAMS = NET.graph, NET.params
X = probe(GRAPH, 2)
WIDE = {name: y.astype(np.float64) for name, y in PARAMS.items()}


def one_by_one(swap=lambda node: node):
    """Convolutions of a run in float32, and activations of another one, with convolution and batch norm worked in."""
    dumped = {SOURCE: X}
    for unit in GRAPH.units():
        given = {name: dumped[name] for name in unit.conv.inputs}
        dumped[unit.conv.name] = interpret(Graph(GRAPH.recipe, (unit.conv,)), fast, PARAMS, given)
        if unit.act is not None or unit.norm is not None:
            nodes = tuple(map(swap, unit.nodes))
            wide = {name: y.astype(np.float64) for name, y in given.items()}
            dumped[unit.output] = interpret(Graph(GRAPH.recipe, nodes), fast, WIDE, wide).astype(np.float32)
    return dumped


def judged(dumped):
    golden = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
    return judge_tensors(Reference.of(GRAPH, PARAMS, golden), dumped, partial=True)


def test_runs_of_their_own_are_no_fault():
    found = judged(one_by_one())
    assert found.holds
    assert len(found.apart) > 3
    assert not found.wrong()


def test_a_mistake_in_each_run_is_still_one():
    def with_eps(node: Node) -> Node:
        return replace(node, attrs={**node.attrs, "eps": 1e-3}) if node.op == "batch_norm" else node

    found = judged(one_by_one(with_eps))
    assert not found.holds
    assert not found.apart


def test_one_tensor_a_little_off_is_wrong():
    """As of a mistake in what stands behind one convolution."""
    dumped = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
    dumped["stem.act"] = dumped["stem.act"] * np.float32(1 + 2e-6)
    assert judged(dumped).wrong() == ["stem.act"]


SOFT = build("keras/MobileNet", width=0.25, size=(32, 32), classes=40)
SOFT_PARAMS = random_params(SOFT)
SOFT_PARAMS["head.logits.w"] *= np.float32(8)  # a softmax shows the last digits of large logits


def with_logits_of_their_own(scores=lambda p: p):
    """A softmax that is one with its layer, beside logits that somebody computed with sums in another order."""
    x = probe(SOFT, 2)
    golden = {SOURCE: x, **{node.name: y for node, y in walk(SOFT, fast, SOFT_PARAMS, {SOURCE: x})}}
    (features,) = (golden[name][:, :, 0, 0] for name in SOFT["head.logits"].inputs)
    z = sum(features[:, [c]] * SOFT_PARAMS["head.logits.w"][:, c] for c in reversed(range(features.shape[1])))
    moved = z + SOFT_PARAMS["head.logits.b"]
    dumped = golden | {"head.flatten": moved, "head.logits": moved.reshape(golden["head.logits"].shape)}
    dumped["output"] = scores(golden["output"])
    return judge_tensors(Reference.of(SOFT, SOFT_PARAMS, golden), dumped, partial=True)


def test_a_softmax_is_judged_without_logits_that_are_of_a_run_of_their_own():
    found = with_logits_of_their_own()
    assert found.holds
    assert found.apart == ("output",)


def test_a_softmax_that_is_wrong_is_so_whatever_the_logits_are():
    found = with_logits_of_their_own(lambda p: p * np.float32(1 + 1e-4))
    assert found.wrong() == ["output"]
