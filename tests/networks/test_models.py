"""Every public model against what its vendor's own module is: rows, widths, parameters, multiply-adds, pads."""

from __future__ import annotations

import json
import math

import pytest
from support import CHECKOUT, FACTS, facts_id

from refnet import RequestError, build, models
from refnet.networks.dialects import MODELS
from refnet.networks.plan import plan
from refnet.readings.cost import cost
from refnet.readings.shapes import well_formed


def pads(graph) -> list[list[int]]:
    return [[*node.attrs["pad"][0], *node.attrs["pad"][1]] for node in graph.nodes if "dilation" in node.attrs]


def test_rows_are_the_vendors(fact):
    made = plan(MODELS[fact["name"]], fact["width"])
    rows = [
        [b.kernel, b.inputs, b.expanded, b.out, b.expand, b.squeeze, b.act, b.stride, b.dilation, b.shortcut]
        for b in made.blocks
    ]
    assert rows == fact["rows"]
    assert made.stem == fact["stem"][0]


def test_parameters_and_multiply_adds_are_the_vendors(fact):
    rows = cost(build(fact["name"], width=fact["width"]))
    assert sum(row.trainable for row in rows) == fact["params"]
    assert sum(row.macs for row in rows) == fact["macs"]


def test_pads_at_an_even_size_are_the_vendors(fact):
    graph = build(fact["name"], width=fact["width"], size=(224, 224))
    assert pads(graph)[1:] == fact["pads_224"]


def test_pads_at_an_odd_size_that_is_not_square_are_the_vendors(fact):
    graph = build(fact["name"], width=fact["width"], size=(225, 191))
    assert pads(graph) == fact["pads_225x191"]


def test_head_stem_activation_eps_and_gate_are_the_vendors(fact):
    graph = build(fact["name"], width=fact["width"])
    nodes = {node.name: node for node in graph.nodes}
    layers = [nodes[name] for name in ("head.conv", "head.hidden", "head.logits") if name in nodes]
    acts = {"head.conv": "head.act", "head.hidden": "head.hidden.act"}
    head = [
        [
            *layer.params["w"][::-1],
            layer.name == "head.conv",
            "b" in layer.params,
            nodes[acts[layer.name]].op if layer.name in acts else None,
        ]
        for layer in layers
    ]
    assert head == fact["head"]
    assert nodes["stem.act"].op == fact["stem"][1]
    assert {node.attrs["eps"] for node in graph.nodes if node.op == "batch_norm"} == {
        fact["eps"],
        fact.get("decoder_eps", fact["eps"]),
    }
    assert (graph.output == "output") == fact["softmax"]
    gates = {node.op for node in graph.nodes if node.name.endswith("se.gate")}
    assert gates == ({fact["gate"]} if fact["gate"] else set())


# Held to modules of their vendors in tests/data/modules instead.
WITHOUT_FACTS = {
    "marvis/mobilenet_v1",
    "torchvision/mobilenet_v2@quantizable",
    "transformers/mobilenet_v1",
    "transformers/mobilenet_v2",
}


def test_facts_cover_every_public_model_but_our_own():
    public = {name for name in models() if not name.startswith(("paper/", "refnet/"))}
    assert public - WITHOUT_FACTS == {f["name"] for f in FACTS}
    assert public >= WITHOUT_FACTS


def test_facts_are_those_that_came_with_the_project():
    folder = CHECKOUT.parent / "shared" / "facts"
    if not folder.is_dir():
        pytest.skip("the folder that facts.json was made from is not here")
    vendors = json.loads((folder / "architectures.json").read_text())["models"]
    for fact in FACTS:
        assert any([b["pad_tblr"] for b in v["blocks"]] == fact["pads_224"] for v in vendors.values()), facts_id(fact)


@pytest.mark.parametrize(
    ("name", "trainable", "macs"),
    [
        # arXiv 1905.02244v5, table 3: 5.4M and 219M, 2.5M and 56M; 1704.04861, table 8: 4.2M and 569M;
        # 1801.04381, table 4: 3.4M and 300M
        ("paper/mobilenet_v3_large", 5_484_313, 216_589_760 + 1280),
        ("paper/mobilenet_v3_small", 2_543_881, 56_510_400 + 1024),
        ("paper/mobilenet_v1", 4_233_001, 568_740_352 + 1024),
        ("paper/mobilenet_v2", 3_506_153, 300_774_272 + 1280),
    ],
)
def test_the_papers_networks_have_a_background_class(name, trainable, macs):
    rows = cost(build(name))
    assert (sum(row.trainable for row in rows), sum(row.macs for row in rows)) == (trainable, macs)


def test_minimalistic_means_small_kernels_relu_and_no_squeeze():
    nodes = build("paper/mobilenet_v3_large_minimalistic").nodes
    assert {node.params["w"][1:] for node in nodes if node.op == "depthwise_conv2d"} == {(3, 3)}
    assert not [node for node in nodes if node.op in ("hard_swish", "hard_sigmoid", "scale")]


def test_no_convention_survives_as_a_word():
    for name in models():
        for node in build(name).nodes:
            assert not any(isinstance(value, str) for value in node.attrs.values())


def test_shapes_of_the_graph_follow_from_its_attributes():
    """`build` and `cost` each compute sizes; the pool that covers the whole map ties them together."""
    for name in models():
        for row in cost(build(name, size=(65, 97))):
            if row.node.name.endswith("pool") and row.node.attrs["stride"] == (1, 1):
                assert row.shape[1:] == (1, 1), row.node.name


@pytest.mark.parametrize("name", models())
def test_what_is_built_is_well_formed(name):
    for width, size in ((1.0, None), (0.3, (65, 97))):
        well_formed(build(name, width=width, size=size))


@pytest.mark.parametrize("width", [0, -1, math.nan, math.inf, "wide", None, 1j])
def test_a_width_that_is_no_positive_number_is_refused(width):
    with pytest.raises(RequestError, match="width"):
        build("torchvision/mobilenet_v2", width=width)


def test_a_width_without_channels_is_refused():
    with pytest.raises(RequestError, match=r"width 0.01 leaves a layer without channels"):
        build("keras/MobileNet", width=0.01)


@pytest.mark.parametrize("size", [0, (0, 5), (5,), (1, 2, 3), "224", (2.5, 3), -1])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(RequestError, match="size"):
        build("torchvision/mobilenet_v2", size=size)


def test_a_size_of_which_nothing_is_left_is_refused():
    with pytest.raises(RequestError, match="size 1,1 is too small for keras/MobileNet: nothing is left of block2"):
        build("keras/MobileNet", size=1)


@pytest.mark.parametrize("classes", [0, -3, 1.5, "ten"])
def test_classes_that_are_no_positive_whole_number_are_refused(classes):
    with pytest.raises(RequestError, match="classes"):
        build("torchvision/mobilenet_v2", classes=classes)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("torchvision/mobilenet_v3_smal", "torchvision/mobilenet_v3_small"),
        ("mobilenet_v2", "torchvision/mobilenet_v2"),
        ("keras/mobilenetv3large", "keras/MobileNetV3Large"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_names(wrong, near):
    with pytest.raises(RequestError, match=f"no model is called '{wrong}'.*{near}"):
        build(wrong)


def test_a_width_on_top_of_the_one_in_the_name_multiplies():
    half = build("timm/mnasnet_100", width=0.5)
    assert [n.params for n in half.nodes] == [n.params for n in build("timm/mnasnet_050").nodes]
