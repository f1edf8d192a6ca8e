"""Integers of fused layers: what a store inside has room for, and one mistake explains to half a step."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Grid, Segment, run
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.compare import TensorScale, compare
from refnet.readings import fast
from refnet.report.comparison import comparison_document
from refnet.report.mistakes.bugs import of_port


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(40, 48), classes=10)
    net = Network(graph, random_params(graph)).fold()
    path, x = tmp_path_factory.mktemp("fused") / "pack", probe(graph, 1)
    write_pack(net, x, path)
    return net, x, path


def saturated(v, zero, bits):
    return np.clip(v + zero, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def wrapped(v, bits):
    half = 2 ** (bits - 1)
    return (v + half) % (2 * half) - half


def fused(net, x, whole=np.rint, curve=None, *, ops=(), cast=saturated, bits=8, room=1.0, early=False, inside=False):
    """A port that stores what its layers make in 8 bits or more; what is inside them too, or nothing of it.

    Integers have room for a part of the range; the results of some operations are cast to them in another way,
    those of a ReLU perhaps before it.
    """
    golden, tensors, dump, scales = net.trace(x), {SOURCE: np.float32(x)}, {}, {}
    ends = {unit.output for unit in net.graph.units()}
    for node in net.graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        y = np.asarray(interpret(Graph(net.graph.recipe, (node,)), fast, net.params, given), np.float64)
        if node.op == "hard_swish" and curve is not None:
            y = curve(np.asarray(given[node.inputs[0]], np.float64))
        if node.name in ends or (inside and node.op != "flatten"):
            low, high = min(0.0, float(golden[node.name].min())), max(0.0, float(golden[node.name].max()))
            scale = float(np.float32(room * (high - low) / (2**bits - 1)))
            zero = round(-(2 ** (bits - 1)) - room * low / scale)
            y = given[node.inputs[0]].astype(np.float64) if early and node.op == "relu" else y
            as_integers = cast if node.op in ops else saturated
            stored = as_integers(whole(y / scale), zero, bits).astype(f"int{bits}")
            y = (stored.astype(np.float64) - zero) * scale
            if node.name in ends:
                dump[node.name], scales[node.name] = stored, TensorScale(scale, zero)
        tensors[node.name] = y.astype(np.float32)
    return dump, scales


def test_integers_of_fused_layers_hold(made):
    net, x, path = made
    dump, scales = fused(net, x)
    assert compare(path, dump, scales=scales).holds


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (
            lambda x: x / (1 + np.exp(-1.702 * np.maximum(x, -99))),
            "the activation is x sigmoid(1.702 x), which stands for GELU, instead of hard_swish",
        ),
        (lambda x: x / (1 + np.exp(-np.maximum(x, -99))), "the activation is the true swish"),
    ],
)
def test_a_curve_near_the_right_one_is_named_though_a_store_inside_has_room_for_it(made, curve, words):
    net, x, path = made
    dump, scales = fused(net, x, curve=curve)
    found = compare(path, dump, scales=scales)
    assert not found.holds
    assert of_port(found.judged.patterns[0].mistake) == words
    assert found.judged.patterns[0].scope.kind != "at"


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (np.floor, "integers are rounded down when they are stored"),
        (lambda v: np.trunc(v + 0.5), "adding half a step and cutting off toward zero, which is wrong below zero"),
    ],
)
def test_integers_of_fused_layers_that_are_cut_off_are_suspect_everywhere(made, whole, words):
    net, x, path = made
    dump, scales = fused(net, x, whole=whole)
    found = compare(path, dump, scales=scales)
    assert not found.holds
    assert words in of_port(found.judged.patterns[0].mistake)
    assert len(found.judged.patterns[0].nodes) > 30


def test_integers_that_a_store_inside_explains_are_never_wrong(made):
    net, x, path = made
    dump, scales = fused(net, x, inside=True)
    found = compare(path, dump, scales=scales)
    suspect = [each.name for each in found.findings if each.judgement.verdict == "suspect"]
    assert suspect == found.wrong()
    assert all(feature.kind == "inner-store" for name in suspect for feature in found.judged.features[name])
    notes = comparison_document(found, pack="", candidate="", precision="")["notes"]
    assert any("if the port stores" in each and "dump" in each for each in notes)


CASTS = {
    "result": lambda v, zero, bits: wrapped(v + zero, bits),
    "before zero": lambda v, zero, bits: saturated(wrapped(v, bits), zero, bits),
}


@pytest.mark.parametrize(("form", "bits"), [("result", 8), ("result", 16), ("before zero", 8)])
@pytest.mark.parametrize("ops", [("add",), ("batch_norm", "add", "pointwise_conv2d", "depthwise_conv2d")])
def test_integers_that_wrap_around_are_told_of_what_wraps(made, form, bits, ops):
    net, x, path = made
    dump, scales = fused(net, x, ops=ops, cast=CASTS[form], bits=bits, room=0.4)
    found = compare(path, dump, scales=scales)
    assert found.wrong()
    assert {net.graph[name].op for name in found.wrong()} <= {*ops}
    for name in found.wrong():
        mistakes = [mistake for cause in found.causes[name] for mistake in cause.mistakes]
        assert ("store-wraps", form) in [(each.bug, each.form) for each in mistakes]
        assert {each.facts["modulus"] for each in mistakes if each.bug == "store-wraps"} == {2**bits}
    assert found.judged.patterns[0].mistake.bug == "store-wraps"


def test_integers_that_wrap_around_before_a_relu_are_told(made):
    net, x, path = made
    dump, scales = fused(net, x, ops=("relu",), cast=CASTS["result"], room=0.4, early=True)
    (pattern,) = compare(path, dump, scales=scales).judged.patterns
    assert of_port(pattern.mistake) == "integers wrap around modulo 256 before the activation, instead of saturating"


def test_a_sum_of_the_integers_of_two_sides_that_wraps_around_is_told(made):
    net, x, _ = made
    end = "block3.add"
    x, y = (np.random.default_rng(7).integers(-128, 128, (2, 3, 4, 5)).astype(np.float64) for _ in range(2))
    node = Graph(net.graph.recipe, (net.graph[end],))
    sides = dict(zip(net.graph[end].inputs, (0.1 * x, 0.1 * y), strict=True))
    grids = dict.fromkeys(sides, Grid(0.1, -12.8)) | {end: Grid(0.15, -19.2)}
    port = np.rint(wrapped(x + y, 8) * 0.1 / 0.15) * 0.15
    segment = Segment(node, {}, sides, Parts(net.graph), {}, port, span=(-19.2, 19.05), grids=grids)
    change = next(each for each in BUGS["store-wraps"].changes(segment) if each.form == "sides")
    assert np.abs(run(segment.changed(change)) - port).max() < 0.15 / 2 + 1e-9


def test_integers_that_saturate_in_a_narrow_range_hold(made):
    net, x, path = made
    dump, scales = fused(net, x, room=0.4)
    assert compare(path, dump, scales=scales).holds
