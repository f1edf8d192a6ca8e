"""One change in a known network is one difference at its node, and what comes back computes what the file does."""

from __future__ import annotations

import numpy as np
from edits import changed, disguised, edited, inserted, without
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recognising import told

from refnet import Network, build, models, random_input, random_params
from refnet.errors import GraphError
from refnet.files.identify.structure import recognise
from refnet.graph import check
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_graph

SYMMETRIC = [name for name in models() if MODELS[name].dialect.pad == "symmetric" and "@" not in name]


def attribute(key, value_of):
    """A change of one attribute of one depthwise convolution."""

    def change(graph, node):
        was = node.attrs[key]
        value = value_of(was)
        return changed(graph, node.name, **{key: value}), (node.name, "attribute", f"{key} {was}", f"{key} {value}")

    return change, ("depthwise_conv2d",)


def another_eps(graph, node):
    was = node.attrs["eps"]
    return changed(graph, node.name, eps=2e-3), (node.name, "attribute", f"eps {was:.6g}", "eps 0.002")


def another_slope(graph, node):
    return changed(graph, node.name, slope=0.2), (node.name, "attribute", "slope 0.166667", "slope 0.2")


def another_activation(graph, node):
    other = "swish" if node.op == "relu" else "relu"
    return edited(graph, node.name, op=other), (node.name, "operation", node.op, other)


def another_kernel(graph, node):
    C, R, S = node.params["w"]
    kernel = (8 - R, S)  # 3 for 5 and 5 for 3, in one direction
    graph = edited(graph, node.name, params={**node.params, "w": (C, *kernel)})
    return graph, (node.name, "shape", f"kernel {(R, S)}", f"kernel {kernel}")


def another_squeeze(graph, node):
    name = node.inputs[0].replace("pool", "reduce")
    if not name.endswith("se.reduce"):
        return None
    expand = name.replace("reduce", "expand")
    K, C = graph[name].params["w"]
    vector = {"b": (K + 1,)} if "b" in graph[name].params else {}
    graph = edited(graph, name, params={"w": (K + 1, C), **vector})
    graph = edited(graph, expand, params={**graph[expand].params, "w": (C, K + 1)})
    return graph, (name, "shape", f"{K} channels", f"{K + 1} channels")


def no_shortcut(graph, node):
    return without(graph, node.name), (node.name, "missing", "add", "")


def a_bias_too_many_or_few(graph, node):
    """Of a convolution in front of a batch norm: the vendors differ."""
    if not any(reader.op == "batch_norm" and node.name in reader.inputs for reader in graph.nodes):
        return None  # folded: there a bias says nothing
    if "b" in node.params:
        return edited(graph, node.name, params={"w": node.params["w"]}), (node.name, "missing", "bias", "")
    params = {"w": node.params["w"], "b": node.params["w"][:1]}
    return edited(graph, node.name, params=params), (node.name, "extra", "", "bias")


def a_pool_before_the_last(graph, node):
    last = graph["head.pool"].inputs[0]
    graph = inserted(graph, last, "max_pool2d", kernel=(2, 2), stride=(2, 2), pad=((0, 0), (0, 0)))
    return graph, (f"{last.partition('.')[0]}.max_pool", "extra", "", "max_pool2d kernel (2, 2)")


CHANGES = {
    "stride": attribute("stride", lambda was: (was[0], 3 - was[1])),
    "pad": attribute("pad", lambda was: (was[0], (was[1][0] + 1, was[1][1]))),
    "dilation": attribute("dilation", lambda was: (was[0], was[1] + 1)),
    "kernel": (another_kernel, ("depthwise_conv2d",)),
    "bias": (a_bias_too_many_or_few, ("depthwise_conv2d",)),
    "eps": (another_eps, ("batch_norm",)),
    "activation": (another_activation, ("relu", "relu6", "hard_swish")),
    "slope": (another_slope, ("hard_sigmoid",)),
    "squeeze": (another_squeeze, ("pointwise_conv2d", "relu")),
    "shortcut": (no_shortcut, ("add",)),
    "pool": (a_pool_before_the_last, ("flatten",)),
}


@st.composite
def planted(draw, kinds=tuple(CHANGES)):
    """(graph, the one difference that was made in it)."""
    change, ops = CHANGES[draw(st.sampled_from(kinds))]
    name = draw(st.sampled_from(SYMMETRIC))
    width = 1.0 if MODELS[name].width != 1 else draw(st.sampled_from([0.35, 0.5, 1.0]))
    graph = build(name, width=width, size=(96, 128), classes=draw(st.integers(2, 9)))
    if draw(st.booleans()):
        graph = fold_graph(graph)
    nodes = [node for node in graph.nodes if node.op in ops]
    assume(nodes)
    try:
        case = change(graph, draw(st.sampled_from(nodes)))
    except GraphError:  # a map that has become smaller cannot be added to one that has not
        case = None
    assume(case is not None)
    return case


@settings(deadline=None, max_examples=25)
@given(planted())
def test_one_change_is_one_difference_at_its_node(case):
    graph, expected = case
    check(graph)
    assert told(graph, graph.recipe.model) == [expected]
    assert len(told(graph)) == 1, "without being told the model, what comes nearest is no further away"


@settings(deadline=None, max_examples=10)
@given(planted(("stride", "activation", "slope", "shortcut", "pool", "squeeze")))
def test_the_graph_that_comes_back_computes_what_the_files_does(case):
    graph, _ = case
    file = disguised(graph)
    named = recognise(file, (), graph.recipe.model, None).named
    params = random_params(file)
    theirs = {new: old for old, new in named.names.items()}
    ours = {
        f"{node.name}.{slot}": params[f"{theirs[node.name]}.{slot}"]
        for node in named.graph.nodes
        for slot in node.params
    }
    x = random_input(file, 1)
    net = Network(check(named.graph), ours)
    assert np.array_equal(net(x), Network(file, params)(x))
    exact, x = net.astype(np.float64), x.astype(np.float64)
    assert np.allclose(exact.fold()(x), exact(x), rtol=0, atol=1e-11 * abs(exact(x)).max())
