"""Bugs of the LR-ASPP head: where they are, and what they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

TORCHVISION, PAPER = "torchvision/lraspp_mobilenet_v3_large", "paper/lraspp_mobilenet_v3_small"


def whole(model, size, until="head.resize"):
    graph = build(model, width=0.1, size=size, classes=3)
    params, x = random_params(graph, np.float64), probe(graph, 1).astype(np.float64)
    tensors = {SOURCE: x, **Network(graph, params).trace(x)} if until != "head.resize" else {SOURCE: x}
    return cut(Parts(graph), params, until, tensors, judged=False)


def changes(bug, segment):
    return list(BUGS[bug].changes(segment))


def test_a_fine_branch_of_a_block_that_was_not_dumped_is_made_again_of_what_was():
    graph = build(TORCHVISION, width=0.25, size=(32, 48), classes=3)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    golden = {SOURCE: x, **net.trace(x)}
    w = net.params["head.low.w"]
    low = np.einsum("kc,nchw->nkhw", w, golden["block5.add"]) + net.params["head.low.b"][:, None, None]
    dumped = {name: y for name, y in golden.items() if name == SOURCE or graph[name].op != "add"}
    found = judge_tensors(
        Reference.of(graph, net.params, golden), {**dumped, "head.low": low.astype("f")}, partial=True
    )
    assert [of_port(cause.mistakes[0]) for cause in found.causes["head.low"]] == [
        "the fine branch reads block5.add, not block4.project.bn"
    ]


def words(bug, segment):
    return [of_port(change.of(bug)) for change in changes(bug, segment)]


def test_on_a_small_map_the_pool_takes_as_large_a_share_as_the_papers():
    assert words("lraspp-pool", whole(TORCHVISION, (64, 128))) == [
        "the gate pools (4, 4) points at strides of (1, 2), not the whole map"
    ]


def test_on_a_map_that_is_large_enough_the_pool_may_be_the_papers_own():
    first, second = words("lraspp-pool", whole(TORCHVISION, (800, 816)))
    assert first == "the gate pools (49, 49) points at strides of (16, 20), not the whole map"
    assert second == "the gate pools (39, 20) points at strides of (13, 8), not the whole map"


def test_where_the_reference_has_the_papers_pool_a_global_one_is_the_mistake():
    assert words("lraspp-pool", whole(PAPER, (48, 1120))) == ["the gate pools the whole map"]


def test_a_gate_that_has_become_a_map_is_enlarged_to_what_it_scales():
    segment = whole(TORCHVISION, (64, 128))
    (change,) = changes("lraspp-pool", segment)
    made = run(segment.changed(change))
    assert made.shape == (1, 3, 64, 128)
    assert np.abs(made - run(segment)).max() > 1e-3


def test_a_pool_by_itself_shows_its_shape():
    (change,) = changes("lraspp-pool", whole(TORCHVISION, (64, 128), "head.pool"))
    assert change.shape == (1, 96, 1, 3)


def test_the_fine_branch_may_read_any_block_of_the_same_shape():
    assert words("lraspp-branch", whole(TORCHVISION, (32, 48))) == [
        f"the fine branch reads {other}, not block4.project.bn"
        for other in ("block5.project.bn", "block5.add", "block6.project.bn", "block6.add")
    ]


@pytest.mark.parametrize("model", [TORCHVISION, PAPER])
def test_the_classifier_before_or_behind_an_enlargement_shows_in_its_shape(model):
    before, after = {"torchvision": ((2, 3), (4, 6)), "paper": ((2, 3), (4, 6))}[model.split("/")[0]]
    found = {change.form: change.shape for change in changes("lraspp-order", whole(model, (32, 48), "head.high"))}
    assert found == {"after": (1, 3, 32, 48), "before": (1, 3, *before)}
    assert after == whole(model, (32, 48)).sizes["head.high"][1:]


def test_a_port_whose_classifier_stands_behind_the_last_enlargement_is_told_so():
    graph = build(TORCHVISION, width=0.1, size=(32, 48), classes=3)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    tensors = {SOURCE: x, **net.trace(x)}
    port = {**tensors, "head.high": np.repeat(np.repeat(tensors["head.high"], 8, 2), 8, 3)}
    found = judge_tensors(Reference.of(graph, net.params, tensors), port, partial=True)
    assert found.wrong()[0] == "head.high"
    assert found.causes["head.high"][0].ids == ("lraspp-order",)


@pytest.fixture(scope="module")
def masks():
    """A network for masks, and what it makes."""
    graph = build(TORCHVISION, width=0.1, size=(64, 96), classes=5)
    params, x = random_params(graph), probe(graph, 1)
    return graph, params, {SOURCE: x, **Network(graph, params).trace(x)}


def said(masks, port):
    graph, params, golden = masks
    found = judge_tensors(Reference.of(graph, params, golden), {SOURCE: golden[SOURCE], "head.resize": port})
    return [of_port(cause.mistakes[0]) for cause in found.causes["head.resize"]]


def softmax(z):
    return np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda low, full: softmax(full), "softmax is applied where logits are expected"),
        (lambda low, full: full[..., ::-1], "the map is mirrored left to right"),
        (lambda low, full: low, "it is not resized: the map stays of (8, 12) points instead of (64, 96)"),
        (lambda low, full: enlarged(low, (32, 48)), "it is resized to (32, 48) points instead of (64, 96)"),
        (
            lambda low, full: cubic(low, (64, 96)),
            "a bicubic kernel (a = -0.75) makes it, not the bilinear one",
        ),
    ],
)
def test_what_is_done_to_a_mask_is_told_from_it_alone(masks, made, words):
    golden = masks[2]
    assert said(masks, made(golden["head.add"], golden["head.resize"]).astype(np.float32)) == [words]


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        (False, "it is enlarged 2 times, and what is over is cut off, not to the size"),
        (True, "it is enlarged 2 times with corners aligned, and what is over is cut off, not to the size"),
    ],
)
def test_a_resize_by_a_factor_inside_the_head_is_told_from_the_mask_alone(corners, words):
    graph = build(TORCHVISION, width=0.1, size=(40, 56), classes=5)
    params, x = random_params(graph), probe(graph, 1)
    golden, port = {SOURCE: x, **Network(graph, params).trace(x)}, {SOURCE: x}
    for node in graph.nodes:
        read = {name: port[name] for name in node.inputs}
        port[node.name] = interpret(Graph(graph.recipe, (node,)), fast, params, read)
        if node.name == "head.scale.resize":  # from (3, 4) to (5, 7)
            wide = fast.resize_bilinear(read["head.scale"], size=(6, 8), align_corners=corners)
            port[node.name] = wide[:, :, :5, :7]
    assert said((graph, params, golden), port[graph.output]) == [words]


def test_the_order_of_the_classes_of_a_mask_is_that_of_their_maps(masks):
    graph, params, golden = masks
    port = {SOURCE: golden[SOURCE], "head.resize": golden["head.resize"][:, [0, 2, 1, 4, 3]]}
    (change,) = changes("classes-shown", cut(Parts(graph), params, "head.resize", port))
    assert of_port(change.of("classes-shown")) == "the classes are in another order: class 2 is at 1 first"
    np.testing.assert_array_equal(change.view(golden["head.resize"]), port["head.resize"])


def enlarged(x, size):
    return fast.resize_bilinear(x, size=size, align_corners=False)


def cubic(x, size, a=-0.75):
    """Keys' kernel, tap by tap."""
    for axis, outputs in ((2, size[0]), (3, size[1])):
        n, place = x.shape[axis], (np.arange(outputs) + 0.5) * x.shape[axis] / outputs - 0.5
        y = 0.0
        for tap in range(-1, 3):
            at = np.floor(place).astype(int) + tap
            d = np.abs(place - at)
            near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
            weight = np.where(d <= 1, near, far)
            y = y + x.take(at.clip(0, n - 1), axis) * (weight[:, None] if axis == 2 else weight)
        x = y
    return x


def test_a_network_for_masks_that_is_built_as_one_for_classes_is_told_from_its_masks_alone(masks):
    graph, params, golden = masks
    nodes = []
    for node in graph.nodes:
        step = node.attrs.get("dilation", (1, 1))
        if step != (1, 1):
            stride = step if node.name == "block13.depthwise" else (1, 1)
            node = replace(node, attrs={"stride": stride, "dilation": (1, 1), "pad": ((2, 2), (2, 2))})
        if node.op == "avg_pool2d" and node.attrs["kernel"] == (4, 6) and node.name >= "block13":
            node = replace(node, attrs={**node.attrs, "kernel": (2, 3)})
        nodes.append(node)
    port = Network(replace(graph, nodes=tuple(nodes)), params)(golden[SOURCE])
    assert said(masks, port) == [
        "block13.depthwise has a stride of 2, and no kernel from there on is spread by a dilation of 2"
    ]


def test_a_network_without_the_head_has_none_of_them():
    graph = build("torchvision/mobilenet_v3_small", width=0.1, size=(32, 32))
    segment = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: probe(graph, 1)}, judged=False)
    assert not [change for bug in ("lraspp-pool", "lraspp-branch", "lraspp-order") for change in changes(bug, segment)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (softmax, "the gate is a softmax over the channels"),
        (lambda z: sigmoid(sigmoid(z)), "the gate is a sigmoid of its sigmoid"),
        (np.tanh, "the gate is a tanh"),
    ],
)
@pytest.mark.parametrize("dumped", ["head.gate", "head.scale"])
def test_another_function_in_the_one_gate_is_named(dumped, gate, words):
    graph = build(TORCHVISION, width=0.1, size=(32, 48), classes=3)
    params = random_params(graph)
    params["head.squeeze.w"] = params["head.squeeze.w"] / 8  # so that a sigmoid is not cut off
    net, x = Network(graph, params), probe(graph, 1)
    golden = {SOURCE: x, **net.trace(x)}
    made = gate(golden["head.squeeze"].astype(np.float64)).astype("f")
    port = {**golden, "head.gate": made, "head.scale": (golden["head.reduce.act"] * made).astype("f")}
    names = (SOURCE, "head.act", "head.reduce.act", dumped)
    found = judge_tensors(Reference.of(graph, params, golden), {name: port[name] for name in names}, partial=True)
    assert words in {of_port(cause.mistakes[0]) for cause in found.causes[dumped]}


def test_maps_that_are_enlarged_by_a_factor_beyond_their_size_are_told_though_the_sum_cuts_them_off(tmp_path):
    """Of a height of 3 the double of 2 is more, and so is all that follows."""
    graph = build(TORCHVISION, width=0.1, size=(24, 48), classes=3)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    write_pack(net, x, tmp_path / "pack")
    port = net.trace(x)
    for name in ("head.scale.resize", "head.high", "head.resize"):
        port[name] = np.concatenate([port[name], port[name][:, :, -1:]], axis=2)
    found = compare(tmp_path / "pack", port)
    assert {each.name for each in found.findings if each.judgement.verdict == "shape"} >= {
        "head.scale.resize",
        "head.add",
    }
    assert not any(cause.ids == ("shortcut-missing",) for cause in found.causes.get("head.add", []))
