"""Vendors' names and layouts of weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support import CHECKOUT, DATA

from refnet import build, models, random_params
from refnet.files.schemes import SCHEMES, entries, schemes_of, unused
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_batch_norm

NAMES = json.loads((DATA / "names.json").read_text())["models"]


@pytest.mark.parametrize("record", NAMES, ids=lambda record: f"{record['name']}-{record['width']:g}")
def test_layer_names_are_the_vendors(record):
    graph = build(record["name"], width=record["width"])
    modules = SCHEMES[MODELS[record["name"]].dialect.vendor].modules(graph)
    weighted = [node.name for node in graph.nodes if node.params]
    assert {name: modules[name] for name in weighted} == record["modules"]


def test_layer_names_of_every_vendor_with_checkpoints_are_covered():
    vendors = {MODELS[record["name"]].dialect.vendor for record in NAMES}
    others = {"keras2", "keras-numbers", "transformers", "tonylins", "marvis", "biubug6"}
    others |= {"slim", "slim-average", "slim-average-trained"}
    assert vendors | others == set(SCHEMES) - {"refnet"}


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


@pytest.mark.parametrize(
    ("model", "scheme", "name", "key", "shape"),
    [
        ("keras/MobileNetV3Small", "keras2", "stem.bn.var", "Conv/BatchNorm/moving_variance", (16,)),
        ("keras/MobileNetV3Small", "keras2", "block1.depthwise.w", "expanded_conv/depthwise/kernel", (3, 3, 16, 1)),
        (
            "keras/MobileNetV3Large",
            "keras2",
            "block5.se.expand.b",
            "expanded_conv_4/squeeze_excite/Conv_1/bias",
            (120,),
        ),
        ("keras/MobileNetV3Large", "keras2", "head.logits.w", "Logits/kernel", (1, 1, 1280, 1000)),
        ("keras/MobileNetV3Small", "keras-numbers", "block1.se.reduce.w", "layers/conv2d_1/vars/0", (1, 1, 16, 8)),
        ("keras/MobileNetV3Small", "keras-numbers", "block1.project.w", "layers/conv2d_3/vars/0", (1, 1, 16, 16)),
        ("keras/MobileNetV3Small", "keras-numbers", "stem.bn.var", "layers/batch_normalization/vars/3", (16,)),
        ("keras/MobileNetV2", "keras-numbers", "head.logits.b", "layers/dense/vars/1", (1000,)),
        (
            "paper/mobilenet_v1",
            "slim",
            "block13.project.bn.beta",
            "MobilenetV1/Conv2d_13_pointwise/BatchNorm/beta",
            (1024,),
        ),
        ("paper/mobilenet_v2", "slim", "block2.expand.w", "MobilenetV2/expanded_conv_1/expand/weights", (1, 1, 16, 96)),
        (
            "paper/mobilenet_v3_small",
            "slim",
            "block1.depthwise.w",
            "MobilenetV3/expanded_conv/depthwise/depthwise_weights",
            (3, 3, 16, 1),
        ),
        ("paper/mobilenet_v3_small", "slim", "head.logits.b", "MobilenetV3/Logits/Conv2d_1c_1x1/biases", (1001,)),
        (
            "transformers/mobilenet_v1",
            "transformers",
            "block2.project.bn.var",
            "mobilenet_v1.layer.3.normalization.running_var",
            (128,),
        ),
        (
            "transformers/mobilenet_v2",
            "transformers",
            "block1.depthwise.w",
            "mobilenet_v2.conv_stem.conv_3x3.convolution.weight",
            (32, 1, 3, 3),
        ),
        (
            "transformers/mobilenet_v2",
            "transformers",
            "block3.expand.w",
            "mobilenet_v2.layer.1.expand_1x1.convolution.weight",
            (144, 24, 1, 1),
        ),
        ("d-li14/mobilenetv2", "tonylins", "head.conv.w", "features.18.0.weight", (1280, 320, 1, 1)),
        ("marvis/mobilenet_v1", "marvis", "block13.project.w", "model.13.3.weight", (1024, 1024, 1, 1)),
        (
            "torchvision/mobilenet_v2@quantizable",
            "torchvision",
            "block2.project.w",
            "features.2.conv.2.weight",
            (24, 96, 1, 1),
        ),
        (
            "paper/mobilenet_v3_small",
            "slim-average",
            "stem.conv.w",
            "MobilenetV3/Conv/weights/ExponentialMovingAverage",
            (3, 3, 3, 16),
        ),
    ],
)
def test_keys_and_shapes_of_other_names(model, scheme, name, key, shape):
    entry = entries(build(model), scheme)[name]
    assert (entry.key, entry.shape) == (key, shape)


@pytest.mark.parametrize("folded", [False, True], ids=["", "folded"])
@pytest.mark.parametrize("model", [name for name in models() if MODELS[name].width == 1.0])
def test_layouts_there_and_back(model, folded):
    graph = build(model, width=0.35)
    params = random_params(graph)
    if folded:
        graph, params = fold_batch_norm(graph, params)
    shapes = graph.params()
    for scheme in schemes_of(model):
        found = entries(graph, scheme)
        assert list(found) == list(shapes)
        assert len({entry.key for entry in found.values()}) == len(found)
        for name, array in params.items():
            theirs = found[name].theirs(array)
            assert theirs.shape == found[name].shape
            assert np.array_equal(found[name].ours(theirs, shapes[name]), array)


@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        ("torchvision", "features.1.block.0.0.bias"),
        ("keras", "expanded_conv_depthwise/bias"),
        ("keras-numbers", "layers/depthwise_conv2d/vars/1"),
        ("slim", "MobilenetV3/expanded_conv/depthwise/biases"),
        ("refnet", "block1.depthwise.b"),
    ],
)
def test_a_folded_convolution_has_the_vendors_bias(scheme, key):
    vendors = ("torchvision/mobilenet_v3_large", "keras/MobileNetV3Large", "paper/mobilenet_v3_large")
    model = next(name for name in vendors if scheme in schemes_of(name))
    graph, _ = fold_batch_norm(build(model), random_params(build(model)))
    assert entries(graph, scheme)["block1.depthwise.b"].key == key


def test_beside_the_averages_the_variables_themselves_may_be_there():
    graph = build("paper/mobilenet_v1", width=0.25)
    assert unused(graph, "slim-average")["MobilenetV1/Conv2d_0/weights"] == (3, 3, 3, 8)
    assert not unused(graph, "slim")


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
