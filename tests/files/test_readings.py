"""Which of several readings of one file is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refnet import build, random_params
from refnet.files.checkpoint import _likeliest
from refnet.files.importers import ImportedGraph

V2, QUANTIZABLE = "torchvision/mobilenet_v2", "torchvision/mobilenet_v2@quantizable"


@pytest.mark.parametrize(("wanted", "op"), [((), "relu6"), ((V2,), "relu6"), ((QUANTIZABLE,), "relu")])
def test_the_reading_that_is_a_plain_known_network_or_the_wanted_one_is_taken(wanted, op):
    graph = build(V2, width=0.35, size=32, classes=4)
    params = random_params(graph)
    nodes = tuple(replace(node, op="relu") if node.op == "relu6" else node for node in graph.nodes)
    readings = [ImportedGraph.of(each, params, {}, {}) for each in (replace(graph, nodes=nodes), graph)]
    own, found = _likeliest(readings, None, None, wanted)
    assert own.graph["stem.act"].op == op
    assert found.standing.kind == "known"
