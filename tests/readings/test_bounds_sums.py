"""The bounds of sums (convolutions, batch norm, affine) in numbers worked out by hand.

In `LONG`, u is 2^-10, so that gamma_K is K / (1024 - K); a store costs 2^-23 of the result, and 2^-17 for an underflow
in it and in each of the K roundings. In `SHORT` a store costs a quarter of the result, and 1/16 for each underflow.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from bounding import LONG, SHORT, figures, judged, single, value

from refnet.judge.verdicts import root_mean_square
from refnet.readings import bounds, fast
from refnet.readings.carried import Sum
from refnet.readings.orders import rounded
from refnet.readings.precision import Precision

NONE = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
U = 2.0**-10

# Two channels of two columns, one filter: y = 2 - 2 - 3 + 0 - 2 = -5, A = 2 + 2 + 3 + 0 + 2 = 9, B^2 = 21.
X = np.array([[[[1.0, -2.0]], [[3.0, 0.0]]]])
W = np.array([[[[2.0, 1.0]], [[-1.0, 4.0]]]])
B = np.array([-2.0])


def open_sum(found):
    """The sum that a batch norm would go on with."""
    return found.open.K, found.open.A.item(), found.open.B2.item()


def test_a_convolution_rounds_each_term_and_the_bias():
    """K = 2 x 1 x 2 + 1. The worst case 5/1019 x 9, the expected one 6 sqrt(5) u 9, the variance 5 u^2 (25 + 21)."""
    found, store = bounds.conv2d(value(X), W, B, **NONE), 5 * 2.0**-23 + 6 * 2.0**-17
    assert open_sum(found) == (5, 9, 21)
    assert single(found) == figures(-5, 45 / 1019 + store, 54 * sqrt(5) * U + store, 230 * U**2 + store**2)


def test_a_convolution_without_bias_has_a_rounding_less():
    """y = -3, A = 7, B^2 = 17."""
    found, store = bounds.conv2d(value(X), W, None, **NONE), 3 * 2.0**-23 + 5 * 2.0**-17
    assert open_sum(found) == (4, 7, 17)
    assert single(found) == figures(-3, 28 / 1020 + store, 84 * U + store, 104 * U**2 + store**2)


def test_errors_of_the_input_are_carried_through_the_weights():
    """Of 1 and 3 by 1/2 and 1/4, so by 2/2 + 1/4; and terms may be larger by as much: A = 9 + 1.25.

    The expected ones by 2/4 + 1/8, the variances by 4/16 + 1/64.
    """
    x = value(
        X, [[[[0.5, 0.0]], [[0.25, 0.0]]]], [[[[0.25, 0.0]], [[0.125, 0.0]]]], [[[[1 / 16, 0.0]], [[1 / 64, 0.0]]]]
    )
    found, store = bounds.conv2d(x, W, B, **NONE), 5 * 2.0**-23 + 6 * 2.0**-17
    assert open_sum(found) == (5, 10.25, 21)
    assert single(found) == figures(
        -5, 1.25 + 51.25 / 1019 + store, 0.625 + 61.5 * sqrt(5) * U + store, 17 / 64 + 230 * U**2 + store**2
    )


def test_a_depthwise_convolution_sums_over_its_kernel():
    """K = 2 + 1 for each channel: A = 4 + 1 and 3 + 0, B^2 = 8 + 1 and 9."""
    x = value([[[[1.0, -2.0]], [[3.0, 0.0]]]])
    found = bounds.depthwise_conv2d(x, np.array([[[2.0, 1.0]], [[-1.0, 4.0]]]), np.array([-1.0, 0.0]), **NONE)
    assert found.y.ravel().tolist() == [-1, -3]
    assert (found.open.K, found.open.A.ravel().tolist(), found.open.B2.ravel().tolist()) == (3, [5, 3], [9, 9])


def test_a_depthwise_convolution_of_one_channel_is_one_too():
    found = bounds.depthwise_conv2d(value([[[[1.0, -2.0]]]]), np.array([[[2.0, 1.0]]]), None, **NONE)
    assert open_sum(found) == (2, 4, 8)


def test_a_pointwise_convolution_sums_over_its_channels():
    """K = 3 + 1; A = 2 + 6 + 4 + 1, B^2 = 4 + 36 + 16 + 1."""
    x = value(np.array([1.0, 3.0, -2.0]).reshape(1, 3, 1, 1))
    found = bounds.pointwise_conv2d(x, np.array([[-2.0, 2.0, 2.0]]), np.array([1.0]))
    assert open_sum(found) == (4, 13, 57)
    assert found.y.item() == 1


def test_factors_rounded_beforehand_move_each_product_by_two_roundings():
    """To 2 bits, u = 1/4: the worst case 2 u (1 + u) A = 5.625, no less than is expected; the variance 2 u^2 B^2."""
    precision = LONG._replace(u_factor=0.25)
    found = bounds.conv2d(value(X, precision=precision), W, B, **NONE)
    store = 5 * 2.0**-23 + 6 * 2.0**-17
    assert single(found) == figures(
        -5, 5.625 + 45 / 1019 + store, 5.625 + 54 * sqrt(5) * U + store, 2.625 + 230 * U**2 + store**2
    )


def test_many_rounded_factors_are_expected_to_cancel():
    """32 ones times ones: at worst 2 u (1 + u) 32 = 20, expected 6 u sqrt(2 x 32) = 12, the variance 2 u^2 32 = 4."""
    x = value(np.ones((1, 32, 1, 1)), precision=LONG._replace(u_factor=0.25))
    found, store = bounds.pointwise_conv2d(x, np.ones((1, 32)), None), 32 * 2.0**-23 + 33 * 2.0**-17
    assert single(found) == figures(
        32, 20 + 1024 / 992 + store, 12 + 192 * sqrt(32) * U + store, 4 + 32 * U**2 * (1024 + 32) + store**2
    )


def test_weights_of_a_short_format_move_the_sum_by_their_rounding():
    """Each by a quarter and 1/16: 9/16, 5/16, 5/16, 17/16, and the bias 9/16.

    At worst 1 x 9/16 + 2 x 5/16 + 3 x 5/16 + 0 + 9/16 = 43/16, which is no more than 6 times the root of the squares,
    (81 + 100 + 225 + 81) / 256.
    """
    found, store = bounds.conv2d(value(X, precision=SHORT), W, B, **NONE), 5 / 4 + 6 / 16
    assert single(found) == figures(
        -5,
        43 / 16 + 45 / 1019 + store,
        43 / 16 + 54 * sqrt(5) * U + store,
        487 / 256 + 230 * U**2 + store**2,
    )


def test_many_weights_of_a_short_format_are_expected_to_cancel():
    """64 ones times ones: 64 x 5/16 = 20 at worst; 6 sqrt(64) 5/16 = 15 expected; the variance 64 x 25/256."""
    found = bounds.pointwise_conv2d(value(np.ones((1, 64, 1, 1)), precision=SHORT), np.ones((1, 64)), None)
    store = 64 / 4 + 65 / 16
    assert single(found) == figures(
        64, 20 + 64 * 64 / 960 + store, 15 + 6 * 8 * U * 64 + store, 6.25 + 64 * U**2 * (64**2 + 64) + store**2
    )


def test_weights_in_integers_move_the_sum_by_half_a_step():
    """Two levels below 4: each weight by 1, so the sum by 1 + 2 + 3 + 0; the squares 1 + 4 + 9."""
    found = bounds.conv2d(value(X, precision=LONG._replace(levels=2)), W, B, **NONE)
    store = 5 * 2.0**-23 + 6 * 2.0**-17
    assert single(found) == figures(-5, 6 + 45 / 1019 + store, 6 + 54 * sqrt(5) * U + store, 14 + 230 * U**2 + store**2)


def test_moved_weights_meet_moved_inputs():
    """One weight of 2 that moves by 9/16 meets 1 that may be 1.5: 1.5 x 9/16 beside 1/2 x 2; A = 3."""
    x = value([[[[1.0]]]], 0.5, 0.25, 1 / 16, precision=SHORT)
    found, store = bounds.pointwise_conv2d(x, np.array([[2.0]]), None), 2 / 4 + 2 / 16
    assert single(found) == figures(
        2,
        1 + 27 / 32 + 3 / 1023 + store,
        0.5 + 27 / 32 + 18 * U + store,
        4 / 16 + (27 / 32) ** 2 + U**2 * (4 + 4) + store**2,
    )


# --------------------------------------------------------------------------------------------------------- batch norm

NORM = [np.array([each]) for each in (-4.0, -1.0, 3.0, 3.0)]  # gamma, beta, mean, var: with eps 1, s = -4 / 2


def test_a_batch_norm_goes_on_with_the_sum_before_it():
    """s = -2, m s = -6: from K = 2, A = 7, B^2 = 5 to 8, 14 + 6 + 1 and 20 + 36 + 1. Of 5 becomes -2 (5 - 3) - 1."""
    before = Sum(2, np.array([[[[7.0]]]]), np.array([[[[5.0]]]]))
    found = bounds.batch_norm(value([[[[5.0]]]], 0.5, 0.25, 1 / 16, open=before), *NORM, eps=1.0)
    store = 5 * 2.0**-23 + 9 * 2.0**-17
    assert open_sum(found) == (8, 21, 57)
    assert single(found) == figures(
        -5, 1 + 168 / 1016 + store, 0.5 + 126 * sqrt(8) * U + store, 1 / 4 + 8 * 82 * U**2 + store**2
    )


def test_a_batch_norm_of_what_is_no_sum_has_roundings_of_its_own():
    """Six, of terms of abs(s x) = 10, abs(m s) = 6 and abs(beta) = 1; -5 becomes -2 (-5 - 3) - 1."""
    found = bounds.batch_norm(value([[[[-5.0]]]], 0.5, 0.25, 1 / 16), *NORM, eps=1.0)
    assert open_sum(found) == (6, 17, 137)
    assert found.y.item() == 15
    assert found.worst.item() == pytest.approx(1 + 15 * 2.0**-23 + 7 * 2.0**-17, rel=1e-14)


def test_a_batch_norm_given_one_bound_twice_makes_one_twice():
    x = value([[[[5.0]]]], 0.5, precision=LONG)
    found = bounds.batch_norm(x.__class__(x.y, (x.worst, x.worst, x.var), LONG), *NORM, eps=1.0)
    assert found.worst is found.expected
    assert x.worst.item() == 0.5


def test_a_batch_norm_in_a_short_format_is_moved_by_its_params():
    """All are stored in one bit, by half, and by 7 more. gamma -16, beta -1, mean 3, var 60, eps 4: s = -2.

    var + eps is at least 64 - (32 + 7) = 25, gamma at most 16 + 8 + 7: d_s = 31/5 - 2 = 4.2, d_m = 8.5, d_beta = 7.5.
    At 5 +- 1/2 that is 4.2 (2 + 1/2) + (2 + 4.2) 8.5 + 7.5 = 70.7, beside what is carried, and 6 roundings of 17.
    """
    params = [np.array([each]) for each in (-16.0, -1.0, 3.0, 60.0)]
    x = value([[[[5.0]]]], 0.5, 0.25, 1 / 16, precision=SHORT._replace(u_store=0.5, tiny=14.0))
    found, store = bounds.batch_norm(x, *params, eps=4.0), 2.5 + 7 * 7
    assert single(found) == figures(
        -5,
        1 + 70.7 + 102 / 1018 + store,
        0.5 + 70.7 + 102 * sqrt(6) * U + store,
        1 / 4 + 70.7**2 + 6 * U**2 * (25 + 100 + 36 + 1) + store**2,
    )


def test_the_sum_before_a_batch_norm_in_a_short_format_counts_as_moved_too():
    """As above, at 5 +- 1/2 and a sum of one term of 1023: gamma_1 x 1023 = 1 more, 4.2 x 1 in the params' part."""
    params = [np.array([each]) for each in (-16.0, -1.0, 3.0, 60.0)]
    before = Sum(1, np.array([[[[1023.0]]]]), np.array([[[[5.0]]]]))
    x = value([[[[5.0]]]], 0.5, 0.25, 1 / 16, precision=SHORT._replace(u_store=0.5, tiny=14.0), open=before)
    found = bounds.batch_norm(x, *params, eps=4.0)
    assert found.worst.item() == pytest.approx(1 + 74.9 + 2.5 + 8 * 7, rel=1e-14)


# ------------------------------------------------------------------------------------------------------------- affine


def test_an_affine_map_has_three_roundings():
    """-1/2 x 4 + 3 = 1: A = 2 + 3, B^2 = 4 + 9; errors halve, variances quarter."""
    found = bounds.affine(value([[[[4.0]]]], 0.5, 0.25, 1 / 16), slope=-0.5, offset=3.0)
    store = 2.0**-23 + 4 * 2.0**-17
    assert open_sum(found) == (3, 5, 13)
    assert single(found) == figures(
        1, 0.25 + 15 / 1021 + store, 0.125 + 30 * sqrt(3) * U + store, 1 / 64 + 3 * 14 * U**2 + store**2
    )


def test_an_affine_map_in_a_short_format_has_its_constants_rounded():
    """By a quarter of abs(-2) and of abs(-3): 5/4."""
    found = bounds.affine(value([[[[4.0]]]], 0.5, 0.25, 1 / 16, precision=SHORT), slope=-0.5, offset=-3.0)
    store = 5 / 4 + 4 / 16
    assert single(found) == figures(
        -5,
        0.25 + 1.25 + 15 / 1021 + store,
        0.125 + 1.25 + 30 * sqrt(3) * U + store,
        1 / 64 + 25 / 16 + 3 * U**2 * (25 + 13) + store**2,
    )


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
@pytest.mark.parametrize("terms", [96, 320, 1280])
def test_like_terms_of_one_sign_drift_in_a_short_format(store, terms):
    """A plain sum, kept in the format at every step; without the drift the rms of all but one are beyond 1."""
    rng = np.random.default_rng(0)
    x = rounded(np.full((1, terms, 1, 24), 0.37) * rng.uniform(0.1, 2, (1, 1, 1, 24)), store)
    w = rounded(np.abs(rng.standard_normal((16, 1))) * np.full((1, terms), 0.02), store)
    y = np.zeros((1, 16, 1, 24))
    for k in range(terms):
        y = rounded(y + rounded(w[:, k, None, None] * x[:, k, None], store), store)
    found = judged("pointwise_conv2d", [x], y, Precision.of(store, store), {"w": w})
    assert found.verdict == "rounding"
    assert judged("pointwise_conv2d", [x], y, Precision.of(store, store)._replace(drifts=False), {"w": w}).rms > 1


def test_a_batch_norm_takes_the_mean_of_a_sum_away_and_not_what_it_drifted_by():
    own, terms = Precision.of("float16", "float16"), 240
    x, w = np.full((1, terms, 2, 3), 6.0), rounded(0.02 + 0.001 * np.arange(8.0), "float16")[:, None].repeat(terms, 1)
    y = np.zeros((1, 8, 2, 3))
    for k in range(terms):
        y = rounded(y + rounded(w[:, k, None, None] * x[:, k, None], "float16"), "float16")
    norm = {"gamma": np.ones(8), "beta": np.ones(8), "mean": w.sum(1) * 6, "var": np.full(8, 4.0)}
    honest = bounds.batch_norm(bounds.pointwise_conv2d(value(x, precision=own), w, None), **norm, eps=0.0)
    off = root_mean_square(fast.batch_norm(y, *norm.values(), eps=0.0) - honest.y)
    with_drift, without = (
        root_mean_square(np.sqrt(each.total[2]))
        for each in (honest, replace(honest, open=honest.open._replace(drift=0.0)))
    )
    assert 1.5 * without < off < with_drift


def test_terms_of_both_signs_drift_less_than_they_err():
    rng, own = np.random.default_rng(0), Precision.of("float16", "float16")
    x, w = rng.standard_normal((1, 320, 4, 6)), rng.standard_normal((16, 320))
    drifting, plain = (
        bounds.pointwise_conv2d(value(x, precision=each), w, None).total[2].mean()
        for each in (own, own._replace(drifts=False))
    )
    assert plain < drifting < 2 * plain
