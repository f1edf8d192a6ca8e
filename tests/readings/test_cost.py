"""What a graph costs, counted in another way, and by hand."""

from __future__ import annotations

from hypothesis import given, settings
from strategies import own_graphs

from refnet import Graph, Node, Recipe
from refnet.readings.cost import cost
from refnet.readings.shapes import shapes


@settings(max_examples=50)
@given(own_graphs())
def test_every_node_of_any_graph_is_counted_once(made):
    graph, params = made
    rows = cost(graph)
    assert [row.node for row in rows] == list(graph.nodes)
    assert [row.shape for row in rows] == [shapes(graph)[node.name] for node in graph.nodes]
    assert sum(row.params for row in rows) == sum(array.size for array in params.values())


def test_multiply_adds_by_hand():
    """A 3 x 2 kernel at stride 2 on 5 x 4 points: 2 x 2 places."""
    window = {"stride": (2, 2), "pad": ((0, 1), (0, 0)), "dilation": (1, 1)}
    nodes = (
        Node("dense", "conv2d", ("input",), {"w": (7, 3, 3, 2), "b": (7,)}, window),
        Node("depthwise", "depthwise_conv2d", ("input",), {"w": (3, 3, 2)}, window),
        Node("mix", "pointwise_conv2d", ("depthwise",), {"w": (5, 3)}),
        Node("norm", "batch_norm", ("mix",), dict.fromkeys(("gamma", "beta", "mean", "var"), (5,)), {"eps": 0.1}),
    )
    graph = Graph(Recipe("", 1.0, (5, 4), 1), nodes, ("dense", "norm"))
    assert [(row.shape, row.macs, row.params, row.trainable) for row in cost(graph)] == [
        ((7, 2, 2), 7 * 4 * 18, 7 * 18 + 7, 7 * 18 + 7),
        ((3, 2, 2), 3 * 4 * 6, 18, 18),
        ((5, 2, 2), 5 * 4 * 3, 15, 15),
        ((5, 2, 2), 0, 20, 10),
    ]
