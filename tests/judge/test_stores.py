"""A port that cuts every tensor off to bfloat16: some of its tensors do not show it by themselves."""

from __future__ import annotations

from refnet import build, probe, random_params
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors
from refnet.network import Network
from refnet.readings import fast
from refnet.readings.orders import truncated

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
PARAMS = random_params(GRAPH)


def test_what_most_tensors_are_stored_in_explains_those_that_look_otherwise():
    x = probe(GRAPH, 1)
    kept, made = {*styles(GRAPH)["fused"]}, {SOURCE: x}
    for node in GRAPH.nodes:
        y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, made)
        made[node.name] = truncated(y, "bfloat16") if node.name in kept else y
    reference = Reference.of(GRAPH, PARAMS, Network(GRAPH, PARAMS).trace(x) | {SOURCE: x})
    found = judge_tensors(reference, {name: made[name] for name in kept}, partial=True)
    assert {cause.ids for name in found.wrong() for cause in found.causes[name]} == {("fp16-storage",)}
    (pattern,) = found.patterns
    assert (pattern.mistake.form, len(pattern.nodes)) == ("bfloat16 truncated", len(found.wrong()))
    assert found.misdumped == ()
