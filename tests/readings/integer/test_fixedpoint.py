"""The roundings against rational numbers, and whole arrays against single ints."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.errors import RequestError
from refnet.readings.integer import fixedpoint as fp
from refnet.readings.integer import gemmlowp

INT32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1, 0, -1, 1, 2**30, -(2**30)])
MULTIPLIER = st.integers(2**30, 2**31 - 1) | st.just(2**30)
RATIO = st.floats(2.0**-40, 2.0**29, exclude_max=True)


def up(x):
    """The nearest whole number, ties up."""
    return math.floor(x + Fraction(1, 2))


def away(x):
    """The nearest whole number, ties away from zero."""
    return math.floor(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


def wrapped(x):
    return (x + 2**31) % 2**32 - 2**31


@given(RATIO)
def test_multiplier_is_the_nearest_of_31_bits(d):
    m, e = fp.multiplier(d)
    if d < 2.0**-32:
        assert (m, e) == (0, 0)
    else:
        assert 2**30 <= m < 2**31
        assert abs(Fraction(m) * Fraction(2) ** (e - 31) - Fraction(d)) <= Fraction(2) ** (e - 32)


def test_multiplier_of_what_rounds_up_to_one_is_a_half_and_a_shift():
    assert fp.multiplier(math.nextafter(1.0, 0)) == (2**30, 1)
    assert fp.multiplier(0.0) == (0, 0)


@pytest.mark.parametrize("d", [math.nan, math.inf, -0.5, 2.0**30, 1e300])
def test_a_ratio_that_no_kernel_can_multiply_by_is_refused(d):
    with pytest.raises(RequestError, match=r"ratio is"):
        fp.multiplier(d)
    with pytest.raises(RequestError, match=r"ratio is"):
        fp.multiplier(np.array([0.5, d]))


@given(INT32, INT32)
def test_srdhm_doubles_the_high_half_and_sends_ties_up(a, b):
    expected = up(Fraction(a * b, 2**31))
    assert fp.srdhm(a, b) == min(expected, 2**31 - 1)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-(2**15), 2**15 - 1))
def test_srdhm16_is_srdhm_in_sixteen_bits(a, b):
    assert fp.srdhm16(a, b) == min(up(Fraction(a * b, 2**15)), 2**15 - 1)


@given(INT32, st.integers(0, 31))
def test_rdp_divides_and_sends_ties_away_from_zero(x, n):
    assert fp.rdp(x, n) == away(Fraction(x, 2**n))


@given(INT32, MULTIPLIER, st.integers(-31, 30))
def test_mbqm_rounds_the_product_and_then_the_quotient(x, m, e):
    first = up(Fraction(wrapped(x * 2 ** max(e, 0)) * m, 2**31))
    assert fp.mbqm(x, m, e) == away(Fraction(first, 2 ** max(-e, 0)))
    assert fp.mbqm_half_up(x, m, e) == up(Fraction(first, 2 ** max(-e, 0)))


@given(INT32, MULTIPLIER, st.integers(-31, 30))
def test_mbqm_single_rounds_once(x, m, e):
    assert fp.mbqm_single(x, m, e) == up(Fraction(x * m) * Fraction(2) ** (e - 31))


@given(st.integers(-(2**46), 2**46), MULTIPLIER, st.integers(-31, 8))
def test_mbqm64_rounds_once_with_fifteen_bits(x, m, e):
    short = min((m + 2**15) >> 16, 2**15 - 1)
    assert fp.mbqm64(x, m, e) == up(Fraction(x * short) * Fraction(2) ** (e - 15))


@given(st.integers(-(2**62), 2**62))
def test_wrap32_is_what_int32_leaves(x):
    assert fp.wrap32(x) == wrapped(x)
    assert fp.wrap32(x) == np.int64(x).astype(np.int32)


@given(st.floats(-(2.0**40), 2.0**40))
def test_round_away_is_c_s_round(x):
    assert fp.round_away(np.float64(x)) == away(Fraction(x))
    short = np.float32(x)
    assert fp.round_away(short) == away(Fraction(float(short)))
    assert fp.round_away(short).dtype == np.float32


def test_round_away_of_what_lies_just_below_a_half_is_zero():
    assert fp.round_away(np.nextafter(0.5, 0)) == 0
    assert fp.round_away(np.float32(-2.5)) == -3


@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-30, 4.0, width=32))
def test_rescale_rounds_the_sum_the_product_and_the_result(x, scale):
    product = np.float32(np.float32(x) * np.float32(scale))
    assert fp.rescale(x, scale) == round(float(product))


@given(st.lists(INT32, min_size=3, max_size=3), st.lists(MULTIPLIER, min_size=3, max_size=3), st.data())
def test_arrays_are_taken_element_by_element(x, m, data):
    e = [data.draw(st.integers(-31, 30)) for _ in x]
    many = tuple(np.array(each, np.int64) for each in (x, m, e))
    for rule in (fp.mbqm, fp.mbqm_half_up, fp.mbqm_single):
        assert rule(*many).tolist() == [rule(*one) for one in zip(x, m, e, strict=True)]
    n = np.abs(many[2])
    assert fp.rdp(many[0], n).tolist() == [fp.rdp(a, b) for a, b in zip(x, n.tolist(), strict=True)]
    assert fp.srdhm(many[0], many[1]).tolist() == [fp.srdhm(a, b) for a, b in zip(x, m, strict=True)]


@given(st.integers(-(2**31), 0), st.sampled_from([2, 4, 5, 6]))
def test_exp_on_negative_lies_between_nothing_and_one(a, whole):
    y = int(gemmlowp.exp_on_negative(a, whole))
    assert 0 <= y <= fp.INT32_MAX
    assert gemmlowp.exp_on_negative(0, whole) == fp.INT32_MAX


@given(st.integers(-(2**31) + 1, 2**31 - 1))
def test_logistic_of_both_signs_adds_up_to_one(a):
    total = int(gemmlowp.logistic(a, 4)) + int(gemmlowp.logistic(-a, 4))
    assert total == (2**31 if a == 0 else fp.INT32_MAX)
