"""Integers held against the network that they should be of: what is wrong is named, what is honest holds."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import refnet
from refnet.cli import main
from refnet.files.digits import digits
from refnet.files.integers_npz import write_integers_npz
from refnet.network.quantising import quantise
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.report.quantisation import quantisation_text
from refnet.verification.quantisation import _range, examine_quantisation


@pytest.fixture(scope="module")
def images():
    return digits().inputs()[:24]


@pytest.fixture(scope="module")
def integers(images):
    return quantise(refnet.load(), [images])


def kinds(net, images, real=None):
    """The kinds of findings that fail, by node."""
    report = examine_quantisation(net, real or refnet.load(), images)
    return {(each.kind, each.node) for each in report.findings if each.fails}, report


def with_params(net, **changed):
    return replace(net, params={**net.params, **{name.replace("__", "."): value for name, value in changed.items()}})


def test_an_honest_quantisation_holds(integers, images):
    found, report = kinds(integers, images)
    assert found == set()
    assert report.holds
    assert report.ratios["head.logits"] > 15


def test_weights_of_another_network_are_told(integers, images):
    w = integers.params["block3.project.w"]
    moved = QuantisedTensor(np.roll(w.values, 1, axis=1), w.quantisation)
    found, _ = kinds(with_params(integers, block3__project__w=moved), images)
    assert ("weights", "block3.project") in found


def test_a_bias_in_another_scale_is_told(integers, images):
    b = integers.params["block3.project.b"]
    found, report = kinds(with_params(integers, block3__project__b=(b * 4).astype(np.int32)), images)
    assert ("bias-scale", "block3.project") in found
    (finding,) = [each for each in report.findings if each.kind == "bias-scale"]
    assert abs(finding.amount - 4) < 0.1
    assert "the bias is 4 times the network's" in quantisation_text(report, verbose=True)


def test_ranges_of_other_data_are_told(integers, images):
    q = (
        integers.quantised["block4.expand"]
        if "block4.expand" in integers.quantised
        else integers.quantised["stem.conv"]
    )
    name = next(name for name, each in integers.quantised.items() if each is q)
    narrow = Quantisation(q.scale / 8, q.zero_point, None, q.dtype)
    found, _ = kinds(replace(integers, quantised={**integers.quantised, name: narrow}), images)
    assert ("range-cut", name) in found


def test_a_few_numbers_that_a_range_cuts_are_no_sign_of_other_data(integers, images):
    """Two of a squeeze's 16 numbers are more than a tenth; an honest file may cut as many by chance."""
    y = np.zeros(16)
    y[:2] = 9
    q = Quantisation(np.float32(1 / 127), 0, None, "int8")
    node = integers.graph["stem.conv"]
    assert [(each.kind, each.affected, each.fails) for each in _range(node, q, y)] == [("range-cut", 2, False)]
    assert [(each.kind, each.affected, each.fails) for each in _range(node, q, np.tile(y, 8))] == [
        ("range-cut", 16, True)
    ]


def test_saturated_logits_are_told(integers, images):
    q = integers.quantised["head.logits"]
    narrow = Quantisation(q.scale / 8, q.zero_point, None, q.dtype)
    changed = {**integers.quantised, "head.logits": narrow, "head.flatten": narrow}
    found, _ = kinds(replace(integers, quantised=changed), images)
    assert ("logits-saturated", "head.logits") in found


def test_a_lost_clamp_is_told():
    graph = refnet.build("torchvision/mobilenet_v2", width=0.35, size=32, classes=12)
    net = refnet.Network(graph, refnet.random_params(graph))
    x = refnet.random_input(graph, batch=2).astype(np.float32)
    made = quantise(net, [x])
    name = "block5.depthwise.act"
    node = made.graph[name]
    lost = made.graph.replaced(name, replace(node, attrs={**node.attrs, "act": ""}))
    wide = {**made.quantised, name: Quantisation(0.1, 0, None, "int8")}
    found, _ = kinds(replace(made, graph=lost, quantised=wide), x, net)
    assert ("clamp-lost", name) in found


def test_one_scale_for_small_filters_is_told(images):
    net = refnet.load()
    small = {**net.params, "block3.project.w": net.params["block3.project.w"].copy()}
    small["block3.project.w"][:4] /= 64
    net = refnet.Network(net.graph, small)
    report = examine_quantisation(quantise(net, [images], by_filter=False), net, images)
    (finding,) = [each for each in report.findings if (each.kind, each.node) == ("coarse-filters", "block3.project")]
    assert finding.affected >= 4


def test_images_in_another_range_than_the_input_s_are_told(integers, images):
    report = examine_quantisation(integers, refnet.load(), images * 2 + 0.5)
    assert report.findings[0].kind == "input-range"


def test_verify_says_it_on_the_command_line(tmp_path, capsys):
    net = refnet.load()
    integers = quantise(net, [refnet.probe(net.graph)[1:]])  # the photograph that verify takes
    refnet.write_weights(net.graph, net.params, tmp_path / "float.npz")
    broken = with_params(integers, block3__project__b=(integers.params["block3.project.b"] * 4).astype(np.int32))
    for name, each in (("good", integers), ("bad", broken)):
        write_integers_npz(tmp_path / f"{name}.npz", each.graph, each.params, each.quantised, each.kernels)
    command = ["verify", str(tmp_path / "float.npz"), "--model", "refnet/digits", "--against"]
    assert main([*command, str(tmp_path / "good.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["integers"]["holds"]
    files = ["--junit", str(tmp_path / "cases.xml"), "--report", str(tmp_path / "page.html")]
    assert main([*command, str(tmp_path / "bad.npz"), *files]) == 1
    (case,) = ElementTree.parse(tmp_path / "cases.xml").iter("testcase")
    assert case.find("failure").get("type") == "bias-scale"
    page = (tmp_path / "page.html").read_text()
    assert page.count("<rect ") == len(examine_quantisation(broken, net, refnet.probe(net.graph)[1:]).ratios)
    assert "block3.project: the bias is 4 times the network" in page
    assert "wrong  block3.project: the bias is 4 times the network's" in capsys.readouterr().out
