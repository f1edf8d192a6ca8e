"""The same network at another size: what follows the size, what stays, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import strategies
from edits import changed
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import Graph, Node, Recipe, RequestError, build
from refnet.networks.dialects import MODELS
from refnet.networks.resize import resize
from refnet.networks.rewrite import fold_graph
from refnet.readings.shapes import shapes


@settings(deadline=None, max_examples=60)
@given(strategies.graphs(), st.tuples(st.integers(32, 70), st.integers(32, 70)))
def test_a_known_network_becomes_what_is_built_for_that_size(graph, size):
    recipe = graph.recipe
    assert resize(graph, size) == build(recipe.model, width=recipe.width, size=size, classes=recipe.classes)
    assert resize(fold_graph(graph), size) == fold_graph(resize(graph, size))


def test_keras_paddings_of_an_open_size_follow_the_size_too():
    graph = build("keras/MobileNetV3Small@anysize", size=64)
    assert resize(graph, (65, 99)) == build("keras/MobileNetV3Small@anysize", size=(65, 99))


def test_the_network_that_ships_moves_as_the_table_it_is_made_of():
    assert MODELS["refnet/digits"].size == (32, 32)
    assert resize(build("refnet/digits"), 48) == build("refnet/digits", size=48)


def test_a_stride_of_the_files_own_stays_and_the_pools_after_it_follow():
    graph = changed(build("torchvision/mobilenet_v3_small", size=(48, 192)), "block4.depthwise", stride=(2, 1))
    moved = resize(graph, (64, 96))
    assert moved["block4.depthwise"].attrs["stride"] == (2, 1)
    assert moved["block4.depthwise"].attrs["pad"] == ((2, 2), (2, 2))
    maps = shapes(moved)
    assert moved["head.pool"].attrs["kernel"] == maps["head.act"][1:] == (2, 6)
    assert maps["head.flatten"] == (1000,)


def test_a_padding_that_is_not_the_vendors_is_refused_by_name():
    graph = changed(build("torchvision/mobilenet_v2", size=64), "block2.depthwise", pad=((0, 1), (0, 1)))
    with pytest.raises(RequestError, match=r"block2.depthwise pads \(\(0, 1\), \(0, 1\)\) at size \(64, 64\), .*leave"):
        resize(graph, 96)
    assert resize(graph, 64) == graph


def test_too_small_an_image_is_refused_by_the_node_that_has_nothing_left():
    graph = build("keras/MobileNet", size=64)
    with pytest.raises(RequestError, match=r"size 1,1 is too small for keras/MobileNet: nothing is left of block\d"):
        resize(graph, 1)


def test_another_number_of_channels_stays():
    graph = build("torchvision/mobilenet_v2", size=64)
    stem = graph.nodes[0]
    grey = replace(stem, params={"w": (32, 1, 3, 3)})
    graph = replace(graph, recipe=replace(graph.recipe, channels=1), nodes=(grey, *graph.nodes[1:]))
    assert resize(graph, 96).input_shape == (1, 96, 96)


def nameless(name: str, size: int, *ends: str) -> Graph:
    """A graph of no known network: a known one's layers under other names, which returns several of them."""
    known = build(name, size=size, classes=3)
    names = {node.name: f"layer.{number}" for number, node in enumerate(known.nodes)}
    recipe = replace(known.recipe, model="", preprocessing=None, labels="")
    return replace(known, recipe=recipe, returns=ends).renamed(names)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["torchvision/mobilenet_v3_small", "keras/MobileNetV3Small", "paper/mobilenet_v2"]),
    st.integers(40, 60),
    st.integers(40, 60),
)
def test_a_network_of_ones_own_moves_by_the_rule_that_its_paddings_tell(name, before, after):
    ends = ("block2.project.bn", "head.flatten")
    try:
        moved = resize(nameless(name, before, *ends), after)
    except RequestError as refusal:
        moved = str(refusal)
    if isinstance(moved, str):  # two rules gave the same numbers before, and would not now
        assert "which no one rule explains" in moved
    else:
        assert moved == nameless(name, after, *ends)


def test_symmetric_paddings_of_ones_own_network_stay_at_every_size():
    name, ends = "torchvision/mobilenet_v2", ("block3.add", "head.flatten")
    assert resize(nameless(name, 64, *ends), 97) == nameless(name, 97, *ends)


def halved(name: str, after: int) -> Node:
    pad = ((0, after), (0, after))
    return Node(name, "max_pool2d", ("input",), {}, {"kernel": (2, 2), "stride": (2, 2), "pad": pad})


def enlarged(name: str, source: str, size: tuple[int, int]) -> Node:
    return Node(name, "resize_bilinear", (source,), {}, {"size": size, "align_corners": False})


def test_a_size_at_which_the_nodes_no_longer_agree_is_refused_by_name():
    """One pool rounds the number of its windows up and the other down."""
    nodes = (halved("down", 0), halved("up", 1), Node("sum", "add", ("down", "up")))
    graph = Graph(Recipe("", 1.0, (8, 8), 1), nodes)
    with pytest.raises(RequestError, match=r"size 9,9 does not fit this network: sum: adds tensors of the shapes"):
        resize(graph, 9)


def test_a_map_resized_to_that_which_it_is_joined_with_follows_it():
    nodes = (
        halved("half", 0),
        Node("quarter", "max_pool2d", ("half",), {}, {"kernel": (2, 2), "stride": (2, 2), "pad": ((0, 0), (0, 0))}),
        enlarged("back", "quarter", (4, 4)),
        Node("act", "relu", ("back",)),
        Node("own", "relu", ("half",)),
        Node("sum", "add", ("act", "own")),
    )
    moved = resize(Graph(Recipe("", 1.0, (8, 8), 1), nodes), (12, 20))
    assert moved["back"].attrs["size"] == (6, 10)


def test_a_map_resized_to_the_image_follows_it_and_any_other_stays():
    nodes = (halved("half", 0), enlarged("fixed", "half", (5, 5)), enlarged("back", "fixed", (8, 8)))
    moved = resize(Graph(Recipe("", 1.0, (8, 8), 1), nodes), (12, 20))
    assert [moved[name].attrs["size"] for name in ("fixed", "back")] == [(5, 5), (12, 20)]


SEGMENTERS = [name for name in MODELS if MODELS[name].table.decoder]


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [(8, 8), (33, 40), (97, 131), (520, 520), (1024, 2048)])
def test_a_segmentation_network_moved_to_a_size_is_the_one_built_for_it(name, size):
    for own in (None, (33, 40), (224, 224)):
        assert resize(build(name, size=own), size) == build(name, size=size)
