"""Blocks, squeezes and the head, found by how nodes are joined."""

from __future__ import annotations

import pytest

from refnet import build
from refnet.bugs.language.parts import Parts
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.dialects import MODELS
from refnet.networks.plan import plan


def parts(name, width=0.5):
    return Parts(build(name, width=width, size=(64, 48), classes=10))


@pytest.mark.parametrize("name", MODELS)
def test_the_blocks_are_those_of_the_plan(name):
    width = 0.5 if MODELS[name].width == 1 else 1.0
    found, planned = parts(name, width).blocks, plan(MODELS[name], width).blocks
    assert [block.depthwise.name for block in found] == [f"block{i}.depthwise" for i in range(1, len(planned) + 1)]
    for block, known in zip(found, planned, strict=True):
        assert (block.expand is not None) == known.expand
        assert (block.squeeze is not None) == bool(known.squeeze)
        assert (block.add is not None) == known.shortcut
        assert block.linear == MODELS[name].table.bottleneck
        assert block.act == block_act(known)
        assert block.depthwise.params["w"][0] == known.expanded


def block_act(known):
    return {"relu": "relu", "relu6": "relu6", "hard_swish": "hard_swish"}[known.act]


def test_a_squeeze_has_its_two_convolutions():
    for each in parts("torchvision/mobilenet_v3_small").squeezes:
        prefix = each.scale.name.removesuffix("scale")
        assert [node.name for node in each[:3]] == [f"{prefix}{part}" for part in ("pool", "reduce", "expand")]


def test_the_head_begins_at_the_last_global_pool():
    found = parts("keras/MobileNetV3Small")
    names = ["head.pool", "head.hidden", "head.hidden.act", "head.logits", "head.flatten", "output"]
    assert [node.name for node in found.head] == names
    assert found.classifier == "head.logits"


def test_a_network_without_a_global_pool_has_no_head():
    nodes = (Node("act", "relu", (SOURCE,)), Node("flat", "flatten", ("act",)))
    found = Parts(Graph(Recipe("", 1.0, (5, 7), 10), nodes))
    assert (found.head, found.classifier, found.blocks, found.squeezes) == ((), "", (), ())


def test_the_ends_of_linear_bottlenecks_are_linear_and_their_sums():
    graph = build("torchvision/mobilenet_v2", width=0.5, size=(64, 48), classes=10)
    wanted = {node.name for node in graph.nodes if node.name.endswith("project.bn") or node.op == "add"}
    assert Parts(graph).linear == wanted
    assert not parts("timm/mobilenetv1_100").linear
