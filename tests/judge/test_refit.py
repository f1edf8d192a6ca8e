"""A port with other weights: a fit of a layer's weights says that only they differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.files.stored_weights import READINGS
from refnet.bugs.language.arrays import unit_arrays
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.describe import describe
from refnet.judge.causes.linear_layers import varying_channels
from refnet.judge.causes.refit import refit
from refnet.judge.tensors import Reference, judge_tensors
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.report.mistakes.features import feature_sentence

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(64, 96), classes=10)
PARAMS = random_params(GRAPH)
X = probe(GRAPH, 1)


def segment(params, end, dumped, x=X):
    tensors = {SOURCE: x, **Network(GRAPH, params).trace(x)}
    kept = {name: y for name, y in tensors.items() if name in (SOURCE, *dumped, end)}
    return cut(Parts(GRAPH), PARAMS, end, kept)


def stale(scale=0.05):
    rng = np.random.default_rng(0)
    return {
        name: (y + scale * y.std() * rng.standard_normal(y.shape)).astype(np.float32) if name.endswith(".w") else y
        for name, y in PARAMS.items()
    }


@pytest.mark.parametrize(
    ("end", "dumped"),
    [
        ("stem.conv", ()),
        ("block2.expand", ("block1.project.bn",)),
        ("block2.depthwise", ("block2.expand.act",)),
        ("block2.expand.bn", ("block1.project.bn",)),
        ("block3.add", ("block2.project.bn", "block3.depthwise.act")),
    ],
)
def test_other_weights_are_told(end, dumped):
    made = segment(stale(), end, dumped)
    (feature,) = describe(made, Precision.of("float32"))
    assert feature.kind == "weights"
    assert 0.98 < feature.facts["alike"] < 1


@pytest.mark.parametrize(("end", "dumped"), [("stem.conv", ()), ("block2.expand", ("block1.project.bn",))])
def test_of_two_images_each_point_is_one_equation(end, dumped):
    found = refit(segment(stale(), end, dumped, probe(GRAPH, 2)))
    assert 0.98 < found.alike < 1
    assert np.abs(found.y - segment(stale(), end, dumped, probe(GRAPH, 2)).candidate).max() < 1e-3


def test_weights_of_nothing_alike_are_told_as_such():
    rng = np.random.default_rng(1)
    other = {**PARAMS, "block2.expand.w": rng.permuted(PARAMS["block2.expand.w"], axis=1)}
    assert abs(refit(segment(other, "block2.expand", ("block1.project.bn",))).alike) < 0.5


def test_what_no_weights_explain_is_not_told():
    made = segment(PARAMS, "block2.expand", ("block1.project.bn",))
    noise = np.random.default_rng(0).standard_normal(made.candidate.shape).astype(np.float32)
    bent = np.maximum(made.candidate, -0.2) + np.float32(1e-3) * noise
    assert "weights" not in {each.kind for each in describe(replace(made, candidate=bent), Precision.of("float32"))}


def test_a_batch_norm_alone_has_other_arrays():
    other = {**PARAMS, "block2.expand.bn.gamma": PARAMS["block2.expand.bn.gamma"] * np.float32(1.1)}
    (feature,) = describe(segment(other, "block2.expand.bn", ("block2.expand",)), Precision.of("float32"))
    assert (feature.kind, *(round(feature.facts[end], 3) for end in ("least", "most"))) == ("norms", 1.1, 1.1)


@pytest.mark.parametrize("model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small"])
def test_a_batch_norm_has_other_arrays_behind_an_activation(model):
    """As modules are dumped that hold both; a channel that is dead says nothing."""
    graph = build(model, width=0.35, size=(48, 64), classes=10)
    params = random_params(graph)
    rng = np.random.default_rng(0)
    norm = "block3.expand.bn."
    other = {n: (y * rng.uniform(0.9, 1.1, y.shape)).astype(y.dtype) for n, y in params.items() if n.startswith(norm)}
    other[f"{norm}beta"][0] = -1e3
    x = probe(graph, 1)
    kept = Network(graph, {**params, **other}).trace(x)
    tensors = {SOURCE: x, **{name: kept[name] for name in ("block3.expand", "block3.expand.act")}}
    made = cut(Parts(graph), params, "block3.expand.act", tensors)
    (feature,) = describe(made, Precision.of("float32"))
    assert feature.kind == "norms"
    assert 0.85 < feature.facts["least"] < 0.95 < 1.05 < feature.facts["most"] < 1.17


@pytest.mark.parametrize("end", ["block3.expand.bn", "block3.depthwise.act", "block3.project.bn"])
@pytest.mark.parametrize(("slots", "kind"), [(("mean", "var"), "norms"), (("mean",), "biases")])
def test_other_statistics_are_told_beside_the_layers_own_weights(end, slots, kind):
    rng, norm = np.random.default_rng(0), f"{end.rpartition('.')[0]}.bn"
    names = [f"{norm}.{slot}" for slot in slots]
    other = {name: (PARAMS[name] * rng.uniform(0.8, 1.2, PARAMS[name].shape)).astype(np.float32) for name in names}
    before = {"expand": "block2.project.bn", "depthwise": "block3.expand.act", "project": "block3.depthwise.act"}
    made = segment({**PARAMS, **other}, end, (before[end.split(".")[1]],))
    (feature,) = describe(made, Precision.of("float32"))
    assert feature.kind == kind
    assert kind != "norms" or "other numbers of batch norm explain it" in feature_sentence(feature)


def test_of_a_channel_that_hardly_varies_no_slope_is_told():
    rng = np.random.default_rng(0)
    z = np.stack([rng.standard_normal(50), 7 + 1e-4 * rng.standard_normal(50), np.zeros(50)], axis=1)
    assert varying_channels(z, np.ones(z.shape, bool), (0,)).tolist() == [True, False, False]


def ended():
    """A search that has ended before it began, with as much time as it takes for what can be seen in errors."""
    budget = SearchBudget()
    budget.ended = "time"
    return budget


def test_layers_of_few_points_are_told_with_the_others_and_by_themselves_as_perhaps_such():
    dumped = {SOURCE: X, **Network(GRAPH, stale()).trace(X)}
    reference = Reference.of(GRAPH, PARAMS, {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)})
    found = judge_tensors(reference, dumped, budget=ended())
    assert {each.kind for each in found.features["block17.project"]} == {"weights"}
    made = {name: dumped[name] for name in ("block17.depthwise.act", "block17.project")}
    alone = judge_tensors(reference, made, partial=True, budget=ended())
    (feature,) = alone.features["block17.project"]
    assert (feature.kind, feature.facts) == ("weights", {"alike": None, "moved": None, "store": ""})


def test_noise_in_all_layers_is_not_taken_for_other_weights_in_those_of_few_points():
    drawn, noisy = np.random.default_rng(0), {SOURCE: X}
    for node in GRAPH.nodes:
        y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, {name: noisy[name] for name in node.inputs})
        noisy[node.name] = y * drawn.uniform(0.999, 1.001, y.shape).astype(y.dtype) if node.op in CONVOLUTIONS else y
    reference = Reference.of(GRAPH, PARAMS, {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)})
    found = judge_tensors(reference, noisy, budget=ended())
    assert "block17.project" in found.wrong()
    assert not any(found.features.values())


@pytest.mark.parametrize(
    ("end", "given"),
    [
        ("stem.act", ()),
        ("block2.expand.act", ("block1.project.bn",)),
        ("block2.depthwise.act", ("block2.expand.act",)),
        ("block15.depthwise.act", ("block15.expand.act",)),
    ],
)
def test_other_weights_are_told_through_an_activation(end, given):
    """As a runtime dumps its tensors that fuses; of a map of 4 x 6 points too."""
    (feature,) = describe(segment(stale(), end, given, probe(GRAPH, 2)), Precision.of("float32"))
    assert feature.kind == "weights"
    assert 0.95 < feature.facts["alike"] < 1


def test_gates_too_are_what_an_activation_makes_of_other_weights():
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
    params, x = random_params(graph), probe(graph, 24)
    other = {**params, **{k: y * np.float32(1.1) for k, y in params.items() if k.startswith("block4.se.expand")}}
    tensors = {SOURCE: x, **Network(graph, other).trace(x)}
    kept = {name: tensors[name] for name in (SOURCE, "block4.se.reduce.act", "block4.se.gate")}
    made = cut(Parts(graph), params, "block4.se.gate", kept)
    assert refit(made).alike > 0.99


def folded_in(dtype):
    """Weights and beta of which the fold makes those that it makes in another format."""
    made = dict(PARAMS)
    for unit in unit_arrays(GRAPH, PARAMS):
        if unit.norm is None:
            continue
        w, gamma, beta, mean, var = (unit[slot].astype(dtype) for slot in ("w", "gamma", "beta", "mean", "var"))
        s = gamma / np.sqrt(var + dtype(unit.eps))
        column = (-1, *(1,) * (w.ndim - 1))
        made[unit.names["w"]] = (w * s.reshape(column)).astype(np.float64) / unit.factor.reshape(column)
        bias = (beta - mean * s).astype(np.float64)
        made[unit.names["beta"]] = bias + unit.factor * unit["mean"]
    return {name: np.asarray(y, np.float32) for name, y in made.items()}


@pytest.mark.parametrize(
    ("end", "given"), [("block2.expand.act", "block1.project.bn"), ("block2.depthwise.act", "block2.expand.act")]
)
def test_a_fold_in_float16_is_told_by_its_weights(end, given):
    (feature,) = describe(segment(folded_in(np.float16), end, [given], probe(GRAPH, 2)), Precision.of("float32"))
    assert (feature.kind, feature.facts["store"]) == ("weights", "float16")
    assert "as where batch norm is folded in float16" in feature_sentence(feature)


def test_other_biases_beside_the_layers_own_weights_are_told_as_such():
    other = {**PARAMS, "block2.expand.bn.beta": np.sin(PARAMS["block2.expand.bn.beta"])}
    (feature,) = describe(segment(other, "block2.expand.act", ["block1.project.bn"]), Precision.of("float32"))
    assert feature.kind == "biases"


def test_every_stale_layer_is_told_where_sums_are_not_dumped():
    """As hooks of modules have it: a sum is no module."""
    dumped = {SOURCE: X, **Network(GRAPH, stale(0.01)).trace(X)}
    kept = {name: y for name, y in dumped.items() if name == SOURCE or GRAPH[name].op != "add"}
    golden = {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)}
    found = judge_tensors(Reference.of(GRAPH, PARAMS, golden), kept, partial=True, budget=ended())
    told = {name for name, features in found.features.items() if {each.kind for each in features} == {"weights"}}
    convolutions = {name for name in found.wrong() if "w" in GRAPH[name].params and name != "head.logits"}
    assert len(convolutions) > 40
    # The others have a channel that is zero throughout, so that a run of the rest is told.
    assert {each.kind for name in convolutions - told for each in found.features[name]} <= {"channels", "channel-run"}
    assert 10 * len(convolutions & told) > 9 * len(convolutions)
    assert not found.patterns


def test_where_there_are_fewer_points_than_weights_nothing_is_solved():
    assert refit(segment(stale(), "block17.project", ("block17.depthwise.act",))) is None


@pytest.mark.parametrize("step", [1, -3])
def test_filters_that_are_those_of_other_channels_are_told(step):
    other = {**PARAMS, "block2.depthwise.w": np.roll(PARAMS["block2.depthwise.w"], step, axis=0)}
    (feature,) = describe(segment(other, "block2.depthwise.bn", ("block2.expand.act",)), Precision.of("float32"))
    assert (feature.kind, feature.facts["moved"]) == ("weights", step)
    sign = "+" if step > 0 else "-"
    assert feature_sentence(feature).endswith(f"that of channel k is at channel k {sign} {abs(step)}")


def test_other_biases_are_told_where_the_maps_are_too_small_for_a_fit_of_weights():
    other = {**PARAMS, "block16.expand.bn.beta": np.sin(3 * PARAMS["block16.expand.bn.beta"])}
    x = probe(GRAPH, 2)
    (feature,) = describe(segment(other, "block16.expand.act", ["block15.add"], x), Precision.of("float32"))
    assert feature.kind == "biases"


def kernels(change, of="depthwise.w"):
    return {name: np.asarray(change(y), np.float32) if name.endswith(of) else y for name, y in PARAMS.items()}


def told(params, end, *given, images=2):
    (feature,) = describe(segment(params, end, given, probe(GRAPH, images)), Precision.of("float32"))
    assert feature.kind == "own-weights"
    return feature_sentence(feature)


@pytest.mark.parametrize(("end", "given"), [("expand.bn", "block4.project.bn"), ("depthwise.act", "block5.expand.act")])
@pytest.mark.parametrize("form", ["bfloat16 as float16", "float16 as bfloat16"])
def test_bytes_that_are_read_as_other_numbers_are_told(form, end, given):
    read = READINGS[form]
    said = told(kernels(read, f"block5.{end.split('.')[0]}.w"), f"block5.{end}", given)
    assert "what was stored as {} is read as {}".format(*form.split(" as ")) in said


@pytest.mark.parametrize("by", [2, -3])
@pytest.mark.parametrize(("end", "given"), [("depthwise.bn", "expand.act"), ("project", "depthwise.act")])
def test_weights_that_are_read_from_the_wrong_place_on_are_told(end, given, by):
    off = kernels(lambda y: np.roll(y.ravel(), by).reshape(y.shape), f"block3.{end.split('.')[0]}.w")
    said = told(off, f"block3.{end}", f"block3.{given}")
    assert f"the one that lies {abs(by)} {'before it' if by > 0 else 'further on'}" in said


def test_one_scale_for_all_channels_is_told_by_the_largest_weight_of_each():
    def one(y):
        largest = np.abs(y).max(axis=(1, 2), keepdims=True)
        return np.rint(y / largest * 127) / 127 * largest[0]

    before = kernels(lambda y: np.rint(127 * y / (top := np.abs(y).max(axis=(1, 2), keepdims=True))) / 127 * top)
    made = segment(kernels(one), "block3.depthwise", ["block3.expand.act"], probe(GRAPH, 2))
    (feature,) = describe(replace(made, params={**before}), Precision.of("float32"))
    assert "all channels have one scale" in feature_sentence(feature)


def test_a_factor_for_each_channel_beside_right_biases_is_told():
    scaled = kernels(lambda y: y * np.linspace(0.5, 2, len(y)).reshape(-1, 1, 1))
    assert "every channel is scaled, by 0.5 to 2" in told(scaled, "block3.depthwise.act", "block3.expand.act")


def test_a_norm_whose_numbers_are_in_another_order_is_told():
    name = "block3.depthwise.bn"
    turned = {f"{name}.{slot}": PARAMS[f"{name}.{slot}"][::-1] for slot in ("gamma", "beta", "mean", "var")}
    (feature,) = describe(
        segment({**PARAMS, **turned}, name, ["block3.depthwise"], probe(GRAPH, 2)), Precision.of("float32")
    )
    assert (feature.kind, feature.facts["moved"]) == ("weights", 0)


def test_integers_of_8_bits_under_one_scale_are_told_beside_weights_that_are_none():
    def one(y):
        largest = np.abs(y).max(axis=(1, 2), keepdims=True)
        return np.rint(y / largest * 127) / 127 * largest.max()

    assert "all channels have one scale" in told(kernels(one), "block3.depthwise", "block3.expand.act")
