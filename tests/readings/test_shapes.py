"""The shapes of a graph agree with what its nodes compute, and a graph whose shapes do not agree is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import own_graphs

from refnet import Graph, GraphError, Node, Recipe
from refnet.graph import SOURCE, walk
from refnet.readings import fast
from refnet.readings.shapes import shapes, well_formed

RECIPE = Recipe("", 1.0, (4, 5), 1, channels=3)
NONE = ((0, 0), (0, 0))
WINDOW = {"stride": (1, 1), "pad": NONE, "dilation": (1, 1)}


def node(op: str, *inputs: str, name: str = "n", params: dict[str, Any] | None = None, **attrs: Any) -> Node:
    return Node(name, op, inputs or (SOURCE,), params or {}, attrs)


def vectors(count: int, **others: int) -> dict[str, tuple[int, ...]]:
    return {slot: (others.get(slot, count),) for slot in ("gamma", "beta", "mean", "var")}


POOL = node("avg_pool2d", name="pool", kernel=(4, 5), stride=(1, 1), pad=NONE)
REFUSED = {
    "filters of 2 channels for a map of 3": [node("conv2d", params={"w": (4, 2, 3, 3)}, **WINDOW)],
    "filters of 4 channels for a map of 3": [node("depthwise_conv2d", params={"w": (4, 3, 3)}, **WINDOW)],
    "filters of 5 channels for a map of 3": [node("pointwise_conv2d", params={"w": (4, 5)})],
    "filters of shape (4, 3): take 4 axes": [node("conv2d", params={"w": (4, 3)}, **WINDOW)],
    "a parameter of shape (3,) for 4 channels": [node("pointwise_conv2d", params={"w": (4, 3), "b": (3,)})],
    "a parameter of shape (4,) for 3 channels": [node("batch_norm", params=vectors(3, var=4), eps=1e-3)],
    "a parameter of shape (1,) for 3 channels": [
        node("depthwise_conv2d", params={"w": (3, 3, 3), "b": (1,)}, **WINDOW)
    ],
    "adds tensors of the shapes (3, 1, 1) and (3, 4, 5)": [POOL, node("add", "pool", SOURCE)],
    "a gate of shape (3, 1, 5) for a map of (3, 4, 5)": [
        node("max_pool2d", name="pool", kernel=(4, 1), stride=(1, 1), pad=NONE),
        node("scale", SOURCE, "pool"),
    ],
    "a gate of shape (2, 1, 1) for a map of (3, 4, 5)": [
        POOL,
        node("pointwise_conv2d", "pool", name="gate", params={"w": (2, 3)}),
        node("scale", SOURCE, "gate"),
    ],
    "4 filters in 3 groups": [node("grouped_conv2d", params={"w": (4, 1, 1, 1)}, groups=3, **WINDOW)],
    "filters of 6 channels for a map of 3": [node("grouped_conv2d", params={"w": (4, 3, 1, 1)}, groups=2, **WINDOW)],
    "slopes of shape (4,) for a map of (3, 4, 5)": [node("prelu", params={"alpha": (4,)})],
    "joins tensors of the shapes (3, 4, 5), (3, 1, 1)": [POOL, node("concat", SOURCE, "pool")],
    "aligns both corners and centres": [node("resize_nearest", size=(2, 2), align_corners=True, half_pixel=True)],
    "a tensor of shape (60,): take 3 axes": [node("flatten", name="flat"), node("conv2d", "flat", **WINDOW)],
    "nothing is left of the map: its shape would be (3, 0, 1)": [
        node("max_pool2d", kernel=(5, 5), stride=(1, 1), pad=NONE)
    ],
    "reflects ((0, 0), (5, 0)) points of a map of (4, 5)": [
        node("pad", pad=((0, 0), (5, 0)), mode="reflect", value=0.0)
    ],
    "a window of (2, 2) lies in the padding ((2, 0), (0, 0)), outside a map of (4, 5)": [
        node("avg_pool2d", kernel=(2, 2), stride=(1, 1), pad=((2, 0), (0, 0)))
    ],
    "a stride of (2, 2147483647) on a map of (4, 5)": [
        node("conv2d", params={"w": (1, 3, 1, 1)}, **WINDOW | {"stride": (2, 2**31 - 1)})
    ],
    "a stride of (33, 1) on a map of (4, 5)": [node("avg_pool2d", kernel=(2, 2), stride=(33, 1), pad=NONE)],
    "a dilation of (1, 33) on a map of (4, 5)": [
        node("depthwise_conv2d", params={"w": (3, 1, 1)}, **WINDOW | {"dilation": (1, 33)})
    ],
    "a window of (1, 2) lies in the padding ((0, 0), (0, 2)), outside a map of (4, 5)": [
        node("max_pool2d", kernel=(1, 2), stride=(1, 1), pad=((0, 0), (0, 2)))
    ],
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_a_graph_whose_shapes_do_not_agree_is_refused_by_the_name_of_the_node(complaint):
    nodes = REFUSED[complaint]
    if nodes[-1].op == "conv2d" and not nodes[-1].params:
        nodes = [*nodes[:-1], Node("n", "conv2d", nodes[-1].inputs, {"w": (1, 1, 1, 1)}, nodes[-1].attrs)]
    with pytest.raises(GraphError) as refusal:
        well_formed(Graph(RECIPE, tuple(nodes)))
    assert str(refusal.value).startswith(f"n: {complaint}")


def test_a_padding_whose_last_window_still_touches_the_map_is_taken():
    """Padding as wide as the kernel after the map, and a stride that stops before it."""
    graph = Graph(RECIPE, (node("avg_pool2d", kernel=(2, 2), stride=(3, 3), pad=((0, 2), (0, 0))),))
    assert shapes(well_formed(graph))["n"] == (3, 2, 2)


def test_a_stride_beyond_a_small_map_is_taken():
    """As at the end of a network of images that are smaller than its vendor's."""
    graph = Graph(RECIPE, (node("max_pool2d", kernel=(1, 1), stride=(32, 32), pad=NONE),))
    assert shapes(well_formed(graph))["n"] == (3, 1, 1)


@settings(max_examples=50)
@given(own_graphs())
def test_shapes_are_those_of_the_arrays(made):
    graph, params = made
    x = np.zeros((2, *graph.input_shape))
    found = {SOURCE: x.shape[1:], **{each.name: y.shape[1:] for each, y in walk(graph, fast, params, {SOURCE: x})}}
    assert shapes(well_formed(graph)) == found
