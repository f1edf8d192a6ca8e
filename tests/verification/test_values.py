"""Arrays of a copy, in round numbers: how far apart they are from what should be there, and what agrees."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from exporting import checkpoint

from refnet import build, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.graph import Node, Unit
from refnet.verification import array_findings, values
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.sides import pair

ULP = 2.0**-23  # of float32 at 1


def side_by_side(copy, wanted):
    exact = Expected.exactly(np.asarray(wanted, float))
    return array_findings.Pairing(exact, np.asarray(copy, float), SimpleNamespace(slot="w"), None)


@pytest.mark.parametrize(
    ("copy", "wanted", "ulps", "at"),
    [
        ([1, 2, 3], [1, 2, 3], 0, (0,)),
        ([1 + ULP, 2, 3], [1, 2, 3], 1, (0,)),
        ([1, 2 - ULP, 3], [1, 2, 3], 0.5, (1,)),  # at 2 a unit is twice as large
        ([1 + ULP, 2 + 6 * ULP, 3], [1, 2, 3], 3, (1,)),
        ([[1, 1], [-1 - 5 * ULP, 1]], [[1, 1], [-1, 1]], 5, (1, 0)),
        ([0.0, 2.0**-149], [0, 0], 1, (1,)),  # below the smallest normal number a unit gets no smaller
        ([2.0**-126, 3 * 2.0**-149], [2.0**-126, 0], 3, (1,)),
        ([np.nan, 1], [1, 1], np.inf, (0,)),
        ([1, np.inf], [1, np.inf], 0, (0,)),
        ([1, -np.inf], [1, np.inf], np.inf, (1,)),
    ],
)
def test_two_arrays_are_apart_by_units_in_the_last_place_of_what_should_be_there(copy, wanted, ulps, at):
    assert array_findings._apart(side_by_side(copy, wanted)) == (ulps, at)


def test_what_is_larger_than_float32_is_measured_by_its_last_unit():
    (ulps, at) = array_findings._apart(side_by_side([2e39, 1], [1e39, 1]))
    assert at == (0,)
    assert ulps == pytest.approx(1e39 / 2.0**104)


def test_arrays_of_other_shapes_and_empty_ones_are_nowhere_apart():
    assert array_findings._apart(side_by_side([1, 2], [1, 2, 3])) == (0, ())
    assert array_findings._apart(side_by_side([], [])) == (0, ())


def test_an_array_that_is_unlike_says_how_much_of_it_is_off_and_how_much_alike():
    """An error of 1 beside 3 and 4: rms 1/5 of theirs; and the cosine of the angle between the two."""
    said = array_findings._likeness(side_by_side([3, 5], [3, 4]), "a.w")
    assert (said.bug, said.node, said.form) == ("", "a.w", "unlike")
    assert said.facts["relative"] == pytest.approx(1 / 5)
    assert said.facts["alike"] == pytest.approx(29 / (34**0.5 * 5))
    assert array_findings._likeness(side_by_side([3, 5], [0, 0]), "a.w").facts == {"relative": None, "alike": 0.0}
    assert array_findings._likeness(side_by_side([-3, -4], [3, 4]), "a.w").facts["alike"] == pytest.approx(-1)


@pytest.mark.parametrize(("copy", "wanted"), [([np.inf, 1], [1, 1]), ([1, 1], [np.nan, 1])])
def test_of_what_is_not_finite_no_likeness_is_told(copy, wanted):
    assert array_findings._likeness(side_by_side(copy, wanted), "a.w").form == "not-finite"


def test_an_array_agrees_within_its_slack_element_by_element():
    made = Expected(np.array([1.0, 2.0]), np.array([0.5, 0.0]))
    for copy, agrees in (([1.5, 2], True), ([0.5, 2], True), ([1.6, 2], False), ([1, 2.001], False), ([1], False)):
        assert array_findings._agrees(np.array(copy, float), made) is agrees


def test_nan_and_infinity_agree_with_the_same_and_with_nothing_else():
    made = Expected.exactly(np.array([np.nan, np.inf]))
    for copy, agrees in (([np.nan, np.inf], True), ([1, np.inf], False), ([np.nan, -np.inf], False)):
        assert array_findings._agrees(np.array(copy, float), made) is agrees


def test_the_elements_that_are_looked_at_first_are_those_that_are_off():
    copy = np.arange(12.0).reshape(3, 4)
    wanted = copy.copy()
    wanted[1, 2] = wanted[2, 0] = 99
    assert [index.tolist() for index in side_by_side(copy, wanted).sample] == [[1, 2], [2, 0]]
    off = side_by_side(copy, wanted[:2]).sample
    assert len(off[0]) == 12


def test_of_many_that_are_off_some_are_looked_at_from_all_over():
    (index,) = side_by_side(np.ones(1000), np.zeros(1000)).sample
    assert len(index) == 64
    assert (index[0], index[1], index[-1]) == (0, 15, 945)


def stale(*kinds):
    return [ArrayFinding(str(index), kind, kind == "stale") for index, kind in enumerate(kinds)]


def test_where_more_than_half_is_unexplained_the_network_was_trained_otherwise():
    assert values._settled(stale("stale", "bit-equal")) == stale("stale", "bit-equal")
    kinds = [each.kind for each in values._settled(stale("stale", "stale", "bit-equal"))]
    assert kinds == ["retrained", "retrained", "bit-equal"]


def test_a_factor_of_integers_that_were_made_from_right_integers_is_told():
    """Both times by half a step."""
    conv = Node("a", "pointwise_conv2d", ("input",), {"w": (7, 7), "b": (7,)}, {})
    right, step = np.array([7.5, -3.5, 4.5, 8.4, 5.6, -9.5, 6.5]), np.full(7, 1.0)
    twice = np.rint(0.78 * np.rint(right))
    unit = UnitArrays(Unit(conv, None, None), {"b": Expected.exactly(right)}, {"b": twice}, "b", steps={"a.b": step})
    *_, change = BUGS["weights-scaled"].of_arrays(unit)
    made = change.params["a.b"]
    assert np.abs(twice - made.value).max() > 0.5
    assert (np.abs(twice - made.value) <= made.slack + 0.5).all()


def test_a_constant_added_to_integers_is_told_beside_their_half_steps():
    """Most are rounded up, by as much as half a step; one is rounded down by as much."""
    conv = Node("a", "pointwise_conv2d", ("input",), {"w": (7, 7), "b": (7,)}, {})
    right, step = np.array([0.55, 1.55, 2.55, 3.55, 4.55, 5.55, 6.45]), np.full(7, 1.0)
    moved = np.rint(right) + 0.3
    unit = UnitArrays(Unit(conv, None, None), {"b": Expected.exactly(right)}, {"b": moved}, "b", steps={"a.b": step})
    (change,) = BUGS["weights-offset"].of_arrays(unit)
    made = change.params["a.b"]
    assert (np.abs(moved - made.value) <= made.slack + 0.5).all()
    assert change.facts["constant"] == pytest.approx(0.3)


def test_a_copy_of_another_shape_on_a_grid_is_of_another_shape():
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=32, classes=10)
    params = random_params(graph)
    name = "block1.se.reduce.w"
    step = np.float32(0.01)
    grid = np.arange(-32, 32, dtype=np.float32).reshape(8, 8)[:5] * step
    changed = {**params, name: grid}
    (value,) = [
        each
        for each in values.match_arrays(pair(checkpoint(graph, params), checkpoint(graph, changed, "copy")))
        if each.name == name
    ]
    assert value.kind == "shape"
