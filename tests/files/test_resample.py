"""Other libraries' kernels: against Pillow where they are the same, by hand where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.files.resample import KERNELS

RAMP = np.arange(4.0).reshape(1, 4, 1).repeat(3, axis=2) * 10  # one row: 0, 10, 20, 30


def row(name, width):
    return KERNELS[name].resize(RAMP, (1, width))[0, :, 0].tolist()


@pytest.mark.parametrize("name", ["antialiased-bilinear", "antialiased-bicubic", "antialiased-lanczos"])
@pytest.mark.parametrize("shape", [(17, 23), (40, 64), (90, 31)])
def test_the_antialiased_kernels_are_pillows_before_it_rounds(name, shape):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(64, 192, (40, 64, 3)).astype(np.uint8)  # nothing is cut off on the way
    method = getattr(image.Resampling, name.removeprefix("antialiased-").upper())
    theirs = np.asarray(image.fromarray(pixels).resize(shape[::-1], method), np.float64)
    mine = KERNELS[name].resize(pixels, shape).clip(0, 255)
    # Pillow rounds after the rows and after the columns, whose weights' sizes make 1.4 together at most.
    assert np.abs(mine - theirs).max() <= (1.2 if name == "antialiased-lanczos" else 1.1)


def test_pillows_kernels_of_bytes_are_of_their_formulas():
    """Of 0, 0, 255, 0 the half: the weights of two and a half pixels' width, by hand, and whole levels at once."""
    pytest.importorskip("PIL.Image")
    line = np.array([0, 0, 255, 0], np.uint8).reshape(1, 4, 1).repeat(3, axis=2)

    def half(kernel, reach):
        away = (np.arange(4) - np.array([[0.5], [2.5]])) / 2
        weights = np.where(np.abs(away) < reach, kernel(away), 0.0)
        return np.rint(255 * weights[:, 2] / weights.sum(axis=1)).clip(0, 255).tolist()

    forms = {
        "lanczos": half(lambda x: np.sinc(x) * np.sinc(x / 3), 3),
        "hamming": half(lambda x: np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 1),
        "box": half(np.ones_like, 0.5),
    }
    assert {name: KERNELS[name].resize(line, (1, 2))[0, :, 0].tolist() for name in forms} == forms


def test_without_antialiasing_the_neighbours_of_a_point_are_mixed():
    assert row("float-bilinear", 2) == [5.0, 25.0]  # at 0.5 and 2.5
    assert row("float-bilinear", 8) == [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]


def test_aligned_corners_keep_the_ends():
    assert row("corners-bilinear", 3) == [0.0, 15.0, 30.0]


def test_the_first_nearest_pixel_is_taken_at_the_floor():
    assert row("first-nearest", 3) == [0.0, 10.0, 20.0]


def test_the_nearest_pixel_to_a_middle_is_the_later_one_of_two():
    assert row("middle-nearest", 2) == [10.0, 30.0]  # at 1 and 3, between two
    assert row("middle-nearest", 3) == [0.0, 20.0, 30.0]


def test_a_mean_of_an_area_is_not_rounded():
    assert KERNELS["float-area"].resize(RAMP + 0.25, (1, 2))[0, :, 0].tolist() == [5.25, 25.25]


def test_an_area_is_a_mean():
    assert row("opencv-area", 2) == [5.0, 25.0]


def test_a_cubic_kernel_of_another_slope_bends_a_ramp():
    """Keys' kernel keeps ramps at a = -1/2 alone; at -3/4 the weights of 0, 10, 20, 30 are as here, by hand."""
    assert row("float-bicubic", 4) == [0.0, 10.0, 20.0, 30.0]
    weights = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    assert weights.sum() == 1
    assert row("float-bicubic", 8)[3] == pytest.approx(weights @ [0, 10, 20, 30])


# Of ((31 h + 57 w + 5 h w) % 256), 9 x 7, what OpenCV 5.0 makes 4 x 5.
OPENCV = {
    "opencv-bilinear": [
        [31, 115, 200, 85, 112],
        [103, 203, 47, 147, 68],
        [169, 125, 151, 145, 126],
        [196, 123, 158, 130, 56],
    ],
    "opencv-exact": [
        [31, 116, 200, 86, 112],
        [103, 203, 47, 147, 68],
        [169, 124, 151, 145, 126],
        [196, 123, 158, 130, 56],
    ],
    "opencv-area": [
        [38, 115, 161, 97, 109],
        [110, 169, 76, 150, 120],
        [158, 105, 138, 134, 134],
        [181, 119, 134, 130, 88],
    ],
    "opencv-lanczos": [
        [26, 105, 229, 53, 101],
        [92, 253, 39, 184, 56],
        [178, 131, 148, 136, 121],
        [202, 112, 167, 151, 33],
    ],
}
# The first two rows of 12 x 5, where one side grows.
GROWN = [[16, 90, 163, 143, 70], [38, 115, 193, 81, 109]]


def pattern():
    h, w = np.mgrid[0:9, 0:7]
    return ((31 * h + 57 * w + 5 * h * w) % 256).astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)


@pytest.mark.parametrize("name", OPENCV)
def test_opencvs_kernels_of_bytes_are_opencvs_to_the_last_level(name):
    assert KERNELS[name].resize(pattern(), (4, 5))[..., 0].tolist() == OPENCV[name]


def test_opencvs_area_mixes_two_pixels_where_one_side_grows():
    assert KERNELS["opencv-area"].resize(pattern(), (12, 5))[:2, :, 0].tolist() == GROWN


@pytest.mark.parametrize("name", KERNELS)
def test_a_flat_picture_stays_flat(name):
    assert np.allclose(KERNELS[name].resize(np.full((9, 7, 3), 55, np.uint8), (5, 11)), 55.0)
