"""In what two graphs under the same names differ: every way, once, as values; and what is no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edits import changed, inserted, without

from refnet import build
from refnet.alignment.diff import differences, same_number
from refnet.alignment.differences import Difference, structural
from refnet.graph import Graph, Node
from refnet.networks.rewrite import fold_graph

V2 = build("torchvision/mobilenet_v2", width=0.35, size=64, classes=10)
V3 = build("torchvision/mobilenet_v3_small", width=0.35, size=64, classes=10)
SAME = build("timm/tf_mobilenetv3_small_075", size=64, classes=10)
POINT = ((0, 0), (0, 0))


def window(kernel, stride, pad=POINT):
    return {"kernel": kernel, "stride": stride, "pad": pad}


def half(value):
    return float(np.float16(value))


def only(one, other, **options):
    (found,) = differences(one, other, **options)
    return found


# (graph, node, other fields, key, known, found)
CHANGES = {
    "stride": (V2, "block1.depthwise", {"attrs": {"stride": (2, 1)}}, "stride", (1, 1), (2, 1)),
    "dilation": (V2, "block1.depthwise", {"attrs": {"dilation": (2, 1)}}, "dilation", (1, 1), (2, 1)),
    "pad": (SAME, "block1.depthwise", {"attrs": {"pad": ((1, 1), (0, 1))}}, "pad", ((0, 1), (0, 1)), ((1, 1), (0, 1))),
    "eps": (V2, "block3.expand.bn", {"attrs": {"eps": 0.5}}, "eps", 1e-5, 0.5),
    "slope": (V3, "block5.se.gate", {"attrs": {"slope": 0.2}}, "slope", 1 / 6, 0.2),
    "channels": (V2, "head.logits", {"params": {"w": (11, 1280), "b": (11,)}}, "channels", 10, 11),
    "filter": (V2, "block1.depthwise", {"params": {"w": (16, 3, 5)}}, "filter", (3, 3), (3, 5)),
    "a bias less": (V2, "head.logits", {"params": {"w": (10, 1280)}}, "bias", True, False),
    "a bias more": (V2, "block1.project", {"params": {"w": (8, 16), "b": (8,)}}, "bias", False, True),
    "activation": (V2, "stem.act", {"op": "relu"}, "op", {"op": "relu6"}, {"op": "relu"}),
    "inputs": (
        V2,
        "block6.add",
        {"inputs": ("block4.project.bn", "block6.project.bn")},
        "inputs",
        ("block5.add", "block6.project.bn"),
        ("block4.project.bn", "block6.project.bn"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_is_one_difference_with_its_values(change):
    graph, name, fields, key, known, found = CHANGES[change]
    if "attrs" in fields:
        fields = {"attrs": {**graph[name].attrs, **fields["attrs"]}}
    other = graph.replaced(name, replace(graph[name], **fields))
    assert only(graph, other) == Difference(name, key, known, found)
    assert only(other, graph)[:4] == (name, key, found, known)


def test_a_node_more_and_a_node_less_are_told_with_what_they_are():
    other = without(V3, "head.hidden.act")
    assert only(V3, other) == Difference("head.hidden.act", "missing", {"op": "hard_swish"}, None)
    assert only(other, V3) == Difference("head.hidden.act", "extra", None, {"op": "hard_swish"})
    pooled = inserted(V3, "head.act", "max_pool2d", kernel=(2, 2), stride=(2, 2), pad=POINT)
    assert only(V3, pooled) == Difference("inserted", "extra", None, {"op": "max_pool2d", "kernel": (2, 2)})


def test_a_layer_less_is_one_difference_and_so_is_its_activation():
    names = ("block3.expand", "block3.expand.bn", "block3.expand.act")
    graph = V3.without({name: V3[name].inputs[0] for name in names})
    assert [(each.node, each.key) for each in differences(V3, graph)] == [
        ("block3.expand", "missing"),
        ("block3.expand.act", "missing"),
    ]


def test_a_shortcut_less_is_one_difference_and_none_for_who_reads_it():
    assert only(V2, without(V2, "block6.add")) == Difference("block6.add", "missing", {"op": "add"}, None)


def test_an_activation_that_moved_reads_something_else_and_nothing_else_does():
    name, scale = "block5.depthwise.act", "block5.se.scale"
    reads = {"block5.se.pool": ("block5.depthwise.bn",), scale: ("block5.depthwise.bn", "block5.se.gate")}
    reads |= {name: (scale,), "block5.project": (name,)}
    order = [node for node in V3.nodes if node.name != name]
    order.insert([node.name for node in order].index(scale) + 1, V3[name])
    moved = Graph(V3.recipe, tuple(replace(node, inputs=reads.get(node.name, node.inputs)) for node in order))
    assert only(V3, moved) == Difference(name, "inputs", ("block5.depthwise.bn",), (scale,))


def test_what_is_returned_and_what_is_given_are_compared():
    other = replace(V2, returns=("block17.project.bn", "head.flatten"))
    assert only(V2, other) == Difference("output", "returns", ("head.flatten",), ("block17.project.bn", "head.flatten"))
    grey = V2.replaced("stem.conv", replace(V2["stem.conv"], params={"w": (16, 1, 3, 3)}))
    grey = replace(grey, recipe=replace(V2.recipe, channels=1))
    assert only(V2, grey) == Difference("input", "channels", 3, 1)


# --------------------------------------------------------------------------------------------------- no difference


@pytest.mark.parametrize("graph", [V2, V3, SAME], ids=["v2", "v3", "same"])
def test_folding_is_no_difference_from_the_known_graph(graph):
    assert differences(graph, fold_graph(graph)) == ()
    assert differences(fold_graph(graph), graph, folded=True) == ()


def test_a_batch_norm_that_the_known_graph_never_had_is_one():
    other = V3.inserted(
        Node(
            "own",
            "batch_norm",
            ("head.hidden",),
            dict.fromkeys(("gamma", "beta", "mean", "var"), (360,)),
            {"eps": 1e-3},
        ),
        after="head.hidden",
    )
    assert only(V3, other).key == "extra"
    assert differences(V3, other, folded=True) == ()


@pytest.mark.parametrize(("slope", "needs"), [(1.5, "structure"), (9 * half(1 / 9), "float16")])
def test_a_factor_behind_a_global_mean_is_one_of_the_pool_on_either_side(slope, needs):
    """Of a sum over 3 x 3 points a ninth in float16 leaves a little less than 1."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=96, classes=10)
    affine = Node("own", "affine", ("head.pool",), {}, {"slope": slope, "offset": 0.0})
    other = graph.inserted(affine, after="head.pool")
    assert only(graph, other) == Difference("head.pool", "factor", 1.0, slope, needs)
    assert only(other, graph) == Difference("head.pool", "factor", slope, 1.0, needs)


NOTHING = {
    "flatten": Node("own", "flatten", ("head.logits",)),
    "affine": Node("own", "affine", ("stem.act",), {}, {"slope": 1.0, "offset": 0.0}),
    "pad": Node("own", "pad", ("stem.act",), {}, {"pad": POINT, "mode": "constant", "value": 0.0}),
    "pool": Node("own", "max_pool2d", ("stem.act",), {}, window((1, 1), (1, 1))),
    "pool of a point": Node("own", "avg_pool2d", ("head.pool",), {}, window((1, 1), (2, 2))),
}


@pytest.mark.parametrize("node", NOTHING)
def test_an_operation_that_changes_nothing_is_no_difference(node):
    other = V2.inserted(NOTHING[node], after=NOTHING[node].inputs[0])
    assert differences(V2, other) == ()
    assert differences(other, V2) == ()


SOMETHING = {
    "affine": Node("own", "affine", ("stem.act",), {}, {"slope": 1.0, "offset": 0.5}),
    "pad": Node("own", "pad", ("stem.act",), {}, {"pad": ((0, 1), (0, 0)), "mode": "constant", "value": 0.0}),
    "pool": Node("own", "max_pool2d", ("stem.act",), {}, window((1, 1), (2, 2))),
    "pool with a pad": Node(
        "own", "avg_pool2d", ("head.pool",), {}, {"kernel": (3, 3), "stride": (1, 1), "pad": ((1, 1), (1, 1))}
    ),
}


@pytest.mark.parametrize("node", SOMETHING)
def test_one_that_changes_something_is_a_difference(node):
    other = V2.inserted(SOMETHING[node], after=SOMETHING[node].inputs[0])
    assert [each.key for each in differences(V2, other) if each.node == "own"] == ["extra"]


def test_a_pool_is_not_missed_where_the_map_is_a_point():
    small = build("torchvision/mobilenet_v2", width=0.35, size=32, classes=10)
    assert differences(V2, without(small, "head.pool")) == (Difference("input", "size", (64, 64), (32, 32)),)
    assert [each.node for each in differences(V2, without(V2, "head.pool"))] == ["head.pool"]


def test_the_order_of_terms_is_no_difference():
    add = V2["block6.add"]
    assert differences(V2, V2.replaced(add.name, replace(add, inputs=add.inputs[::-1]))) == ()


def test_of_another_size_only_the_size_differs_whatever_the_vendor_pads():
    for name in ("torchvision/mobilenet_v3_small", "timm/tf_mobilenetv3_small_075", "keras/MobileNet"):
        one, other = (build(name, size=size, classes=10) for size in ((64, 64), (97, 130)))
        found = differences(one, other)
        assert found == (Difference("input", "size", (64, 64), (97, 130)),)
        assert structural(found) == ()


def test_a_pad_that_is_not_the_vendors_is_seen_at_another_size_too():
    other = build("timm/tf_mobilenetv3_small_075", size=(97, 132), classes=10)
    assert other["block1.depthwise"].attrs["pad"] == ((1, 1), (0, 1))
    (found,) = structural(differences(SAME, changed(other, "block1.depthwise", pad=((1, 1), (1, 0)))))
    assert found == Difference("block1.depthwise", "pad", ((1, 1), (0, 1)), ((1, 1), (1, 0)))


def test_a_pool_that_is_no_longer_global_says_so():
    other = V3.replaced("head.pool", replace(V3["head.pool"], attrs={**V3["head.pool"].attrs, "kernel": (1, 2)}))
    assert only(V3, other) == Difference("head.pool", "kernel", "global", (1, 2))
    assert only(other, V3) == Difference("head.pool", "kernel", (1, 2), "global")


def test_a_graph_that_does_not_fit_together_is_compared_number_by_number():
    stem = V2["stem.conv"]
    broken = V2.replaced("stem.conv", replace(stem, attrs={**stem.attrs, "dilation": (40, 40)}))
    assert only(V2, broken) == Difference("stem.conv", "dilation", (1, 1), (40, 40))


# --------------------------------------------------------------------------------------------------- rounded constants


def with_gate(slope, offset):
    return changed(V3, "block5.se.gate", slope=slope, offset=offset)


def test_a_constant_that_float32_cannot_tell_apart_is_the_same():
    assert differences(V3, with_gate(float(np.float32(1 / 6)), 0.5)) == ()
    assert same_number(1 / 6, float(np.float32(1 / 6)))
    assert not same_number(1 / 6, float(np.nextafter(np.float32(1 / 6), np.float32(1))))


@pytest.mark.parametrize(
    ("slope", "needs"),
    [
        (half(1 / 6), "float16"),
        (0.1669921875, "bfloat16"),  # 171 / 1024: 8 significant digits in base 2
        (float(np.nextafter(np.float16(1 / 6), np.float16(1))), "structure"),
        (half(1 / 6) + 1e-6, "structure"),
    ],
)
def test_a_rounded_constant_says_to_which_format_and_must_be_exactly_what_rounding_gives(slope, needs):
    found = only(V3, with_gate(slope, 0.5))
    assert (found.key, found.found, found.needs) == ("slope", slope, needs)
    assert structural([found]) == ((found,) if needs == "structure" else ())


def test_an_offset_may_have_been_multiplied_by_the_rounded_slope():
    found = differences(V3, with_gate(half(1 / 6), 3 * half(1 / 6)))
    assert [(each.key, each.needs) for each in found] == [("slope", "float16"), ("offset", "float16")]
    found = differences(V3, with_gate(half(1 / 6), 0.499))
    assert [(each.key, each.needs) for each in found] == [("slope", "float16"), ("offset", "structure")]


@pytest.mark.parametrize("name", ["block5.se.gate", "block5.expand.act"])
def test_what_a_rounded_slope_leaves_behind_a_gate_is_explained_by_the_format(name):
    """clip(x + 3, 0, 6) times 0.1666 is a hard sigmoid, times a little less than 1."""

    def scaled(slope):
        return V3.inserted(Node("own", "affine", (name,), {}, {"slope": slope, "offset": 0.0}), after=name)

    assert only(V3, scaled(6 * half(1 / 6))).needs == "float16"
    assert only(scaled(6 * half(1 / 6)), V3)[1] == "missing"
    assert only(V3, scaled(0.9999)).needs == "structure"
