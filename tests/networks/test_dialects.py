"""What a model's name stands for besides its layers: pixels, images, classes; and the vendors' rounding, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refnet import build, models
from refnet.networks import preprocessing as pre
from refnet.networks import tables
from refnet.networks.build import parts
from refnet.networks.dialects import MODELS, Dialect
from refnet.networks.plan import padding, plan, round_width

NAMES = {
    "refnet": "digits",
    "torchvision": "mobilenet_v2 mobilenet_v3_large mobilenet_v3_large@dilated mobilenet_v3_large@reduced_tail "
    "mobilenet_v3_large@reduced_tail+dilated mobilenet_v3_small mobilenet_v3_small@dilated "
    "mobilenet_v3_small@reduced_tail mobilenet_v3_small@reduced_tail+dilated mnasnet0_5 mnasnet0_75 mnasnet1_0 "
    "mnasnet1_3",
    "timm": "mobilenetv1_100 mobilenetv1_125 mobilenetv2_050 mobilenetv2_100 mobilenetv2_140 mnasnet_050 mnasnet_075 "
    "mnasnet_100 mnasnet_140 semnasnet_050 semnasnet_075 semnasnet_100 semnasnet_140 mnasnet_small "
    "mobilenetv3_large_075 mobilenetv3_large_100 mobilenetv3_small_050 mobilenetv3_small_075 mobilenetv3_small_100 "
    "mobilenetv3_rw tf_mobilenetv3_large_075 tf_mobilenetv3_large_100 tf_mobilenetv3_small_075 "
    "tf_mobilenetv3_small_100 tf_mobilenetv3_large_minimal_100 tf_mobilenetv3_small_minimal_100",
    "keras": "MobileNet MobileNetV2 MobileNetV3Large MobileNetV3Large@raw MobileNetV3Large@anysize "
    "MobileNetV3Large_minimalistic MobileNetV3Small MobileNetV3Small@raw MobileNetV3Small@anysize "
    "MobileNetV3Small_minimalistic",
    "d-li14": "mobilenetv2 mobilenetv3_large mobilenetv3_small",
    "kuan-wang": "mobilenetv3_large mobilenetv3_small",
    "article": "torch_large torch_small keras_large keras_small",
    "paper": "mobilenet_v1 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small mobilenet_v3_large_minimalistic "
    "mobilenet_v3_small_minimalistic",
}


KNOWN = [f"{vendor}/{name}" for vendor, names in NAMES.items() for name in names.split()]


def test_a_name_that_was_known_stays_known():
    assert set(KNOWN) <= set(models())


@pytest.mark.parametrize("name", KNOWN)
def test_images_and_classes_are_the_vendors(name):
    recipe = build(name).recipe
    vendor = name.partition("/")[0]
    known = {"refnet": ((32, 32), 10, "digits"), "paper": ((224, 224), 1001, "imagenet+background")}
    assert (recipe.size, recipe.classes, recipe.labels) == known.get(vendor, ((224, 224), 1000, "imagenet"))
    assert (recipe.model, recipe.width, recipe.channels) == (name, 1, 3)


HALF, ZERO, ONE = (0.5,) * 3, (0.0,) * 3, (1.0,) * 3
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# By what a name begins with, the longest: resize, interpolation, scale, mean, std, what is kept of a side.
PIXELS = {
    "refnet/": (None, "nearest", 127.5, ONE, ONE, (1, 1)),
    "torchvision/": ((256, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "torchvision/mnasnet0_75": ((232, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "torchvision/mnasnet1_3": ((232, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "timm/": ((8, 7), "bicubic", 255, *IMAGENET, (1, 1)),
    "timm/mobilenetv1_100": ((8, 7), "bicubic", 255, HALF, HALF, (1, 1)),
    "timm/mobilenetv1_125": ((10, 9), "bicubic", 255, HALF, HALF, (1, 1)),
    "timm/tf_": ((8, 7), "bilinear", 255, HALF, HALF, (1, 1)),
    "keras/": (None, "nearest", 127.5, ONE, ONE, (1, 1)),
    "keras/MobileNetV3": (None, "nearest", 1, ZERO, ONE, (1, 1)),
    "keras/MobileNetV3Large@raw": (None, "nearest", 127.5, ONE, ONE, (1, 1)),
    "keras/MobileNetV3Small@raw": (None, "nearest", 127.5, ONE, ONE, (1, 1)),
    "d-li14/": ((256, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "kuan-wang/": ((256, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "article/": ((256, 224), "bilinear", 255, *IMAGENET, (1, 1)),
    "paper/": (None, "bilinear-tf1", 127.5, ONE, ONE, (7, 8)),
}


def numbers(rule):
    """A preprocessing without its origin."""
    return rule.resize, rule.interpolation, rule.scale, rule.mean, rule.std, rule.keep


@pytest.mark.parametrize("name", KNOWN)
def test_pixels_become_inputs_as_the_vendor_makes_them(name):
    known = max((begin for begin in PIXELS if name.startswith(begin)), key=len)
    assert numbers(build(name).recipe.preprocessing) == PIXELS[known]


def test_rules_that_only_some_published_weights_follow():
    half = (255, HALF, HALF, (1, 1))
    assert numbers(pre.TIMM_BICUBIC_HALF_95) == ((20, 19), "bicubic", *half)
    assert numbers(pre.TIMM_BILINEAR_UNIT) == ((8, 7), "bilinear", 255, ZERO, ONE, (1, 1))
    assert numbers(pre.TORCHVISION_SEGMENTATION) == ((1, 1), "bilinear", 255, *IMAGENET, (1, 1))


@pytest.mark.parametrize("form", ["", "@anysize", "_minimalistic"])
def test_keras_v3_scales_its_pixels_itself(form):
    """By 1/127.5, which Keras rounds to float32."""
    first = build(f"keras/MobileNetV3Small{form}").nodes[0]
    assert (first.op, first.attrs) == ("affine", {"slope": 0.007843137718737125, "offset": -1.0})
    assert build("keras/MobileNetV3Small@raw").nodes[0].op == "conv2d"


# ------------------------------------------------------------------------------------------------------------- widths


@pytest.mark.parametrize(
    ("rounding", "divisor", "rounded"),
    [
        ("nearest", 8, {18: 24, 50: 48, 90: 88, 3: 8, 12: 16, 11.9: 16, 20: 24, 71: 72, 70: 72, 66: 64, 64.5: 64}),
        ("nearest", 4, {18: 20, 1: 4, 21: 20, 22: 24, 5: 8}),
        ("plain", 8, {11.9: 8, 18: 16, 20: 24, 3: 8}),
        ("down", 8, {16: 16, 23.9: 16, 3: 8}),
        ("up", 8, {16: 16, 17: 24, 16.5: 24, 8.0: 8, 3: 8, 24.001: 32}),
        ("floor", 8, {16.9: 16, 3: 3, 0.5: 0}),
        ("floor-nearest", 8, {44.8: 48, 11.99: 16, 12.0: 16, 19.9: 24, 51.9: 48}),
    ],
)
def test_a_scaled_width_is_rounded(rounding, divisor, rounded):
    """'nearest' is half-way up, and one more where over 10 % would be lost: 11.9 -> 8 would lose a third."""
    dialect = Dialect("", rounding=rounding, divisor=divisor)
    assert {value: round_width(value, dialect) for value in rounded} == rounded


def widths(rows, **habits):
    """Plan of a table of its own: a stem of 16, blocks of (expanded, out, stride), a head of 100 and 50."""
    made = tuple(tables.Row(3, expanded, out, True, "relu", stride) for expanded, out, stride in rows)
    table = tables.Table("", 16, "relu", made, (len(made),), 100, 50, "relu")
    width = habits.pop("width", 1.0)
    return plan(replace(MODELS["torchvision/mobilenet_v2"], table=table, dialect=Dialect("", **habits)), width)


@pytest.mark.parametrize(
    ("habits", "width", "found"),
    [
        ({"stem": "scaled"}, 0.5, 8),
        ({"stem": "fixed"}, 0.5, 16),
        ({"stem": "fixed"}, 2.0, 16),
        ({"stem": "wide"}, 0.74, 16),
        ({"stem": "wide", "divisor": 1}, 0.75, 12),
        ({"stem": "wide"}, 2.0, 32),
    ],
)
def test_a_stem_is_scaled_or_not(habits, width, found):
    assert widths([(16, 16, 1)], width=width, **habits).stem == found


@pytest.mark.parametrize(
    ("last", "one", "half", "double"),
    [
        ("table", 104, 48, 200),
        ("sixfold", 144, 96, 288),
        ("expanded", 64, 32, 128),
        ("grown", 100, 100, 200),
        ("fixed", 100, 100, 100),
    ],
)
def test_the_last_convolution_is_as_wide_as_the_vendor_makes_it(last, one, half, double):
    rows = [(64, 24, 1)]
    found = [widths(rows, width=width, last=last, expanded="table").last for width in (1.0, 0.5, 2.0)]
    assert found == [one, half, double]


@pytest.mark.parametrize(
    ("hidden", "one", "half", "double"), [("scaled", 48, 24, 104), ("grown", 50, 50, 104), ("fixed", 50, 50, 50)]
)
def test_the_hidden_layer_is_as_wide_as_the_vendor_makes_it(hidden, one, half, double):
    found = [widths([(64, 24, 1)], width=width, hidden=hidden).hidden for width in (1.0, 0.5, 2.0)]
    assert found == [one, half, double]


@pytest.mark.parametrize(
    ("expanded", "found"),
    [("table", [24, 40, 64]), ("ratio", [40, 48, 64]), ("ratio-floor", [38, 48, 60])],
)
def test_an_expansion_is_scaled_or_keeps_its_ratio_to_what_comes_in(expanded, found):
    """At 0.6 the stem of 16 becomes 16 (9.6), outputs 20 and 28 become 16 (12) and 16 (16.8); 38 becomes 22.8."""
    rows = [(38, 20, 1), (60, 28, 1), (105, 28, 1)]
    assert [block.expanded for block in widths(rows, width=0.6, expanded=expanded).blocks] == found


@pytest.mark.parametrize(
    ("squeeze", "found"),
    [("divisible", [24, 8]), ("quarter", [22, 4]), ("quarter-round", [22, 5]), ("input-quarter", [4, 6])],
)
def test_the_squeeze_is_a_quarter_of_one_side_or_the_other(squeeze, found):
    """Of 90 and 19, or of the inputs, 16 and 24; Python rounds halves to even: 22.5 -> 22."""
    rows = [(90, 24, 1), (19, 24, 1)]
    blocks = widths(rows, squeeze=squeeze, expanded="ratio-floor").blocks
    assert [block.expanded for block in blocks] == [90, 19]
    assert [block.squeeze for block in blocks] == found


def test_a_block_has_a_shortcut_where_it_changes_neither_width_nor_size():
    rows = [(64, 16, 1), (64, 16, 1), (64, 16, 2), (64, 24, 1), (64, 24, 1)]
    assert [block.shortcut for block in widths(rows).blocks] == [True, True, False, False, True]
    first = widths(rows, first_shortcut=False)
    assert [block.shortcut for block in first.blocks] == [False, True, False, False, True]


def test_a_block_that_does_not_widen_has_no_expansion_but_where_it_always_has_one():
    assert [block.expand for block in widths([(16, 24, 1), (48, 24, 1)]).blocks] == [False, True]
    assert [block.expand for block in widths([(16, 24, 1), (48, 24, 1)], expand_always=True).blocks] == [True, True]


@pytest.mark.parametrize(
    ("se_first", "found"), [("never", [False, False]), ("expanded", [False, True]), ("always", [True, True])]
)
def test_squeeze_and_excite_comes_before_the_activation_where_the_vendor_has_it_so(se_first, found):
    assert [block.se_first for block in widths([(16, 24, 1), (48, 24, 1)], se_first=se_first).blocks] == found


def test_a_squeeze_has_the_activation_of_its_block_or_its_own():
    (own,), (block,) = (widths([(16, 16, 1)], se_act=act).blocks for act in ("hard_swish", "block"))
    assert (own.se_act, block.se_act) == ("hard_swish", "relu")


def test_a_width_of_a_tenth_has_a_divisor_of_its_own():
    assert [widths([(16, 16, 1)], width=width, tenth_divisor=4).stem for width in (0.1, 0.11)] == [4, 8]


@pytest.mark.parametrize(
    ("rule", "pads"),
    [
        ("symmetric", [(2, 2), (2, 2), (2, 2), (4, 4)]),
        ("same", [(2, 2), (1, 2), (2, 2), (4, 4)]),
        ("unknown-size", [(2, 2), (1, 2), (1, 2), (4, 4)]),
        ("after", [(2, 2), (0, 1), (0, 1), (4, 4)]),
    ],
)
def test_a_side_is_padded_by_its_rule(rule, pads):
    """A kernel of 5 at stride 1 on 8, at stride 2 on 8 and on 7, and dilated by 2 on 8."""
    assert [padding(rule, *side) for side in ((8, 5, 1, 1), (8, 5, 2, 1), (7, 5, 2, 1), (8, 5, 1, 2))] == pads


def test_same_pads_nothing_where_the_stride_leaves_no_point_out():
    assert padding("same", 9, 1, 3, 1) == (0, 0)
    assert padding("same", 8, 3, 2, 1) == (0, 1)
    assert padding("same", 8, 2, 1, 1) == (0, 1)


# ------------------------------------------------------------------------------------------------------ whole networks


@pytest.mark.parametrize("name", KNOWN)
def test_the_names_of_weights_are_the_vendors(name):
    vendor = "article-keras" if name.startswith("article/keras") else name.partition("/")[0]
    assert MODELS[name].dialect.vendor == vendor


@pytest.mark.parametrize(
    ("name", "shortcut"),
    [("torchvision/mobilenet_v2", True), ("torchvision/mnasnet1_0", False), ("timm/mnasnet_100", False)],
)
def test_a_first_block_as_narrow_as_its_stem_has_a_shortcut_in_some_dialects(name, shortcut):
    """At a quarter of the width both have 8 channels."""
    graph = build(name, width=0.25)
    assert graph["block1.project"].params["w"] == graph["block1.depthwise"].params["w"][:1] * 2
    assert ("block1.add" in graph) == shortcut


def test_each_node_stands_in_its_part_whatever_the_size():
    made = parts("torchvision/mobilenet_v3_small", 0.5, 7)
    assert list(made) == [node.name for node in build("torchvision/mobilenet_v3_small", width=0.5, classes=7).nodes]
    assert [made[name] for name in ("stem.act", "block1.se.gate", "block11.add", "head.conv", "head.flatten")] == [
        *("stem", "block1", "block11", "head", "head")
    ]
