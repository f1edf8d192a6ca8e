"""Other libraries' kernels: against Pillow where they are the same, by hand where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.files.resample import KERNELS

RAMP = np.arange(4.0).reshape(1, 4, 1).repeat(3, axis=2) * 10  # one row: 0, 10, 20, 30


def row(name, width):
    return KERNELS[name].resize(RAMP, (1, width))[0, :, 0].tolist()


@pytest.mark.parametrize("name", ["antialiased-bilinear", "antialiased-bicubic", "box"])
@pytest.mark.parametrize("shape", [(17, 23), (40, 64), (90, 31)])
def test_the_antialiased_kernels_are_pillows_before_it_rounds(name, shape):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)
    method = {"antialiased-bilinear": "BILINEAR", "antialiased-bicubic": "BICUBIC", "box": "BOX"}[name]
    theirs = np.asarray(image.fromarray(pixels).resize(shape[::-1], getattr(image.Resampling, method)), np.float64)
    mine = KERNELS[name].resize(pixels, shape).clip(0, 255)
    assert np.abs(mine - theirs).max() <= 1.1  # Pillow rounds after the rows and after the columns


def test_without_antialiasing_the_neighbours_of_a_point_are_mixed():
    assert row("float-bilinear", 2) == [5.0, 25.0]  # at 0.5 and 2.5
    assert row("float-bilinear", 8) == [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]


def test_aligned_corners_keep_the_ends():
    assert row("corners-bilinear", 3) == [0.0, 15.0, 30.0]


def test_the_first_nearest_pixel_is_taken_at_the_floor():
    assert row("first-nearest", 3) == [0.0, 10.0, 20.0]


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
}


@pytest.mark.parametrize("name", OPENCV)
def test_opencvs_kernels_of_bytes_are_opencvs_to_the_last_level(name):
    h, w = np.mgrid[0:9, 0:7]
    pixels = ((31 * h + 57 * w + 5 * h * w) % 256).astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)
    assert KERNELS[name].resize(pixels, (4, 5))[..., 0].tolist() == OPENCV[name]


@pytest.mark.parametrize("name", KERNELS)
def test_a_flat_picture_stays_flat(name):
    assert np.allclose(KERNELS[name].resize(np.full((9, 7, 3), 55.0), (5, 11)), 55.0)
