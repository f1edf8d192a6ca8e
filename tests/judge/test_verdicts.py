"""A tensor against a bound, in round numbers: where each verdict begins and ends."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.judge.verdicts import FAILING, Judgement, judge
from refnet.readings.bounds import Bound


def limit(worst=4.0, expected=2.0, rms=1.0, y=(8.0, 8.0, 8.0, 8.0)):
    """A bound whose every element may be off by as much."""
    y = np.array(y)
    return Bound.given(y, np.full_like(y, worst), np.full_like(y, expected), rms)


def off(*errors, dtype=np.float32):
    """A tensor of eights, the first ones off."""
    return (8 + np.array([*errors, *[0.0] * (4 - len(errors))])).astype(dtype)


@pytest.mark.parametrize(
    ("errors", "verdict", "worst", "expected", "rms"),
    [
        ((), "exact", 0, 0, 0),
        ((1,), "rounding", 0.25, 0.5, 0.5),
        ((-2,), "rounding", 0.5, 1, 1),  # just what is expected
        ((1, 1, 1, 1), "rounding", 0.25, 0.5, 1),
        ((-2.5,), "suspect", 0.625, 1.25, 1.25),
        ((1.5, 1.5, 1.5, 1.5), "suspect", 0.375, 0.75, 1.5),  # each is expected, all together are not
        ((4,), "suspect", 1, 2, 2),  # just the worst case
        ((-4.5,), "wrong", 1.125, 2.25, 2.25),
    ],
)
def test_a_verdict_is_the_largest_errors_and_all_of_thems(errors, verdict, worst, expected, rms):
    found = judge(off(*errors), limit())
    assert found == Judgement(verdict, worst, expected, rms, max(map(abs, errors), default=0.0))
    assert found.holds == (verdict not in FAILING)


def test_each_element_has_its_own_limit():
    """An error of 4 where 4 are expected beside one of 1 where one half is."""
    bound = Bound.given(np.full(2, 8.0), np.array([8.0, 2.0]), np.array([4.0, 0.5]), 10.0)
    found = judge(np.array([12.0, 9.0]), bound)
    assert (found.verdict, found.worst, found.expected, found.error) == ("suspect", 0.5, 2, 4)


@pytest.mark.parametrize("error", [1e-30, -1e-30])
def test_an_error_where_none_is_allowed_is_infinite(error):
    found = judge(np.array([error]), limit(0.0, 0.0, 0.0, (0.0,)))
    assert found == Judgement("wrong", np.inf, np.inf, np.inf, 1e-30)


def test_no_error_where_none_is_allowed_is_exact():
    assert judge(np.array([8.0]), limit(0.0, 0.0, 0.0, (8.0,))) == Judgement("exact")


def test_the_result_rounded_to_the_candidates_own_format_is_exact_whatever_its_bound():
    """1/3 in float16 is 8e-5 off; its neighbour is not exact, and wrong."""
    bound, third = limit(1e-9, 1e-9, 1e-9, (1 / 3,)), np.array([1 / 3], np.float16)
    assert judge(third, bound).verdict == "exact"
    assert judge(np.nextafter(third, np.float16(1)), bound).verdict == "wrong"


def test_a_result_beyond_the_candidates_format_is_not_met_by_its_largest_number():
    found = judge(np.array([65504.0], np.float16), limit(1.0, 1.0, 1.0, (1e6,)))
    assert found.verdict == "wrong"


def test_where_anything_may_be_nothing_is_wrong():
    found = judge(np.array([1e30]), limit(np.inf, np.inf, np.inf, (0.0,)))
    assert (found.verdict, found.worst, found.expected, found.rms) == ("rounding", 0, 0, 0)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_told_before_any_error(broken):
    assert judge(off(broken), limit()) == Judgement("nonfinite")


@pytest.mark.parametrize("shape", [(5,), (4, 1), (1, 4), ()])
def test_another_shape_is_told_before_any_number(shape):
    assert judge(np.full(shape, np.nan), limit()) == Judgement("shape")


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_tensor_without_elements_is_what_it_should_be():
    found = judge(np.zeros((0, 3)), limit(y=np.zeros((0, 3))))
    assert (found.verdict, found.worst, found.expected, found.error) == ("exact", 0, 0, 0)


def test_what_fails_is_listed():
    held = [verdict for verdict in ("exact", "rounding", "inside") if Judgement(verdict).holds]
    assert held == ["exact", "rounding", "inside"]
    assert not any(Judgement(verdict).holds for verdict in FAILING)
    assert set(FAILING) == {"suspect", "wrong", "shape", "nonfinite", "missing"}
