"""Sums before they are rescaled: exact in every format, wrapped as registers wrap them."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums as fast
from refnet.readings.integer.fixedpoint import wrap32
from refnet.readings.integer.loops import sums as loops
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

EXECUTIONS = pytest.mark.parametrize("sums", [loops, fast], ids=["loops", "fast"])


def tensor(values, zero_point=0):
    values = np.asarray(values)
    return QuantisedTensor(values, Quantisation(0.5, zero_point, None, values.dtype))


def extremes(rng, dtype, *shape):
    limits = np.iinfo(dtype)
    return rng.choice([limits.min, limits.max], shape).astype(dtype)


@pytest.mark.parametrize(
    ("channels", "bias", "dtype"),
    [(8, 0, np.float32), (2000, 0, np.float64), (8, 2**40, np.float64), (8, 2**60, np.int64)],
)
def test_every_format_adds_up_exactly(channels, bias, dtype):
    rng = np.random.default_rng(channels)
    x = tensor(extremes(rng, np.int8 if bias < 2**31 else np.int16, 1, channels, 3, 2))
    w, b = tensor(extremes(rng, np.int8, 3, channels)), np.full(3, bias + 1)
    assert fast._Filters(x, w, w.values, b, False).dtype == dtype
    exact = np.einsum("nchw,kc->nkhw", x.values.astype(object), w.values.astype(object)) + bias + 1
    assert (fast.pointwise_conv2d(x, w, b) == exact).all()
    assert (loops.pointwise_conv2d(x, w, b) == exact).all()


@EXECUTIONS
def test_sums_of_eight_bits_wrap_at_int32(sums):
    x, w = tensor(np.full((1, 2, 1, 1), 127, np.int8)), tensor(np.full((1, 2), 127, np.int8))
    total = sums.pointwise_conv2d(x, w, np.array([2**31 - 1])).item()
    assert total == wrap32(2 * 127 * 127 + 2**31 - 1) < 0


@EXECUTIONS
def test_sums_of_sixteen_bits_do_not_wrap_at_int32(sums):
    x, w = tensor(np.full((1, 2, 1, 1), 32767, np.int16)), tensor(np.full((1, 2), 127, np.int8))
    assert sums.pointwise_conv2d(x, w, np.array([2**40])).item() == 2 * 127 * 32767 + 2**40


@EXECUTIONS
def test_padding_adds_nothing_whatever_the_zero_point(sums):
    x = tensor(np.full((1, 1, 1, 1), 5, np.uint8), 200)
    places = {"stride": (1, 1), "pad": ((1, 1), (1, 1))}
    w = tensor(np.full((1, 1, 3, 3), 3, np.uint8), 1)
    assert sums.conv2d(x, w, None, **places).item() == (5 - 200) * 2
    flat = tensor(w.values[0], 1)
    assert sums.depthwise_conv2d(x, flat, None, **places).item() == (5 - 200) * 2


@EXECUTIONS
def test_pairs_saturate_at_int16_before_zero_points_are_taken_off(sums):
    x, w = tensor(np.full((1, 3, 1, 1), 255, np.uint8), 10), tensor(np.full((1, 3), 127, np.int8))
    assert sums.pointwise_conv2d(x, w, None, pairs=True).item() == 32767 + 255 * 127 - 10 * 3 * 127
    assert sums.pointwise_conv2d(x, w, None).item() == 3 * 245 * 127


@EXECUTIONS
@pytest.mark.parametrize(("x", "zero_point"), [(np.uint8, 3), (np.int8, 0)])
def test_pairs_are_of_uint8_by_symmetric_int8(sums, x, zero_point):
    w = tensor(np.ones((1, 2), np.int8), zero_point)
    with pytest.raises(RequestError, match="pairs"):
        sums.pointwise_conv2d(tensor(np.ones((1, 2, 1, 1), x)), w, None, pairs=True)


def test_a_large_map_is_added_up_in_strips_as_a_small_one_is():
    rng = np.random.default_rng(0)
    x = tensor(rng.integers(-128, 128, (2, 8, 70, 90)).astype(np.int8), -3)
    w = tensor(rng.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8))
    b = rng.integers(-1000, 1000, 8)
    whole = np.pad(x.values.astype(np.int64) + 3, ((0, 0), (0, 0), (1, 0), (0, 1)))
    view = np.lib.stride_tricks.sliding_window_view(whole, (3, 3), axis=(2, 3))[:, :, ::2]
    dense = np.einsum("nchvrs,kcrs->nkhv", view, w.values.astype(np.int64)) + b[:, None, None]
    each = np.einsum("nchvrs,crs->nchv", view, w.values[:, 0].astype(np.int64)) + b[:, None, None]
    places = {"stride": (2, 1), "pad": ((1, 0), (0, 1))}
    assert (fast.conv2d(x, w, b, **places) == dense).all()
    assert (fast.depthwise_conv2d(x, tensor(w.values[:, 0]), b, **places) == each).all()


def test_filters_are_prepared_once_while_all_that_they_are_made_of_stays(monkeypatch):
    made, real = [], fast._Filters
    monkeypatch.setattr(fast, "_Filters", lambda *args: made.append(args) or real(*args))
    rng = np.random.default_rng(0)
    x, w = tensor(rng.integers(0, 255, (1, 4, 3, 3)).astype(np.uint8), 3), rng.integers(-9, 9, (5, 4)).astype(np.int8)
    w, b = tensor(w), np.arange(5)

    def right(w):
        exact = np.einsum("nchw,kc->nkhw", x.values.astype(int) - int(x.quantisation.zero_point), w.values.astype(int))
        assert (fast.pointwise_conv2d(x, w, b) == exact + b[:, None, None]).all()
        return len(made)

    assert [right(w), right(w)] == [1, 1]
    w.values[2, 1] += 1  # in place, as exercises of faults do
    assert [right(w), right(w)] == [2, 2]
    b = b + 1
    assert right(w) == 3
    x = tensor(x.values, 7)
    assert right(w) == 4
    fast.pointwise_conv2d(x, w, b, pairs=True)
    assert len(made) == 5
    left = weakref.ref(w)
    del w
    made.clear()
    assert left() is None
