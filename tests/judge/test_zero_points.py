"""Ports of 8 bits against packs of floats: sums that leave out zero points; folded layers under convolutions' names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.bugs.layers.padding import bordered
from refnet.bugs.memory.zero_points import _moved
from refnet.bugs.sites import styles
from refnet.errors import RequestError
from refnet.graph import SOURCE, interpret, walk
from refnet.judge.compare import TensorScale, compare
from refnet.ops import WINDOWED
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ten blocks of V2."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(64, 48), classes=10).leading_to("block10.add")
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("zero") / "pack"
    write_pack(net, x, path)
    return net, x, path


def port(net, x, left_out=(), filled=None, ops=WINDOWED, unread="", least=-128):
    """Integers of a port, and their scales; its sums do not take off the zero points of some sides.

    Or convolutions of some operations are given another integer around their maps than the zero point; or those of one
    do not take off the zero point of what they read. What activations make is `least` at least.
    """
    graph, stored, scales, real = net.graph, {}, {}, {SOURCE: x}
    if filled is not None:
        zero = -128 - round(float(x.min()) * 255 / float(np.ptp(x)))
        scales[SOURCE] = TensorScale(float(np.ptp(x)) / 255, zero)
        stored[SOURCE] = np.clip(np.rint(x / scales[SOURCE].scale) + zero, -128, 127).astype(np.int8)
        real[SOURCE] = ((stored[SOURCE].astype(np.float64) - zero) * scales[SOURCE].scale).astype(np.float32)
    for name in styles(graph)["fused"]:
        part = graph.leading_to(name, starts=set(real))
        if filled is not None:
            part = replace(part, nodes=tuple(each for node in part.nodes for each in framed(node, scales, filled, ops)))
        whole = [source for node in part.nodes if node.op == unread for source in node.inputs]
        more = {each: np.float32(scales[each].scale * scales[each].zero_point) for each in whole if each in scales}
        y = interpret(part, fast, net.params, {each: z + more.get(each, 0) for each, z in real.items()})
        y = y.astype(np.float64)
        step = float(max(y.max(), 0) - min(y.min(), 0)) / 255 or 1 / 255
        zero = round(-128 - float(min(y.min(), 0)) / step)
        if graph[name].op == "add":
            for side in left_out:
                scale = scales[graph[name].inputs[side]]
                y = y + scale.scale * scale.zero_point
        lowest = least if graph[name].op == "relu6" else -128
        stored[name] = np.clip(np.rint(y / step) + zero, lowest, 127).astype(np.int8)
        scales[name] = TensorScale(step, zero)
        real[name] = ((stored[name].astype(np.float64) - zero) * step).astype(np.float32)
    return stored, scales


def framed(node, scales, integer, ops):
    """A convolution with an integer around its map."""
    if node.op not in ops or not any(map(any, node.attrs["pad"])):
        return (node,)
    scale = scales[node.inputs[0]]
    return bordered(node, node.attrs["pad"], "constant", (integer - scale.zero_point) * scale.scale)


@pytest.mark.parametrize(("ops", "scope", "count"), [(WINDOWED, "all", 11), (("depthwise_conv2d",), "layers", 10)])
def test_padding_of_the_integer_zero_is_said_once_of_all_its_layers(made, ops, scope, count):
    net, x, path = made
    stored, scales = port(net, x, filled=0, ops=ops)
    found = compare(path, stored, scales=scales)
    (pattern,) = found.judged.patterns
    assert (pattern.mistake.bug, pattern.mistake.form) == ("pad-value", "integer 0")
    assert (pattern.scope.kind, len(pattern.nodes), pattern.of) == (scope, count, count)
    assert of_port(pattern.mistake) == "the padding is the stored integer 0, not the zero point"


def test_padding_of_another_integer_is_said_with_how_far_it_is_from_each_zero_point(made):
    net, x, path = made
    stored, scales = port(net, x, filled=-14, ops=("depthwise_conv2d",))
    (pattern,) = compare(path, stored, scales=scales).judged.patterns
    assert (pattern.mistake.bug, pattern.mistake.form, pattern.mistake.facts) == (
        "pad-value",
        "integer",
        {"aside": 114},
    )
    assert len(pattern.nodes) == pattern.of == 10


def test_padding_of_another_number_at_each_place_is_solved_for(made):
    net, x, path = made
    values = {"block3.depthwise": 2.2588235, "block5.depthwise": 0.25, "block10.depthwise": 0.9629911}
    nodes = []
    for node in net.graph.nodes:
        value = values.get(node.name, 0.0)
        nodes += bordered(node, node.attrs["pad"], "constant", value) if value else (node,)
    graph, kept = replace(net.graph, nodes=tuple(nodes)), styles(net.graph)["fused"]
    run = {node.name: y for node, y in walk(graph, fast, net.params, {SOURCE: x}, keep=True)}
    (pattern,) = compare(path, {name: run[name] for name in kept}).judged.patterns
    numbers, *_ = pattern.mistake.facts["filling"]
    assert (pattern.mistake.bug, pattern.mistake.form) == ("pad-value", "number")
    assert pattern.nodes == tuple(values)
    np.testing.assert_allclose(numbers, [*values.values()], rtol=1e-5)


def test_an_honest_port_of_integers_with_its_input_holds(made):
    net, x, path = made
    stored, scales = port(net, x, filled=0, ops=())
    assert compare(path, stored, scales=scales).holds


def test_zero_points_that_sums_leave_out_are_named(made):
    net, x, path = made
    stored, scales = port(net, x, (0, 1))
    found = compare(path, stored, scales=scales)
    sums = [node.name for node in net.graph.nodes if node.op == "add"]
    assert found.wrong() == sums
    (pattern, *_) = found.judged.patterns
    assert (pattern.mistake.bug, pattern.mistake.form) == ("join-zero-points", "both -128")
    assert len(pattern.nodes) > 0.7 * len(sums)


def test_zero_points_of_one_side_that_sums_leave_out_are_said_of_all_sums_and_of_no_layer_before_them(made):
    net, x, path = made
    stored, scales = port(net, x, (0,))
    found = compare(path, stored, scales=scales)
    told = {(each.mistake.bug, each.mistake.form) for each in found.judged.patterns}
    assert told == {("join-zero-points", "shortcut -128")}


def test_zero_points_that_are_all_as_many_steps_off_are_said_once(made):
    net, x, path = made
    stored, scales = port(net, x)
    moved = {name: each._replace(zero_point=each.zero_point + 3) for name, each in scales.items()}
    pattern, *_ = compare(path, stored, scales=moved).judged.patterns
    assert of_port(pattern.mistake) == "the zero points of all tensors of integers are +3 off"
    assert len(pattern.nodes) > 0.9 * sum(not name.endswith(".add") for name in stored)


def test_a_result_that_is_some_steps_on_may_be_of_other_sizes_than_the_ports():
    y = _moved(np.zeros((3, 1, 2, 2)), 0.5, np.zeros((1, 1, 4, 4)), (-1.0, 1.0))
    assert (y.shape, np.unique(y).tolist()) == ((3, 1, 2, 2), [0.5])


def test_zero_points_that_depthwise_layers_do_not_take_off_are_said_of_these_layers(made):
    net, x, path = made
    stored, scales = port(net, x, unread="depthwise_conv2d")
    found = compare(path, stored, scales=scales)
    (pattern,) = found.judged.patterns
    assert of_port(pattern.mistake) == "the zero point of what is read is not taken off"
    assert pattern.nodes == tuple(node.name for node in net.graph.nodes if node.op == "depthwise_conv2d")


@pytest.mark.parametrize(
    ("least", "words"),
    [
        (0, "the activation cuts off below the stored integer 0, not below the zero point"),
        (-127, "the lowest integer is not used: integers are cut off one above it, as at -127 in int8"),
    ],
)
def test_activations_that_cut_off_at_another_integer_are_named(made, least, words):
    net, x, path = made
    stored, scales = port(net, x, least=least)
    (pattern,) = compare(path, stored, scales=scales).judged.patterns
    assert (pattern.scope.kind, of_port(pattern.mistake)) == ("act", words)


def test_zero_points_that_sides_of_sums_have_exchanged_are_named(made):
    net, x, path = made
    stored, scales = port(net, x)
    name = "block3.add"
    one, other = (scales[each] for each in net.graph[name].inputs)
    by = (other.zero_point - one.zero_point) * (other.scale - one.scale)
    real = (stored[name].astype(np.float64) - scales[name].zero_point) * scales[name].scale + by
    q = np.clip(np.rint(real / scales[name].scale) + scales[name].zero_point, -128, 127).astype(np.int8)
    found = compare(path, {**stored, name: q}, scales=scales)
    assert "each side of the sum has the zero point of the other taken off" in {
        of_port(cause.mistakes[0]) for cause in found.causes[name]
    }


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (False, "its folded bias is so many times what it should be: its integers are counted in other steps"),
        (True, "its folded bias has the scale of one filter in all channels, and each should have its own"),
    ],
)
def test_folded_biases_under_another_scale_are_named(made, each, words):
    net, x, path = made
    layers, wrong = ("block3.depthwise", "block5.depthwise", "block5.project"), dict(net.params)
    for layer in layers:
        gamma, beta, mean, var = (net.params[f"{layer}.bn.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
        factor = gamma / np.sqrt(var + 1e-5)
        largest = np.abs(net.params[f"{layer}.w"]).reshape(len(beta), -1).max(axis=1) * np.abs(factor)
        wrong[f"{layer}.bn.beta"] = beta + ((largest[0] / largest if each else 4) - 1) * (beta - mean * factor)
    stored, scales = port(replace(net, params=wrong), x)
    (pattern,) = compare(path, stored, scales=scales).judged.patterns
    assert of_port(pattern.mistake).startswith(words)
    assert pattern.nodes == layers


def of_one_scale(params, layer, channel):
    """Gamma and beta of a layer whose sums are all rescaled with the scale of one filter."""
    gamma, var = (params[f"{layer}.bn.{slot}"].astype(np.float64) for slot in ("gamma", "var"))
    largest = np.abs(params[f"{layer}.w"]).reshape(len(gamma), -1).max(axis=1) * np.abs(gamma / np.sqrt(var + 1e-5))
    times = (largest[channel] / largest).astype(np.float32)
    return {f"{layer}.bn.{slot}": params[f"{layer}.bn.{slot}"] * times for slot in ("gamma", "beta")}


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        (0, "the sums of all channels are rescaled with the scale of the first filter, and each should have its own"),
        (3, "the sums of all channels are rescaled with one scale, and each should have its own"),
    ],
)
def test_sums_that_are_rescaled_with_the_scale_of_one_filter_are_named(made, channel, words):
    net, x, path = made
    layers = ("block3.depthwise", "block5.depthwise", "block5.project")
    wrong = {name: y for layer in layers for name, y in of_one_scale(net.params, layer, channel).items()}
    stored, scales = port(replace(net, params={**net.params, **wrong}), x)
    (pattern,) = compare(path, stored, scales=scales).judged.patterns
    assert (of_port(pattern.mistake), pattern.nodes) == (words, layers)


def test_folded_layers_of_8_bits_under_names_of_convolutions_are_matched(made):
    net, x, path = made
    stored, scales = port(net, x, (0, 1))
    short = {name.removesuffix(".bn"): name for name in stored}
    found = compare(path, {n: stored[f] for n, f in short.items()}, scales={n: scales[f] for n, f in short.items()})
    assert found.wrong() == [node.name for node in net.graph.nodes if node.op == "add"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (lambda q: (q + 128) % 256, "its table is read half of it on: signed bytes are taken for unsigned ones"),
        (lambda q: (q + 3) % 256, "its table is read +3 entries on"),
        (lambda q: 255 - q, "its table is read from the other end"),
    ],
)
def test_a_table_that_is_read_at_another_entry_is_named(tmp_path, entry, words):
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(64, 48), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    write_pack(net, x, tmp_path / "pack")
    made = net.trace(x)
    ends = {name: (float(made[name].min()), float(np.ptp(made[name])) / 255) for name in ("stem.bn", "stem.act")}
    scales = {name: TensorScale(step, -128 - round(low / step)) for name, (low, step) in ends.items()}

    def stored(name, y):
        q = np.rint(y / scales[name].scale) + scales[name].zero_point
        return np.clip(q, -128, 127).astype(np.int8)

    before = stored("stem.bn", made["stem.bn"])
    levels = (np.arange(-128, 128) - scales["stem.bn"].zero_point) * scales["stem.bn"].scale
    table = stored("stem.act", levels * np.clip(levels + 3, 0, 6) / 6)
    dump = {"stem.bn": before, "stem.act": table[entry(before.astype(int) + 128)]}
    found = compare(tmp_path / "pack", dump, scales=scales, partial=True)
    assert [of_port(cause.mistakes[0]).startswith(words) for cause in found.causes["stem.act"]] == [True]


def test_of_a_layer_that_is_zero_all_over_another_zero_point_is_told_first(made, tmp_path):
    net, x, _ = made
    act, beta = "block4.depthwise.act", net.params["block4.depthwise.bn.beta"]
    net = replace(net, params={**net.params, "block4.depthwise.bn.beta": np.full_like(beta, -50)})
    write_pack(net, x, tmp_path / "pack")
    stored, scales = port(net, x)
    scales[act] = scales[act]._replace(zero_point=scales[act].zero_point + 3)
    found = compare(tmp_path / "pack", stored, scales=scales, partial=True)
    assert found.wrong() == [act]
    assert of_port(found.causes[act][0].mistakes[0]) == f"the zero point of {act} is +3 off"


def test_integers_in_arrays_of_floats_are_read_as_integers_by_their_scales(made):
    net, x, path = made
    stored, scales = port(net, x)
    found = compare(path, {name: y.astype(np.float32) for name, y in stored.items()}, scales=scales)
    assert found.holds
    assert found.reference.graph.output in found.judged.stored  # whose integers may be rounded otherwise


def test_integers_in_arrays_of_floats_without_scales_are_refused_with_what_they_are(made):
    net, x, path = made
    stored, _ = port(net, x)
    with pytest.raises(RequestError, match="whole numbers from -128 to 127, as integers of 8 bits"):
        compare(path, {name: y.astype(np.float32) for name, y in stored.items()})
