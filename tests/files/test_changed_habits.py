"""Whole habits changed: other heads, ends, strides and joins are told, and what makes no difference is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edits import changed, edited, inserted, settled, without
from recognising import SMALL, found_in, told

from refnet import build
from refnet.alignment.differences import Standing
from refnet.files.identify.structure import recognise
from refnet.graph import Node, check
from refnet.networks.rewrite import fold_graph
from refnet.report.differences import grouped, line


def test_a_head_without_its_hidden_layer():
    graph = without(SMALL, "head.hidden", "head.hidden.act")
    graph = edited(graph, "head.logits", params={"w": (2, 192), "b": (2,)})
    lines = [line(one) for one in found_in(graph).differences]
    assert lines == [
        "head.hidden is missing: pointwise_conv2d with 360 channels",
        "head.hidden.act is missing: hard_swish",
    ]


def test_a_network_without_any_head_is_the_beginning_of_one():
    graph = without(SMALL, "head.hidden", "head.hidden.act", "head.logits")
    found = found_in(graph)
    assert found.standing == Standing("beginning", "torchvision/mobilenet_v3_small", 0.35, until="head.flatten")
    assert found.differences == ()


@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
@pytest.mark.parametrize(
    ("model", "width", "until"),
    [
        ("torchvision/mobilenet_v2", 0.35, "block6.expand.act"),
        ("torchvision/mobilenet_v2", 0.35, "block13.project.bn"),
        ("keras/MobileNetV2", 0.35, "block13.expand.act"),
        ("keras/MobileNet", 0.25, "block6.depthwise.act"),
        ("torchvision/mobilenet_v3_small", 1.0, "block8.add"),
        ("torchvision/mobilenet_v3_large", 0.75, "head.act"),
    ],
)
def test_a_network_that_ends_early_is_the_beginning_of_a_known_one(model, width, until, folded):
    known = build(model, width=width, size=96)
    cut = known.leading_to(until)
    found = found_in(fold_graph(cut) if folded else cut)
    assert (found.standing.kind, found.standing.width) == ("beginning", width)
    assert found.models[0] == model
    assert found.standing.until == until
    assert found.differences == ()
    assert found.named.graph.nodes == (fold_graph(cut) if folded else cut).nodes


def test_what_goes_on_behind_a_beginning_keeps_its_own_names():
    """FOMO: object detection by a grid of classes, on the first blocks of V2."""
    cut = build("keras/MobileNetV2", width=0.35, size=96).leading_to("block6.expand.act")
    wide = cut["block6.expand"].params["w"][0]
    head = (
        Node("head", "pointwise_conv2d", (cut.output,), {"w": (32, wide), "b": (32,)}),
        Node("head.relu", "relu", ("head",)),
        Node("stem.conv", "pointwise_conv2d", ("head.relu",), {"w": (3, 32), "b": (3,)}),
        Node("softmax", "softmax", ("stem.conv",)),
    )
    file = cut.renamed({node.name: f"x{i}" for i, node in enumerate(cut.nodes)})
    own = tuple(replace(n, inputs=(file.output,)) if n.name == "head" else n for n in head)
    found = recognise(replace(file, nodes=(*file.nodes, *own)), (), None, None)
    assert (found.standing.kind, found.standing.until) == ("beginning", "block6.expand.act")
    assert found.standing.beyond == ("head", "head.relu", "stem.conv_2", "softmax")
    assert found.differences == ()
    names = [node.name for node in found.named.graph.nodes]
    assert names == [*(node.name for node in cut.nodes), *found.standing.beyond]


@pytest.mark.parametrize(
    "name",
    ["torchvision/lraspp_mobilenet_v3_large", "paper/lraspp_mobilenet_v3_large", "paper/lraspp_mobilenet_v3_small"],
)
@pytest.mark.parametrize("folded", [False, True])
def test_a_segmentation_head_is_recognised_without_names(name, folded):
    known = build(name, width=0.5, size=(64, 96), classes=4)
    file = fold_graph(known) if folded else known
    found = recognise(file.renamed({node.name: f"x{i}" for i, node in enumerate(file.nodes)}), (), None, None)
    assert (found.standing.kind, found.models[0], found.standing.width) == ("known", name, 0.5)
    assert found.named.graph.nodes == file.nodes


def test_strides_of_its_own_do_not_make_another_network_of_it():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=96)
    for index in (2, 4, 7, 14):
        graph = changed(graph, f"block{index}.depthwise", stride=(1, 1))
    found = found_in(graph)
    assert (found.standing.kind, found.models[0]) == ("almost", "torchvision/mobilenet_v2")
    assert len(found.differences) == 4


def test_a_squeeze_and_excite_before_its_activation_is_one_difference():
    known = build("torchvision/mobilenet_v3_small", size=64)
    first = {"block4.depthwise.act": ("block4.se.scale",)}
    order = [node for node in known.nodes if node.name != "block4.depthwise.act"]
    scale = [node.name for node in order].index("block4.se.scale")
    order.insert(scale + 1, known["block4.depthwise.act"])
    reads = first | {
        "block4.se.pool": ("block4.depthwise.bn",),
        "block4.se.scale": ("block4.depthwise.bn", "block4.se.gate"),
        "block4.project": ("block4.depthwise.act",),
    }
    graph = check(replace(known, nodes=tuple(replace(n, inputs=reads.get(n.name, n.inputs)) for n in order)))
    assert told(graph) == [
        ("block4.depthwise.act", "attribute", "input block4.depthwise.bn", "input block4.se.scale"),
    ]
    assert found_in(graph).named.graph.nodes == graph.nodes


def test_a_shortcut_from_elsewhere_is_seen():
    known = build("torchvision/mobilenet_v2", size=64)
    graph = edited(known, "block6.add", inputs=("block4.project.bn", "block6.project.bn"))
    ((node, kind, was, now),) = told(graph)
    assert (node, kind) == ("block6.add", "attribute")
    assert (was, now) == ("input block5.add and block6.project.bn", "input block4.project.bn and block6.project.bn")


def test_softmax_at_the_end_and_pixels_rescaled_at_the_start():
    graph = inserted(SMALL, SMALL.output, "softmax")
    assert told(graph) == [("output", "extra", "", "softmax")]
    raw = build("keras/MobileNetV3Small@raw", size=64)
    rescaled = Node("stem.rescale", "affine", ("input",), {}, {"slope": 1 / 255, "offset": 0.0})
    nodes = (rescaled, replace(raw.nodes[0], inputs=("stem.rescale",)), *raw.nodes[1:])
    assert told(replace(raw, nodes=nodes), "keras/MobileNetV3Small@raw") == [
        ("stem.rescale", "extra", "", "affine slope 0.00392157 offset 0"),
    ]
    assert [where for where, *_ in told(replace(raw, nodes=nodes), "keras/MobileNetV3Small")] == ["stem.rescale"] * 2


def test_where_a_vector_is_flattened_is_no_difference():
    assert told(without(SMALL, "head.flatten")) == []


def test_a_number_that_float32_cannot_tell_from_the_known_one_is_the_known_one():
    slope = float(np.float32(1 / 6))
    assert slope != 1 / 6
    graph = SMALL
    for node in SMALL.nodes:
        if node.op == "hard_sigmoid":
            graph = changed(graph, node.name, slope=slope)
        if node.op == "batch_norm":
            graph = changed(graph, node.name, eps=float(np.float32(1e-3)))
    assert found_in(graph).named.graph.nodes == SMALL.nodes
    assert told(graph) == []


def test_a_number_beyond_float32_is_only_another_number(recwarn):
    graph = changed(SMALL, "stem.bn", eps=1e300)
    assert told(graph) == [("stem.bn", "attribute", "eps 0.001", "eps 1e+300")]
    assert not recwarn


def test_images_of_another_number_of_channels():
    stem = replace(SMALL.nodes[0], params={"w": (8, 1, 3, 3)})
    grey = replace(SMALL, recipe=replace(SMALL.recipe, channels=1), nodes=(stem, *SMALL.nodes[1:]))
    assert [line(one) for one in found_in(grey).differences] == ["input has 1 channels, not 3"]


def test_a_classifier_of_text_direction_is_v3_small_with_what_makes_it_another():
    """PaddleOCR's, as far as its structure goes: shared by hand here, run as a file in the tests of real exports."""
    graph = SMALL
    for name in ("block1", "block2", "block4", "block9"):
        graph = changed(graph, f"{name}.depthwise", stride=(2, 1))
    for node in graph.nodes:
        if node.op == "hard_sigmoid":
            graph = changed(graph, node.name, slope=0.2)
    graph = inserted(graph, "head.act", "max_pool2d", kernel=(2, 2), stride=(2, 2), pad=((0, 0), (0, 0)))
    graph = without(graph, "head.hidden", "head.hidden.act")
    graph = edited(graph, "head.logits", params={"w": (2, 192), "b": (2,)})
    found = found_in(settled(graph, SMALL))
    assert found.models == ("torchvision/mobilenet_v3_small",)
    assert found.named.graph.recipe == SMALL.recipe
    lines = grouped(found.differences, most=2)
    assert lines == [
        "has stride (2, 1), not (2, 2): block1.depthwise, block2.depthwise and 2 more",
        "has slope 0.2, not 0.166667: block1.se.gate, block4.se.gate and 7 more",
        "head.max_pool is extra: max_pool2d kernel (2, 2)",
        "head.hidden is missing: pointwise_conv2d with 360 channels",
        "head.hidden.act is missing: hard_swish",
    ]
