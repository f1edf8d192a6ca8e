"""Tensors that were overwritten in place before they were dumped: the sum with a shortcut, what a gate scales."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.layers.norms import already_normalised
from refnet.bugs.memory import in_place
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.shapes import shapes


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


def test_sums_that_were_written_over_their_blocks_results_are_there_for_the_sums_behind_them():
    """Hooks on layers alone see no sum."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    params, x = random_params(graph), probe(graph, 1)
    golden = {SOURCE: x, **Network(graph, params).trace(x)}
    sums = [node for node in graph.nodes if node.op == "add"]
    late = {node.inputs[1]: golden[node.name] for node in sums}
    dumped = {name: y for name, y in golden.items() if name not in {node.name for node in sums}}
    found = judge_tensors(Reference.of(graph, params, golden), {**dumped, **late}, partial=True)
    assert {name: [cause.mistakes[0][:3:2] for cause in found.causes[name]] for name in found.wrong()} == {
        name: [("already-normalised", "sum")] for name in late
    }


def test_a_map_is_no_gate_that_was_overwritten():
    """It has another shape."""
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=32, classes=10)
    scale = next(node for node in graph.nodes if node.op == "scale")
    given = {name: np.ones((1, *shapes(graph)[name]), np.float32) for name in (*scale.inputs, scale.name)}
    for end, forms in zip(scale.inputs, (["gate"], []), strict=True):
        source = {graph[end].inputs[0]: np.ones((1, *shapes(graph)[graph[end].inputs[0]]), np.float32)}
        segment = cut(Parts(graph), random_params(graph), end, {**given, **source}, judged=False)
        found = [change.form for change in already_normalised(segment)]
        assert [form for form in found if form == "gate"] == forms


def test_a_shortcut_of_another_size_was_added_to_nothing():
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    params, x = random_params(graph), probe(graph, 1)
    tensors = {SOURCE: x, **Network(graph, params).trace(x)}
    add = next(node for node in graph.nodes if node.op == "add")
    shortcut, end = add.inputs
    for step, forms in ((1, ["sum"]), (2, [])):
        given = {**tensors, shortcut: tensors[shortcut][:, :, ::step, ::step]}
        segment = cut(Parts(graph), params, end, given)
        assert [change.form for change in already_normalised(segment)] == forms


def test_what_a_layer_in_place_would_make_is_made_once_it_is_run(monkeypatch):
    graph = build("paper/mobilenet_v1", width=0.25, size=32, classes=10)
    segment = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: probe(graph, 1)}, judged=False)
    made, own = [], in_place._overwritten
    monkeypatch.setattr(in_place, "_overwritten", lambda *of: made.append(of) or own(*of))
    first, *others = in_place.computed_in_place(segment)
    assert others
    assert not made
    segment.changed(first)
    assert len(made) == 1
