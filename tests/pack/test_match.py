"""Matching: every tensor of a candidate finds its node, by map, name or content, in any layout; or none."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays

from refnet import Network, RequestError, build, probe, random_input, random_params
from refnet.files.schemes import SCHEMES
from refnet.graph import walk
from refnet.judge.dumps.ends import with_ends
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.match import Assignment, MatchedTensor, match_tensors
from refnet.readings import fast
from refnet.readings.shapes import shapes


@cache
def trace() -> dict[str, np.ndarray]:
    """Every tensor of a small network with squeeze-and-excite, H != W."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=7)
    x = random_input(graph, batch=1)
    return {"input": x, **{node.name: y for node, y in walk(graph, fast, random_params(graph), {"input": x})}}


def matched(candidate, golden=None, **how):
    golden = trace() if golden is None else golden
    return match_tensors(candidate, {name: array.shape for name, array in golden.items()}, golden.__getitem__, **how)


# Matching by name


@pytest.mark.parametrize("spell", [str, str.upper, lambda n: n.replace(".", "/"), lambda n: n.replace(".", "_")])
def test_equal_names_match(spell):
    found = matched({spell(name): array for name, array in reversed(trace().items())})
    assert list(found.tensors) == list(trace())
    assert not found.unmatched
    for name, tensor in found.tensors.items():
        assert (tensor.how, tensor.source) == ("name", spell(name))
        assert tensor.layout in ("nchw", "nc")
        np.testing.assert_array_equal(tensor.array, trace()[name], strict=True)


def test_ambiguous_names_match_nothing():
    golden = {"a.b": np.ones((1, 2, 3, 4))}
    far = -golden["a.b"]
    assert matched({"a/b": far, "A_B": far}, golden).unmatched == ["a/b", "A_B"]
    found = matched({"a.b": far, "a_b": far}, golden)
    assert (found.tensors["a.b"].source, found.unmatched) == ("a.b", ["a_b"])


def test_a_map_comes_first():
    x, y = np.ones((1, 2, 3, 4)), np.arange(24.0).reshape(1, 2, 3, 4)
    found = matched({"x": x, "q": y}, {"x": x, "y": y}, names={"x": "y"})
    assert found.tensors["y"].source == "x"
    assert found.tensors["y"].how == "map"
    assert found.unmatched == ["q"]  # what is nearest is taken


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"stem": "a.conv"}, "'stem', which is no tensor of the candidate; nearest: stem[12]"),
        ({"stem1": "a.conf"}, "'a.conf', which is no node; nearest: a.conv"),
        ({"stem1": ["a.conv"]}, "which is no node"),
        ({"stem1": "a.conv", "stem2": "a.conv"}, "more than one"),
    ],
)
def test_a_map_that_names_nothing_is_refused(names, says):
    x = np.ones((1, 2, 3, 4))
    with pytest.raises(RequestError, match=says):
        matched({"stem1": x, "stem2": x}, {"a.conv": x}, names=names)


def test_what_holds_no_numbers_is_refused():
    with pytest.raises(RequestError, match="'x' holds bool"):
        matched({"x": np.ones(2, bool)}, {"x": np.ones((1, 2))})


# Layouts

SHAPES = st.tuples(st.integers(1, 2), *[st.integers(1, 6)] * 3)


@given(data=st.data(), shape=SHAPES, order=st.sampled_from(["nchw", "nhwc"]))
def test_any_layout_without_doubt_comes_out_as_nchw(data, shape, order):
    x = data.draw(arrays(*shape))
    given = x.transpose(["nchw".index(axis) for axis in order])
    kept = [axis for axis, side in enumerate(given.shape) if side != 1 or data.draw(st.booleans())]
    given = given.reshape([given.shape[axis] for axis in kept])
    (tensor,) = matched({"x": given}, {"x": x}).tensors.values()
    assert tensor.array.shape == x.shape
    if (x != x.flat[0]).any():  # else any layout is right
        np.testing.assert_array_equal(tensor.array, x)
    assert len(tensor.layout) == given.ndim or given.ndim == 0 or tensor.layout.startswith("flat")


@pytest.mark.parametrize(
    ("found", "full", "labels"),
    [
        ((1, 8, 5, 6), (1, 8, 5, 6), ["nchw"]),
        ((1, 5, 6, 8), (1, 8, 5, 6), ["nhwc"]),
        ((1, 8, 6, 5), (1, 8, 5, 6), ["ncwh"]),
        ((6, 5, 8), (1, 8, 5, 6), ["whc"]),
        ((8, 5, 6), (1, 8, 5, 6), ["chw"]),
        ((1, 8), (1, 8, 1, 1), ["nc"]),
        ((8,), (1, 8, 1, 1), ["c"]),
        ((1, 1, 1, 8), (1, 8, 1, 1), ["nhwc"]),
        ((1, 1, 8), (1, 8), ["hwc"]),
        ((3, 8, 1, 1), (3, 8), ["nchw"]),
        ((1, 6, 6, 6), (1, 6, 6, 6), ["nchw", "nhwc"]),
        ((1, 8, 6, 6), (1, 8, 6, 6), ["nchw"]),  # never ncwh: a transposed map may be the bug
        ((240,), (1, 8, 5, 6), ["flat nchw", "flat nhwc"]),
        ((24,), (3, 8), ["flat nchw"]),
        ((2, 8, 5, 6), (1, 8, 5, 6), []),
        ((8, 30), (1, 8, 5, 6), []),
    ],
)
def test_layouts_of_a_shape(found, full, labels):
    assert [layout.label for layout in axis_orders(found, full)] == labels


def test_where_both_layouts_fit_values_decide():
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 6))
    assert matched({"x": x.transpose(0, 2, 3, 1)}, {"x": x}).tensors["x"].layout == "nhwc"
    assert matched({"x": x}, {"x": x}).tensors["x"].layout == "nchw"
    assert matched({"x": np.zeros_like(x)}, {"x": x}).tensors["x"].layout == "nchw"
    y = np.random.default_rng(1).standard_normal((1, 2, 3, 4))
    both = matched({"x": np.zeros_like(x), "y": y.transpose(0, 2, 3, 1)}, {"x": x, "y": y})
    assert both.tensors["x"].layout == "nhwc"  # as its neighbours
    flat = matched({"x": x.transpose(0, 2, 3, 1).ravel()}, {"x": x}).tensors["x"]
    assert flat.layout == "flat nhwc"
    np.testing.assert_array_equal(flat.array, x)


def test_a_shape_that_nothing_explains_is_kept():
    tensor = matched({"x": np.ones((5, 5))}, {"x": np.ones((1, 2, 3, 4))}).tensors["x"]
    assert (tensor.layout, tensor.array.shape) == ("unknown", (5, 5))


# Matching by content


def renamed(change=lambda array: array):
    return {f"out_{number}": change(array) for number, array in enumerate(trace().values())}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("error", [0, 1e-6, 1e-2])
def test_every_tensor_is_known_by_its_values(last, error):
    rng = np.random.default_rng(5)

    def change(x):
        x = x + error * np.abs(x).max() * rng.standard_normal(x.shape).astype(x.dtype)
        return x.transpose(0, 2, 3, 1) if last and x.ndim == 4 else x

    found = matched(renamed(change))
    wrong = [n for i, n in enumerate(trace()) if n in found.tensors and found.tensors[n].source != f"out_{i}"]
    assert not wrong
    assert len(found.tensors) + len(found.unmatched) == len(trace())
    if error < 1e-3:
        assert not found.unmatched
        assert all(tensor.how == "content" for tensor in found.tensors.values())


def test_a_wrong_layer_is_matched_when_it_is_not_too_wrong():
    x = np.random.default_rng(0).standard_normal((4, 1, 8, 5, 5))
    golden = dict(zip("abcd", x, strict=True))
    rest = {"1": x[1], "2": x[2], "3": x[3]}
    assert matched({"0": 0.7 * x[0], **rest}, golden).tensors["a"].source == "0"
    assert matched({"0": 0.4 * x[0], **rest}, golden).unmatched == ["0"]
    assert matched({"0": x[0] + x[1], **rest}, golden).unmatched == ["0"]
    holed = x[0].copy()
    holed[0, 0] = np.nan
    assert matched({"0": holed, **rest}, golden).tensors["a"].source == "0"
    assert matched({"0": np.full_like(x[0], np.nan), **rest}, golden).unmatched == ["0"]


def test_equal_golden_tensors_are_taken_in_order_and_a_copy_stays_over():
    x = np.random.default_rng(0).standard_normal((1, 8))
    golden = {"logits": x[..., None, None], "flatten": x, "like": x + 1e-3}
    found = matched({"p": x, "q": x[..., None, None], "r": x}, golden)
    assert [(node, tensor.source) for node, tensor in found.tensors.items()] == [("logits", "q"), ("flatten", "p")]
    assert found.unmatched == ["r"]


def test_tensors_that_differ_in_few_elements_are_told_apart():
    x = np.random.default_rng(0).standard_normal((1, 32, 40, 40))
    other = x.copy()
    other[0, 7, 3, 3] += 50
    for first, second in ((x, other), (other, x)):
        found = matched({"1": first, "2": second}, {"x": x, "other": other})
        for name, array in (("x", x), ("other", other)):
            np.testing.assert_array_equal(found.tensors[name].array, array)


@given(st.permutations(range(6)), arrays(6, 1, 3, 4, 5))
def test_the_order_of_the_candidate_does_not_matter(order, x):
    x = x + np.arange(6).reshape(6, 1, 1, 1, 1) * 100
    golden = {str(number): array for number, array in enumerate(x)}
    found = matched({f"t{number}": x[number] for number in order}, golden)
    assert {node: tensor.source for node, tensor in found.tensors.items()} == {n: f"t{n}" for n in golden}


# Vendors' names, and what has another size


def network():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(40, 56), classes=7)
    params = random_params(graph)
    x = random_input(graph, batch=2)
    return Network(graph, params), {"input": x, **Network(graph, params).trace(x)}


def activations_in_containers(net):
    """(container, place in it, node) of each activation, as torchvision numbers them: behind their batch norm."""
    names = SCHEMES["torchvision"].modules(net.graph)
    for unit in net.graph.units():
        if unit.act is not None and unit.norm is not None:
            head, _, last = names[unit.norm.name].rpartition(".")
            yield head, int(last) + 1, unit.act.name


def test_activations_alone_are_known_by_their_numbers_however_wrong_they_are():
    net, golden = network()
    dumped = {f"{head}.{place}": node for head, place, node in activations_in_containers(net)}
    noise = np.random.default_rng(0)
    wrong = {name: noise.random(golden[node].shape) for name, node in dumped.items()}
    found = matched(wrong, golden, network=net)
    assert {each.source: node for node, each in found.tensors.items()} == dumped


def test_activations_alone_are_known_by_kerass_names_too():
    """One holds what is before its activation: by its numbers it would be the batch norm's, and be right."""
    graph = build("keras/MobileNet", width=0.25, size=(40, 56), classes=7)
    net, x = Network(graph, random_params(graph)), random_input(graph, batch=2)
    golden = {"input": x, **net.trace(x)}
    modules = SCHEMES["keras"].modules(graph)
    acts = {f"{modules[u.conv.name]}_relu": u for u in graph.units() if u.act is not None}
    dumped = {name: golden[unit.act.name] for name, unit in acts.items()}
    dumped["conv_pw_4_relu"] = golden[acts["conv_pw_4_relu"].norm.name]
    found = matched(dumped, golden, network=net)
    assert {each.source: node for node, each in found.tensors.items()} == {k: u.act.name for k, u in acts.items()}
    assert {each.how for each in found.tensors.values()} == {"vendor"}


def test_a_container_of_modules_is_no_convolution():
    """PyTorch's hooks on containers give what their last module makes."""
    net, golden = network()
    dumped = {}
    for head, place, node in activations_in_containers(net):
        dumped |= {f"{head}.{place}": golden[node], head: golden[node]}
    found = matched(dumped, golden, network=net)
    assert all(net.graph[node].op in ("relu6", "flatten", "avg_pool2d") for node in found.tensors)


def test_the_batch_may_be_the_last_axis():
    _, golden = network()
    found = matched({name: y.transpose(1, 2, 3, 0) for name, y in golden.items() if y.ndim == 4}, golden)
    assert {each.layout for each in found.tensors.values()} <= {"chwn"}
    np.testing.assert_array_equal(found.tensors["stem.conv"].array, golden["stem.conv"])


def test_a_tensor_of_another_size_is_read_channels_last_where_the_others_are():
    _, golden = network()
    last = {name: y.transpose(0, 2, 3, 1) for name, y in golden.items() if y.ndim == 4}
    small = {**last, "block2.depthwise": last["block2.depthwise"][:, :-1]}
    (one,) = (each for each in matched(small, golden).tensors.values() if each.layout == "unknown")
    np.testing.assert_array_equal(one.array, golden["block2.depthwise"][:, :, :-1])


def test_probabilities_under_the_name_of_the_layer_that_makes_their_logits_are_the_softmaxs():
    """Keras' last layer has its softmax: where the port is wrong before it, only what they are tells."""
    graph = build("keras/MobileNetV2", width=0.35, size=(32, 32), classes=7)
    shapes_ = {"input": (1, 3, 32, 32), **{name: (1, *shape) for name, shape in shapes(graph).items()}}
    for y, node in ((np.full((1, 7), 1 / 7, "f"), "output"), (np.arange(7, dtype="f")[None], "head.logits")):
        known = {"head.logits": MatchedTensor(lambda y=y: y, "predictions", "nc", "vendor")}
        dumped = {"predictions": y}
        found = with_ends(graph, Assignment(known, []), dumped, {"predictions": (1, 7)}, shapes_, {}.__getitem__)
        assert list(found.tensors) == [node]


def test_channels_of_another_layer_are_no_block_that_seven_classes_fill_in_part():
    wide = np.zeros((1, 1, 1, 8), np.float32)
    wide[..., :7] = 0.7 * trace()["head.flatten"]
    found = matched({"gate": wide})
    assert found.unmatched == ["gate"]


@pytest.mark.parametrize(
    ("held", "places"),
    [
        (("head.hidden", "head.hidden.act"), {"classifier_1": "head.hidden", "classifier_2": "head.hidden.act"}),
        (("head.hidden", "head.hidden"), {"classifier_1": "head.hidden.act"}),
        (("head.hidden.act", "head.hidden.act"), {"classifier_1": "head.hidden.act"}),
    ],
)
def test_an_activation_is_what_holds_its_numbers_where_modules_have_other_numbers_than_the_vendors(held, places):
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=7)
    names = {f"classifier_{index}": trace()[node] for index, node in enumerate(held, start=1)}
    names["classifier_3"] = trace()["head.logits"]
    found = matched(names, network=Network(graph, random_params(graph)))
    made = {each.source: node for node, each in found.tensors.items()}
    assert {name: made.get(name) for name in places} == places


def test_a_gate_under_the_name_of_the_stems_activation_is_not_the_stems():
    """Keras numbers activations of a class: where all but gates are of another one, `activation` is the first gate."""
    graph = build("timm/semnasnet_050", width=0.35, size=(40, 56), classes=7)
    net = Network(graph, random_params(graph))
    made, counts, names = {"input": probe(graph, 1), **net.trace(probe(graph, 1))}, Counter(), {}
    kinds = {"conv2d": "conv2d", "pointwise_conv2d": "conv2d", "batch_norm": "batch_normalization", "relu": "re_lu"}
    kinds |= {"depthwise_conv2d": "depthwise_conv2d", "sigmoid": "activation", "scale": "multiply"}
    for node in graph.nodes[:-2]:
        if (kind := kinds.get(node.op)) is not None:
            number, counts[kind] = counts[kind], counts[kind] + 1
            names[f"{kind}_{number}" if number else kind] = node.name
    dumped = {name: made[node].transpose(0, 2, 3, 1) for name, node in names.items()}
    found = matched(dumped, made, network=net)
    assert {each.source: node for node, each in found.tensors.items() if each.source in names} == names
