"""The health of an array: each of its numbers is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.verification import health


def kinds(array, slot="w", stored="float32"):
    array = np.asarray(array, float)
    with np.errstate(all="ignore"):
        masks = {kind: check.of(array, slot, stored) for kind, check in health._CHECKS.items()}
    return {kind: np.flatnonzero(mask).tolist() for kind, mask in masks.items() if mask is not None and mask.any()}


PLAIN = [0.5, -1.0, 2.0, 3.0, 1.5]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (65504.0, {}),
        (-65505.0, {"float16-overflow": [0]}),
        (2.0**-126, {}),
        (-0.9 * 2.0**-126, {"denormal": [0]}),
        (0.0, {}),
        (-np.inf, {"inf": [0]}),
        (np.nan, {"nan": [0]}),
    ],
)
def test_each_number_is_looked_at(value, found):
    assert kinds([value, *PLAIN]) == found


def test_a_denormal_number_is_below_the_smallest_normal_one_of_the_format_that_is_stored():
    assert kinds([2.0**-15, *PLAIN], stored="float16") == {"denormal": [0]}
    assert kinds([2.0**-14, *PLAIN], stored="float16") == {}
    assert kinds([2.0**-130, *PLAIN], stored="float64") == {}
    assert kinds([2.0**-130, *PLAIN], stored="int8") == {"denormal": [0]}


def test_only_a_variance_may_not_be_zero_or_less():
    assert kinds([0.0, *PLAIN[2:]], "var") == {"zero-variance": [0]}
    assert kinds([-0.1, *PLAIN[2:]], "var") == {"negative-variance": [0]}
    assert kinds([-0.1, *PLAIN[2:]], "mean") == {}


def test_four_numbers_that_are_all_the_same_are_constant_unless_they_are_zero():
    assert kinds([2.0] * 4) == {"constant": [0]}
    assert kinds([2.0] * 3) == {}
    assert kinds([2.0, 2.0, 2.0, 2.1]) == {}
    assert kinds([0.0] * 4) == {}
    assert kinds([0.0] * 4, "var") == {"zero-variance": [0, 1, 2, 3], "constant": [0]}
    assert "constant" not in kinds([np.inf] * 4)


def test_a_number_beside_which_all_others_are_lost_is_absurd():
    """2^24 times what nine in ten are below, here 3; of no more than one in a thousand."""
    assert kinds([3 * 2.0**24, *[3.0] * 9, 1.0])["float16-overflow"] == [0]
    assert "absurd" not in kinds([3 * 2.0**24, *[3.0] * 9, 1.0])
    assert kinds([3.1 * 2.0**24, *[3.0] * 9, 1.0])["absurd"] == [0]
    assert kinds([-3.1 * 2.0**24, *[3.0] * 9, 1.0])["absurd"] == [0]
    assert "absurd" not in kinds([1e9, 1.0, 1.0])
    assert kinds([1e9, 1.0, 1.0, 2.0])["absurd"] == [0]
    assert "absurd" not in kinds([1e9, 1e9, *[1.0] * 1997])
    assert kinds([1e9, 1e9, *[1.0] * 1998])["absurd"] == [0, 1]
    assert "absurd" not in kinds([1e9, *[0.0] * 20])
