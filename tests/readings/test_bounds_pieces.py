"""A bound made piece by piece is that of the whole: the same bits, however the tensor lies in memory."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_input, random_params
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.verdicts import judge
from refnet.network import Network
from refnet.readings import bounds
from refnet.readings.bounds import Bound, Precision, bound
from refnet.readings.bounds import pieces as pieces_of_bounds
from refnet.readings.bounds.pieces import like
from refnet.readings.carried import nothing

GRAPH = build("torchvision/mobilenet_v3_large", width=0.75, size=(72, 104))
NET = Network(GRAPH, random_params(GRAPH))
X = random_input(GRAPH, 3)
TRACE = {SOURCE: X, **NET.trace(X)}
FLOAT32 = Precision.of("float32")
# One node of each operation that a large tensor is made by, and a run of several that no convolution is in.
ENDS = {node.op: node.name for node in reversed(GRAPH.nodes) if TRACE[node.name].size > 1 << 15}
SEGMENTS = {op: (name,) for op, name in ENDS.items()} | {"several": ("block1.depthwise.bn", "block1.depthwise.act")}
LAYOUTS = {"channels last": lambda y: y, "channels first": np.ascontiguousarray}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces of small tensors, too."""
    monkeypatch.setattr(pieces_of_bounds, "_PIECE", 1 << 15)
    monkeypatch.setattr(pieces_of_bounds, "_LARGE", 1 << 15)


def parts(segment, layout):
    graph = Graph(GRAPH.recipe, tuple(GRAPH[name] for name in SEGMENTS[segment]))
    inputs = {name for node in graph.nodes for name in node.inputs} - {node.name for node in graph.nodes}
    return graph, {name: LAYOUTS[layout](TRACE[name]) for name in inputs}, LAYOUTS[layout](TRACE[graph.output])


def by_hand(graph, given, candidate, precision):
    """The figures of a verdict from whole arrays, which lie in memory as the exact result does."""
    sources = {name: bounds.source(np.asarray(y, np.float64), precision) for name, y in given.items()}
    params = {name: NET.params[name].astype(np.float64) for name in graph.params()}
    value = interpret(graph, bounds, params, sources)
    worst, expected, variance = value.total
    error = np.empty_like(value.y)
    error[...] = candidate
    error = np.abs(error - value.y)
    with np.errstate(invalid="ignore"):
        limits = worst, np.minimum(expected, worst)
        ratios = [np.fmax.reduce(error / limit, axis=None, initial=0) for limit in limits]
    explained = np.sqrt(variance.mean())
    return [*map(float, ratios), float(np.sqrt(np.mean(np.square(error))) / explained) if explained else 0.0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_verdict_by_pieces_has_the_figures_of_the_whole(segment, layout):
    graph, given, candidate = parts(segment, layout)
    found = judge(candidate, bound(graph, NET.params, given, FLOAT32))
    assert [found.worst, found.expected, found.rms] == by_hand(graph, given, candidate, FLOAT32)


@pytest.mark.parametrize("op", ["batch_norm", "pointwise_conv2d", "scale"])
def test_a_wrong_element_in_any_piece_is_seen(op):
    graph, given, candidate = parts(op, "channels last")
    made = bound(graph, NET.params, given, FLOAT32)
    assert len(made.pieces()) > 1
    for where in made.pieces():
        wrong = candidate.copy()
        wrong[where][-1, -1, -1, -1] += 1
        assert judge(wrong, made).verdict == "wrong"
        wrong[where][-1, -1, -1, -1] = np.nan
        assert judge(wrong, made).verdict == "nonfinite"


@pytest.mark.parametrize("op", ENDS)
def test_pieces_are_each_element_once_and_no_larger_than_a_cache(op):
    graph, given, candidate = parts(op, "channels last")
    made = bound(graph, NET.params, given, FLOAT32)
    counts = np.zeros(candidate.shape, int)
    for where, part in made:
        counts[where] += 1
        assert part.y.size <= max(1 << 15, candidate.shape[1] * candidate.shape[3])
    assert (counts == 1).all()


def test_the_arrays_of_a_bound_by_pieces_are_those_of_its_pieces():
    graph, given, _ = parts("batch_norm", "channels last")
    made = bound(graph, NET.params, given, FLOAT32)
    for where, part in made:
        assert np.array_equal(made.y[where], part.y)
        assert np.array_equal(made.worst[where], part.limits[0])
        assert np.array_equal(made.expected[where], part.limits[1])


def test_several_small_images_are_one_piece_of_several():
    made = Bound.given(*(np.ones((64, 4, 20, 20)) for _ in range(3)), 1.0)
    assert [where[0] for where in made.pieces()] == [slice(0, 20), slice(20, 40), slice(40, 60), slice(60, 64)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 0, 2, 1)])
def test_an_array_like_a_part_has_the_axes_of_the_part(order):
    whole = np.empty([(2, 3, 4, 5)[axis] for axis in order]).transpose(np.argsort(order))
    made = like(whole[:2, :, :2, :2], whole.shape)
    assert (made.shape, made.strides) == (whole.shape, whole.strides)


def test_an_array_like_one_of_zeros_that_take_no_memory_is_an_array():
    assert like(nothing(np.ones((2, 3), np.float32)), (4, 3)).dtype == np.float32
