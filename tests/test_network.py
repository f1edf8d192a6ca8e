"""A graph with its params."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from refnet import GraphError, Network, Node, RequestError, build, load, random_input, random_params
from refnet.files.digits import digits
from refnet.judge.measures.spread import spread

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=4)
PARAMS = random_params(GRAPH)
NET = Network(GRAPH, PARAMS)
X = random_input(GRAPH)


def test_the_trace_has_every_node_in_order():
    assert list(NET.trace(X)) == [node.name for node in GRAPH.nodes]


def test_calling_gives_the_last_tensor():
    exact = NET.astype(np.float64).trace(X.astype(np.float64))["head.flatten"]
    y = NET(X)
    assert y.shape == (2, 4)
    assert np.abs(y - exact).max() <= spread(NET, X, "head.flatten")


TWO = replace(GRAPH, returns=("block3.add", "head.flatten"))


def test_calling_a_network_of_several_outputs_gives_each_by_name_in_order():
    exact = NET.astype(np.float64).trace(X.astype(np.float64))
    found = Network(TWO, PARAMS)(X)
    assert list(found) == ["block3.add", "head.flatten"]
    for name, y in found.items():
        assert y.shape == exact[name].shape
        assert np.abs(y - exact[name]).max() <= spread(NET, X, name)


def test_an_output_that_is_not_the_last_node_is_what_calling_gives():
    first = Network(replace(GRAPH, returns=("stem.act",)), PARAMS)
    assert first(X).shape == (2, 8, 20, 28)
    assert list(first.trace(X)) == list(NET.trace(X))


def test_what_is_made_of_a_network_of_several_outputs_returns_them_too():
    net = Network(TWO, PARAMS)
    moved = net.at((64, 48))
    assert moved.graph.outputs == TWO.outputs
    assert {name: y.shape[2:] for name, y in moved(random_input(moved.graph)).items()} == {
        "block3.add": (8, 6),
        "head.flatten": (),
    }
    assert list(net.astype(np.float64)(X.astype(np.float64))) == list(TWO.outputs)
    assert list(pickle.loads(pickle.dumps(net))(X)) == list(TWO.outputs)


def test_a_batch_norm_that_is_returned_is_its_convolution_once_it_is_folded():
    """An output before it keeps it, since both tensors are wanted."""
    net = Network(replace(GRAPH, returns=("stem.bn", "block1.project", "block1.project.bn")), PARAMS)
    folded = net.fold()
    assert folded.graph.outputs == ("stem.conv", "block1.project", "block1.project.bn")
    for one, other in zip(net(X).values(), folded(X).values(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("returns", "complaint"),
    [
        (("head.tail",), "the graph returns 'head.tail', which no node makes"),
        (("input", "head.flatten"), "the graph returns 'input', which no node makes"),
        (("stem.act", "stem.act"), "the graph returns 'stem.act' twice"),
    ],
)
def test_outputs_that_cannot_be_are_refused(returns, complaint):
    with pytest.raises(GraphError, match=complaint):
        Network(replace(GRAPH, returns=returns), PARAMS)


def test_a_graph_whose_shapes_do_not_agree_makes_no_network():
    wide = Node("wide", "pointwise_conv2d", ("stem.act",), {"w": (4, 9)})
    with pytest.raises(GraphError, match="wide: filters of 9 channels for a map of 8"):
        Network(replace(GRAPH, nodes=(*GRAPH.nodes, wide)), {**PARAMS, "wide.w": np.zeros((4, 9), np.float32)})


def test_a_network_is_pickled_without_its_session():
    y = NET(X)
    copy = pickle.loads(pickle.dumps(NET))
    assert np.array_equal(copy(X), y)


def test_what_is_made_of_a_network_uses_as_many_cores():
    net = NET.on(3)
    made = [net.at((64, 48)), net.fold(), net.astype(np.float64), pickle.loads(pickle.dumps(net))]
    assert [each.session.threads for each in made] == [3] * 4


def test_the_same_weights_at_another_size():
    moved = NET.at((64, 48))
    fresh = build("torchvision/mobilenet_v3_small", width=0.35, size=(64, 48), classes=4)
    assert moved.graph == fresh
    assert moved(random_input(fresh)).shape == (2, 4)


def test_a_folded_network_moves_to_another_size_too():
    one, other = NET.fold().at((64, 48)), NET.at((64, 48)).fold()
    assert one.graph == other.graph


def test_a_classifier_on_a_size_of_one_number():
    assert NET.at(64).graph.input_shape == (3, 64, 64)


def test_float64_in_float64_out():
    assert NET.astype(np.float64)(X.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (X.transpose(0, 2, 3, 1), r"has channels last; take \(N, 3, 40, 56\)"),
        (X[0], "lacks the batch axis"),
        (X[:, :, :39], r"images of \(39, 56\) for a network of \(40, 56\); take net.at"),
        (X[:, :2], r"shape \(2, 2, 40, 56\); take"),
        (X[:0], "a batch of no images"),
        (X.astype(np.float64), r"float64 for a network in float32; take x.astype\('float32'\)"),
        (X.astype(np.uint8), "uint8 for a network in float32"),
        (np.where(X > 1.99, np.nan, X), "NaN or infinity"),
        (np.where(X > 1.99, np.inf, X).astype(np.float32), "NaN or infinity"),
        ("cat.png", "take"),
    ],
    ids=["channels last", "no batch", "other size", "two channels", "empty", "float64", "uint8", "nan", "inf", "text"],
)
def test_input_that_the_network_was_not_made_for_is_refused(x, complaint):
    with pytest.raises(RequestError, match=complaint):
        NET(x)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({k: v for k, v in PARAMS.items() if k != "stem.conv.w"}, "'stem.conv.w' is missing"),
        (PARAMS | {"stem.conv.w": np.ones(3, np.float32)}, r"'stem.conv.w' has shape \(3,\), the graph needs"),
        (PARAMS | {"tail.w": np.ones(3, np.float32)}, "'tail.w' belongs to no node"),
        (PARAMS | {"stem.bn.mean": PARAMS["stem.bn.mean"].astype(np.float64)}, "not float32, float64"),
        ({k: v.astype(np.float16) for k, v in PARAMS.items()}, "not float16"),
    ],
)
def test_params_that_do_not_fit_the_graph_are_refused(params, complaint):
    with pytest.raises(RequestError, match=complaint):
        Network(GRAPH, params)


def test_the_network_that_ships_reads_digits_that_it_never_saw():
    data, net = digits(), load()
    right = net(data.inputs()).argmax(axis=1) == data.labels
    assert data.held_out.sum() == 599
    assert right[data.held_out].mean() >= 0.98


def test_the_network_that_ships_computes_what_pytorch_computed():
    """PyTorch's float32 logits of every fourth of 1,797 scans lie within refnet's own float32 spread of refnet's."""
    from refnet.judge.measures.spread import spread

    data, net = digits(), load()
    x = data.inputs()[::4]
    assert np.abs(net(x) - data.logits[::4]).max() <= spread(net, x, "head.flatten")


def test_a_network_on_no_core_is_refused():
    with pytest.raises(RequestError, match="threads 0: take at least 1"):
        NET.on(0)


def test_no_other_weights_ship():
    with pytest.raises(RequestError, match="no weights of torchvision/mobilenet_v2 ship"):
        load(model="torchvision/mobilenet_v2")


def test_masked_arrays_and_lists_are_refused_and_not_taken_for_numbers():
    net = load()
    with pytest.raises(RequestError, match="input: is masked"):
        net(np.ma.masked_array(np.ones((1, 3, 32, 32), np.float32)))
    with pytest.raises(RequestError, match=r"'stem\.conv\.w' is masked"):
        Network(net.graph, {**net.params, "stem.conv.w": np.ma.masked_array(net.params["stem.conv.w"])})
    with pytest.raises(RequestError, match=r"'stem\.conv\.w' is no array but of type list"):
        Network(net.graph, {**net.params, "stem.conv.w": net.params["stem.conv.w"].tolist()})
