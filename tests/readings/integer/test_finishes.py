"""Many sums rescaled at once: what float32 decides is what the rule says, up to the last integer before a tie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.readings.integer import fixedpoint
from refnet.readings.integer.fast.finishes import by_multiplier
from refnet.readings.integer.quantisation import Quantisation

RULES = ["mbqm", "mbqm_half_up", "mbqm_single"]


def sums_near_ties(rng, ratio):
    """Whole numbers on both sides of where the output changes, and in between, as float32 holds them."""
    steps = np.arange(-300, 300)[:, None] + 0.5
    near = np.rint(steps / ratio + rng.integers(-2, 3, (1, 8)))
    half = np.rint((steps + rng.choice([-1, 1], (600, 8)) * 2.0 ** -rng.integers(1, 20, (600, 8))) / ratio)
    other = rng.integers(-(2**24) + 1, 2**24, (600, 4))
    return np.clip(np.concatenate([near, half, other], axis=1), -(2**24) + 1, 2**24 - 1).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**32 - 1), st.integers(-20, 1), st.floats(0.5, 1), st.booleans(), st.data())
def test_no_sum_is_rounded_another_way_than_by_the_rule(rule, seed, power, part, exact_power, data):
    rng = np.random.default_rng(seed)
    ratio = np.array([2.0**power * (1.0 if exact_power else part)])
    zero = data.draw(st.integers(-128, 127))
    low = data.draw(st.sampled_from([-128, zero]))
    total = sums_near_ties(rng, ratio.item())
    to = Quantisation(1.0, zero, None, "int8")
    rounding = getattr(fixedpoint, rule)
    y = np.empty(total.shape, np.int8)
    by_multiplier(ratio, rounding, to, (low, 127))(total[..., None], y[..., None])
    m, e = fixedpoint.multiplier(ratio.item())
    assert np.array_equal(y, np.clip(rounding(total.astype(np.int64), m, e) + zero, low, 127))


def test_a_shift_to_the_left_wraps_as_int32_does():
    total = np.array([[[2.0**22], [-(2.0**22) - 4]]], np.float32)
    y = np.empty(total.shape, np.int8)
    by_multiplier(np.array([2.0**8]), fixedpoint.mbqm, Quantisation(1.0, 0, None, "int8"), (-128, 127))(total, y)
    assert y.ravel().tolist() == [-128, 127]  # 2^31 is -2^31, and what lies below -2^31 comes out above
