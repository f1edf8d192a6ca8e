"""The bounds of what is no open sum, and of a segment as a whole, in numbers worked out by hand.

`LONG` and `SHORT` as in `test_bounds_sums`. Errors go in as 1/2 (worst), 1/4 (expected) and 1/16 (variance).
"""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np
import pytest
from bounding import LONG, SHORT, figures, single, value

from refnet import Graph, Node, Recipe
from refnet.readings import bounds, fast
from refnet.readings.bounds import bound, source

NO_PAD = ((0, 0), (0, 0))
ONCE = 2.0**-17  # an underflow in `LONG`
U = 2.0**-10


def moved(*y, precision=LONG, worst=0.5, expected=0.25, var=1 / 16):
    """A row of numbers that may have moved, (1, 1, 1, N)."""
    return value(np.reshape(y, (1, 1, 1, -1)), worst, expected, var, precision)


# ------------------------------------------------------------------------------------------------ what rounds nothing

EXACT = {
    "relu": (lambda x: bounds.relu(x), -3.0, 0.0),
    "relu6": (lambda x: bounds.relu6(x), 7.0, 6.0),
    "flatten": (lambda x: bounds.flatten(x), -3.0, -3.0),
    "pad": (lambda x: bounds.pad(x, pad=NO_PAD, mode="edge", value=0.0), -3.0, -3.0),
    "max_pool2d": (lambda x: bounds.max_pool2d(x, kernel=(1, 1), stride=(1, 1), pad=NO_PAD), -3.0, -3.0),
}


@pytest.mark.parametrize("op", EXACT)
def test_what_rounds_nothing_is_stored_again_only_where_the_store_is_shorter_than_sums_are(op):
    """Then by a quarter, and 1/16; integers also by half a step, 1/2."""
    run, x, y = EXACT[op]
    assert single(run(moved(x))) == (y, 0.5, 0.25, 1 / 16)
    assert single(run(moved(x, precision=LONG._replace(u_store=LONG.u)))) == (y, 0.5, 0.25, 1 / 16)
    short = abs(y) / 4 + 1 / 16
    assert single(run(moved(x, precision=SHORT))) == figures(y, 0.5 + short, 0.25 + short, 1 / 16 + short**2)
    integers = abs(y) * 2.0**-23 + ONCE + 0.5
    found = single(run(moved(x, precision=LONG._replace(step=0.5))))
    assert found == figures(y, 0.5 + integers, 0.25 + integers, 1 / 16 + integers**2)


def test_a_largest_number_moves_by_the_largest_error_of_its_window():
    x = moved(1.0, 5.0, worst=[0.5, 0.125], expected=[0.25, 0.0625], var=[0.5, 0.25])
    assert single(bounds.max_pool2d(x, kernel=(1, 2), stride=(1, 2), pad=NO_PAD)) == (5, 0.5, 0.25, 0.5)


def test_joined_maps_move_as_each_of_them_does():
    found = bounds.concat(moved(1.0), moved(2.0, worst=0.25, expected=0.5, var=0.75))
    joined = [[1, 2], [0.5, 0.25], [0.25, 0.5], [1 / 16, 0.75]]
    assert [each.ravel().tolist() for each in (found.y, *found.total)] == joined


def test_the_nearest_pixel_moves_as_it_does():
    x = moved(1.0, 5.0, worst=[0.5, 0.125], expected=[0.25, 0.0625], var=[0.5, 0.25])
    found = bounds.resize_nearest(x, size=(1, 3), align_corners=False, half_pixel=True)
    assert [each.ravel().tolist() for each in (found.y, *found.total)] == [
        [1, 5, 5],
        [0.5, 0.125, 0.125],
        [0.25, 0.0625, 0.0625],
        [0.5, 0.25, 0.25],
    ]


def test_a_constant_border_is_exact_and_a_copied_one_is_not():
    constant = bounds.pad(moved(3.0), pad=((0, 0), (1, 0)), mode="constant", value=7.0)
    assert [each.ravel().tolist() for each in (constant.y, *constant.total)] == [
        [7, 3],
        [0, 0.5],
        [0, 0.25],
        [0, 1 / 16],
    ]
    copied = bounds.pad(moved(3.0), pad=((0, 0), (1, 0)), mode="edge", value=7.0)
    assert [each.ravel().tolist() for each in (copied.y, copied.worst)] == [[3, 3], [0.5, 0.5]]


def test_what_may_lie_on_either_side_of_a_threshold_may_be_lost():
    """0.5 is how far each may have moved at worst, 0.25 as expected."""
    found = bounds.thresholded_relu(moved(2.0, 1.375, 0.875, 0.25), threshold=1.0)
    assert [each.ravel().tolist() for each in (found.y, found.worst, found.expected)] == [
        [2, 1.375, 0, 0],
        [0.5, 1.875, 1.375, 0],
        [0.25, 0.25, 1.125, 0],
    ]


# -------------------------------------------------------------------------------------------------------- activations


@pytest.mark.parametrize(
    ("run", "x", "y", "slope", "own"),
    [
        (lambda x: bounds.hard_sigmoid(x, slope=-0.25, offset=0.5), 1.0, 0.25, 0.25, 2 * U),
        (lambda x: bounds.hard_sigmoid(x, slope=2.0, offset=0.5), 0.125, 0.75, 2, 2 * U),
        (bounds.hard_swish, -6.0, 0.0, 1.5, 4 * U * 6),  # 6/6 + 1/2 is cut at 1
        (bounds.hard_swish, 1.5, 1.125, 1.5, 4 * U * 1.5 * 0.75),  # 1.5/6 + 1/2
        (bounds.sigmoid, log(3), 0.75, 0.25, 4 * U),
        (bounds.swish, -log(3), -log(3) / 4, 1.1, 5 * U * log(3)),
        (bounds.tanh, log(3) / 2, 0.5, 1, 9 * U),
        (lambda x: bounds.leaky_relu(x, slope=0.25), -4.0, -1.0, 1, 2 * U),
        (lambda x: bounds.leaky_relu(x, slope=-2.0), -4.0, 8.0, 2, 16 * U),
        (lambda x: bounds.leaky_relu(x, slope=0.25), 4.0, 4.0, 1, 0),
        (lambda x: bounds.prelu(x, np.array([0.25])), -4.0, -1.0, 1, U),
        (lambda x: bounds.prelu(x, np.array([[[-3.0]]])), -4.0, 12.0, 3, 12 * U),
        (lambda x: bounds.clip(x, low=-0.5, high=0.75), 2.0, 0.75, 1, 0.75 * U),
    ],
    ids=[
        "hard_sigmoid",
        "steep hard_sigmoid",
        "hard_swish, cut",
        "hard_swish",
        "sigmoid",
        "swish",
        "tanh",
        "leaky_relu",
        "steep leaky_relu",
        "positive leaky_relu",
        "prelu",
        "prelu by point",
        "clip",
    ],
)
def test_an_activation_carries_by_its_largest_slope_and_rounds_by_its_own(run, x, y, slope, own):
    store = abs(y) * 2.0**-23 + ONCE
    assert single(run(moved(x))) == figures(
        y, slope / 2 + own + store, slope / 4 + own + store, slope**2 / 16 + own**2 + store**2
    )


@pytest.mark.parametrize(
    ("op", "slope"), [("relu", 1), ("relu6", 1), ("hard_swish", 1.5), ("sigmoid", 0.25), ("swish", 1.1), ("tanh", 1)]
)
def test_no_activation_is_steeper_than_its_slope_nor_much_less_steep(op, slope):
    x = np.linspace(-8, 8, 160_001).reshape(1, 1, 1, -1)
    steepest = np.abs(np.diff(getattr(fast, op)(x)) / np.diff(x)).max()
    assert 0.99 * slope <= steepest <= slope * (1 + 1e-9)


# ------------------------------------------------------------------------------------------------------ two at a time


def test_a_product_moves_by_each_of_its_factors():
    """-3 x -1/2: 3 x 1/4 + 1/2 x 1/2 + 1/2 x 1/4 at worst, and one rounding of 1.5."""
    found = bounds.scale(moved(-3.0), moved(-0.5, worst=0.25, expected=0.125, var=1 / 64))
    store = 1.5 * 2.0**-23 + 2 * ONCE
    assert single(found) == figures(
        1.5,
        1.125 + 1.5 / 1023 + store,
        0.375 + 0.125 + 0.03125 + 9 * U + store,
        9 / 64 + 0.25 / 16 + 2.25 * U**2 + store**2,
    )


def test_a_sum_of_two_moves_by_both():
    """One rounding of 3 - 5."""
    found = bounds.add(moved(3.0), moved(-5.0, worst=0.25, expected=0.125, var=1 / 64))
    store = 2 * 2.0**-23 + 2 * ONCE
    assert single(found) == figures(-2, 0.75 + 2 / 1023 + store, 0.375 + 12 * U + store, 5 / 64 + 4 * U**2 + store**2)


@pytest.mark.parametrize("run", [bounds.scale, bounds.add])
def test_a_batch_norm_may_go_on_with_a_join(run):
    assert run(moved(3.0), moved(-5.0)).open.K == 1


# -------------------------------------------------------------------------------------------------------------- pools


def test_the_mean_of_a_map_rounds_once_a_term_and_once_more():
    """1, 1, 3, -1: y = 1, A = 6/4 + 1/2, gamma_5 = 5/1019, which is less than 6 sqrt(K) u.

    K = 2^2 + 1 + 1 for the values, 1 for the quotient; B^2 = 12 / 4^2. The mean of the errors, variances over 4.
    """
    x = value([[[[1.0, 1.0], [3.0, -1.0]]]], 0.5, 0.25, 1 / 16)
    found = bounds.avg_pool2d(x, kernel=(2, 2), stride=(1, 1), pad=NO_PAD)
    own, store = 5 / 1019 * 2, 2.0**-23 + ONCE
    assert single(found) == figures(1, 0.5 + own + store, 0.25 + own + store, 1 / 64 + 7 * U**2 * (0.75 + 1) + store**2)


def test_the_mean_of_many_different_numbers_is_expected_to_be_closer():
    """0 to 48: A = y = 24, K = 49 + 1. 50/974 x 24 at worst, 6 sqrt(50) u 24 expected."""
    found = bounds.avg_pool2d(value(np.arange(49.0).reshape(1, 1, 7, 7)), kernel=(7, 7), stride=(1, 1), pad=NO_PAD)
    store = 24 * 2.0**-23 + ONCE
    squares = sum(n**2 for n in range(49)) / 49**2
    assert single(found) == figures(
        24, 50 / 974 * 24 + store, 144 * sqrt(50) * U + store, 50 * U**2 * (squares + 24**2) + store**2
    )


def test_each_map_repeats_its_own_values():
    """Four of a kind, K = 16 + 1, beside four kinds, K = 4 + 1; the same in the next image the other way round."""
    same, different = [[2.0, 2.0], [2.0, 2.0]], [[-4.0, 2.0], [2.5, 7.5]]
    x = value([[same, different], [different, same]])
    found = bounds.avg_pool2d(x, kernel=(2, 2), stride=(1, 1), pad=NO_PAD)
    store = 2 * 2.0**-23 + ONCE
    one = 17 * U**2 * (1 + 4) + store**2
    other = 5 * U**2 * ((16 + 4 + 6.25 + 56.25) / 16 + 4) + store**2
    assert found.var.ravel().tolist() == pytest.approx([one, other, other, one], rel=1e-13)


def test_points_outside_the_image_are_no_terms():
    """Windows of (-, 2) and (4, 6), 1/2 and 1/4 off: means 2 and 5 of one and of two terms; K = 2^2 + 1.

    B^2 = 4 / 1 and 52 / 4; the variances 1/16 / 1 and 1/16 / 2.
    """
    x = moved(2.0, 4.0, 6.0, worst=[0.5, 0.25, 0.25], expected=[0.25, 0.125, 0.125])
    found = bounds.avg_pool2d(x, kernel=(1, 2), stride=(1, 2), pad=((0, 0), (1, 0)))
    stores = [y * 2.0**-23 + ONCE for y in (2, 5)]
    own = [3 / 1021 * A for A in (2.5, 5.25)]
    assert found.y.ravel().tolist() == [2, 5]
    assert found.worst.ravel().tolist() == pytest.approx([0.5 + own[0] + stores[0], 0.25 + own[1] + stores[1]])
    assert found.expected.ravel().tolist() == pytest.approx([0.25 + own[0] + stores[0], 0.125 + own[1] + stores[1]])
    assert found.var.ravel().tolist() == pytest.approx(
        [1 / 16 + 5 * U**2 * (4 + 4) + stores[0] ** 2, 1 / 32 + 5 * U**2 * (13 + 25) + stores[1] ** 2], rel=1e-13
    )


def test_the_mean_of_a_part_of_a_map_may_be_of_one_value():
    """Windows of three: K = 3^2 + 1. 2, 4 and 6 have a mean of 4 and B^2 = 56 / 9."""
    found = bounds.avg_pool2d(moved(2.0, 4.0, 6.0, 8.0, var=0.0), kernel=(1, 3), stride=(1, 2), pad=NO_PAD)
    store = 4 * 2.0**-23 + ONCE
    assert found.var.item() == pytest.approx(10 * U**2 * (56 / 9 + 16) + store**2, rel=1e-13)


# ------------------------------------------------------------------------------------------------ resize and softmax


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_resized_map_moves_as_its_neighbours_differ(align_corners):
    """To its own size, 0 0 0 0 8: 4 u (A + 5 r); the range r is 8 at the last two, whose neighbours reach the 8."""
    found = bounds.resize_bilinear(moved(0.0, 0.0, 0.0, 0.0, -8.0), size=(1, 5), align_corners=align_corners)
    own = [4 * U * each for each in (0, 0, 0, 40, 48)]
    store = [ONCE] * 4 + [8 * 2.0**-23 + ONCE]
    assert found.y.ravel().tolist() == [0, 0, 0, 0, -8]
    for each, carried in ((found.worst, 0.5), (found.expected, 0.25)):
        assert each.ravel().tolist() == pytest.approx([carried + o + s for o, s in zip(own, store, strict=True)])
    assert found.var.ravel().tolist() == pytest.approx(
        [1 / 16 + o**2 + s**2 for o, s in zip(own, store, strict=True)], rel=1e-13
    )


@pytest.mark.parametrize("shape", [(1, 1, 7, 1), (1, 1, 1, 7)], ids=["rows", "columns"])
def test_only_the_next_neighbours_count(shape):
    """0 0 0 8 0 0 0: the 8 is seen from its own place and from the two beside it, 4 u (A + 7 r)."""
    x = value(np.array([0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0]).reshape(shape))
    found = bounds.resize_bilinear(x, size=shape[2:], align_corners=False)
    assert (found.worst.ravel() / (4 * U)).round(1).tolist() == [0, 0, 56, 64, 56, 0, 0]


def test_maps_do_not_differ_from_one_another_but_within():
    """Flat maps of 1, 2, 4 and 8, two images of two channels: 4 u of each."""
    x = value(np.repeat([1.0, 2.0, 4.0, 8.0], 4).reshape(2, 2, 2, 2))
    found = bounds.resize_bilinear(x, size=(2, 2), align_corners=False)
    assert found.worst.ravel() == pytest.approx(4 * U * x.y.ravel() + x.y.ravel() * 2.0**-23 + ONCE, rel=1e-13)


def test_a_resized_map_carries_its_errors_as_it_does_its_numbers():
    """Twice as wide: a quarter of the way from 0 to 4, the errors a quarter of the way from 1/2 to 1."""
    found = bounds.resize_bilinear(moved(0.0, 4.0, worst=[0.5, 1.0]), size=(1, 4), align_corners=False)
    own = [4 * U * each for each in (8, 9, 11, 12)]
    store = [y * 2.0**-23 + ONCE for y in (0, 1, 3, 4)]
    assert found.y.ravel().tolist() == [0, 1, 3, 4]
    assert found.worst.ravel().tolist() == pytest.approx(
        [c + o + s for c, o, s in zip((0.5, 0.625, 0.875, 1.0), own, store, strict=True)], rel=1e-13
    )


def test_probabilities_move_by_their_own_error_and_by_that_of_their_sum():
    """Of 0 and -ln 3, 3/4 and 1/4. Errors 1/2 of each: p (1/2 + 1/2); u p (distance + 2 + 4), and twice an underflow.

    The variance p^2 (1/16 + (9/16 + 1/16) / 16), and the square of u p (distance + sqrt(2) + 4).
    """
    x = value([[0.0, -log(3)]], 0.5, 0.25, 1 / 16)
    found = bounds.softmax(x)
    store = [p * 2.0**-23 + ONCE for p in (0.75, 0.25)]
    own = [U * 0.75 * 6, U * 0.25 * (log(3) + 6)]
    rms = [U * 0.75 * (sqrt(2) + 4), U * 0.25 * (log(3) + sqrt(2) + 4)]
    worst = [p + o + 2 * ONCE + s for p, o, s in zip((0.75, 0.25), own, store, strict=True)]
    likely = [p / 2 + o + 2 * ONCE + s for p, o, s in zip((0.75, 0.25), own, store, strict=True)]
    var = [p**2 * 26 / 256 + r**2 + s**2 for p, r, s in zip((0.75, 0.25), rms, store, strict=True)]
    assert found.worst.ravel().tolist() == pytest.approx(worst, rel=1e-13)
    assert found.expected.ravel().tolist() == pytest.approx(likely, rel=1e-13)
    assert found.var.ravel().tolist() == pytest.approx(var, rel=1e-13)


def test_errors_of_one_logit_move_the_others():
    """Two halves: dp_1 = p_1 (1 - p_1) dz_1 at most p_1 (dz_1 + p_1 dz_1)."""
    found = bounds.softmax(value([[0.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [0.0, 0.0]], [[0.25, 0.0], [0.0, 0.0]]))
    own = U * 0.5 * 6 + 2 * ONCE + 0.5 * 2.0**-23 + ONCE
    assert found.worst.ravel().tolist() == pytest.approx([0.375 + own, 0.125 + own, own, own], rel=1e-13)
    assert found.expected.ravel().tolist() == pytest.approx([0.1875 + own, 0.0625 + own, own, own], rel=1e-13)


def test_a_sum_of_many_exponentials_is_expected_to_be_closer():
    """64 equal ones: 64 + 4 roundings at worst, 6 sqrt(64) + 4 expected, 8 + 4 in the rms."""
    found = bounds.softmax(value(np.zeros((1, 64))))
    store = 2.0**-29 + ONCE
    assert found.worst[0, 0] == pytest.approx(U / 64 * 68 + 2 * ONCE + store, rel=1e-13)
    assert found.expected[0, 0] == pytest.approx(U / 64 * 52 + 2 * ONCE + store, rel=1e-13)
    assert found.var[0, 0] == pytest.approx((U / 64 * 12) ** 2 + store**2, rel=1e-13)


# ------------------------------------------------------------------------------------------------------- the segment


def segment(*nodes):
    """A graph of pointwise convolutions, from (name, shape of its filters)."""
    names = ("input", *(name for name, _ in nodes))
    made = (Node(name, "pointwise_conv2d", (names[i],), {"w": w}) for i, (name, w) in enumerate(nodes))
    return Graph(Recipe("", 1.0, (1, 1), 1), tuple(made))


def test_a_given_tensor_is_exact_or_a_rounded_copy():
    x = np.array([-8.0])
    given = source(x, SHORT)
    assert [each.item() for each in (given.y, *given.total)] == [-8, 0, 0, 0]
    copied = source(x, SHORT, rounded=True)
    assert [each.item() for each in (copied.y, *copied.total)] == [-8, 2 + 1 / 16, 2 + 1 / 16, (2 + 1 / 16) ** 2]


def test_a_segment_takes_its_inputs_as_it_is_told():
    """A copy that is 8/4 + 1/16 off counts as much behind a weight of 1."""
    graph, params, given = segment(("a", (1, 1))), {"a.w": np.ones((1, 1))}, {"input": np.full((1, 1, 1, 1), 8.0)}
    exact, copied = bound(graph, params, given, SHORT), bound(graph, params, given, SHORT, rounded=True)
    assert (copied.worst - exact.worst).item() == pytest.approx((2 + 1 / 16) * (1 + 1 / 1023 + 5 / 16), rel=1e-13)


def test_a_segments_rms_is_that_of_the_whole_tensor():
    """One rounding of 3 and of 0: variances u^2 (9 + 9) + store^2, and an underflow twice; their mean, its root."""
    graph, params = segment(("a", (2, 1))), {"a.w": np.array([[3.0], [0.0]])}
    made = bound(graph, params, {"input": np.ones((1, 1, 1, 1))}, LONG)
    one, other = 18 * U**2 + (3 * 2.0**-23 + 2 * ONCE) ** 2, (2 * ONCE) ** 2
    assert made.rms == pytest.approx(sqrt((one + other) / 2), rel=1e-13)
    assert made.y.ravel().tolist() == [3, 0]


@pytest.mark.parametrize(("span", "y"), [((-inf, 2.0), [2, -3]), ((-1.0, inf), [3, -1]), ((-1.0, 2.0), [2, -1])])
def test_integers_are_expected_at_the_end_of_their_type(span, y):
    graph, params = segment(("a", (2, 1))), {"a.w": np.array([[3.0], [-3.0]])}
    made = bound(graph, params, {"input": np.ones((1, 1, 1, 1))}, LONG._replace(span=span))
    assert made.y.ravel().tolist() == y


def test_where_nothing_is_known_the_bound_is_infinite():
    """A sum of 1024 terms may be anything, so a weight of zero times it may be, too, whatever its neighbour's bound."""
    graph = segment(("a", (1, 1024)), ("b", (2, 1)))
    params = {"a.w": np.ones((1, 1024)), "b.w": np.array([[0.0], [1.0]])}
    made = bound(graph, params, {"input": np.ones((1, 1024, 1, 1))}, LONG)
    assert made.worst.ravel().tolist() == [inf, inf]
    assert made.y.ravel().tolist() == [0, 1024]


def test_the_size_of_a_bound_can_be_asked_for_in_float32():
    graph, params = segment(("a", (1, 2))), {"a.w": np.array([[3.0, -1.0]])}
    given = {"input": np.ones((1, 2, 1, 1))}
    whole, half = (bound(graph, params, given, LONG, dtype=dtype) for dtype in (np.float64, np.float32))
    assert (half.y.dtype, half.worst.dtype, half.expected.dtype) == (np.float32,) * 3
    assert half.worst.item() == pytest.approx(whole.worst.item(), rel=1e-6)
    assert half.rms == pytest.approx(whole.rms, rel=1e-6)
