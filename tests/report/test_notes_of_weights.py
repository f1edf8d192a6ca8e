"""What many layers have in common that no hypothesis explains."""

from __future__ import annotations

from types import SimpleNamespace

from refnet import build
from refnet.judge.causes.budget import Search
from refnet.judge.causes.feature import Feature
from refnet.report.unexplained import unexplained_notes

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(32, 32), classes=10)
NORMS = [node.name for node in GRAPH.nodes if node.op == "batch_norm"]
OTHER = Feature("norms", {"least": 0.5, "most": 2.0})


def said(features):
    judged = SimpleNamespace(
        features={name: (feature,) if feature else () for name, feature in features.items()},
        search=Search(1, 1, 1.0, "all"),
    )
    findings = [SimpleNamespace(name=node.name, segment=(node.name,)) for node in GRAPH.nodes]
    reference, shown = SimpleNamespace(graph=GRAPH), SimpleNamespace(factors="")
    return list(unexplained_notes(SimpleNamespace(judged=judged, findings=findings, reference=reference, shown=shown)))


def test_norms_beside_layers_with_other_weights_are_of_the_same_file():
    weights = Feature("weights", {"alike": 0.99, "moved": None, "store": ""})
    convs = [GRAPH[name].inputs[0] for name in NORMS]
    (sentence,) = said(dict.fromkeys(convs, weights) | dict.fromkeys(NORMS, OTHER))
    assert sentence.startswith(f"{2 * len(NORMS)} layers compute what they should with other weights, 99 % like")


def test_other_norms_alone_are_told_with_the_packs_weights():
    (sentence,) = said(dict.fromkeys(NORMS, OTHER))
    assert f"{len(NORMS)} layers compute what they should with the pack's weights and other numbers" in sentence


def test_what_nothing_explains_in_many_tensors_is_one_sentence():
    (sentence,) = said(dict.fromkeys(NORMS))
    assert sentence == f"{len(NORMS)} tensors, {NORMS[0]} first: no hypothesis explains any of them."


def test_where_no_layer_is_right_other_weights_are_named():
    layers = [node.name for node in GRAPH.nodes if node.params]
    (sentence,) = said(dict.fromkeys(layers))
    assert "as where the port has other weights: hold its file against the pack's with refnet verify" in sentence
