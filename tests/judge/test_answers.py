"""Networks that answer twice: an answer that nothing resembles is told by its shape, where it alone has that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.graph import Node, check


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A trunk whose last map, 4 x 6 points, is read whole by one head and pooled by the other."""
    trunk = build("torchvision/mobilenet_v2", width=0.25, size=(64, 96), classes=5)
    end, (C, H, W) = "block7.project.bn", (16, 4, 6)
    window = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
    heads = (
        Node("box", "conv2d", (end,), {"w": (7, C, H, W), "b": (7,)}, window),
        Node("box.flatten", "flatten", ("box",)),
        Node("pool", "avg_pool2d", (end,), {}, {"kernel": (H, W), "stride": (1, 1), "pad": ((0, 0), (0, 0))}),
        Node("kind", "pointwise_conv2d", ("pool",), {"w": (5, C), "b": (5,)}),
        Node("kind.flatten", "flatten", ("kind",)),
    )
    nodes = (*trunk.leading_to(end).nodes, *heads)
    graph = check(replace(trunk, nodes=nodes, returns=("box.flatten", "kind.flatten")))
    net = Network(graph, random_params(graph))
    path = tmp_path_factory.mktemp("packs") / "golden"
    write_pack(net, probe(graph, 1), path)
    return net, path


def dumped(net, box):
    """What hooks of modules see, under names of their own."""
    made = {**net.trace(probe(net.graph, 1)), "box.flatten": box}
    return {f"module{index}": y for index, (name, y) in enumerate(made.items()) if name not in ("box", "kind")}


def test_an_answer_of_weights_in_the_order_of_another_layout_is_told_and_named(detector):
    net, path = detector
    w = net.params["box.w"]
    turned = replace(net, params={**net.params, "box.w": w.reshape(7, 4, 6, 16).transpose(0, 3, 1, 2)})
    found = compare(path, dumped(net, turned.trace(probe(net.graph, 1))["box.flatten"]), partial=True)
    assert found.wrong() == ["box.flatten"]
    assert found.causes["box.flatten"][0].ids == ("weights-transpose",)


def test_an_answer_that_nothing_explains_is_looked_at_to_the_end(detector):
    """Its kernel is as large as its map, which no map of another height and width has room for."""
    net, path = detector
    found = compare(path, dumped(net, np.random.default_rng(0).normal(size=(1, 7)).astype(np.float32)), partial=True)
    assert found.wrong() == ["box.flatten"]
    assert found.causes["box.flatten"] == []


def test_of_two_tensors_that_may_be_the_answer_none_is_taken_for_it(detector):
    net, path = detector
    tensors = dumped(net, np.ones((1, 7), np.float32))
    found = compare(path, {**tensors, "other": np.zeros((1, 7), np.float32)}, partial=True)
    assert found.wrong() == []
    assert len(found.matching.unmatched) == 2
