"""Dumps under names that say nothing, of a port that is wrong from its first layer on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.bugs.sites import styles
from refnet.graph import Graph, Node, interpret
from refnet.pack.matching.match import match_tensors
from refnet.pack.matching.sequence import by_order, orders_of, parts_of_orders
from refnet.readings import fast
from refnet.readings.shapes import shapes

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(64, 96), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("sequence") / "golden"
    write_pack(NET, X, path)
    return path


def transposed():
    """The fused tensors of a port that reads the weights of every 1x1 layer in the wrong order."""
    params = {n: y.T.reshape(y.shape) if y.ndim == 2 else y for n, y in NET.params.items()}
    made = Network(GRAPH, params).trace(X)
    return {name: made[name] for name in styles(GRAPH)["fused"] if name in made}


@pytest.mark.parametrize("last", [False, True])
def test_a_wrong_port_under_numbers_is_matched_by_order_and_named(pack, last):
    port = {
        f"t{i:03d}": y.transpose(0, 2, 3, 1) if last and y.ndim == 4 else y for i, y in enumerate(transposed().values())
    }
    found = compare(pack, port)
    assert {each.how for each in found.matching.tensors.values()} == {"order"}
    assert found.judged.patterns[0].mistake.bug == "weights-transpose"


def test_fewer_tensors_than_any_way_of_dumping_has_are_not_told():
    sides = {name: (1, *side) for name, side in shapes(GRAPH).items()}
    found = {f"t{i}": side for i, side in enumerate(sides.values())}
    assert by_order(GRAPH, found, sides)
    found.pop("t7")
    assert by_order(GRAPH, found, sides) == {}


def test_nodes_of_integers_behind_a_layer_are_told_by_order():
    nodes = [
        Node(f"n{i}", "pointwise_conv2d", (f"n{i - 1}" if i else "input",), {"w": (8 + i, 7 + i)}) for i in range(9)
    ]
    graph = Graph(GRAPH.recipe, (*nodes, Node("pool", "mean", ("n8",), attrs={"axes": (2, 3)})))
    sides = {node.name: (1, 8 + i, 4, 4) for i, node in enumerate(nodes)} | {"pool": (1, 16, 1, 1)}
    assert by_order(graph, {f"t{name}": side for name, side in sides.items()}, sides)["pool"] == "tpool"


def test_where_the_last_tensor_may_be_one_of_two_both_are_told():
    nodes = [*GRAPH.nodes, Node("output", "softmax", (GRAPH.output,))]
    graph = Graph(GRAPH.recipe, tuple(nodes))
    sides = {name: (1, *side) for name, side in shapes(GRAPH).items()} | {"output": (1, 10)}
    found = {f"t{i}": side for i, side in enumerate([*sides.values()][:-1])}
    assert [[*told][-1] for told in orders_of(graph, found, sides)][:2] == ["output", "head.flatten"]


def test_other_channels_in_the_same_number_are_not_told():
    sides = {name: (1, *side) for name, side in shapes(GRAPH).items()}
    found = {f"t{i}": side for i, side in enumerate(sides.values())}
    found["t9"] = (1, 7, *found["t9"][2:])
    assert by_order(GRAPH, found, sides) == {}


def test_paddings_that_are_left_out_are_named_though_no_map_has_its_size(pack):
    made, strided = {"input": X}, []
    for node in GRAPH.nodes:
        x = made[node.inputs[0]]
        if node.attrs.get("stride") == (2, 2):
            strided.append(node.name)
            node = replace(node, attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
        if node.op == "avg_pool2d":
            made[node.name] = x.mean((2, 3), keepdims=True)
        else:
            made[node.name] = interpret(Graph(GRAPH.recipe, (node,)), fast, NET.params, made)
    found = compare(pack, {f"{i}": y for i, y in enumerate(made.values())})
    (pattern,) = found.judged.patterns
    assert (pattern.mistake.bug, list(pattern.nodes)) == ("pad-amount", strided)


def test_honest_numbers_are_matched_by_what_they_are(pack):
    port = {f"{i}": y for i, y in enumerate(NET.trace(X).values())}
    found = compare(pack, port)
    assert found.holds
    assert all(each.how != "order" for each in found.matching.tensors.values())
    assert np.isfinite(X).all()


@pytest.mark.parametrize("fuses_gates", [False, True])
def test_a_fused_dump_is_told_whether_or_not_its_gates_are_fused(fuses_gates):
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(64, 96), classes=10)
    sides = {name: (1, *side) for name, side in shapes(graph).items()}
    gates = [] if fuses_gates else [node.inputs[0] for node in graph.nodes if node.op == "hard_sigmoid"]
    ends = [*styles(graph)["fused"], *gates]
    dumped = [node.name for node in graph.nodes if node.name in ends]
    found = {f"t{i}": sides[name] for i, name in enumerate(dumped)}
    assert by_order(graph, found, sides) == dict(zip(dumped, found, strict=True))


def test_a_folded_dump_with_activations_of_their_own_is_told():
    graph = build("torchvision/mnasnet0_5", width=0.5, size=(64, 96), classes=10)
    sides = {name: (1, *side) for name, side in shapes(graph).items()}
    normed = {unit.conv.name for unit in graph.units() if unit.norm is not None}
    found = {f"t{index}": (name, side) for index, (name, side) in enumerate(sides.items()) if name not in normed}
    told = by_order(graph, {source: side for source, (_, side) in found.items()}, sides)
    assert told == {name: source for source, (name, _) in found.items()}


def test_a_single_tensor_that_is_left_over_is_told_by_the_order_of_all_others():
    """Kernels are turned: what the stem makes is like none of the golden tensors, nor is what the next layer makes."""
    params = {n: np.ascontiguousarray(y[..., ::-1, ::-1]) if y.ndim > 2 else y for n, y in NET.params.items()}
    made, golden = Network(GRAPH, params).trace(X), {"input": X, **NET.trace(X)}
    dumped = styles(GRAPH)["fused"]
    shapes = {node: y.shape for node, y in golden.items()}
    numbered = {str(index): made[node] for index, node in enumerate(dumped)}
    found = match_tensors(numbered, shapes, golden.__getitem__, network=NET)
    assert not found.unmatched
    assert found.tensors[dumped[0]].source == "0"


@pytest.mark.parametrize("part", [slice(0, 24), slice(12, 32)])
def test_some_blocks_of_a_port_that_is_wrong_throughout_are_told_by_their_order(part):
    golden, dumped = {"input": X, **NET.trace(X)}, dict([*transposed().items()][part])
    sides = {node: y.shape for node, y in golden.items()}
    numbered = {f"{index:02d}_map": y for index, y in enumerate(dumped.values())}
    found = match_tensors(numbered, sides, golden.__getitem__, network=NET)
    assert {node: each.source for node, each in found.tensors.items()} == dict(zip(dumped, numbered, strict=True))


def test_a_part_of_a_dump_is_not_told_where_a_tensor_has_other_channels():
    sides = {name: (1, *side) for name, side in shapes(GRAPH).items()}
    found = {f"t{i}": side for i, side in enumerate([*sides.values()][:20])}
    assert {name: f"t{i}" for i, name in enumerate([*sides][:20])} in parts_of_orders(GRAPH, found, sides)
    found["t9"] = (1, 7, *found["t9"][2:])
    assert parts_of_orders(GRAPH, found, sides) == []


@pytest.mark.parametrize("joins", [("add", "scale", "flatten"), ("add",)])
def test_hooks_of_modules_which_see_no_sum_or_product_are_told_by_order(joins):
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(64, 96), classes=10)
    sides = {name: (1, *side) for name, side in shapes(graph).items()}
    nodes = [node.name for node in graph.nodes if node.op not in joins]
    found = {f"t{index}": sides[node] for index, node in enumerate(nodes)}
    assert list(by_order(graph, found, sides)) == nodes


def test_names_that_a_folder_sorts_by_their_letters_are_told_by_their_numbers():
    sides = {name: (1, *side) for name, side in shapes(GRAPH).items()}
    found = {f"t{i}": side for i, side in enumerate(sides.values())}
    assert by_order(GRAPH, dict(sorted(found.items())), sides) == by_order(GRAPH, found, sides) != {}


def test_fused_layers_with_squeeze_and_excite_as_one_of_them_are_told_without_the_scaling_of_the_input():
    graph = build("keras/MobileNetV3Small", width=0.5, size=(64, 96), classes=10)
    sides = {name: (1, *side) for name, side in shapes(graph).items()}
    inner = (".se.pool", ".se.reduce.act", ".se.gate", ".rescale")
    nodes = [name for name in graph.fused() if not name.endswith(inner)]
    found = {f"t{i}": sides[name] for i, name in enumerate(nodes)}
    assert by_order(graph, found, sides) == {name: f"t{i}" for i, name in enumerate(nodes)}
