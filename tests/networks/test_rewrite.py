"""Folding batch norm: the same function with other nodes."""

from __future__ import annotations

import numpy as np
import pytest
import strategies as some
from hypothesis import given, settings

from refnet import Graph, Network, Node, Recipe, build, random_input, random_params
from refnet.judge.verdicts import judge
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.bounds import Precision, bound

RECIPE = Recipe("test", 1.0, (4, 4), 1)
VECTORS = {"gamma": (3,), "beta": (3,), "mean": (3,), "var": (3,)}
NORM = {"eps": 1e-3}


def network(*nodes: Node) -> Network:
    graph = Graph(RECIPE, nodes)
    return Network(graph, random_params(graph, np.float64))


def pointwise(name: str, source: str) -> Node:
    return Node(name, "pointwise_conv2d", (source,), {"w": (3, 3), "b": (3,)})


def norm(name: str, source: str) -> Node:
    return Node(name, "batch_norm", (source,), VECTORS, NORM)


@settings(max_examples=30)
@given(some.graphs())
def test_folded_and_unfolded_logits_agree_in_float64(graph):
    net = Network(graph, random_params(graph, np.float64))
    x = random_input(graph, 2, np.float64)
    end = "head.flatten" if "head.flatten" in graph else graph.output  # a softmax hides differences
    one, other = net.trace(x)[end], net.fold().trace(x)[end]
    assert np.abs(one - other).max() <= 1e-11 * np.abs(one).max()


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "article/torch_small", "keras/MobileNet"])
def test_no_batch_norm_is_left(name):
    graph, _ = fold_batch_norm(build(name, size=32), random_params(build(name, size=32)))
    assert not [node for node in graph.nodes if node.op == "batch_norm"]
    assert all("b" in node.params for node in graph.nodes if node.op.endswith("conv2d") and ".se." not in node.name)


@pytest.mark.parametrize(
    "name",
    ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "article/torch_small", "d-li14/mobilenetv3_small"],
)
def test_folded_float32_tensors_lie_within_the_bounds_of_their_segments(name):
    """Each run of unfolded nodes between two tensors that the folded network has, on the folded network's inputs."""
    net = Network(graph := build(name, width=0.5, size=(65, 48)), random_params(graph))
    x = random_input(graph)
    norms = {node.inputs[0]: node.name for node in graph.nodes if node.op == "batch_norm"}
    tensors = {"input": x} | {norms.get(name, name): y for name, y in net.fold().trace(x).items()}
    for name in set(tensors) - {"input"}:
        part = graph.leading_to(name, starts=set(tensors))
        given = {i: tensors[i] for node in part.nodes for i in node.inputs if i in tensors}
        verdict = judge(tensors[name], bound(part, net.params, given, Precision.of("float32")))
        assert verdict.holds, f"{name}: {verdict}"


def test_a_convolution_that_something_else_reads_too_keeps_its_batch_norm():
    net = network(pointwise("a", "input"), norm("n", "a"), Node("s", "add", ("a", "n")))
    assert [node.name for node in net.fold().graph.nodes] == ["a", "n", "s"]


def test_a_batch_norm_that_follows_no_convolution_stays():
    net = network(norm("n", "input"), Node("r", "relu", ("n",)), norm("m", "r"))
    assert [node.name for node in net.fold().graph.nodes] == ["n", "r", "m"]


def test_readers_of_the_batch_norm_read_the_convolution():
    net = network(pointwise("a", "input"), norm("n", "a"), Node("s", "add", ("input", "n")))
    assert net.fold().graph["s"].inputs == ("input", "a")


def test_folding_twice_changes_nothing():
    net = Network(graph := build("torchvision/mobilenet_v2", width=0.35, size=32), random_params(graph))
    once = net.fold()
    assert once.fold().graph == once.graph


def test_the_network_folded_is_left_as_it_was():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=32)
    params = random_params(graph)
    fold_batch_norm(graph, params)
    before = random_params(graph)
    assert params.keys() == before.keys()
    assert all(np.array_equal(array, before[name]) for name, array in params.items())
