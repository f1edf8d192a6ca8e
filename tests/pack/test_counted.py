"""Names that count what is of one kind, as modules and layers have, of a port whose maps have other sizes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE, walk
from refnet.ops import CONVOLUTIONS
from refnet.pack.matching.match import match_tensors
from refnet.readings import fast

CLASSES = {"batch_norm": "BatchNorm2d", "relu6": "ReLU6", "hard_swish": "Hardswish", "relu": "ReLU"}


def called(graph, form):
    """Names by node that count its kind: of convolutions, batch norms and activations, as modules are."""
    counts: Counter[str] = Counter()
    names = {}
    for index, node in enumerate(graph.nodes):
        kind = "Conv2d" if node.op in CONVOLUTIONS else CLASSES.get(node.op)
        if kind is not None:
            names[node.name] = form.format(kind=kind, number=counts[kind], whole=index)
            counts[kind] += 1
    return names


def run_with_stride(model, early, size=(64, 96)):
    """A network, its tensors, and those of a port in which a layer lacks its stride."""
    graph = build(model, width=0.25, size=size, classes=10)
    params, x = random_params(graph), probe(graph, 1)
    golden = {SOURCE: x, **Network(graph, params).trace(x)}
    plain = replace(graph[early], attrs={**graph[early].attrs, "stride": (1, 1)})
    nodes = tuple(plain if node.name == early else node for node in graph.nodes)
    return (
        Network(graph, params),
        golden,
        {node.name: y for node, y in walk(replace(graph, nodes=nodes), fast, params, {SOURCE: x})},
    )


def told(network, golden, dump):
    """The names that are told to be nodes'."""
    sides = {name: y.shape for name, y in golden.items()}
    found = match_tensors(dump, sides, golden.__getitem__, network=network)
    return {node: each.source for node, each in found.tensors.items()}


@pytest.mark.parametrize("form", ["{kind}_{number}", "{kind}{number:03d}", "{kind}-{whole}"])
@pytest.mark.parametrize(
    ("model", "early"),
    [("torchvision/mobilenet_v2", "block4.depthwise"), ("torchvision/mnasnet0_5", "block8.depthwise")],
)
def test_layers_are_told_by_their_count_where_a_stride_is_left_out(model, early, form):
    network, golden, port = run_with_stride(model, early)
    names = called(network.graph, form)
    found = told(network, golden, {names[name]: port[name] for name in names})
    assert {node: source for node, source in found.items() if node in names} == names


def test_layers_are_told_by_the_count_of_their_blocks():
    network, golden, port = run_with_stride("paper/mobilenet_v1", "block2.depthwise")
    words = {"depthwise": "dw", "depthwise.bn": "dw_norm", "project.bn": "pw_norm"}
    parts = {name: name.removeprefix("block").partition(".") for name in golden if name.startswith("block")}
    names = {name: f"layers.{int(n) - 1}.{words[word]}" for name, (n, _, word) in parts.items() if word in words}
    assert told(network, golden, {names[name]: port[name] for name in names}).items() >= names.items()
