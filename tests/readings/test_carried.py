"""A tensor and how far it may have moved, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bounding import LONG, SHORT, figures, single, value

from refnet.readings.carried import (
    Sum,
    channel,
    gamma,
    is_nothing,
    moved,
    norms_moved,
    nothing,
    plus,
    stored,
    through,
    times,
)


def test_gamma_is_k_u_over_one_less_k_u():
    assert gamma(4, 2.0**-10) == 4 / 1020  # 4/1024 / (1020/1024)
    assert gamma(1023, 2.0**-10) == 1023
    assert gamma(1024, 2.0**-10) == math.inf
    assert gamma(1025, 2.0**-10) == math.inf


def test_an_open_sum_adds_its_roundings_to_what_was_carried():
    """K = 4, A = 255, B^2 = 3, y = 1.

    worst: 4/1020 x 255 = 1, and 1/2. expected: 6 sqrt(4) 2^-10 x 255 = 765/256, and 1/4. variance: 4 x 2^-20 (1 + 3) =
    2^-16, and 2^-15.
    """
    found = value([1.0], 0.5, 0.25, 2.0**-15, open=Sum(4, np.array([255.0]), np.array([3.0])))
    assert single(found) == figures(1, 1.5, 765 / 256 + 0.25, 2.0**-16 + 2.0**-15)


def test_what_is_no_sum_has_moved_by_what_was_carried():
    assert single(value([1.0], 0.5, 0.25, 2.0**-15)) == (1, 0.5, 0.25, 2.0**-15)


@pytest.mark.parametrize("K", [1024, 1025])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_sum_too_long_for_its_format_may_be_anything_but_a_sum_of_zeros(K):
    found = value([1.0, 0.0], 0.5, open=Sum(K, np.array([3.0, 0.0]), np.array([3.0, 0.0])))
    assert found.total[0].tolist() == [math.inf, 0.5]


def test_a_sum_as_long_as_its_format_allows_is_bounded():
    found = value([1.0, 0.0], 0.5, open=Sum(1023, np.array([3.0, 0.0]), np.array([3.0, 0.0])))
    assert found.total[0].tolist() == [1023 * 3 + 0.5, 0.5]


@pytest.mark.parametrize(
    ("total", "underflows"), [(None, 1), (Sum(3, np.array([1.0]), np.array([1.0])), 4)], ids=["no sum", "a sum of 3"]
)
def test_a_store_costs_its_rounding_an_underflow_for_each_step_and_half_a_quantisation_step(total, underflows):
    """2^-23 x 8 = 2^-20 of a negative number as of a positive one; 2^-17 an underflow; a step of 2^-5, halved."""
    cost = 2.0**-20 + underflows * 2.0**-17 + 2.0**-6
    y, zero = np.array([-8.0]), np.array([0.0])
    found = stored(y, total, zero + 0.5, zero + 0.25, zero + 0.125, LONG._replace(step=2.0**-6))
    assert (found.y, found.open) == (y, total)
    assert found.worst.item() == 0.5 + cost
    assert found.expected.item() == 0.25 + cost
    assert found.var.item() == pytest.approx(0.125 + cost**2, rel=1e-15)


def test_a_store_leaves_the_arrays_that_it_is_given():
    y, carried = np.array([-8.0]), np.array([0.5])
    found = stored(y, None, carried, carried, carried, LONG)
    assert (y.item(), carried.item()) == (-8.0, 0.5)
    assert found.worst is found.expected  # a bound that is the same twice is computed once


def test_nothing_is_zero_and_takes_no_memory():
    zeros = nothing(np.ones((2, 3), np.float32))
    assert (zeros.shape, zeros.dtype, zeros.any(), zeros.strides) == ((2, 3), np.float32, False, (0, 0))


def test_nothing_stays_nothing_and_is_not_looked_through():
    zeros, full = nothing(np.ones((2, 3))), np.zeros((2, 3))
    assert is_nothing(zeros)
    assert not is_nothing(full)  # though it is zero
    assert not is_nothing(nothing(np.ones((0, 3))))
    assert times(2.0, zeros) is zeros
    own = np.full((2, 3), 0.5)
    assert np.shares_memory(plus(zeros, own), own)
    made = through(lambda each: each[:1], zeros, np.ones((1, 3)))
    assert is_nothing(made)
    assert made.shape == (1, 3)


def test_what_is_something_is_multiplied_added_to_and_moved():
    each = np.array([1.0, 2.0])
    assert times(2.0, each).tolist() == [2, 4]
    assert plus(each, 0.5).tolist() == [1.5, 2.5]
    assert through(lambda array: array[:1], each, np.ones(1)).tolist() == [1]


def test_a_number_added_to_nothing_takes_no_memory_and_keeps_the_dtype():
    made = plus(nothing(np.ones((2, 3), np.float32)), 0.5)
    assert (made.dtype, made.strides, made[1, 2]) == (np.float32, (0, 0), 0.5)


# ------------------------------------------------------------------------------------------------------------- params

FILTERS = np.array([[[2.0, -8.0]], [[0.0, 1.0]]])  # two, of one row


def test_params_in_float32_do_not_move():
    d, d_b = moved(value([3.0]), FILTERS, np.array([4.0, 4.0]))
    assert (d.shape, d.any(), d_b.tolist()) == ((2, 1, 2), False, [0, 0])


def test_params_in_a_short_format_move_by_its_rounding_and_an_underflow():
    """A quarter of each, and 1/16."""
    d, d_b = moved(value([3.0], precision=SHORT), FILTERS, np.array([-4.0, 4.0]))
    assert d.tolist() == [[[0.5625, 2.0625]], [[0.0625, 0.3125]]]
    assert d_b.tolist() == [1.0625, 1.0625]


def test_a_bias_that_is_not_there_does_not_move():
    assert moved(value([3.0], precision=SHORT), FILTERS, None)[1].tolist() == [0, 0]


def test_weights_in_integers_move_by_half_a_step_of_their_own_filter():
    """Two levels: steps of 8/2 and 1/2; where the tensors are no integers, the bias is none either."""
    d, d_b = moved(value([3.0], precision=LONG._replace(levels=2)), FILTERS, np.array([4.0, 4.0]))
    assert d.tolist() == [[[2.0, 2.0]], [[0.25, 0.25]]]
    assert d_b.tolist() == [0, 0]


def test_a_short_format_and_integers_add_up():
    d, d_b = moved(value([-3.0], precision=SHORT._replace(levels=2, step=0.5)), FILTERS, np.array([-4.0, 4.0]))
    assert d.tolist() == [[[2.5625, 4.0625]], [[0.3125, 0.5625]]]
    assert d_b.tolist() == [1.0625 + 2 * 3, 1.0625 + 0.25 * 3]


@pytest.mark.parametrize(
    ("y", "worst", "step"),
    [
        ([0.0, 0.75, -0.5, 1.0], 0.0, 0.5),  # given: a whole number of steps, so a step is at most the smallest
        ([0.0, 0.75, -0.5, 1.0], [0.0, 0.125, 0.0, 0.0], 4.0),  # computed: its numbers say nothing of the step
        ([0.0, 0.0], 0.0, 4.0),  # nor do zeros
    ],
    ids=["given", "computed", "zeros"],
)
def test_a_bias_in_integers_moves_by_half_a_step_of_weights_times_a_step_of_the_tensor(y, worst, step):
    """Half steps of 2 and 1/4; where the tensor's own is not seen, twice the declared half step of 2 stands for it."""
    _, d_b = moved(value(y, worst, precision=LONG._replace(levels=2, step=2.0)), FILTERS, None)
    assert d_b.tolist() == [2 * step, 0.25 * step]


def test_a_bias_in_integers_moves_too_where_nothing_is_stored_behind_it():
    precision = LONG._replace(levels=2, step=0.0, fused=True)
    assert moved(value([0.0, 0.75, -0.5], precision=precision), FILTERS, None)[1].tolist() == [1.0, 0.125]


def test_params_of_a_batch_norm_in_a_short_format_move_its_result():
    """Everything is stored in one bit: by half, and by 1 more. gamma -3, beta -6, mean 4, var 8, eps 2, x 1 +- 1/2.

    var + eps is 10, and at least 10 - (5 + 1) = 4; gamma at most 3 + 1.5 + 1 = 5.5: a factor of at most 5.5 / 2. With
    s = -1 that is d_s = 1.75 more. d_m = 2 + 1, d_beta = 3 + 1.
    d_s (abs(1 - 4) + 1/2) + (1 + 1.75) 3 + 4 = 6.125 + 8.25 + 4.
    """
    precision = SHORT._replace(u_store=0.5, tiny=2.0)
    gamma, beta, mean, var = (np.array([each]) for each in (-3.0, -6.0, 4.0, 8.0))
    x = value([[[[1.0]]]], worst=0.5, expected=0.25, precision=precision)
    found = norms_moved(x, channel(np.array([-1.0])), gamma, beta, mean, var, 2.0)
    assert found.tolist() == [[[[18.375]]]]


def test_a_variance_that_is_stored_as_nothing_is_taken_for_the_smallest_number():
    """var + eps = 1/4 may become nothing (1/8 + 1/8), but not less than tiny, 1/4: gamma 1 + 1/2 + 1/8 over 1/2."""
    precision = SHORT._replace(u_store=0.5, tiny=0.25)
    gamma, zero, var = (np.array([each]) for each in (1.0, 0.0, 0.125))
    found = norms_moved(
        value([[[[1.0]]]], precision=precision), channel(np.array([2.0])), gamma, zero, zero, var, 0.125
    )
    # d_s = 3.25 - 2; d_m and d_beta an underflow of 1/8 each: 1.25 + 3.25 / 8 + 1/8
    assert found.item() == 1.25 + 3.25 / 8 + 0.125


def test_a_vector_of_channels_meets_a_map():
    assert channel(np.arange(3)).shape == (3, 1, 1)
