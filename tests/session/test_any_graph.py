"""A session on graphs that no vendor built: nodes in any order, tensors read twice, any of them kept or returned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import TWO_NORMS
from strategies import own_graphs

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, bound
from refnet.session import Session


@settings(max_examples=80)
@given(own_graphs(), st.data())
def test_every_tensor_of_any_graph_is_inside_its_bounds(made, data):
    graph, params = made
    names = [node.name for node in graph.nodes]
    keep = data.draw(st.lists(st.sampled_from(names), unique=True))
    x = np.random.default_rng(0).standard_normal((2, *graph.input_shape))
    tensors = Session(graph, params, threads=1, keep=keep).tensors(x)
    assert set(tensors) == {*keep, *graph.outputs}
    for name, y in tensors.items():
        part = cut(Parts(graph), params, name, {SOURCE: x, **tensors})
        judgement = judge(y, bound(part.graph, params, part.given, Precision.of("float64")))
        assert judgement.verdict != "wrong", (name, judgement)  # so few elements may be 'suspect' by chance


@settings(max_examples=40)
@given(own_graphs(outputs=3))
def test_a_session_returns_every_output_by_name_in_order(made):
    graph, params = made
    x = np.random.default_rng(0).standard_normal((2, *graph.input_shape))
    session = Session(graph, params, threads=1)
    found, kept = session(x), session.tensors(x)
    if len(graph.outputs) == 1:
        found = {graph.output: found}
    assert tuple(found) == graph.outputs
    for name, y in found.items():
        assert np.array_equal(y, kept[name], equal_nan=True)


def test_a_batch_norm_behind_another_one_is_run():
    nodes = (*TWO_NORMS, Node("act", "relu", ("second",)))
    graph = Graph(Recipe("", 1.0, (1, 1), 2, channels=2), nodes)
    params = {"conv.w": np.eye(2)}
    for name, beta in (("first", 1.0), ("second", 10.0)):
        params |= {f"{name}.gamma": np.ones(2), f"{name}.beta": np.full(2, beta)}
        params |= {f"{name}.mean": np.zeros(2), f"{name}.var": np.full(2, 0.25)}
    # ((3 / 0.5) + 1) / 0.5 + 10 = 24, and for -2: ((-4) + 1) / 0.5 + 10 = 4
    y = Session(graph, params, threads=1)(np.array([3.0, -2.0]).reshape(1, 2, 1, 1))
    assert y.ravel().tolist() == [24.0, 4.0]
