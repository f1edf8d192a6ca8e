"""The objective: its formula, what a latency is worth under it, and what is no number for it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import RequestError
from refnet.search.objective import HARD, LARGE, SMALL, Exponents, reward_of, worth

SHARES, TIMES = st.floats(0.01, 1), st.floats(0.1, 1e3)


@given(SHARES, TIMES, TIMES, st.sampled_from([LARGE, SMALL, HARD, Exponents(-0.02, -2.0)]))
def test_the_reward_is_the_papers_formula(accuracy, latency, target, exponents):
    w = exponents.met if latency <= target else exponents.missed
    expected = math.exp(math.log(accuracy) + w * (math.log(latency) - math.log(target)))
    assert reward_of(accuracy, latency, target, exponents) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0.01, 0.5), TIMES, TIMES, st.sampled_from([LARGE, SMALL]), st.floats(1, 8))
def test_a_latency_is_worth_the_accuracy_that_keeps_the_reward(accuracy, latency, target, exponents, ratio):
    dearer = reward_of(accuracy * (1 + worth(ratio, exponents.met)), latency * ratio, target, exponents)
    assert dearer == pytest.approx(reward_of(accuracy, latency, target, exponents), rel=1e-12)


def test_a_doubled_latency_must_buy_five_percent_or_eleven():
    assert [round(100 * worth(2, exponents.met), 1) for exponents in (LARGE, SMALL)] == [5.0, 11.0]


def test_the_hard_form_does_not_reward_what_is_quicker_than_the_target():
    assert reward_of(0.5, 10, 80, HARD) == reward_of(0.5, 80, 80, HARD) == 0.5
    assert reward_of(0.5, 160, 80, HARD) == 0.25


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((math.nan, 1, 1), "the accuracy is nan"),
        ((1.5, 1, 1), "the accuracy is 1.5"),
        ((0.5, -1, 1), "the latency is -1"),
        ((0.5, math.nan, 1), "the latency is nan"),
        ((0.5, 0, 1), "the latency is 0"),
        ((0.5, 1, 0), "the target is 0"),
        ((0.5, 1, -2), "the target is -2"),
        ((0.5, 1, math.nan), "the target is nan"),
        ((0.5, 1, math.inf), "the target is inf"),
        ((0.5, 1, 1, Exponents(0.07, -0.07)), "the exponent is 0.07"),
        ((0.5, 1, 1, Exponents(-0.07, math.nan)), "the exponent is nan"),
    ],
)
def test_what_is_no_such_number_is_refused(asked, said):
    with pytest.raises(RequestError, match=said):
        reward_of(*asked)
