"""Graphs that agree with themselves and still ask for the impossible."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refnet.errors import GraphError
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.networks.build import build, models
from refnet.readings.limits import check_sizes
from refnet.readings.shapes import well_formed


def alone(op: str, image=(8, 8), **attrs) -> Graph:
    return Graph(Recipe("none", 1.0, image, 10), (Node("node", op, (SOURCE,), {}, attrs),))


@pytest.mark.parametrize(
    "graph",
    [
        alone("resize_bilinear", size=(100_000, 100_000), align_corners=False),
        alone("resize_bilinear", (1, 30_000), size=(30_000, 1), align_corners=False),
        alone("pad", pad=((50_000, 0), (0, 50_000)), mode="constant", value=0.0),
        alone("max_pool2d", kernel=(90_001, 90_001), stride=(8, 8), pad=((0, 90_000), (0, 90_000))),
        alone("relu", (1_000_000, 1_000_000)),
    ],
    ids=["resized", "half resized", "padded", "padded inside", "input"],
)
def test_arrays_out_of_all_proportion_are_refused(graph):
    with pytest.raises(GraphError, match="numbers"):
        check_sizes(well_formed(graph))


def rows(*nodes: Node, image=(1, 1)) -> Graph:
    return Graph(Recipe("none", 1.0, image, 10), nodes)


def resized(side: int) -> Node:
    return Node("up", "resize_bilinear", (SOURCE,), {}, {"size": (side, side), "align_corners": False})


def test_many_tensors_that_are_each_in_proportion_are_refused():
    """Twenty nodes behind a resize: each repeats a map that one line of the file makes."""
    acts = [Node(f"act{i}", "relu", (f"act{i - 1}" if i else "up",)) for i in range(20)]
    with pytest.raises(GraphError, match=r"^act.*: the tensors up to it have"):
        check_sizes(well_formed(rows(resized(1000), *acts)))


@pytest.mark.parametrize(
    "node",
    [
        Node("sums", "depthwise_conv2d", ("up",), {"w": (3, 300, 300)}, {"stride": (1, 1), "dilation": (1, 1)}),
        Node("sums", "avg_pool2d", ("up",), {}, {"stride": (1, 1), "kernel": (300, 300)}),
    ],
    ids=["convolution", "pool"],
)
def test_work_that_a_small_file_asks_for_is_refused(node):
    node = replace(node, attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
    with pytest.raises(GraphError, match=r"^sums: the nodes up to it take .* multiplications"):
        check_sizes(well_formed(rows(resized(600), node)))


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (1024, 2048)])
def test_networks_that_can_be_built_are_not(size):
    for name in models():
        graph = build(name, size=size)
        check_sizes(well_formed(graph))


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("max_pool2d", {"kernel": (2, 2), "stride": (1.0, 1), "pad": ((0, 0), (0, 0))}),
        ("max_pool2d", {"kernel": (True, 2), "stride": (1, 1), "pad": ((0, 0), (0, 0))}),
        ("max_pool2d", {"kernel": (2, 2), "stride": (1, 1), "pad": ((0, 0), (0, -1))}),
        ("pad", {"pad": ((0, 0), (0, 0)), "mode": "mean", "value": 0.0}),
        ("hard_sigmoid", {"slope": "1/6", "offset": 0.5}),
        ("resize_bilinear", {"size": (4, 4), "align_corners": 1}),
    ],
)
def test_attributes_of_another_kind_are_refused(op, attrs):
    with pytest.raises(GraphError, match=f"node: .*{op} does not run on that"):
        check(alone(op, **attrs))
