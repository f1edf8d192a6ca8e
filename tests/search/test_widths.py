"""Which channels are the same ones, in every family; graphs and weights that are cut to fewer stay whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs, own_graphs

from refnet import Row, Table, build, random_input, random_params
from refnet.graph import SOURCE, interpret
from refnet.readings import fast
from refnet.readings.shapes import shapes, well_formed
from refnet.search.proposals import shrinkables
from refnet.search.truncate import channel_norms, cut_params, kept_channels
from refnet.search.widths import KINDS, channel_widths, shrunk

FAMILIES = {
    "timm/mobilenetv1_100": {"stem": 1, "expansion": 12, "head": 1, "fixed": 1},
    "torchvision/mobilenet_v2": {"stem": 1, "bottleneck": 7, "expansion": 16, "head": 1, "fixed": 1},
    "timm/semnasnet_100": {"stem": 1, "bottleneck": 7, "expansion": 15, "squeeze": 8, "head": 1, "fixed": 1},
    "torchvision/mobilenet_v3_large": {"bottleneck": 6, "expansion": 14, "squeeze": 8, "head": 2, "fixed": 1},
    "torchvision/mobilenet_v3_small": {
        "stem": 1,
        "bottleneck": 5,
        "expansion": 10,
        "squeeze": 9,
        "head": 2,
        "fixed": 1,
    },
}


def small(name="torchvision/mobilenet_v3_small"):
    return build(name, width=0.25, size=32, classes=10)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_its_widths(name):
    found = [width.kind for width in channel_widths(build(name))]
    assert {kind: found.count(kind) for kind in found} == FAMILIES[name]


@pytest.mark.parametrize("name", ["torchvision/lraspp_mobilenet_v3_large", *FAMILIES])
def test_every_tensor_but_the_image_is_of_one_width(name):
    graph = build(name)
    tensors = [tensor for width in channel_widths(graph) for tensor in width.tensors]
    assert sorted(tensors) == sorted(node.name for node in graph.nodes)


def test_the_widths_of_a_graph_as_they_are_change_nothing():
    graph = small()
    assert shrunk(graph, {}).nodes == graph.nodes


def test_a_shortcut_ties_all_that_it_carries_on():
    widths = {width.name: width for width in channel_widths(build("torchvision/mobilenet_v3_small"))}
    assert widths["block4.project"].makers == ("block4.project", "block5.project", "block6.project")
    large = {width.name: width for width in channel_widths(build("torchvision/mobilenet_v3_large"))}
    assert large["stem.conv"].kind == "bottleneck"  # its first block has a shortcut and no expansion


def test_bottlenecks_of_one_size_are_shrunk_together_though_no_shortcut_ties_them():
    rows = (Row(3, 16, 16, False, "relu", 1), Row(3, 32, 24, False, "relu", 2), Row(3, 48, 16, False, "relu", 2))
    (both, other) = shrinkables(build(Table(stem=8, rows=rows), size=32), ["bottleneck"])
    assert (both.channels, both.widths) == (16, ("block1.project", "block3.project"))
    assert (other.channels, other.widths) == (24, ("block2.project",))


def test_a_squeeze_keeps_its_share_of_what_it_gates():
    graph = build("torchvision/mobilenet_v3_small")
    smaller = shrunk(graph, {"block5.expand": 121})
    assert smaller["block5.se.reduce"].params["w"] == (round(64 * 121 / 240), 121)
    assert smaller["block5.se.expand"].params["w"][0] == smaller["block5.depthwise"].params["w"][0] == 121


def test_the_image_and_the_classes_stay_as_they_are():
    graph = small()
    smaller = shrunk(graph, {width.name: 1 for width in channel_widths(graph) if width.kind in KINDS})
    assert smaller["stem.conv"].params["w"][1:] == graph["stem.conv"].params["w"][1:]
    assert shapes(smaller)[smaller.output] == (10,)


@settings(max_examples=8)
@given(graphs(), st.randoms(use_true_random=False))
def test_any_known_network_at_any_smaller_widths_is_a_graph_that_runs(graph, random):
    widths = [width for width in channel_widths(graph) if width.kind in KINDS]
    sizes = {width.name: random.randint(1, width.channels) for width in random.sample(widths, min(4, len(widths)))}
    smaller = well_formed(shrunk(graph, sizes))
    params = cut_params(graph, random_params(graph), smaller)
    y = interpret(smaller, fast, params, {SOURCE: random_input(smaller, 1)})
    assert np.isfinite(y).all()
    assert shapes(smaller)[smaller.output] == shapes(graph)[graph.output]
    changed = {name for name, shape in shapes(smaller).items() if shape != shapes(graph).get(name)}
    tied = {tensor for width in channel_widths(graph) if width.kind != "fixed" for tensor in width.tensors}
    assert changed <= tied
    assert all(shapes(smaller)[name][1:] == shapes(graph)[name][1:] for name in changed)


@settings(max_examples=40)
@given(own_graphs(), st.randoms(use_true_random=False))
def test_a_graph_that_no_vendor_built_stays_one(made, random):
    graph, params = made
    sizes = {width.name: random.randint(1, width.channels) for width in channel_widths(graph) if width.kind in KINDS}
    smaller = well_formed(shrunk(graph, sizes))
    cut = cut_params(graph, params, smaller)
    assert {name: array.shape for name, array in cut.items()} == smaller.params()
    assert all(array.dtype == np.float64 for array in cut.values())


def test_a_network_cut_to_the_widths_that_it_has_is_itself():
    graph = small()
    params = random_params(graph)
    made = cut_params(graph, params, shrunk(graph, {}))
    assert all(np.array_equal(made[name], params[name]) for name in params)


def test_the_channels_of_the_largest_norm_stay_in_their_order():
    graph = small()
    params = random_params(graph)
    (width,) = (each for each in channel_widths(graph) if each.name == "block3.expand")
    w = params["block3.expand.w"]
    gamma, var = params["block3.expand.bn.gamma"], params["block3.expand.bn.var"]
    norms = np.linalg.norm(w, axis=1) * np.abs(gamma) / np.sqrt(var + graph["block3.expand.bn"].attrs["eps"])
    assert np.allclose(channel_norms(graph, params, width), norms, rtol=1e-6)
    smaller = shrunk(graph, {"block3.expand": 5})
    best = sorted(np.argsort(norms)[-5:])
    assert kept_channels(graph, params, smaller)["block3.expand"].tolist() == best
    made = cut_params(graph, params, smaller)
    assert np.array_equal(made["block3.expand.w"], w[best])
    assert np.array_equal(made["block3.depthwise.w"], params["block3.depthwise.w"][best])
    assert np.array_equal(made["block3.depthwise.bn.mean"], params["block3.depthwise.bn.mean"][best])
    assert np.array_equal(made["block3.project.w"], params["block3.project.w"][:, best])


def test_channels_that_do_nothing_go_first_and_the_network_computes_as_before():
    graph = small()
    params = random_params(graph, np.float64)
    (width,) = (each for each in channel_widths(graph) if each.name == "block3.expand")
    dead = [1, 4, 6]
    params["block3.expand.w"][dead] = 0
    for name in ("gamma", "beta"):
        params[f"block3.expand.bn.{name}"][dead] = 0
        params[f"block3.depthwise.bn.{name}"][dead] = 0
    smaller = shrunk(graph, {"block3.expand": width.channels - 3})
    x = random_input(graph, 1, np.float64)
    before = interpret(graph, fast, params, {SOURCE: x})
    after = interpret(smaller, fast, cut_params(graph, params, smaller), {SOURCE: x})
    assert np.allclose(after, before, rtol=0, atol=1e-12)


def test_what_is_new_is_drawn_from_its_name():
    graph = small()
    params = random_params(graph)
    wider = shrunk(graph, {"block3.expand": graph["block3.expand"].params["w"][0] + 2})
    made, new = cut_params(graph, params, wider), random_params(wider)
    assert np.array_equal(made["block3.expand.w"][:-2], params["block3.expand.w"])
    assert np.array_equal(made["block3.expand.w"][-2:], new["block3.expand.w"][-2:])
