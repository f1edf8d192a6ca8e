"""A format's four numbers are those of the format."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.readings.precision import FLOATS, Precision


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_the_numbers_are_numpys(name):
    known, one = np.finfo(name), FLOATS[name]
    assert one.u == known.eps / 2
    assert (one.largest, one.normal, one.subnormal) == (known.max, known.tiny, known.smallest_subnormal)


def test_bfloat16_is_float32_with_the_last_sixteen_bits_left_out():
    def widened(bits: int) -> float:
        return float(np.array(bits << 16, np.uint32).view(np.float32))

    one = FLOATS["bfloat16"]
    assert (one.largest, one.normal, one.subnormal) == (widened(0x7F7F), widened(0x0080), widened(0x0001))
    assert 1 + 2 * one.u == widened(0x3F81)


def test_an_underflow_costs_a_normal_number_where_subnormals_may_be_flushed():
    assert FLOATS["float32"].underflow == 2.0**-126
    assert FLOATS["float16"].underflow == 2.0**-25  # half the smallest subnormal


def test_short_stores_are_summed_in_float32_unless_the_port_says_otherwise():
    own = 2.0**-53  # the reference's
    assert Precision.of("float16")[:3] == (2.0**-24 + own, 2.0**-11 + own, 2.0**-24)
    assert Precision.of("float16", "float16").u == 2.0**-11 + own
    assert Precision.of("tf32")[:5] == (2.0**-24 + own, 2.0**-24 + own, 2.0**-125, 0.0, 2.0**-11)
