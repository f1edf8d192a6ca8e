"""Sums that are kept in bfloat16: every product and every sum on the way is rounded."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.readings import fast
from refnet.readings.orders import ORDERS, rounded
from refnet.readings.short_sums import SHORT_SUMS

SEQUENTIAL, LANES, BACKWARDS, BY_SIGN = SHORT_SUMS["bfloat16"].orders
NONE = ((0, 0), (0, 0))
GEOMETRY = {"stride": (1, 1), "pad": NONE}


def summed(rules, terms):
    """What rules make of a sum of terms, in each operation that sums."""
    x, count = np.float32(terms).reshape(1, -1, 1, 1), len(terms)
    ones, plane = np.ones((1, count), np.float32), np.float32(terms).reshape(1, 1, 1, -1)
    return (
        rules.pointwise_conv2d(x, ones, None).item(),
        rules.conv2d(x, ones.reshape(1, count, 1, 1), None, **GEOMETRY).item(),
        rules.depthwise_conv2d(plane, ones.reshape(1, 1, count), None, **GEOMETRY).item(),
    )


def test_a_sum_of_ones_ends_at_256_where_one_more_is_half_a_step():
    assert summed(SEQUENTIAL, 300 * [1.0]) == (256.0, 256.0, 256.0)


def test_lanes_are_four_sums_whose_sum_is_rounded():
    assert summed(LANES, 1200 * [1.0]) == (1024.0, 1024.0, 1024.0)  # of 256 each


def test_what_comes_last_is_first_backwards():
    terms = [256.0, *4 * [1.0]]
    assert (summed(SEQUENTIAL, terms)[0], summed(BACKWARDS, terms)[0]) == (256.0, 260.0)


def test_positive_and_negative_terms_are_added_up_apart():
    terms = [-1.0, *257 * [1.0]]
    assert (summed(SEQUENTIAL, terms)[0], summed(BY_SIGN, terms)[0]) == (256.0, 255.0)


def test_products_are_rounded_before_they_are_added():
    x, w = np.float32([1 + 2.0**-7, 1.0]).reshape(1, 2, 1, 1), np.float32([[1 + 2.0**-7, -1.0]])
    assert SEQUENTIAL.pointwise_conv2d(x, w, None).item() == 2.0**-6  # without 2^-14, which the product loses


def test_a_pool_rounds_its_sum_and_the_quotient():
    x = np.ones((1, 1, 3, 100), np.float32)
    y = SEQUENTIAL.avg_pool2d(x, kernel=(3, 100), stride=(1, 1), pad=NONE)
    assert y.item() == rounded(np.float32([256 / 300]), "bfloat16").item()


@pytest.mark.parametrize("rules", SHORT_SUMS["bfloat16"].orders)
def test_numbers_that_need_no_rounding_are_those_of_any_order(rules):
    rng = np.random.default_rng(1)
    x, w, b = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((2, 4, 6, 5), (3, 4, 3, 3), (3,)))
    each = {"stride": (2, 1), "pad": ((1, 0), (0, 2)), "dilation": (1, 2)}
    assert np.array_equal(rules.conv2d(x, w, b, **each), fast.conv2d(x, w, b, **each))
    assert np.array_equal(rules.pointwise_conv2d(x, w[..., 0, 0], b), fast.pointwise_conv2d(x, w[..., 0, 0], b))
    own = w[0]
    assert np.array_equal(
        rules.depthwise_conv2d(x, own, None, **each), ORDERS["sequential"].depthwise_conv2d(x, own, None, **each)
    )
