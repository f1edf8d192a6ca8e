"""The other orders of summation compute the same function, and not in the same order."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_input, random_params
from refnet.graph import interpret
from refnet.readings import fast
from refnet.readings.orders import ORDERS, by_sign


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "fast"])
@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_small@dilated"])
def test_each_order_agrees_in_float64_and_differs_in_float32(name, order):
    graph = build(name, width=0.35, size=(49, 34))
    for dtype in (np.float64, np.float32):
        params, x = random_params(graph, dtype), random_input(graph, 1, dtype)
        one = interpret(graph, fast, params, {"input": x})
        other = interpret(graph, ORDERS[order], params, {"input": x})
        assert other.dtype == dtype
        if dtype is np.float64:
            assert np.abs(one - other).max() <= 1e-11 * np.abs(one).max()
        else:
            assert not np.array_equal(one, other)


def summed(terms: np.ndarray) -> np.ndarray:
    """One after the other along the last axis, each sum rounded."""
    total = np.zeros(terms.shape[:-1], terms.dtype)
    for k in range(terms.shape[-1]):
        total = total + terms[..., k]
    return total


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("order", "step"), [("sequential", 1), ("backwards", -1)])
@pytest.mark.parametrize(("pixels", "channels"), [((5, 7), 3), ((1, 2), 40), ((1, 1), 9), ((1, 1), 1), ((3, 1), 1)])
def test_a_pointwise_sum_is_taken_term_by_term(pixels, channels, order, step, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 23, *pixels)).astype(np.float32).astype(dtype)
    w = rng.choice([-2, -1, 0.5, 4], (channels, 23)).astype(dtype)  # whose products are exact, fused or not
    y = ORDERS[order].pointwise_conv2d(x, w, None)
    terms = x.transpose(0, 2, 3, 1)[..., None, :] * w
    assert np.array_equal(y, summed(terms[..., ::step]).transpose(0, 3, 1, 2))
    assert dtype is np.float64 or not np.array_equal(y, summed(terms[..., ::-step]).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("order", "step"), [("sequential", 1), ("backwards", -1)])
@pytest.mark.parametrize("geometry", [((1, 1), (2, 2)), ((2, 1), (1, 1)), ((1, 2), (1, 2))])
def test_a_depthwise_sum_is_taken_term_by_term(geometry, order, step):
    stride, dilation = geometry
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 9, 8), (3, 3, 5)))
    given = {"stride": stride, "dilation": dilation, "pad": ((2, 1), (3, 4))}
    y = ORDERS[order].depthwise_conv2d(x, w, None, **given)
    padded = np.pad(x, ((0, 0), (0, 0), *given["pad"]))
    for n, c, p, q in np.ndindex(y.shape):
        top, left = p * stride[0], q * stride[1]
        window = padded[n, c, top : top + 2 * dilation[0] + 1, left : left + 4 * dilation[1] + 1]
        terms = (window[:: dilation[0], :: dilation[1]] * w[c]).ravel()
        assert y[n, c, p, q] == summed(terms[::step])


@pytest.mark.parametrize(("order", "step"), [("sequential", 1), ("backwards", -1)])
@pytest.mark.parametrize("channels", [1, 5])
def test_a_mean_is_summed_term_by_term(channels, order, step):
    x = np.random.default_rng(2).standard_normal((2, channels, 9, 11)).astype(np.float32)
    y = ORDERS[order].avg_pool2d(x, kernel=(9, 11), stride=(1, 1), pad=((0, 0), (0, 0)))
    assert np.array_equal(y[..., 0, 0], summed(x.reshape(2, channels, -1)[..., ::step]) / np.float32(99))


def test_positive_and_negative_products_are_added_up_apart():
    """In float16 a sum of ones ends at 2048, where one more is half a step; what is taken away before that is not."""
    x = np.float16([-1.0, *2049 * [1.0]]).reshape(1, -1, 1, 1)
    w, b = np.ones((1, 2050), np.float16), np.float16([0.0])
    one, other = (
        rules.pointwise_conv2d(x, w, b).item() for rules in (ORDERS["sequential"], by_sign(ORDERS["sequential"]))
    )
    assert (one, other) == (2048, 2047)


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_small@dilated"])
def test_apart_they_make_the_same_function(name):
    graph = build(name, width=0.35, size=(49, 34))
    params, x = random_params(graph, np.float64), random_input(graph, 1, np.float64)
    one, other = (interpret(graph, rules, params, {"input": x}) for rules in (fast, by_sign(fast)))
    assert np.abs(one - other).max() <= 1e-11 * np.abs(one).max()
