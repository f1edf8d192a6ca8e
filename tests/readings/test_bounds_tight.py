"""Bounds are met: for each rule an honest run that errs nearly as far as it may, so no bound is wider than it must be.

Errors are made to point one way. 1 + 2^-11 lies between two numbers of float16 and goes down to 1, so a plain loop that
adds 2^-11 to 1 stays there; 1 + 3 x 2^-11 goes up. Activations are in `test_bounds_sound`, with their spellings.
"""

from __future__ import annotations

import numpy as np
import pytest
from bounding import judged

from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS

U = 2.0**-11  # of float16
FLOAT32, FLOAT16, SUMS16 = Precision.of("float32"), Precision.of("float16"), Precision.of("float16", "float16")
NO_PAD = ((0, 0), (0, 0))
FILTER = {"stride": (1, 1), "pad": NO_PAD, "dilation": (1, 1)}
POOL = {"kernel": (3, 11), "stride": (1, 1), "pad": NO_PAD}
POINT = {"kernel": (1, 1), "stride": (1, 1), "pad": NO_PAD}


def stuck(*shape):
    """A one, and many numbers that are lost when they are added to it one by one."""
    x = np.full(shape, U, np.float16)
    x.flat[0] = 1
    return x


@pytest.mark.parametrize(
    ("op", "shape", "params", "attrs"),
    [
        ("conv2d", (1, 1, 3, 11), {"w": np.ones((1, 1, 3, 11), np.float16)}, FILTER),
        ("depthwise_conv2d", (1, 1, 3, 11), {"w": np.ones((1, 3, 11), np.float16)}, FILTER),
        ("pointwise_conv2d", (1, 33, 1, 1), {"w": np.ones((1, 33), np.float16)}, {}),
        ("avg_pool2d", (1, 1, 3, 11), {}, POOL),
    ],
)
def test_a_plain_loop_that_loses_32_of_its_33_terms(op, shape, params, attrs):
    x = stuck(*shape)
    none = [None] * bool(params)
    y = getattr(ORDERS["sequential"], op)(x, *params.values(), *none, **attrs)
    assert y.item() == (1 if params else np.float16(1 / 33))
    assert 0.88 < judged(op, [x], y, SUMS16, params, **attrs).worst <= 1


def test_a_softmax_whose_sum_loses_its_64_small_terms():
    z = np.full((1, 65), -11 * np.log(2), np.float16)
    z[0, 0] = 0
    exponentials, total = np.exp(z), np.float16(1)
    exponentials[0, 1:] = U  # half a unit less than float16's exp, which may as well be made of a shorter series
    for each in exponentials[0, 1:]:
        total = total + each
    assert total == 1
    assert 0.9 < judged("softmax", [z], exponentials / total, SUMS16).worst <= 1


ONE = np.ones((1, 1, 1, 1))


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("add", [ONE, U * ONE], {}),
        ("scale", [(1 + U) * ONE, ONE], {}),
        ("relu", [(1 + U) * ONE], {}),
        ("relu6", [(1 + U) * ONE], {}),
        ("pad", [(1 + U) * ONE], {"pad": NO_PAD, "mode": "edge", "value": 0.0}),
        ("max_pool2d", [(1 + U) * ONE], POINT),
        ("flatten", [(1 + U) * ONE[..., 0, 0]], {}),
    ],
)
def test_a_number_that_is_stored_halfway_from_its_neighbours(op, inputs, attrs):
    y = inputs[0].astype(np.float16).reshape(inputs[0].shape)
    assert 0.999 < judged(op, inputs, y, FLOAT16, **attrs).worst <= 1


@pytest.mark.parametrize("op", ["add", "scale"])
def test_half_a_bound_is_the_rounding_and_half_the_store(op):
    """Where both are done at once, in one format, there is one rounding and not two."""
    inputs = [ONE, U * ONE] if op == "add" else [(1 + U) * ONE, ONE]
    assert judged(op, inputs, np.ones((1, 1, 1, 1), np.float16), SUMS16).worst == pytest.approx(0.5, abs=0.001)


def test_64_weights_that_are_rounded_one_way():
    """Down where x is 1, up where it is -1: the sum is off by 64 u, and the result so small that its store is not."""
    x = np.where(np.arange(64) % 2, -1.0, 1.0)
    w = np.where(x > 0, 1 + U, 1 + 3 * U)
    y = (x * w.astype(np.float16)).sum()
    assert y - (x * w).sum() == -64 * U
    verdict = judged("pointwise_conv2d", [x.reshape(1, 64, 1, 1)], y.reshape(1, 1, 1, 1), FLOAT16, {"w": w[None]})
    assert 0.99 < verdict.worst <= 1


def test_64_products_whose_factors_are_rounded_one_way():
    x, w = np.full((1, 64, 1, 1), 1 + U), np.full((1, 64), 1 + U)
    verdict = judged("pointwise_conv2d", [x], np.full((1, 1, 1, 1), 64, np.float32), Precision.of("tf32"), {"w": w})
    assert 0.99 < verdict.worst <= 1


def test_63_weights_that_lie_halfway_between_two_levels():
    """At half a step each, the largest being 127: all become zero."""
    x, w = np.ones((1, 64, 1, 1)), np.full((1, 64), 0.5)
    x[0, 0], w[0, 0] = 0, 127
    verdict = judged("pointwise_conv2d", [x], np.zeros((1, 1, 1, 1)), FLOAT32._replace(levels=127), {"w": w})
    assert 0.999 < verdict.worst <= 1


def test_a_bias_in_integers_that_lies_halfway_between_two_steps():
    """In steps of 1/127 x 1, the weights' and the tensor's: half a step of it is lost, and of the store that of y."""
    x, w, b = np.ones((1, 1, 1, 1)), np.ones((1, 1)), np.array([10.5 / 127])
    precision = FLOAT32._replace(levels=127, step=1e-9)
    verdict = judged("pointwise_conv2d", [x], np.full((1, 1, 1, 1), 1 + 10 / 127), precision, {"w": w, "b": b})
    assert 0.49 < verdict.worst <= 1  # the weight's half step is not used: 127 is a level


def test_a_tensor_in_integers_that_lies_halfway_between_two_steps():
    verdict = judged("relu", [10.5 * ONE], 10 * ONE, FLOAT32._replace(step=0.5))
    assert 0.999 < verdict.worst <= 1


def drawn(count):
    """Batch norms of one element each: x, gamma, beta, mean, var."""
    rng = np.random.default_rng(0)
    return *(rng.standard_normal(count) for _ in range(4)), rng.random(count) + 0.5


def test_a_batch_norm_whose_params_are_rounded_one_way():
    """The farthest of 200,000, computed in float64 from params in float16."""
    x, *params = drawn(200_000)
    x = x.astype(np.float16).astype(np.float64).reshape(1, -1, 1, 1)
    gamma, beta, mean, var = (each.astype(np.float16).astype(np.float64).reshape(-1, 1, 1) for each in params)
    y = (gamma * (x - mean) / np.sqrt(var + 1e-3) + beta).astype(np.float16)
    named = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    assert 0.95 < judged("batch_norm", [x], y, FLOAT16, named, eps=1e-3).worst <= 1


FORMS = {
    "difference first": lambda x, g, b, m, v: g * (x - m) / np.sqrt(v) + b,
    "deviation first": lambda x, g, b, m, v: (x - m) / np.sqrt(v) * g + b,
    "factor first": lambda x, g, b, m, v: (x - m) * (g / np.sqrt(v)) + b,
    "reciprocal": lambda x, g, b, m, v: (x - m) * (1 / np.sqrt(v)) * g + b,
    "folded": lambda x, g, b, m, v: g / np.sqrt(v) * x + (b - m * (g / np.sqrt(v))),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_batch_norm_uses_its_six_roundings(form):
    """The farthest of 200,000."""
    x, *params = (each.astype(np.float32) for each in drawn(200_000))
    gamma, beta, mean, var = (each.reshape(-1, 1, 1) for each in params)
    x = x.reshape(1, -1, 1, 1)
    y = FORMS[form](x, gamma, beta, mean, var + np.float32(1e-3))
    named = dict(zip(("gamma", "beta", "mean", "var"), params, strict=True))
    assert 0.45 < judged("batch_norm", [x], y, FLOAT32, named, eps=1e-3).worst <= 1


def resized(x, size, align_corners):
    """In the precision of x, coordinates too."""
    number = x.dtype.type
    for axis, outputs in zip((2, 3), size, strict=True):
        n = x.shape[axis]
        place = np.arange(outputs).astype(x.dtype)
        if align_corners:
            place = place * (number(n - 1) / number(outputs - 1))
        else:
            place = (place + number(0.5)) * (number(n) / number(outputs)) - number(0.5)
        place = place.clip(number(0), number(n - 1))
        low = place.astype(int)
        part = (place - low.astype(x.dtype)).reshape((-1, 1) if axis == 2 else (-1,))
        x = x.take(low, axis) * (1 - part) + x.take(np.minimum(low + 1, n - 1), axis) * part
    return x


@pytest.mark.parametrize(("align_corners", "reached"), [(False, 0.4), (True, 0.3)])
def test_a_resize_whose_coordinates_round_too(align_corners, reached):
    """Maps of noise, whose neighbours are as far apart as can be."""
    rng, found = np.random.default_rng(0), []
    for n in (20, 50, 64, 100):
        for size in ((n + 7, n + 7), (2 * n - 1, 2 * n - 1), (3 * n, 3 * n)):
            x = rng.choice(np.array([-1, 1], np.float32), (1, 1, n, n))
            y = resized(x, size, align_corners)
            found.append(judged("resize_bilinear", [x], y, FLOAT32, size=size, align_corners=align_corners).worst)
    assert reached < max(found) <= 1


def test_a_plain_loop_errs_by_a_fair_part_of_the_rms():
    """Over 400 products of mixed sign."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 400, 20, 20), (8, 400)))
    y = ORDERS["sequential"].pointwise_conv2d(x, w, None)
    assert 0.1 < judged("pointwise_conv2d", [x], y, FLOAT32, {"w": w}).rms <= 1
