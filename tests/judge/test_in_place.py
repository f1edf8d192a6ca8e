"""Tensors that were overwritten in place before they were dumped: the sum with a shortcut, what a gate scales."""

from __future__ import annotations

import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors


@pytest.mark.parametrize(
    ("model", "op", "form"),
    [("torchvision/mobilenet_v2", "add", "sum"), ("torchvision/mobilenet_v3_small", "scale", "gate")],
)
@pytest.mark.parametrize("side", [0, -1])
def test_what_a_later_layer_wrote_over_a_tensor_is_named(model, op, form, side):
    graph = build(model, width=0.25, size=32, classes=10)
    params, x = random_params(graph), probe(graph, 1)
    tensors = {SOURCE: x, **Network(graph, params).trace(x)}
    place = 0 if op == "scale" else side
    joins = {node.inputs[place]: node.name for node in graph.nodes if node.op == op}
    late = {name: tensors[join] for name, join in joins.items() if graph[name].op != "add"}
    found = judge_tensors(Reference.of(graph, params, tensors), {**tensors, **late})
    assert set(found.wrong()) == set(late)
    told = {cause.mistakes[0][:3:2] for name in late for cause in found.causes[name][:1]}
    assert told == {("already-normalised", form)}
    assert set(found.misdumped) == set(late)
