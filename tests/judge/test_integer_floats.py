"""Networks of integers that compute in floats between them: what rounding explains, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.graph import Graph, Node, Recipe
from refnet.judge.integers import nodes as judging
from refnet.judge.integers.nodes import compare_integers
from refnet.judge.integers.tensors import GoldenIntegers, match_integers
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.integers import read_integer_pack, write_integer_pack
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

ATTRS = {"kernel": (2, 1), "stride": (2, 1), "pad": ((0, 0), (0, 0))}
Q = Quantisation(0.1, 3, None, "uint8")


def network(size, nodes, params, quantised, channels=1):
    graph = Graph(Recipe("", 1.0, size, classes=1, channels=channels), nodes)
    return QuantisedNetwork(graph, params, dict.fromkeys(quantised, Q), "onnxruntime")


def pooled():
    """Means of two, in floats between integers: 5.5 and 10."""
    nodes = (
        Node("real", "dequantize", ("input",)),
        Node("pool", "avg_pool2d", ("real",), {}, ATTRS),
        Node("out", "quantize", ("pool",)),
    )
    return network((4, 1), nodes, {}, ("input", "out")), np.array([4, 7, 9, 11], np.uint8).reshape(1, 1, 4, 1)


def layer():
    """A layer of one weight that makes 5.5 and 6."""
    w = QuantisedTensor(np.array([[1]], np.int8), Quantisation([0.05], [0], 0, "int8"))
    node = Node("out", "pointwise_conv2d", ("input",), {"w": (1, 1)})
    x = np.array([53, 63], np.uint8).reshape(1, 1, 2, 1)
    return network((2, 1), (node,), {"out.w": w}, ("input", "out")), x


@pytest.mark.parametrize("make", [pooled, layer])
def test_an_integer_beside_a_tie_of_floats_is_right_and_any_other_is_not(make, tmp_path):
    net, x = make()
    write_integer_pack(net, x, tmp_path / "pack")
    y = net.trace(x)["out"]
    halfway, other = y.copy(), y.copy()
    halfway.flat[0] = 11 - y.flat[0]  # 5 for 6, or 6 for 5
    other.flat[1] += 1
    found = [compare_integers(tmp_path / "pack", {"input": x, "out": each}).findings[-1] for each in (halfway, other)]
    assert [each.verdict for each in found] == ["rounding", "wrong"]


def test_of_two_ways_to_match_names_that_counts_which_makes_more_tensors_right_if_only_but_for_rounding(tmp_path):
    net, x = layer()
    write_integer_pack(net, x, tmp_path / "pack")
    y = net.trace(x)["out"]
    y.flat[0] = 11 - y.flat[0]  # beside a tie
    golden = GoldenIntegers(read_integer_pack(tmp_path / "pack"), {"out": y})
    assert judging._right(net, golden, {"out": ("out", y)}) == 1
    assert judging._right(net, golden, {"out": ("out", y + np.uint8(1))}) == 0


def test_floats_are_judged_within_what_their_order_of_sums_may_do(tmp_path):
    net, x = pooled()
    write_integer_pack(net, x, tmp_path / "pack")
    pool = np.nextafter(net.trace(x)["pool"], np.float32(9))
    assert compare_integers(tmp_path / "pack", {"pool": pool}, partial=True).holds
    assert compare_integers(tmp_path / "pack", {"pool": pool + np.float32(1e-5)}, partial=True).wrong() == ["pool"]


def test_real_numbers_that_are_cut_off_where_they_become_integers_are_named(tmp_path):
    net, x = pooled()
    write_integer_pack(net, x, tmp_path / "pack")
    y = np.floor(net.trace(x)["pool"] * np.float32(0.8) / 0.1) + 3
    held = {"pool": net.trace(x)["pool"] * np.float32(0.8), "out": y.astype(np.uint8)}
    last = compare_integers(tmp_path / "pack", held).findings[-1]
    assert (last.verdict, [cause.rule for cause in last.causes][:2]) == (
        "wrong",
        ["cast-with-zero-point", "rounding-down"],
    )


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 255), (-0.5, 0.5)])
def test_pixels_in_another_range_are_told_by_the_integers_that_a_network_makes_of_them(low, high, tmp_path):
    x = np.arange(256, dtype=np.float32).reshape(1, 1, 256, 1) / 255
    net = network((256, 1), (Node("out", "quantize", ("input",)),), {}, ())
    net.quantised["out"] = Quantisation(1 / 255, 0, None, "uint8")
    write_integer_pack(net, x, tmp_path / "pack")
    port = net.trace(np.float32(low) + x * np.float32(high - low))["out"]
    (found,) = [
        each for each in compare_integers(tmp_path / "pack", {"out": port}, partial=True).findings if each.node == "out"
    ]
    assert (found.verdict, found.causes[0].rule) == ("wrong", "input-scaled")


MEAN, STD = (np.float32(each).reshape(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.mark.parametrize("normalised", [False, True])
def test_pixels_with_or_without_the_means_of_imagenet_are_told_by_the_first_layer(normalised, tmp_path):
    """The network, or else the port, normalises them before they become integers."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16)).astype(np.float32) / 255
    x, given = (pixels, (pixels - MEAN) / STD)[:: -1 if normalised else 1]
    w = QuantisedTensor(np.array([[9, -4, 3], [-2, 7, 5]], np.int8), Quantisation([0.05, 0.05], [0, 0], 0, "int8"))
    nodes = Node("held", "quantize", ("input",)), Node("out", "pointwise_conv2d", ("held",), {"w": (2, 3)})
    net = network((16, 16), nodes, {"out.w": w}, (), channels=3)
    net.quantised["held"] = (
        Quantisation(4.76 / 255, 113, None, "uint8") if normalised else Quantisation(1 / 255, 0, None, "uint8")
    )
    net.quantised["out"] = Quantisation(0.01, 100, None, "uint8")
    write_integer_pack(net, x, tmp_path / "pack")
    found = {each.node: each for each in compare_integers(tmp_path / "pack", {"out": net.trace(given)["out"]}).findings}
    assert [(cause.rule, cause.left) for cause in found["out"].causes] == [("input-scaled-by-channel", 0)]


def test_integers_whose_place_the_order_tells_are_not_a_node_that_makes_real_numbers_of_them(tmp_path):
    """A copy of the integers that the node reads, under a name of its own."""
    values = np.arange(40, dtype=np.uint8).reshape(1, 1, 40, 1)
    nodes = (Node("real", "dequantize", ("input",)), Node("out", "quantize", ("real",)))
    write_integer_pack(network((40, 1), nodes, {}, ("input", "out")), values, tmp_path / "pack")
    tensors = {"input": values, "copy": values}
    golden = GoldenIntegers(read_integer_pack(tmp_path / "pack"), tensors)
    found, unmatched = match_integers(tensors, golden, {"copy": "real"})
    assert {*found} == {"input"}
    assert unmatched == ["copy"]
