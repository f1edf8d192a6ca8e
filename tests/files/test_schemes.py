"""Vendors' names and layouts of weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support import CHECKOUT, DATA

from refnet import build, models, random_params
from refnet.files.schemes import SCHEMES, entries, unused
from refnet.networks.dialects import MODELS

NAMES = json.loads((DATA / "names.json").read_text())["models"]


@pytest.mark.parametrize("record", NAMES, ids=lambda record: f"{record['name']}-{record['width']:g}")
def test_layer_names_are_the_vendors(record):
    graph = build(record["name"], width=record["width"])
    modules = SCHEMES[MODELS[record["name"]].dialect.vendor].modules(graph)
    weighted = [node.name for node in graph.nodes if node.params]
    assert {name: modules[name] for name in weighted} == record["modules"]


def test_layer_names_of_every_vendor_with_checkpoints_are_covered():
    vendors = {MODELS[record["name"]].dialect.vendor for record in NAMES}
    assert vendors == set(SCHEMES) - {"refnet"}


@pytest.mark.parametrize(
    ("model", "name", "key", "shape"),
    [
        ("torchvision/mobilenet_v3_small", "block1.se.reduce.w", "features.1.block.1.fc1.weight", (8, 16, 1, 1)),
        ("torchvision/mobilenet_v3_small", "head.hidden.w", "classifier.0.weight", (1024, 576)),
        ("torchvision/mobilenet_v2", "block2.project.bn.var", "features.2.conv.3.running_var", (24,)),
        ("torchvision/mnasnet1_0", "block5.depthwise.w", "layers.9.0.layers.3.weight", (72, 1, 5, 5)),
        ("timm/mobilenetv3_large_100", "head.hidden.w", "conv_head.weight", (1280, 960, 1, 1)),
        ("timm/mobilenetv1_100", "block1.project.w", "blocks.0.0.conv_pw.weight", (64, 32, 1, 1)),
        ("d-li14/mobilenetv3_small", "block4.se.expand.w", "features.4.conv.5.fc.2.weight", (96, 24)),
        ("kuan-wang/mobilenetv3_small", "head.logits.w", "classifier.1.weight", (1000, 1280)),
        ("article/torch_small", "block1.se.reduce.b", "stack.0.semodule.1.bias", (8,)),
        ("keras/MobileNetV3Small", "stem.conv.w", "conv/kernel", (3, 3, 3, 16)),
        ("keras/MobileNetV3Small", "block2.depthwise.w", "expanded_conv_1_depthwise/kernel", (3, 3, 72, 1)),
        ("keras/MobileNetV2", "head.logits.w", "predictions/kernel", (1280, 1000)),
    ],
)
def test_keys_and_shapes_read_off_real_state_dicts(model, name, key, shape):
    entry = entries(build(model))[name]
    assert (entry.key, entry.shape) == (key, shape)


@pytest.mark.parametrize("model", [name for name in models() if MODELS[name].width == 1.0])
def test_layouts_there_and_back(model):
    graph = build(model, width=0.35)
    shapes = graph.params()
    found = entries(graph)
    assert list(found) == list(shapes)
    assert len({entry.key for entry in found.values()}) == len(found)
    for name, array in random_params(graph).items():
        theirs = found[name].theirs(array)
        assert theirs.shape == found[name].shape
        assert np.array_equal(found[name].ours(theirs, shapes[name]), array)


def test_keras_kernels_are_height_width_input_output():
    entry = entries(build("keras/MobileNetV3Small"))["stem.conv.w"]
    w = np.arange(432.0).reshape(16, 3, 3, 3)
    assert entry.theirs(w)[2, 1, 0, 5] == w[5, 0, 2, 1]


def test_the_articles_listing_builds_layers_that_it_never_runs():
    graph = build("article/torch_large")
    assert sum(math.prod(shape) for shape in unused(graph).values()) == 93_776
    assert not unused(build("torchvision/mobilenet_v2"))


def test_names_are_those_that_came_with_the_project():
    folder = CHECKOUT.parent / "shared" / "facts"
    if not folder.is_dir():
        pytest.skip("the folder that names.json was made from is not here")
    maps = json.loads((folder / "naming_map.json").read_text())["maps"]
    for record in NAMES:
        assert set(record["modules"].values()) <= set(maps[record["key"]]["map"].values())
