"""A graph as layers: each node once, names that say what time depends on, costs that add up."""

from __future__ import annotations

import math

import pytest

from refnet import Graph, build, models, random_params
from refnet.graph import SOURCE
from refnet.networks.rewrite import fold_graph
from refnet.readings.shapes import shapes, well_formed
from refnet.search.layers import alone, bytes_moved, layers, multiply_adds
from refnet.session import Session

SOME = [
    "torchvision/mobilenet_v3_small",
    "torchvision/mobilenet_v2",
    "timm/semnasnet_050",
    "keras/MobileNetV3Small",
    "kuan-wang/mobilenetv3_small",
    "timm/mobilenetv1_100",
    "torchvision/lraspp_mobilenet_v3_large",
    "paper/lraspp_mobilenet_v3_small",
]


@pytest.mark.parametrize("name", models())
def test_every_node_that_computes_is_in_one_layer(name):
    graph = build(name, size=(64, 96))
    inside = [node.name for layer in layers(graph) for node in layer.nodes]
    sizes = shapes(graph)
    named = [n.name for n in fold_graph(graph).nodes if not (n.op == "flatten" and sizes[n.inputs[0]][1:] == (1, 1))]
    assert sorted(inside) == sorted(named)
    assert sum(layer.macs for layer in layers(graph)) == multiply_adds(graph)


@pytest.mark.parametrize("name", SOME)
def test_a_layer_by_itself_is_the_step_that_it_is_in_its_network(name):
    for layer in layers(build(name, width=0.25, size=(64, 96))):
        graph = well_formed(alone(layer))
        session = Session(graph, random_params(graph), threads=1)
        own = [step for step in session.steps if step.end in {node.name for node in layer.nodes}]
        assert [step.end for step in own] == [layer.nodes[-1].name], layer.name
        again = [each for each in layers(graph) if each.nodes[-1].name == layer.nodes[-1].name]
        assert [each.name for each in again] == [layer.name]


def test_layers_of_one_name_are_alike_wherever_they_stand():
    found = layers(build("torchvision/mobilenet_v3_large"))
    names = [layer.name for layer in found]
    assert [index for index, name in enumerate(names) if name in names[:index]] == [6, 10, 15]  # of blocks
    assert all(layer.macs == other.macs for layer in found for other in found if layer.name == other.name)


@pytest.mark.parametrize(
    "changed",
    [{"width": 0.75}, {"size": 160}, {"name": "timm/tf_mobilenetv3_small_100"}, {"name": "article/torch_small"}],
)
def test_what_changes_the_work_changes_names(changed):
    asked = {"name": "torchvision/mobilenet_v3_small", **changed}
    name = asked.pop("name")
    one = {layer.name for layer in layers(build("torchvision/mobilenet_v3_small"))}
    assert one != {layer.name for layer in layers(build(name, **asked))}


def test_eps_and_weights_change_no_name():
    one, other = (layers(build(name)) for name in ("timm/mobilenetv3_small_100", "torchvision/mobilenet_v3_small"))
    assert [layer.name for layer in one] == [layer.name for layer in other]


def test_bytes_are_every_tensor_and_weight_once():
    graph = Graph(build("torchvision/mobilenet_v2").recipe, build("torchvision/mobilenet_v2").nodes[:3])
    image, stem = 3 * 224 * 224, 32 * 112 * 112
    assert bytes_moved(graph) == 4 * (image + stem + 32 * 27 + 32)
    assert bytes_moved(graph, fused=False) == 4 * (image + 2 * stem + 32 * 27 + 32)


def test_a_layer_moves_what_goes_in_and_out_and_its_weights():
    first, *_ = layers(build("torchvision/mobilenet_v2"))
    assert first.inputs == ((SOURCE, (3, 224, 224)),)
    assert first.moved == 4 * (3 * 224 * 224 + math.prod((32, 112, 112)) + 32 * 27 + 32)
