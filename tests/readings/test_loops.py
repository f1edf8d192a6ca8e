"""The definition, against numbers worked out by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refnet.readings import fast, loops

NO_PAD = ((0, 0), (0, 0))
NINE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9


@pytest.fixture(params=[loops, fast], ids=["loops", "fast"])
def ops(request):
    """Both executions: what is true of the definition is true of its twin."""
    return request.param


def test_convolution_is_cross_correlation(ops):
    w = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    y = ops.conv2d(NINE, w, None, stride=(1, 1), pad=NO_PAD)
    assert y.tolist() == [[[[5421.0, 6532.0], [8754.0, 9865.0]]]]


def test_convolution_sums_over_input_channels_and_adds_the_bias(ops):
    x = np.array([[[[1.0]], [[2.0]]]])
    w = np.array([[[[3.0]], [[4.0]]], [[[5.0]], [[6.0]]]])
    y = ops.conv2d(x, w, np.array([0.5, -0.5]), stride=(1, 1), pad=NO_PAD)
    assert y.ravel().tolist() == [11.5, 16.5]


def test_asymmetric_pad_shifts_the_sampling(ops):
    """TensorFlow's SAME at stride 2 on an even side pads (0, 1), PyTorch's usual padding (1, 1)."""
    x = np.arange(1.0, 5.0).reshape(1, 1, 1, 4)
    w = np.array([[[1.0, 10.0, 100.0]]])
    after = ops.depthwise_conv2d(x, w, None, stride=(1, 2), pad=((0, 0), (0, 1)))
    both = ops.depthwise_conv2d(x, w, None, stride=(1, 2), pad=((0, 0), (1, 1)))
    assert after.ravel().tolist() == [321.0, 43.0]
    assert both.ravel().tolist() == [210.0, 432.0]


def test_stride_and_dilation_are_height_then_width(ops):
    w = np.array([[[1.0, 1.0]]])
    y = ops.depthwise_conv2d(NINE, w, None, stride=(2, 1), pad=NO_PAD, dilation=(1, 2))
    assert y.tolist() == [[[[4.0], [16.0]]]]


def test_depthwise_keeps_channels_apart(ops):
    x = np.array([[[[1.0]], [[2.0]]]])
    y = ops.depthwise_conv2d(x, np.array([[[3.0]], [[5.0]]]), np.array([0.0, 1.0]), stride=(1, 1), pad=NO_PAD)
    assert y.ravel().tolist() == [3.0, 11.0]


def test_pointwise_mixes_channels_of_one_pixel(ops):
    x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    y = ops.pointwise_conv2d(x, np.array([[1.0, 10.0]]), np.array([0.5]))
    assert y.tolist() == [[[[31.5, 42.5]]]]


@pytest.mark.parametrize(
    ("mode", "row"),
    [
        ("constant", [7, 7, 1, 2, 3, 7]),
        ("edge", [1, 1, 1, 2, 3, 3]),
        ("reflect", [3, 2, 1, 2, 3, 2]),
        ("symmetric", [2, 1, 1, 2, 3, 3]),
        ("wrap", [2, 3, 1, 2, 3, 1]),
    ],
)
def test_pad_modes(ops, mode, row):
    x = np.array([[[[1.0, 2.0, 3.0]]]])
    assert ops.pad(x, pad=((0, 0), (2, 1)), mode=mode, value=7.0).ravel().tolist() == row


def test_batch_norm_of_known_statistics(ops):
    x = np.array([[[[10.0]], [[10.0]]]])
    stats = [np.array(v) for v in ([2.0, 1.0], [1.0, 0.0], [4.0, 10.0], [8.75, 1.0])]
    y = ops.batch_norm(x, *stats, eps=0.25)
    assert y.ravel().tolist() == [5.0, 0.0]  # 2 * (10 - 4) / 3 + 1


@pytest.mark.parametrize(
    ("op", "attrs", "points"),
    [
        ("affine", {"slope": 2.0, "offset": -1.0}, {0.0: -1.0, 3.0: 5.0}),
        ("relu", {}, {-2.0: 0.0, 0.0: 0.0, 7.5: 7.5}),
        ("relu6", {}, {-2.0: 0.0, 5.0: 5.0, 7.5: 6.0}),
        ("leaky_relu", {"slope": 0.25}, {-2.0: -0.5, 0.0: 0.0, 7.5: 7.5}),
        ("thresholded_relu", {"threshold": 0.5}, {-2.0: 0.0, 0.5: 0.0, 0.75: 0.75}),
        ("thresholded_relu", {"threshold": -1.0}, {-1.0: 0.0, -0.5: -0.5, 0.75: 0.75}),
        ("clip", {"low": -1.5, "high": 20.0}, {-2.0: -1.5, 0.5: 0.5, 25.0: 20.0}),
        ("tanh", {}, {0.0: 0.0, -800.0: -1.0, 800.0: 1.0}),
        ("hard_sigmoid", {"slope": 0.25, "offset": 0.5}, {-3.0: 0.0, 0.0: 0.5, 1.0: 0.75, 3.0: 1.0}),
        ("hard_swish", {}, {-4.0: 0.0, -3.0: 0.0, 0.0: 0.0, 3.0: 3.0, 8.0: 8.0}),
        ("sigmoid", {}, {0.0: 0.5, -800.0: 0.0, 800.0: 1.0}),
        ("swish", {}, {0.0: 0.0, -800.0: 0.0, 800.0: 800.0}),
    ],
)
def test_activations_at_known_points(ops, op, attrs, points):
    x = np.array(list(points)).reshape(1, 1, 1, -1)
    assert getattr(ops, op)(x, **attrs).ravel() == pytest.approx(list(points.values()), rel=1e-15, abs=1e-300)


def test_hard_swish_between_its_corners(ops):
    assert ops.hard_swish(np.full((1, 1, 1, 1), -1.5)).item() == pytest.approx(-0.375, rel=1e-15)


@pytest.mark.parametrize("op", ["relu", "relu6", "hard_swish", "sigmoid", "swish"])
def test_nan_stays_nan(ops, op):
    assert np.isnan(getattr(ops, op)(np.full((1, 1, 1, 1), np.nan))).all()


def test_prelu_has_a_slope_for_each_channel_or_for_each_point(ops):
    x = np.array([[[[-2.0, 4.0]], [[-8.0, -1.0]]]])
    assert ops.prelu(x, np.array([0.5, 0.25])).ravel().tolist() == [-1.0, 4.0, -2.0, -0.25]
    assert ops.prelu(x, np.array([[[0.5, 9.0]], [[2.0, 3.0]]])).ravel().tolist() == [-1.0, 4.0, -16.0, -3.0]
    assert ops.prelu(x[:, :, 0, 0], np.array([0.5, 0.25])).tolist() == [[-1.0, -2.0]]


def test_filters_of_a_group_see_its_channels_alone(ops):
    x = np.arange(1.0, 5.0).reshape(1, 4, 1, 1)
    w = np.array([[1.0, 10.0], [1.0, 0.0], [100.0, 1000.0]] * 2).reshape(6, 2, 1, 1)
    y = ops.grouped_conv2d(x, w, np.arange(6.0), stride=(1, 1), pad=NO_PAD, dilation=(1, 1), groups=2)
    assert y.ravel().tolist() == [21.0, 2.0, 2102.0, 46.0, 7.0, 4305.0]


def test_a_depth_multiplier_is_as_many_groups_as_channels(ops):
    x, w = np.array([[[[2.0]], [[3.0]]]]), np.array([1.0, 10.0, 100.0, 1000.0]).reshape(4, 1, 1, 1)
    y = ops.grouped_conv2d(x, w, None, stride=(1, 1), pad=NO_PAD, dilation=(1, 1), groups=2)
    assert y.ravel().tolist() == [2.0, 20.0, 300.0, 3000.0]


def test_average_leaves_points_outside_the_image_out_of_the_count(ops):
    y = ops.avg_pool2d(NINE, kernel=(2, 2), stride=(2, 2), pad=((1, 0), (1, 0)))
    assert y.tolist() == [[[[1.0, 2.5], [5.5, 7.0]]]]


def test_global_average_is_the_pool_whose_kernel_is_the_map(ops):
    assert ops.avg_pool2d(NINE, kernel=(3, 3), stride=(1, 1), pad=NO_PAD).tolist() == [[[[5.0]]]]


def test_max_pool_of_negative_values_ignores_the_border(ops):
    y = ops.max_pool2d(-NINE, kernel=(2, 2), stride=(2, 2), pad=((1, 0), (1, 0)))
    assert y.tolist() == [[[[-1.0, -2.0], [-4.0, -5.0]]]]


def test_scale_multiplies_each_channel_by_its_gate(ops):
    x, gate = np.ones((1, 2, 1, 2)), np.array([[[[0.5]], [[3.0]]]])
    assert ops.scale(x, gate).ravel().tolist() == [0.5, 0.5, 3.0, 3.0]


def test_scale_multiplies_each_point_by_a_gate_of_its_own(ops):
    x, gate = np.array([[[[2.0, -3.0]], [[4.0, 5.0]]]]), np.array([[[[0.5, 2.0]], [[0.25, -1.0]]]])
    assert ops.scale(x, gate).ravel().tolist() == [1.0, -6.0, 1.0, -5.0]


def test_flatten_has_channels_slowest(ops):
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    assert ops.flatten(x).tolist() == [list(range(8))]


def test_resize_at_half_pixels(ops):
    x = np.array([[[[0.0, 4.0]]]])
    y = ops.resize_bilinear(x, size=(1, 4), align_corners=False)
    assert y.ravel().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_resize_with_aligned_corners(ops):
    x = np.array([[[[0.0, 3.0]]]])
    y = ops.resize_bilinear(x, size=(2, 4), align_corners=True)
    assert y.ravel() == pytest.approx([0.0, 1.0, 2.0, 3.0] * 2)


def test_the_legacy_resize_moves_an_image_towards_its_first_pixel(ops):
    x = np.array([[[[0.0, 4.0]]]])
    assert ops.resize_legacy(x, size=(1, 4)).ravel().tolist() == [0.0, 2.0, 4.0, 4.0]
    assert ops.resize_legacy(np.array([[[[0.0, 4.0, 8.0]]]]), size=(1, 2)).ravel().tolist() == [0.0, 6.0]


@pytest.mark.parametrize(
    ("how", "outputs", "found"),
    [
        ("none", 5, [0, 0, 1, 1, 2]),
        ("none", 2, [0, 1]),
        ("half_pixel", 5, [0, 0, 1, 2, 2]),
        ("half_pixel", 2, [0, 2]),
        ("align_corners", 5, [0, 1, 1, 2, 2]),
        ("align_corners", 1, [0]),
        ("none", 6, [0, 0, 1, 1, 2, 2]),
        ("half_pixel", 6, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_the_nearest_pixel(ops, how, outputs, found):
    flags = {key: key == how for key in ("align_corners", "half_pixel")}
    x = np.arange(3.0)
    assert ops.resize_nearest(x.reshape(1, 1, 3, 1), size=(outputs, 1), **flags).ravel().tolist() == found
    assert ops.resize_nearest(x.reshape(1, 1, 1, 3), size=(1, outputs), **flags).ravel().tolist() == found


def test_joined_maps_have_their_channels_one_behind_the_other(ops):
    one, two = np.full((1, 1, 1, 2), 7.0), np.arange(4.0).reshape(1, 2, 1, 2)
    assert ops.concat(one, two, one).ravel().tolist() == [7.0, 7.0, 0.0, 1.0, 2.0, 3.0, 7.0, 7.0]
    assert ops.concat(np.array([[1.0, 2.0]]), np.array([[3.0]])).tolist() == [[1.0, 2.0, 3.0]]


def test_softmax_of_equal_and_of_far_apart_logits(ops):
    y = ops.softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    assert y.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_float32_stays_float32_at_every_step(ops):
    """2^24 + 1 has no float32; a sum kept in float64 would see the one."""
    x = np.array([2.0**24, 1.0], np.float32).reshape(1, 2, 1, 1)
    y = ops.pointwise_conv2d(x, np.array([[1.0, 1.0]], np.float32), np.array([-(2.0**24)], np.float32))
    assert y.dtype == np.float32
    assert y.item() == 0.0


MAP = np.zeros((1, 2, 3, 3))
GEOMETRY = {"stride": (1, 1), "pad": NO_PAD}
MISFITS = {
    "w of shape (1, 3, 1, 1) does not fit the 2 channels of x": lambda: loops.conv2d(
        MAP, np.zeros((1, 3, 1, 1)), None, **GEOMETRY
    ),
    "w of shape (1, 2) does not have 4 axes": lambda: loops.conv2d(MAP, np.zeros((1, 2)), None, **GEOMETRY),
    "x of shape (2, 3, 3) does not have 4 axes": lambda: loops.conv2d(MAP[0], np.zeros((1, 2, 1, 1)), None, **GEOMETRY),
    "b of shape (2,) does not fit 1 channels": lambda: loops.conv2d(
        MAP, np.zeros((1, 2, 1, 1)), np.zeros(2), **GEOMETRY
    ),
    "w of shape (1, 3, 3) does not fit the 2 channels of x": lambda: loops.depthwise_conv2d(
        MAP, np.zeros((1, 3, 3)), None, **GEOMETRY
    ),
    "w of shape (2, 1, 3, 3) does not have 3 axes": lambda: loops.depthwise_conv2d(
        MAP, np.zeros((2, 1, 3, 3)), None, **GEOMETRY
    ),
    "b of shape (1,) does not fit 2 channels": lambda: loops.depthwise_conv2d(
        MAP, np.zeros((2, 3, 3)), np.zeros(1), **GEOMETRY
    ),
    "w of shape (2, 3) does not fit the 2 channels of x": lambda: loops.pointwise_conv2d(MAP, np.zeros((2, 3)), None),
    "w of shape (2, 2, 1, 1) does not have 2 axes": lambda: loops.pointwise_conv2d(MAP, np.zeros((2, 2, 1, 1)), None),
    "b of shape (4,) does not fit 5 channels": lambda: loops.pointwise_conv2d(MAP, np.zeros((5, 2)), np.zeros(4)),
    "beta of shape (3,) does not fit 2 channels": lambda: loops.batch_norm(
        MAP, np.ones(2), np.zeros(3), np.zeros(2), np.ones(2), eps=0.1
    ),
    "x of shape (1, 2) does not have 4 axes": lambda: loops.batch_norm(
        MAP[..., 0, 0], np.ones(2), np.zeros(2), np.zeros(2), np.ones(2), eps=0.1
    ),
    "gate of shape (1, 2, 3, 1) does not fit x of shape (1, 2, 3, 3)": lambda: loops.scale(MAP, MAP[..., :1]),
    "gate of shape (1, 1, 1, 1) does not fit x of shape (1, 2, 3, 3)": lambda: loops.scale(MAP, np.ones((1, 1, 1, 1))),
    "w of shape (3, 1, 1, 1) does not fit 2 groups of x": lambda: loops.grouped_conv2d(
        MAP, np.zeros((3, 1, 1, 1)), None, **GEOMETRY, groups=2
    ),
    "alpha of shape (3,) for x of (1, 2, 3, 3)": lambda: loops.prelu(MAP, np.zeros(3)),
    "maps of different sizes cannot be joined": lambda: loops.concat(MAP, MAP[..., :1]),
    "x of shape (1, 2, 3, 3) and y of shape (1, 2, 1, 1) cannot be added": lambda: loops.add(
        MAP, np.ones((1, 2, 1, 1))
    ),
}


@pytest.mark.parametrize("sentence", MISFITS)
def test_arrays_that_do_not_fit_each_other_are_refused_in_one_sentence(sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        MISFITS[sentence]()


def test_softmax_of_a_map_is_taken_over_its_channels(ops):
    x = np.zeros((1, 2, 1, 2))
    x[0, 0, 0] = np.log([1, 3])
    assert np.allclose(ops.softmax(x)[0, :, 0], [[1 / 2, 3 / 4], [1 / 2, 1 / 4]], rtol=2.0**-50, atol=0)
