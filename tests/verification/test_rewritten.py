"""Networks of their own that a converter has written in another way: the same network all the same, or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import checkpoint

from refnet import Graph, Node, Recipe, RequestError
from refnet.alignment.differences import Standing
from refnet.networks.random import random_params
from refnet.networks.rewrite import fold_batch_norm
from refnet.verification.verify import verify

VECTOR = (5,)
NORM = dict.fromkeys(("gamma", "beta", "mean", "var"), VECTOR)
CONV = {"w": (5, 5), "b": VECTOR}
WINDOW = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
RECIPE = Recipe("", 1.0, (6, 7), 5, channels=5)


def own(graph, params, held=None, path="one"):
    """What is said of a file of a network of its own that holds these arrays, by default all."""
    keys = {name: name for name in (params if held is None else held)}
    return checkpoint(graph, params, path, standing=Standing("own"), models=(), scheme="structure", keys=keys)


def normed(first: Node | None = None) -> tuple[Graph, dict[str, np.ndarray]]:
    """A batch norm that no convolution stands before, by default."""
    nodes = (
        first or Node("act", "relu", ("input",)),
        Node("norm", "batch_norm", ("act",), NORM, {"eps": 1e-3}),
        Node("conv", "pointwise_conv2d", ("norm",), CONV),
    )
    graph = Graph(RECIPE, nodes)
    return graph, random_params(graph)


def worked_out(graph, params, spoilt=1.0):
    """The same as a factor and an addend, computed in float32."""
    one = np.float32(1)
    factor = params["norm.gamma"] * (one / np.sqrt(params["norm.var"] + np.float32(1e-3)))
    addend = params["norm.beta"] - params["norm.mean"] * factor
    made = {"norm.gamma": factor * np.float32(spoilt), "norm.beta": addend}
    made |= {"norm.mean": np.zeros(5, np.float32), "norm.var": np.ones(5, np.float32)}
    held = [name for name in params if name not in ("norm.mean", "norm.var")]
    other = graph.replaced("norm", replace(graph["norm"], attrs={"eps": 0.0}))
    return own(other, {**params, **made}, held, "other")


def test_a_batch_norm_alone_may_be_held_as_factor_and_addend():
    graph, params = normed()
    found = verify(own(graph, params), worked_out(graph, params))
    assert found.holds
    assert found.needs == ("folded",)
    assert {value.name for value in found.values if value.kind == "folded"} >= {"norm.gamma", "norm.beta"}


def test_a_batch_norm_behind_a_convolution_may_be_held_as_factor_and_addend():
    graph, params = normed(Node("act", "depthwise_conv2d", ("input",), {"w": (5, 3, 3)}, WINDOW))
    found = verify(own(graph, params), worked_out(graph, params))
    assert (found.holds, found.needs) == (True, ("folded",))
    assert {value.name: value.kind for value in found.values if not value.needs}.keys() == {"act.w", "conv.w", "conv.b"}
    spoilt = verify(own(graph, params), worked_out(graph, params, spoilt=1 + 2.0**-18))
    assert [value.name for value in spoilt.faults] == ["norm.gamma"]


def test_a_factor_that_the_batch_norm_does_not_make_is_wrong():
    graph, params = normed()
    found = verify(own(graph, params), worked_out(graph, params, spoilt=1 + 2.0**-18))
    assert [value.name for value in found.faults] == ["norm.gamma"]


def test_a_batch_norm_that_is_held_as_it_is_must_have_the_same_eps():
    graph, params = normed()
    other = graph.replaced("norm", replace(graph["norm"], attrs={"eps": 1e-5}))
    (difference,) = verify(own(graph, params), own(other, params, path="other")).structure
    assert (difference.node, difference.key) == ("norm", "eps")


AHEAD = {  # convolutions that a converter may work a batch norm into
    "pointwise": Node("conv", "pointwise_conv2d", ("norm",), {"w": (5, 5)}),
    "whole map": Node("conv", "conv2d", ("norm",), {"w": (3, 5, 6, 7), "b": (3,)}, WINDOW),
    "depthwise": Node("conv", "depthwise_conv2d", ("norm",), {"w": (5, 3, 3)}, WINDOW),
    "grouped": Node("conv", "grouped_conv2d", ("norm",), {"w": (4, 1, 2, 2)}, {**WINDOW, "groups": 4}),
}


def ahead(conv: Node, spoilt=0.0, behind=False):
    """A network with a batch norm ahead of a convolution, and what a converter makes of it in float32."""
    channels = 4 if conv.op == "grouped_conv2d" else 5
    norm = Node("norm", "batch_norm", ("act",), dict.fromkeys(NORM, (channels,)), {"eps": 1e-3})
    nodes = [Node("act", "relu", ("input",)), norm, conv]
    if behind:
        nodes.append(Node("bn", "batch_norm", ("conv",), dict.fromkeys(NORM, (conv.params["w"][0],)), {"eps": 1e-3}))
    graph = Graph(replace(RECIPE, channels=channels), tuple(nodes))
    params = random_params(graph)
    s = params["norm.gamma"] / np.sqrt(params["norm.var"] + np.float32(1e-3))
    addend = params["norm.beta"] - params["norm.mean"] * s
    w = params["conv.w"]
    each = (-1, *(1,) * (w.ndim - 1)) if w.shape[0] == channels != w.shape[-1] else (1, -1, *(1,) * (w.ndim - 2))
    inner = tuple(range(1, w.ndim))
    b = params.get("conv.b", np.float32(0)) + (w * addend.reshape(each)).sum(axis=inner)
    made = {"conv.w": w * s.reshape(each), "conv.b": b + np.float32(spoilt) * np.abs(b)}
    moved = replace(conv, inputs=("act",), params={**conv.params, "b": (len(w),)})
    other = graph.without({"norm": "act"}).replaced("conv", moved)
    if behind:
        other, made = fold_batch_norm(other, {**params, **made})
    kept = other.params()
    return own(graph, params), own(other, {k: v for k, v in {**params, **made}.items() if k in kept}, path="other")


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", AHEAD)
def test_a_batch_norm_may_be_worked_into_the_convolution_that_reads_it(kind, behind):
    one, other = ahead(AHEAD[kind], behind=behind)
    found = verify(one, other)
    assert (found.holds, found.needs) == (True, ("folded",))
    assert {value.name: value.kind for value in found.values} == {"conv.w": "folded", "conv.b": "folded"}
    back = verify(other, one)
    assert (back.holds, back.sides.original.path) == (True, "one")


@pytest.mark.parametrize("kind", AHEAD)
def test_of_two_batch_norms_around_a_convolution_each_file_may_have_worked_in_another(kind):
    whole, _ = ahead(AHEAD[kind], behind=True)
    bare, made = ahead(AHEAD[kind])
    norm = {name: array for name, array in whole.params.items() if name.startswith("bn.")}
    one = own(made.graph.inserted(whole.graph["bn"], after="conv"), {**made.params, **norm})
    graph, params = fold_batch_norm(whole.graph, {**bare.params, **norm})
    found = verify(one, own(graph, params, path="other"))
    assert (found.holds, found.needs) == (True, ("folded",))
    params["conv.b"] = params["conv.b"] * np.float32(1 + 2.0**-6)
    assert [value.name for value in verify(one, own(graph, params, path="other")).faults] == ["conv.b"]


@pytest.mark.parametrize("kind", AHEAD)
def test_a_bias_that_no_batch_norm_ahead_makes_is_wrong(kind):
    found = verify(*ahead(AHEAD[kind], spoilt=2.0**-6))
    assert [value.name for value in found.faults] == ["conv.b"]


def test_a_batch_norm_ahead_of_a_border_of_zeros_cannot_be_worked_in():
    conv = replace(AHEAD["depthwise"], attrs={**WINDOW, "pad": ((1, 1), (1, 1))})
    found = verify(*ahead(conv))
    assert [(each.node, each.key) for each in found.structure] == [("norm", "missing"), ("conv", "bias")]


def twice() -> tuple[Graph, dict[str, np.ndarray]]:
    """A shared layer that is called twice on the same tensor."""
    nodes = (
        Node("one", "pointwise_conv2d", ("input",), CONV),
        Node("two", "pointwise_conv2d", ("input",), CONV),
        Node("sum", "add", ("one", "two")),
    )
    graph = Graph(RECIPE, nodes)
    params = random_params(graph)
    return graph, {**params, "two.w": params["one.w"], "two.b": params["one.b"]}


def test_what_is_computed_twice_may_be_computed_once():
    graph, params = twice()
    once = Graph(RECIPE, (replace(graph["one"], name="x"), Node("y", "add", ("x", "x"))))
    held = {"x.w": params["one.w"], "x.b": params["one.b"]}
    assert verify(own(graph, params), own(once, held, path="other")).holds


@pytest.mark.parametrize("slot", ["w", "b"])
def test_layers_of_other_weights_are_not_the_same_layer(slot):
    graph, params = twice()
    params[f"two.{slot}"] = params[f"two.{slot}"] + 1
    once = Graph(RECIPE, (replace(graph["one"], name="x"), Node("y", "add", ("x", "x"))))
    held = {"x.w": params["one.w"], "x.b": params["one.b"]}
    assert not verify(own(graph, params), own(once, held, path="other")).holds


def test_branches_may_come_in_another_order():
    nodes = (
        Node("left", "pointwise_conv2d", ("input",), CONV),
        Node("right", "pointwise_conv2d", ("input",), CONV),
        Node("left.act", "relu", ("left",)),
        Node("right.act", "tanh", ("right",)),
        Node("end", "concat", ("left.act", "right.act")),
    )
    graph = Graph(RECIPE, nodes)
    params = random_params(graph)
    names = {node.name: f"tensor_{i}" for i, node in enumerate(nodes)}
    moved = Graph(RECIPE, tuple(nodes[i] for i in (1, 3, 0, 2, 4))).renamed(names)
    renamed = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": each for name, each in params.items()}
    assert verify(own(graph, params), own(moved, renamed, path="other")).holds


def test_two_networks_may_be_held_against_each_other_as_far_as_a_tensor():
    """By a name of either file; what lies beyond it, and differs, is not looked at."""
    graph, params = normed()
    spoilt = {**params, "conv.w": params["conv.w"] + 1}
    assert not verify(own(graph, params), own(graph, spoilt, path="other")).holds
    names = {node.name: f"tensor_{node.name}" for node in graph.nodes}
    other = own(graph.renamed(names), {f"tensor_{name}": each for name, each in spoilt.items()}, path="other")
    for name in ("norm", "tensor_norm"):
        other = replace(other, names={f"tensor_{node}": f"tensor_{node}" for node in graph.by_name})
        found = verify(own(graph, params), other, output=[name])
        assert found.holds
        assert {value.name for value in found.values} == {f"norm.{slot}" for slot in NORM}


def test_a_tensor_that_is_not_there_is_refused():
    graph, params = normed()
    with pytest.raises(RequestError, match="no node 'nrm'"):
        verify(own(graph, params), own(graph, params, path="other"), output=["nrm"])
