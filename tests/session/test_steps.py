"""Which nodes a session runs in one go, and where a run ends."""

from __future__ import annotations

import pytest

from refnet import build
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.networks.rewrite import fold_graph
from refnet.readings.shapes import shapes
from refnet.session.steps import sources, steps

DENSE = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
WHOLE = {"kernel": (6, 8), "stride": (1, 1), "pad": ((0, 0), (0, 0))}


def pointwise(name, source, K=4, C=4):
    return Node(name, "pointwise_conv2d", (source,), {"w": (K, C)})


def depthwise(name, source):
    return Node(name, "depthwise_conv2d", (source,), {"w": (4, 3, 3)}, DENSE)


def pool(name, source, **attrs):
    return Node(name, "avg_pool2d", (source,), {}, {**WHOLE, **attrs})


def relu(name, source):
    return Node(name, "relu", (source,))


STEM = Node("stem", "conv2d", (SOURCE,), {"w": (4, 4, 3, 3)}, DENSE)  # so that what follows lies channels last


def run_of(*nodes, keep=()):
    """(kind of step, the tensor that it makes), of a graph of nodes on maps of 4 channels, 6 x 8."""
    graph = check(Graph(Recipe("", 1.0, (6, 8), 1, 4), nodes))
    made = steps(graph, shapes(graph), keep)
    ends = [step.end for step in made]
    for index, step in enumerate(made):  # whatever a step reads is there by then
        assert set(sources(step)) <= {SOURCE, *ends[:index]}
    return [(type(step).__name__, step.end) for step in made]


def test_a_known_network_is_its_stem_its_blocks_and_its_head():
    graph = fold_graph(build("torchvision/mobilenet_v3_small"))
    made = steps(graph, shapes(graph))
    assert [(type(step).__name__, step.end) for step in made] == [
        ("Stem", "stem.act"),
        ("InvertedResidual", "block1.project"),
        ("InvertedResidual", "block2.project"),
        ("InvertedResidual", "block3.add"),
        ("InvertedResidual", "block4.project"),
        ("InvertedResidual", "block5.add"),
        ("InvertedResidual", "block6.add"),
        ("InvertedResidual", "block7.project"),
        ("InvertedResidual", "block8.add"),
        ("InvertedResidual", "block9.project"),
        ("InvertedResidual", "block10.add"),
        ("InvertedResidual", "block11.add"),
        ("Pointwise", "head.act"),
        ("Pool", "head.pool"),
        ("Pointwise", "head.hidden.act"),
        ("Pointwise", "head.logits"),
        ("Rename", "head.flatten"),
    ]
    assert sources(made[3]) == ("block2.project", "block2.project")  # the block's input, and its shortcut
    assert sources(made[4]) == ("block3.add",)


def test_a_vendor_that_ends_in_softmax_leaves_that_to_fast():
    graph = fold_graph(build("keras/MobileNet"))
    made = steps(graph, shapes(graph))
    assert [(type(step).__name__, step.end) for step in made[-2:]] == [("Rename", "head.flatten"), ("Single", "output")]


# ------------------------------------------------------------------------------------------------- where a run begins


@pytest.mark.parametrize("node", [pointwise("a", SOURCE), depthwise("a", SOURCE), pool("a", SOURCE)])
def test_only_a_dense_convolution_reads_an_image(node):
    assert run_of(node) == [("Single", "a")]
    assert run_of(STEM) == [("Stem", "stem")]


def test_an_image_flattened_is_no_map_flattened():
    flatten = Node("a", "flatten", (SOURCE,))
    graph = Graph(Recipe("", 1.0, (1, 1), 4, 4), (flatten,))
    assert [type(step).__name__ for step in steps(graph, shapes(graph))] == ["Single"]


def test_a_dense_convolution_is_run_with_its_activation():
    assert run_of(STEM, relu("a", "stem")) == [("Stem", "a")]


@pytest.mark.parametrize("op", ["relu", "relu6", "hard_swish", "sigmoid", "swish"])
def test_every_activation_is_run_with_its_convolution(op):
    assert run_of(STEM, pointwise("a", "stem"), Node("b", op, ("a",))) == [("Stem", "stem"), ("Pointwise", "b")]


def test_a_gate_is_an_activation_too():
    gate = Node("b", "hard_sigmoid", ("a",), {}, {"slope": 0.2, "offset": 0.5})
    assert run_of(STEM, pointwise("a", "stem"), gate) == [("Stem", "stem"), ("Pointwise", "b")]


def test_what_is_no_activation_is_a_step_of_its_own():
    affine = Node("b", "affine", ("a",), {}, {"slope": 2.0, "offset": 0.5})
    assert run_of(STEM, pointwise("a", "stem"), affine)[1:] == [("Pointwise", "a"), ("Single", "b")]


def test_an_activation_with_params_is_a_step_of_its_own():
    act = Node("b", "prelu", ("a",), {"alpha": (4,)})
    assert run_of(STEM, pointwise("a", "stem"), act)[1:] == [("Pointwise", "a"), ("Single", "b")]


# ---------------------------------------------------------------------------------------------------- inverted blocks

BLOCK = (STEM, pointwise("e", "stem"), relu("e.act", "e"), depthwise("d", "e.act"), relu("d.act", "d"))


def test_expansion_depthwise_and_projection_are_run_in_one_go():
    assert run_of(*BLOCK, pointwise("p", "d.act"), relu("p.act", "p")) == [
        ("Stem", "stem"),
        ("InvertedResidual", "p.act"),
    ]


def test_a_block_may_have_no_projection_or_no_expansion():
    assert run_of(*BLOCK)[1:] == [("InvertedResidual", "d.act")]
    assert run_of(STEM, depthwise("d", "stem"), pointwise("p", "d"))[1:] == [("InvertedResidual", "p")]
    assert run_of(*BLOCK, Node("s", "softmax", ("d.act",)))[1:] == [("InvertedResidual", "d.act"), ("Single", "s")]


@pytest.mark.parametrize(
    ("keep", "kinds"),
    [
        ("e", [("Pointwise", "e"), ("Single", "e.act"), ("InvertedResidual", "p")]),
        ("e.act", [("Pointwise", "e.act"), ("InvertedResidual", "p")]),
        ("d", [("InvertedResidual", "d"), ("Single", "d.act"), ("Pointwise", "p")]),
        ("d.act", [("InvertedResidual", "d.act"), ("Pointwise", "p")]),
        ("p", [("InvertedResidual", "p")]),
    ],
)
def test_a_run_ends_at_a_tensor_that_is_kept(keep, kinds):
    assert run_of(*BLOCK, pointwise("p", "d.act"), keep=[keep])[1:] == kinds


def test_a_run_ends_at_a_tensor_that_something_else_reads():
    twice = (*BLOCK, pointwise("p", "d.act"), Node("s", "add", ("p", "e.act")))
    assert run_of(*twice)[1:] == [("Pointwise", "e.act"), ("InvertedResidual", "s")]


def test_a_run_ends_at_the_tensor_that_is_returned():
    graph = check(Graph(Recipe("", 1.0, (6, 8), 1, 4), (*BLOCK, pointwise("p", "d.act")), ("d.act",)))
    assert [step.end for step in steps(graph, shapes(graph))][:2] == ["stem", "d.act"]


# ---------------------------------------------------------------------------------------------------------- shortcuts


def test_a_shortcut_is_added_by_the_projection_whichever_way_round():
    for inputs in (("p", "stem"), ("stem", "p")):
        assert run_of(*BLOCK, pointwise("p", "d.act"), Node("s", "add", inputs))[1:] == [("InvertedResidual", "s")]
        assert run_of(STEM, pointwise("p", "stem"), Node("s", "add", inputs))[1:] == [("Pointwise", "s")]


def test_a_sum_with_itself_is_no_shortcut():
    assert run_of(STEM, pointwise("p", "stem"), Node("s", "add", ("p", "p")))[1:] == [
        ("Pointwise", "p"),
        ("Single", "s"),
    ]


def test_a_sum_with_the_image_is_no_shortcut():
    made = run_of(STEM, pointwise("p", "stem"), Node("s", "add", ("p", SOURCE)))
    assert made[1:] == [("Pointwise", "p"), ("Single", "s")]


def test_a_sum_with_what_is_made_later_waits_for_it():
    made = run_of(STEM, pointwise("p", "stem"), pointwise("q", "stem"), Node("s", "add", ("p", "q")))
    assert made[1:] == [("Pointwise", "p"), ("Pointwise", "s")]


def test_a_product_is_no_shortcut():
    gate = (pool("q", "stem"), pointwise("p", "q"), Node("s", "scale", ("stem", "p")))
    assert run_of(STEM, *gate)[1:] == [("Pool", "q"), ("Pointwise", "p"), ("Single", "s")]


# ------------------------------------------------------------------------------------------------- squeeze and excite


def excite(source="d.act", **changed):
    """The nodes of a squeeze-and-excite behind a map, any of them another."""
    nodes = {
        "q": pool("q", source),
        "r": pointwise("r", "q", 2, 4),
        "r.act": relu("r.act", "r"),
        "x": pointwise("x", "r.act", 4, 2),
        "g": Node("g", "sigmoid", ("x",)),
        "m": Node("m", "scale", (source, "g")),
    }
    return tuple({**nodes, **changed}.values())


def test_a_gate_is_opened_within_its_block():
    assert run_of(*BLOCK, *excite(), pointwise("p", "m"))[1:] == [("InvertedResidual", "p")]


def test_an_activation_behind_the_gate_is_of_the_block():
    assert run_of(*BLOCK, *excite(), relu("m.act", "m"), pointwise("p", "m.act"))[1:] == [("InvertedResidual", "p")]


def test_a_gate_without_activations_is_one_too():
    bare = (pool("q", "d"), pointwise("r", "q", 2, 4), pointwise("x", "r", 4, 2), Node("m", "scale", ("d", "x")))
    assert run_of(STEM, depthwise("d", "stem"), *bare, pointwise("p", "m"))[1:] == [("InvertedResidual", "p")]


def test_a_gate_that_opens_into_no_projection_is_run_by_itself():
    made = run_of(*BLOCK, *excite(), depthwise("n", "m"))
    assert made[1:] == [
        ("InvertedResidual", "d.act"),
        ("Pool", "q"),
        ("Pointwise", "r.act"),
        ("Pointwise", "g"),
        ("Single", "m"),
        ("InvertedResidual", "n"),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"q": Node("q", "max_pool2d", ("d.act",), {}, WHOLE)},
        {"q": pool("q", "stem")},
        {"r": Node("r", "affine", ("q",), {}, {"slope": 2.0, "offset": 0.0}), "x": pointwise("x", "r.act", 4, 4)},
        {
            "x": Node("x", "resize_bilinear", ("r.act",), {}, {"size": (1, 1), "align_corners": False}),
            "r": pointwise("r", "q"),
        },
        {"g": Node("g", "affine", ("x",), {}, {"slope": 2.0, "offset": 0.0})},
        {"m": Node("m", "scale", ("stem", "g"))},
        {"m": Node("m", "add", ("d.act", "d.act"))},
    ],
    ids=["largest", "of another map", "no reduction", "no expansion", "another gate", "for another map", "no product"],
)
def test_what_is_no_squeeze_and_excite_is_run_node_by_node(changed):
    """Only the depthwise convolution is run with what comes before it."""
    made = run_of(*BLOCK, *excite(**changed), pointwise("p", "m"))
    assert ("InvertedResidual", "d.act") in made or ("InvertedResidual", "d") in made
    assert ("Pointwise", "p") in made


@pytest.mark.parametrize("name", ["q", "r", "r.act", "x", "g", "m"])
def test_a_kept_tensor_inside_a_squeeze_and_excite_is_made(name):
    made = run_of(*BLOCK, *excite(), pointwise("p", "m"), keep=[name])
    assert name in [end for _, end in made]
    assert ("InvertedResidual", "p") not in made


def test_a_map_that_a_third_reads_is_made_before_its_gate():
    made = run_of(*BLOCK, *excite(), pointwise("p", "m"), Node("s", "add", ("p", "d.act")))
    assert ("InvertedResidual", "d.act") in made


# ----------------------------------------------------------------------------------------------------- pools, renames


@pytest.mark.parametrize(
    "attrs",
    [{"kernel": (6, 7)}, {"kernel": (5, 8)}, {"pad": ((0, 1), (0, 0))}, {"pad": ((0, 0), (1, 0))}],
    ids=["narrower", "lower", "padded below", "padded left"],
)
def test_only_the_mean_of_a_whole_map_is_a_pool(attrs):
    assert run_of(STEM, pool("q", "stem"))[1:] == [("Pool", "q")]
    assert run_of(STEM, pool("q", "stem", **attrs))[1:] == [("Single", "q")]


def test_only_a_map_of_one_pixel_is_flattened_by_name():
    flatten = Node("f", "flatten", ("q",))
    assert run_of(STEM, pool("q", "stem"), flatten)[1:] == [("Pool", "q"), ("Rename", "f")]
    assert run_of(STEM, pool("q", "stem", kernel=(6, 7)), flatten)[1:] == [("Single", "q"), ("Single", "f")]
    assert run_of(STEM, pool("q", "stem", kernel=(5, 8)), flatten)[1:] == [("Single", "q"), ("Single", "f")]


def test_a_vector_flattened_again_is_left_to_fast():
    made = run_of(STEM, pool("q", "stem"), Node("f", "flatten", ("q",)), Node("g", "flatten", ("f",)))
    assert made[2:] == [("Rename", "f"), ("Single", "g")]


def test_a_map_with_two_readers_of_which_one_is_a_convolution_with_its_activation_opens_no_gate():
    nodes = (
        *(STEM, depthwise("dw", "stem"), pointwise("first", "dw"), relu("act", "first"), relu("other", "dw")),
        Node("sum", "add", ("act", "other")),
    )
    assert run_of(*nodes) == [
        *(("Stem", "stem"), ("InvertedResidual", "dw"), ("Pointwise", "act"), ("Single", "other"), ("Single", "sum")),
    ]
