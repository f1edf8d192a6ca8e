"""Which unit of one graph is which of another: the cheapest of all alignments, and what it costs in time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from edits import disguised, without
from hypothesis import given
from hypothesis import strategies as st

from refnet import build
from refnet.alignment.align import align, cheapest, in_reading_order
from refnet.alignment.diff import differences
from refnet.alignment.naming import named_after
from refnet.graph import Graph, Node, Recipe
from refnet.networks.rewrite import fold_graph

SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=64)


def named(pairs):
    return [tuple(unit and unit.conv.name for unit in pair) for pair in pairs]


@st.composite
def problems(draw):
    n, m = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    numbers = st.integers(0, 6)
    costs = np.array([[draw(numbers) for _ in range(m)] for _ in range(n)], np.int64).reshape(n, m)
    return costs, np.array([draw(numbers) for _ in range(n)], int), np.array([draw(numbers) for _ in range(m)], int)


def least(costs, missing, extra):
    """By trying every alignment."""
    n, m = costs.shape
    ways = []
    if n:
        ways.append(missing[0] + least(costs[1:], missing[1:], extra))
    if m:
        ways.append(extra[0] + least(costs[:, 1:], missing, extra[1:]))
    if n and m:
        ways.append(costs[0, 0] + least(costs[1:, 1:], missing[1:], extra[1:]))
    return min(ways, default=0)


@given(problems())
def test_no_alignment_is_cheaper(problem):
    costs, missing, extra = problem
    cost, pairs = cheapest(*problem)
    assert cost == least(*problem)
    assert [i for i, _ in pairs if i is not None] == list(range(len(missing)))
    assert [j for _, j in pairs if j is not None] == list(range(len(extra)))
    paid = [extra[j] if i is None else missing[i] if j is None else costs[i, j] for i, j in pairs]
    assert sum(paid) == cost


def test_of_equal_costs_the_pairs_come_first():
    """A block less among equal ones is the last of them."""
    costs = np.zeros((3, 2), np.int64)
    assert cheapest(costs, np.ones(3, np.int64), np.ones(2, np.int64))[1] == [(0, 0), (1, 1), (2, None)]


@pytest.mark.parametrize("folded", [False, True])
def test_a_graph_is_aligned_with_itself_unit_by_unit_under_any_names(folded):
    file = fold_graph(SMALL) if folded else SMALL
    pairs = align(SMALL, disguised(file))
    assert [mine.conv.name for mine, theirs in pairs if theirs] == [
        unit.conv.name for unit, _ in align(file, file) if unit
    ]
    assert all(mine and theirs for mine, theirs in pairs)


def test_a_unit_that_is_gone_is_the_one_without_a_counterpart():
    graph = without(SMALL, "block5.expand.act")
    assert [mine for mine, theirs in named(align(SMALL, graph)) if theirs is None] == ["block5.expand.act"]


def test_only_units_of_one_operation_are_pairs_and_activations_with_each_other():
    graph = Graph(
        SMALL.recipe,
        tuple(
            replace(node, op={"hard_swish": "sigmoid", "avg_pool2d": "max_pool2d"}.get(node.op, node.op))
            for node in SMALL.nodes
        ),
    )
    pairs = [(mine.conv.op, theirs.conv.op) for mine, theirs in align(SMALL, graph) if mine and theirs]
    assert ("hard_swish", "sigmoid") in pairs
    assert ("avg_pool2d", "max_pool2d") not in pairs
    assert all(one == other for one, other in pairs if one != "hard_swish")


def test_enlargements_by_another_rule_are_a_pair_and_one_difference():
    recipe = Recipe("", 1.0, (8, 8), 4)
    known = Node("large", "resize_bilinear", ("input",), {}, {"size": (16, 16), "align_corners": False})
    other = Node("r", "resize_legacy", ("input",), {}, {"size": (16, 16)})
    one, another = Graph(recipe, (known,)), Graph(recipe, (other,))
    assert named(align(one, another)) == [("large", "r")]
    (difference,) = differences(one, another.renamed({"r": "large"}))
    assert (difference.key, difference.found) == ("op", {"op": "resize_legacy"})


def test_equal_convolutions_are_told_apart_by_the_channels_that_they_read():
    def pointwise(name, source, K, C):
        return Node(name, "pointwise_conv2d", (source,), {"w": (K, C)})

    recipe = Recipe("", 1.0, (8, 8), 4)
    one = Graph(recipe, (pointwise("a", "input", 4, 3), pointwise("b", "a", 4, 4)))
    other = Graph(recipe, (pointwise("c", "input", 4, 4),))
    assert named(align(one, other)) == [("a", None), ("b", "c")]


def test_a_thousand_units_beside_a_thousand_take_well_under_five_seconds():
    attrs = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}

    def chain(kernel):
        names = ["input", *(f"c{i}" for i in range(990))]
        nodes = [
            Node(name, "depthwise_conv2d", (source,), {"w": (3, kernel(i), 3)}, attrs)
            for i, (source, name) in enumerate(pairwise(names))
        ]
        return Graph(Recipe("", 1.0, (32, 32), 3), tuple(nodes))

    start = time.process_time()
    align(chain(lambda i: 3 + i % 2), chain(lambda i: 3 + i % 3 % 2))
    assert time.process_time() - start < 2


def test_what_a_nameless_network_lacks_is_called_after_the_node_before_it():
    one = disguised(SMALL)
    acted = replace(one.nodes[0], name="own", op="relu", inputs=(one.output,), params={}, attrs={})
    other = Graph(one.recipe, (*one.nodes, acted))
    assert named_after(one, other).names["own"] == f"{one.output}.relu"


def test_the_order_of_branches_in_a_file_is_of_no_account():
    """Each branch as a whole, the deeper one first, whatever order the nodes come in; a sum's terms may be swapped."""
    nodes = {
        "a": Node("a", "relu", ("input",)),
        "b": Node("b", "relu6", ("input",)),
        "c": Node("c", "tanh", ("b",)),
        "sum": Node("sum", "add", ("a", "c")),
        "end": Node("end", "concat", ("sum", "a")),
    }
    recipe = Recipe("", 1.0, (4, 4), 3)
    for order in ("abc", "bac", "bca"):
        graph = Graph(recipe, tuple(nodes[name] for name in (*order, "sum", "end")))
        assert [node.name for node in in_reading_order(graph).nodes] == ["b", "c", "a", "sum", "end"]
    swapped = graph.replaced("sum", replace(nodes["sum"], inputs=("c", "a")))
    assert [node.name for node in in_reading_order(swapped).nodes] == ["b", "c", "a", "sum", "end"]
