"""The space of networks: every point is a table that `build` takes, and known networks are points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import build
from refnet.graph import check
from refnet.networks.tables import MNASNET_A1, MNASNET_B1, V2, with_activation
from refnet.readings.shapes import shapes
from refnet.search.latency import LatencyTable, layer_times
from refnet.search.layers import layers, multiply_adds
from refnet.search.space import DIGITS, MNASNET, Space, Stage, StageChoice, decisions, stage_choices, table_of


def some(*options):
    return st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def spaces(draw):
    """Small spaces of any kind."""
    flags = some(False, True)
    stage = st.builds(Stage, st.integers(1, 2), some(3, 4, 8), some(1, 2), some(1, 2, 3), some(1, 3, 5), flags, flags)
    ends = st.none() | st.integers(1, 9)
    acts = st.sampled_from(["relu", "hard_swish"])
    return Space(
        tuple(draw(st.lists(stage, min_size=1, max_size=3))), 4, draw(acts), draw(ends), draw(ends), draw(acts)
    )


@st.composite
def points(draw, space):
    return tuple(draw(st.integers(0, len(decision.options) - 1)) for decision in decisions(space))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_point_builds_and_its_latency_is_the_sum_of_its_layers(data):
    space = data.draw(st.sampled_from([DIGITS, MNASNET]) | spaces())
    point = data.draw(points(space))
    graph = build(table_of(space, point), size=(32, 40), classes=10)
    check(graph)
    assert shapes(graph)[graph.output] == (10,)
    parts = layers(graph)
    assert sum(layer.macs for layer in parts) == multiply_adds(graph)
    table = LatencyTable("a chip", {layer.name: layer.macs / 1e6 + 0.01 for layer in parts})
    assert sum(each.ms for each in layer_times(graph, table)) == pytest.approx(
        multiply_adds(graph) / 1e6 + 0.01 * len(parts), rel=1e-12
    )


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_point_becomes_what_it_chose(data):
    space = data.draw(spaces())
    point = data.draw(points(space))
    rows, width = list(table_of(space, point).rows), space.stem
    for stage, choice in zip(space.stages, stage_choices(space, point), strict=True):
        for block in range(choice.layers):
            row = rows.pop(0)
            assert (row.kernel, row.out, row.se, row.skip) == (choice.kernel, choice.filters, choice.se, choice.skip)
            assert row.expanded == choice.operation * width
            assert row.stride == (stage.stride if block == 0 else 1)
            width = choice.filters
    assert rows == []


def test_decisions_come_stage_by_stage():
    assert [decision.what for decision in decisions(DIGITS)] == list(StageChoice._fields) * len(DIGITS.stages)


@pytest.mark.parametrize("table", [with_activation(V2, "relu"), MNASNET_B1, MNASNET_A1], ids=["V2", "B1", "A1"])
def test_known_networks_are_points_of_the_papers_space(table):
    point, rows, width = [], list(table.rows), table.stem
    for number, layers_of_stage in enumerate(table.stages, 1):
        first = rows[0]
        made = StageChoice(first.expanded // width, first.kernel, first.se, True, first.out, layers_of_stage)
        options = {decision.what: decision.options for decision in decisions(MNASNET) if decision.stage == number}
        point += [options[what].index(value) for what, value in made._asdict().items()]
        rows, width = rows[layers_of_stage:], first.out
    found = table_of(MNASNET, tuple(point))
    assert (found.rows, found.stages, found.stem, found.last) == (table.rows, table.stages, table.stem, table.last)


def test_the_papers_space_is_too_large_to_try():
    assert math.prod(len(decision.options) for decision in decisions(MNASNET)) > 10**13
