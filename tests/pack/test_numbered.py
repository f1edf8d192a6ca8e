"""What blocks make, under vendors' names and under numbers, of ports of which no value tells anything."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.bugs.language.parts import Parts
from refnet.graph import SOURCE
from refnet.judge.dumps.ends import with_ends
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.match import Assignment, match_tensors
from refnet.pack.matching.modules import block_ends
from refnet.pack.matching.numbered import by_numbers, in_order
from refnet.readings.shapes import shapes

MODELS = {
    "torchvision": "torchvision/mobilenet_v3_small",
    "timm": "timm/mobilenetv3_small_100",
    "mnasnet": "torchvision/mnasnet0_5",
    "keras": "keras/MobileNetV2",
    "transformers": "transformers/mobilenet_v2",
}


def network(model):
    graph = build(model, width=0.5, size=(64, 96), classes=7)
    sides = {SOURCE: (1, *graph.input_shape), **{name: (1, *side) for name, side in shapes(graph).items()}}
    return graph, sides


def dumped(names, sides, last=False):
    """Numbers that are no node's."""
    rng = np.random.default_rng(0)
    made = {name: rng.random(sides[node]) - 0.5 for name, node in names.items()}
    return {name: y.transpose(0, 2, 3, 1) if last and y.ndim == 4 else y for name, y in made.items()}


def matched(graph, sides, names, last=False):
    golden = {name: np.random.default_rng(index).random(side) for index, (name, side) in enumerate(sides.items())}
    network = Network(graph, random_params(graph))
    found = match_tensors(dumped(names, sides, last), sides, golden.__getitem__, network=network)
    return {each.source: node for node, each in found.tensors.items() if each.source in names}


@pytest.mark.parametrize(
    "model", ["torchvision/mobilenet_v2", "timm/mobilenetv3_small_100", "keras/MobileNet", "d-li14/mobilenetv3_small"]
)
def test_the_ends_of_blocks_are_those_that_bugs_know(model):
    graph, _ = network(model)
    assert block_ends(graph) == [block.end for block in Parts(graph).blocks]


CALLED = {
    "torchvision": {"features.0": "stem.act", "features.4": "block4.project.bn", "features.5": "block5.add"}
    | {"features.6.block": "block6.project.bn", "features.7.block.2": "block7.se.scale", "features.12": "head.act"},
    "timm": {"blocks.0.0": "block1.project.bn", "blocks.1.1": "block3.add", "blocks.2.2": "block6.add"}
    | {"blocks.5": "head.act", "blocks.3.1": "block8.add"},
    "mnasnet": {
        "net.layers.8.1": "block3.add",
        "net.layers.8.2.layers": "block4.project.bn",
        "net.layers.9": "block7.add",
    }
    | {"net.layers.10.0": "block8.project.bn"},
    "keras": {"block_2_add": "block3.add", "block_3_project_BN": "block4.project.bn", "Conv1_relu": "stem.act"}
    | {"block_4_add": "block5.add"},
    "transformers": {
        "layer.1": "block3.add",
        "layer.2.reduce_1x1": "block4.project.bn",
        "conv_stem": "block1.project.bn",
    }
    | {"layer.4": "block6.add", "conv_1x1": "head.act"},
}


@pytest.mark.parametrize("vendor", CALLED)
def test_what_a_vendors_modules_make_is_known_by_their_names(vendor):
    graph, sides = network(MODELS[vendor])
    assert matched(graph, sides, CALLED[vendor], last=vendor == "keras") == CALLED[vendor]


@pytest.mark.parametrize("first", [0, 1, 7])
@pytest.mark.parametrize("form", ["block{}", "t{:02d}_stage_{}_out", "x{}"])
def test_names_that_count_blocks_are_told_from_whichever_number_on(first, form):
    graph, sides = network("torchvision/mobilenet_v3_small")
    ends = block_ends(graph)
    names = {form.format(*[index + first] * form.count("{")): node for index, node in enumerate(ends)}
    assert matched(graph, sides, names, last=True) == names


def test_numbers_that_may_count_from_several_blocks_are_not_told():
    graph, sides = network("torchvision/mobilenet_v2")
    row = ["block8.add", "block9.add", "block10.add"]  # as those of blocks 7 to 9 are
    found = {f"x{index}": sides[node] for index, node in enumerate(row)}
    assert by_numbers(graph, found, sides, found) == {}
    found["x3"] = sides["block11.project.bn"]
    assert list(by_numbers(graph, found, sides, found).values()) == [*row, "block11.project.bn"]


def test_every_block_and_the_logits_are_told_by_their_order():
    graph, sides = network("torchvision/mobilenet_v3_small")
    nodes = ["stem.act", *block_ends(graph), "head.act", "head.flatten"]
    names = {f"{'abcdefghijklmnop'[index]}": node for index, node in enumerate(nodes)}
    assert matched(graph, sides, names) == names


def test_a_module_that_normalises_and_activates_makes_the_activation():
    graph, sides = network("timm/mobilenetv3_small_100")
    names = dict(CALLED["timm"], bn1="stem.act")
    golden = {name: np.random.default_rng(index).random(side) for index, (name, side) in enumerate(sides.items())}
    made = dumped(names, sides)
    found = {}
    for least, node in ((-0.375, "stem.act"), (-1.0, "stem.bn")):
        made["bn1"] = np.maximum(4 * made["bn1"], least)
        found = match_tensors(made, sides, golden.__getitem__, network=Network(graph, random_params(graph)))
        assert {each.source: name for name, each in found.tensors.items()}["bn1"] == node
        made["bn1"] = dumped(names, sides)["bn1"]


def test_a_map_that_may_be_several_layers_is_not_taken_for_the_last():
    graph, sides = network("torchvision/mobilenet_v2")
    made = dumped({"a": "block9.add", "b": "head.act"}, sides)
    found = with_ends(graph, Assignment({}, [*made]), made, {name: y.shape for name, y in made.items()}, sides, {}.get)
    assert {each.source: node for node, each in found.tensors.items()} == {"b": "head.act"}


@pytest.fixture(scope="module")
def alike():
    """Blocks of equal shapes, whose numbers are like each other's: what their layers make tells them apart."""
    graph = build("keras/MobileNet", width=0.25, size=(32, 32), classes=5)
    net = Network(graph, random_params(graph))
    x = np.random.default_rng(0).random((1, *graph.input_shape), np.float32)
    made = {SOURCE: x, **net.trace(x)}
    right = {node: f"t{index:02}" for index, node in enumerate(made) if node != SOURCE}
    candidate = {source: made[node] for node, source in right.items()}
    sides = {node: y.shape for node, y in made.items()}
    tables = Tables(candidate, {name: y.shape for name, y in candidate.items()}, sides, made.__getitem__)
    return tables, net, right


def in_8_bits(y):
    step = np.abs(y).max() / 127 or 1.0
    return (np.rint(y / step) * step).astype(np.float32)


def sources(found):
    return {node: source for node, (source, _) in found.items()}


@pytest.mark.parametrize("stored", [lambda y: y, in_8_bits])
def test_of_contents_and_order_that_is_believed_which_leaves_more_layers_right(alike, stored):
    tables, net, right = alike
    candidate = {name: stored(y) for name, y in tables.candidate.items()}
    tables = Tables(candidate, tables.found, tables.shapes, tables.golden)
    changed = {}
    for name, source in right.items():
        place = name.replace("block8", "#").replace("block7", "block8").replace("#", "block7")
        changed[place] = source, "content"
    assert sources(in_order(tables, net, changed)) == right
    assert not in_order(tables, net, {node: (source, "content") for node, source in right.items()})


def test_an_order_that_leaves_more_layers_right_is_believed_where_contents_leave_some_tensors_over(alike):
    tables, net, right = alike
    told = {node: (source, "content") for node, source in right.items() if not node.startswith("block8.")}
    told["block9.project"] = right["block8.project"], "content"
    assert sources(in_order(tables, net, told)) == right


def test_a_word_with_numbers_is_no_vendors_name_where_some_shapes_are_others():
    graph, sides = network("keras/MobileNet")
    nodes = [node.name for node in graph.nodes if node.op == "relu6" or node.name == graph.output]
    names = {f"layer_{index:02d}": node for index, node in enumerate(nodes, 1)}
    assert matched(graph, sides, names, last=True) == names
