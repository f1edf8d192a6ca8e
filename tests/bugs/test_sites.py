"""An input that hides nothing, and the report on what an input could have shown."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from feeding import shallow

from refnet import Network, Row, build, random_params
from refnet.bugs.catalogue import BY_NUMBERS
from refnet.bugs.detectability import detectability, sites_of_share
from refnet.bugs.language.segments import limit
from refnet.bugs.sites import VISIBLE, rms_moved, sites
from refnet.graph import SOURCE
from refnet.judge.scorecard import FAMILIES
from refnet.networks.dialects import MODELS
from refnet.pack.probe import probe
from refnet.readings.bounds import Precision
from refnet.readings.shapes import shapes
from refnet.report.mistakes.bugs import detectability_rows

V3 = (  # blocks of every kind that it has
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 40, 16, False, "relu", 1),
    Row(5, 48, 24, True, "hard_swish", 2),
    Row(5, 72, 24, True, "hard_swish", 1),
)


def reported(net, x):
    return {row["id"]: row for row in detectability_rows(detectability(net, x))}


@pytest.mark.parametrize("family", ["V1", "V2", "MnasNet A1", "V3 Small, SAME", "LR-ASPP, paper"])
def test_the_probe_shows_nearly_every_bug_at_nearly_every_place(family):
    model, width, size = FAMILIES[family]
    graph = build(model, width=width, size=size, classes=10)
    rows = reported(Network(graph, random_params(graph)), probe(graph)).values()
    places, visible = sum(row["places"] for row in rows), sum(row["visible"] for row in rows)
    assert visible >= 0.95 * places


def test_the_probe_reaches_every_gate_and_every_hard_activation():
    graph = build("torchvision/mobilenet_v3_large", size=(64, 96))
    tensors = Network(graph, random_params(graph)).trace(probe(graph))
    x = probe(graph)
    assert x.dtype == np.float32
    assert x.min() < -6
    assert x.max() > 6
    hard = [node.inputs[0] for node in graph.nodes if node.op == "hard_swish"]
    assert all(tensors[name].min() < -3 and tensors[name].max() > 3 for name in hard if tensors[name].shape[2] > 1)


def test_a_grey_image_is_said_to_hide_what_exchanges_its_colours_and_axes():
    rows = reported(shallow((40, 48), V3)[0], np.full((2, 3, 40, 48), 0.5, np.float32))
    for bug in ("input-bgr", "input-hw", "input-turned"):
        assert rows[bug]["places"] > 0
        assert rows[bug]["visible"] == 0
        assert len(rows[bug]["hidden"]) == rows[bug]["places"]


def test_a_bug_that_applies_nowhere_has_no_places():
    net, _ = shallow((24, 24))
    assert reported(net, probe(net.graph, 1))["gate-hswish"]["places"] == 0


def test_the_second_image_is_a_photograph_as_the_vendor_scales_it():
    for name in ("torchvision/mobilenet_v3_small", "timm/tf_mobilenetv3_small_075", "keras/MobileNetV3Small"):
        graph = build(name, size=(48, 64))
        pixels = MODELS[name].dialect.preprocessing.undo(probe(graph, 2)[1:])
        assert 0 <= pixels.min() < 60
        assert 180 < pixels.max() <= 255 + 1e-3
        assert pixels[0, 0].mean() > pixels[0, 2].mean() + 20  # a ginger cat


def test_further_images_leave_the_first_as_they_are():
    graph = build("torchvision/mobilenet_v3_small", size=(48, 64))
    np.testing.assert_array_equal(probe(graph, 5)[:3], probe(graph, 3))


def test_reporting_on_a_batch_takes_less_memory_than_three_of_its_largest_tensor_and_the_params():
    """The largest tensor in float64, as for writing a pack."""
    graph = build("timm/mobilenetv1_100", width=0.25, size=(128, 128), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 3)
    bar = 3 * 8 * len(x) * max(map(math.prod, shapes(graph).values()))
    detectability(net.at(32), probe(net.at(32).graph, 1))  # what is imported on the way is no tensor
    tracemalloc.start()
    try:
        detectability(net, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bar + sum(array.nbytes for array in net.params.values())


@pytest.mark.parametrize("family", ["V1", "V2", "V3 Small, SAME", "LR-ASPP, paper"])
def test_where_a_bug_may_be_follows_from_the_numbers_of_an_image_for_a_few_bugs_alone(family):
    model, width, _ = FAMILIES[family]
    graph = build(model, width=width, size=(33, 47), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 2)
    places = [Counter(), Counter(), Counter()]
    for counts, one in zip(places, (x[:1], np.zeros_like(x[:1]), 1e6 * x[1:]), strict=True):
        with np.errstate(all="ignore"):
            found = sites(net.graph, net.params, [(SOURCE, one), *net.trace(one).items()])
            counts.update((site.bug, site.change.node, site.change.form) for site in found)
    differ = {place[0] for one in places for place in places[0].keys() ^ one.keys()}
    assert "sum-overflow" in differ <= BY_NUMBERS


def hidden(net, x):
    """By replaying every bug on the whole of every image."""
    float32 = Precision.of("float32")
    moved, explained = Counter(), Counter()
    for image in range(len(x)):
        one = x[image : image + 1]
        tensors = [(SOURCE, one), *net.trace(one).items()]
        for site in sites(net.graph, net.params, tensors):
            honest = limit(site.segment, float32)
            short = site.change.precision is not None
            far = limit(site.changed, float32).rms if short else rms_moved(site.changed, honest.y, np.float64)
            place = site.bug, site.change.node, site.change.form
            moved[place] += far**2
            explained[place] += honest.rms**2
    return {place for place in moved if not moved[place] > VISIBLE**2 * explained[place]}


@pytest.mark.parametrize("grey", [False, True])
def test_what_a_part_of_an_image_shows_is_what_all_of_all_images_show(grey):
    net, _ = shallow((40, 48), V3)
    graph = net.graph
    x = np.full_like(probe(graph, 2), 0.3) if grey else probe(graph, 2)
    found = {(each.bug, each.node, each.form) for row in detectability(net, x) for each in row.hidden}
    assert found == hidden(net, x)
    assert found


def test_a_blank_image_hides_nothing_that_another_one_shows():
    """And bugs of pixels that only one of the two can have have their places all the same."""
    net, _ = shallow((40, 48), V3)
    x = probe(net.graph, 1)
    blank = np.zeros_like(x)
    alone, bare = ({row.bug.id: row for row in detectability(net, image)} for image in (x, blank))
    for pair in ((blank, x), (x, blank)):
        for row in detectability(net, np.concatenate(pair)):
            places = max(rows[row.bug.id].places for rows in (alone, bare))
            assert (row.bug.id, row.places) == (row.bug.id, places)
            assert row.places - len(row.hidden) >= 0.9 * (row.places - len(alone[row.bug.id].hidden))


def test_a_place_is_counted_once_in_whatever_tensors_it_shows():
    net, _ = shallow((40, 48), V3)
    graph = net.graph
    rows = {row.bug.id: row for row in detectability(net, 1e5 * probe(graph, 1))}
    assert 0 < rows["sum-overflow"].places <= 2 * len(graph)  # a sum may leave a format before it is divided, and after


def test_pixels_are_given_to_a_network_that_rescales_them():
    x = probe(build("keras/MobileNetV3Small", size=(48, 64)))
    assert x.min() < 0
    assert x.max() > 255


def test_blocks_that_processes_share_show_the_same():
    graph = build("timm/mobilenetv1_100", width=0.25, size=(32, 32), classes=4)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    assert detectability(net, x, jobs=2) == detectability(net, x)
    owners = tuple(min(block // 2, 7) for block in range(32))
    assert all(len(sites_of_share((graph, dict(net.params), x, owners), share, 8)) > 20 for share in (0, 1))
