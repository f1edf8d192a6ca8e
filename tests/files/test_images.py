"""Images: every rule on numbers worked out by hand, the vendors' own code as saved, and files that are no images."""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files import shipped
from refnet.files.images import prepare, prepare_mask, read_image
from refnet.networks import preprocessing as pre
from refnet.networks.preprocessing import Preprocessing

Pixels = NDArray[np.uint8]

CONSTANTS = {name: value for name, value in vars(pre).items() if isinstance(value, Preprocessing)}

# What each recipe of tests/data/make_images.py is called here, and the size it was run at.
VENDORS: dict[str, tuple[Preprocessing, int]] = {
    "torchvision_v1": (pre.TORCHVISION_V1, 16),
    "torchvision_v2": (pre.TORCHVISION_V2, 31),
    "torchvision_bicubic": (replace(pre.TORCHVISION_V1, interpolation="bicubic"), 16),
    "torchvision_segmentation": (pre.TORCHVISION_SEGMENTATION, 16),
    "torchvision_padded": (replace(pre.TORCHVISION_V1, resize=(1, 2)), 16),
    "timm_bicubic": (pre.TIMM_BICUBIC, 16),
    "timm_bicubic_half": (pre.TIMM_BICUBIC_HALF, 16),
    "timm_bicubic_half_95": (pre.TIMM_BICUBIC_HALF_95, 24),
    "timm_bilinear_half": (pre.TIMM_BILINEAR_HALF, 16),
    "timm_bilinear_unit": (pre.TIMM_BILINEAR_UNIT, 16),
    "keras": (pre.KERAS, 16),
    "keras_raw": (pre.KERAS_RAW, 16),
    "paper": (pre.PAPER, 16),
}

# float32 roundings, in units of u, of two ways to the same number in [-1, 1]. On a scale of 1 an interpolation along
# one axis costs 3 (difference, product, sum), so two cost 6. TensorFlow scales the pixels first, 2 more (1/255 and the
# product), subtracts 1/2, at most 1/2 more, and doubles: 17. Here 6, doubled by the division by 127.5, which itself
# costs 2, and 1 for the subtraction: 15.
TF1_BOUND = 32 * 2.0**-24


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def numbered(height: int, width: int) -> Pixels:
    """Pixel (row, column) is (row, column, 7)."""
    return np.stack([*np.indices((height, width)), np.full((height, width), 7)], axis=2).astype(np.uint8)


def saved(stack: str) -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parents[1] / "data" / f"images_{stack}.npz") as archive:
        return dict(archive)


# --- prepare, by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preprocessing", CONSTANTS.values(), ids=CONSTANTS)
def test_input_is_a_float32_batch_of_one(preprocessing: Preprocessing) -> None:
    x = prepare(noise(50, 40), preprocessing, (32, 32))
    assert x.shape == (1, 3, 32, 32)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous


@pytest.mark.parametrize(
    ("preprocessing", "black", "white"),
    [
        (pre.TORCHVISION_V1, (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), (0.515 / 0.229, 0.544 / 0.224, 2.64)),
        (pre.TIMM_BICUBIC, (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), (0.515 / 0.229, 0.544 / 0.224, 2.64)),
        (pre.TIMM_BICUBIC_HALF, (-1, -1, -1), (1, 1, 1)),
        (pre.TIMM_BILINEAR_UNIT, (0, 0, 0), (1, 1, 1)),
        (pre.KERAS, (-1, -1, -1), (1, 1, 1)),
        (pre.KERAS_RAW, (0, 0, 0), (255, 255, 255)),
        (pre.PAPER, (-1, -1, -1), (1, 1, 1)),
    ],
)
def test_black_and_white(preprocessing: Preprocessing, black: tuple[float, ...], white: tuple[float, ...]) -> None:
    for value, expected in ((0, black), (255, white)):
        x = prepare(np.full((9, 11, 3), value, np.uint8), preprocessing, (8, 8))
        # three roundings, the first two magnified by the cancellation in (pixel / scale - mean): |x| + 2 / std
        bound = 3 * 2.0**-24 * (np.abs(np.array(expected)) + 2 / np.array(preprocessing.std))
        error = np.abs(x[0].astype(np.float64) - np.array(expected)[:, None, None])
        assert (error <= bound[:, None, None]).all()


def test_channels_keep_their_own_mean() -> None:
    # 0.485 * 255 = 123.675, 0.456 * 255 = 116.28, 0.406 * 255 = 103.53: the pixel next to the mean is next to zero
    x = prepare(np.full((8, 8, 3), (124, 116, 104), np.uint8), pre.TORCHVISION_V1, (7, 7))
    assert [f"{value:.4f}" for value in x[0, :, 0, 0]] == ["0.0056", "-0.0049", "0.0082"]


@pytest.mark.parametrize(
    ("width", "left"),
    [(8, 0), (9, 1), (10, 2), (12, 2), (14, 4), (16, 4)],  # excess 1 3 5 ... halves go to the even number
)
def test_crop_begins_where_torchvision_rounds(width: int, left: int) -> None:
    same_size = replace(pre.KERAS_RAW, resize=(8, 7))  # the shorter side already is 8
    x = prepare(numbered(8, width), same_size, (7, 7))
    assert x[0, 1, 0].tolist() == list(range(left, left + 7))
    assert x[0, 0, :, 0].tolist() == list(range(7))  # round(1 / 2) is 0


def test_a_small_image_is_surrounded_by_zeros_before_scaling() -> None:
    halved = replace(pre.KERAS, resize=(1, 2))  # 3 pixels for a crop of 6, or of 7
    x = prepare(np.full((3, 3, 3), 255, np.uint8), halved, (7, 7))[0, 0]
    inside = np.zeros((7, 7), bool)
    inside[2:5, 2:5] = True
    assert (x[inside] == 1).all()
    assert (x[~inside] == -1).all()
    x = prepare(np.full((3, 3, 3), 255, np.uint8), halved, (6, 6))[0, 0]  # three zeros: one before, two after
    assert (x[0] == -1).all()
    assert (x[1:4, 1:4] == 1).all()
    assert (x[4:] == -1).all()


def test_keras_squashes_the_whole_image() -> None:
    x = prepare(numbered(4, 8), pre.KERAS_RAW, (2, 2))  # nearest: pixel floor((p + 1/2) * 4 / 2)
    assert x[0, 0].tolist() == [[1, 1], [3, 3]]
    assert x[0, 1].tolist() == [[2, 6], [2, 6]]


def test_bilinear_shrinking_widens_the_kernel() -> None:
    # 4 -> 2: the triangle around 1 reaches from -1 to 3 and weighs the pixels at 0.5, 1.5, 2.5 by 3 : 3 : 1
    row = np.array([7, 14, 21, 28], np.uint8)
    image = np.broadcast_to(row[None, :, None], (4, 4, 3)).copy()
    x = prepare(image, replace(pre.KERAS_RAW, interpolation="bilinear"), (2, 2))
    assert x[0, 0].tolist() == [[(21 + 42 + 21) / 7, (14 + 63 + 84) / 7]] * 2


def test_paper_keeps_seven_eighths_and_skips_pixels() -> None:
    coded = replace(pre.PAPER, scale=1.0, mean=(0.0, 0.0, 0.0))
    x = prepare(numbered(16, 32), coded, (7, 7))  # kept: rows 1..14, columns 2..29; steps of 2 and 4
    assert x[0, 0, :, 0].tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert x[0, 1, 0].tolist() == [2, 6, 10, 14, 18, 22, 26]
    x = prepare(numbered(16, 16), coded, (28, 28))  # steps of a half; nothing follows the last pixel
    assert x[0, 0, :, 5].tolist() == [1 + p / 2 for p in range(27)] + [14]
    assert x[0, 1, 5].tolist() == [1 + q / 2 for q in range(27)] + [14]


def test_digits_repeat_their_pixels() -> None:
    scan = np.random.default_rng(3).choice(np.array([0, 255], np.uint8), (8, 8))
    x = prepare(np.repeat(scan[:, :, None], 3, axis=2), pre.DIGITS, (32, 32))
    expected = np.kron(scan > 0, np.ones((4, 4))) * 2 - 1
    assert all((channel == expected).all() for channel in x[0])


def test_article_is_torchvision() -> None:
    assert replace(pre.ARTICLE, origin="") == replace(pre.TORCHVISION_V1, origin="")
    assert "assumed" in pre.ARTICLE.origin


@pytest.mark.parametrize(("crop_pct", "resize"), [(0.875, pre.TIMM_BICUBIC.resize), (0.95, (20, 19))])
def test_integers_say_what_the_vendors_floats_say(crop_pct: float, resize: tuple[int, int]) -> None:
    side, crop = resize
    for size in range(1, 4000):
        assert size * side // crop == math.floor(size / crop_pct)


def test_a_network_that_is_not_square_is_just_covered() -> None:
    same = replace(pre.KERAS_RAW, resize=(1, 1), interpolation="bilinear")
    # 20 x 30 to cover 10 x 30 needs no resize; to cover 20 x 10 neither
    assert prepare(numbered(20, 30), same, (10, 30))[0, 0, :, 0].tolist() == list(range(5, 15))
    assert prepare(numbered(20, 30), same, (20, 10))[0, 1, 0].tolist() == list(range(10, 20))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from([*CONSTANTS]))
def test_any_image_fits_any_network(height: int, width: int, rows: int, columns: int, name: str) -> None:
    x = prepare(noise(height, width), CONSTANTS[name], (rows, columns))
    assert x.shape == (1, 3, rows, columns)
    values = CONSTANTS[name].undo(x)
    assert -0.001 < values.min() <= values.max() < 255.001  # pixels stay pixels: nothing overshoots or pads


@given(st.sampled_from([*CONSTANTS]))
def test_undo_undoes_the_scaling(name: str) -> None:
    every = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    direct = replace(CONSTANTS[name], resize=None, keep=(1, 1))
    x = prepare(every, direct, (16, 16))
    assert (np.rint(direct.undo(x)) == every.transpose(2, 0, 1)).all()
    assert direct.undo(x).dtype == np.float32
    assert direct.undo(x.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(pixels: Pixels) -> None:
    with pytest.raises(RequestError, match=r"pixels must be \(H, W, 3\) of uint8"):
        prepare(pixels, pre.KERAS, (4, 4))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(RequestError, match="100000 x 1 pixels cannot be resized to 25600000 x 256"):
        prepare(noise(100_000, 1), pre.TORCHVISION_V1, (224, 224))
    with pytest.raises(RequestError, match="cannot be resized to 0 x 4"):
        prepare(noise(4, 4), pre.KERAS, (0, 4))
    with pytest.raises(RequestError, match="cannot be resized to 0 x 0"):
        prepare(noise(4, 4), replace(pre.KERAS, resize=(1, 2)), (1, 1))


def test_unknown_interpolation_is_refused() -> None:
    with pytest.raises(RequestError, match="no interpolation is called 'magic'"):
        prepare(noise(4, 4), replace(pre.KERAS, interpolation="magic"), (2, 2))


# --- prepare, against the vendors' own code --------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["wide", "tall", "tiny"])
@pytest.mark.parametrize("recipe", VENDORS)
def test_vendors_make_the_same_input(recipe: str, image: str) -> None:
    archive = saved("keras" if recipe in ("keras", "keras_raw", "paper") else "torch")
    preprocessing, size = VENDORS[recipe]
    x = prepare(archive[image].astype(np.uint8), preprocessing, (size, size))[0]
    error = np.abs(x.astype(np.float64) - archive[f"{recipe}/{image}"]).max()
    assert error <= (TF1_BOUND if recipe == "paper" else 0.0)


def test_the_comparison_can_fail() -> None:
    """Each mistake that is easily made shows in the saved inputs."""
    mistakes: list[tuple[str, str, Preprocessing]] = [
        ("torch", "torchvision_v1", replace(pre.TORCHVISION_V1, resize=(232, 224))),
        ("torch", "torchvision_v1", replace(pre.TORCHVISION_V1, interpolation="bicubic")),
        ("torch", "torchvision_v1", replace(pre.TORCHVISION_V1, interpolation="bilinear-tf1")),
        ("torch", "torchvision_v1", replace(pre.TORCHVISION_V1, std=(0.225, 0.224, 0.229))),
        ("keras", "keras", replace(pre.KERAS, scale=128.0)),
        ("keras", "keras", replace(pre.KERAS, interpolation="bilinear")),
        ("keras", "paper", replace(pre.PAPER, interpolation="bilinear")),
        ("keras", "paper", replace(pre.PAPER, keep=(1, 1))),
    ]
    for stack, recipe, mistaken in mistakes:
        archive = saved(stack)
        x = prepare(archive["wide"].astype(np.uint8), mistaken, (16, 16))[0]
        assert np.abs(x - archive[f"{recipe}/wide"]).max() > 1000 * TF1_BOUND


# --- real photographs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photo", ["cat", "bird"])
def test_photograph_becomes_the_stored_input(real: Path, photo: str) -> None:
    x = prepare(read_image(real / "photos" / f"{photo}.bmp"), pre.TORCHVISION_V1, (224, 224))
    with np.load(real / "mobilenet_v2" / "golden_outputs.npz") as archive:
        stored = archive[f"{photo}/input"]
    error = np.abs(pre.TORCHVISION_V1.undo(x) - pre.TORCHVISION_V1.undo(stored)).max()
    print(f"{photo}: at most {error:g} of a pixel value of 255")
    assert (x == stored).all()


def test_the_stored_sunflower_was_resized_by_another_rule(real: Path) -> None:
    """340 x 512 pixels: 256 * 512 / 340 = 385.5. torchvision takes 385 (its `resize` truncates); the archive, 386."""
    pixels = read_image(real / "photos" / "sunflower.bmp")
    with np.load(real / "mobilenet_v2" / "golden_outputs.npz") as archive:
        stored = archive["sunflower/input"]
    x = prepare(pixels, pre.TORCHVISION_V1, (224, 224))
    error = np.abs(pre.TORCHVISION_V1.undo(x) - pre.TORCHVISION_V1.undo(stored)).max()
    print(f"sunflower: at most {error:g} of a pixel value of 255")
    assert error > 1
    resized = np.asarray(Image.fromarray(pixels).resize((386, 256), Image.Resampling.BILINEAR))
    assert (prepare(resized, pre.TORCHVISION_V1, (224, 224)) == stored).all()  # all that follows the resize agrees


# --- reading files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "webp"])
def test_lossless_kinds_give_their_pixels(tmp_path: Path, kind: str) -> None:
    pixels = noise(7, 5)
    Image.fromarray(pixels).save(tmp_path / f"a.{kind}", lossless=True)
    assert (read_image(tmp_path / f"a.{kind}") == pixels).all()
    assert read_image(str(tmp_path / f"a.{kind}")).dtype == np.uint8


@pytest.mark.parametrize("kind", ["jpg", "gif"])
def test_lossy_kinds_give_what_pillow_gives(tmp_path: Path, kind: str) -> None:
    Image.fromarray(noise(7, 5)).save(tmp_path / f"a.{kind}")
    with Image.open(tmp_path / f"a.{kind}") as image:
        expected = np.asarray(image.convert("RGB"))
    assert (read_image(tmp_path / f"a.{kind}") == expected).all()


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = noise(4, 6)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == grey[:, :, None]).all()
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png") == np.where(grey > 99, 255, 0)[:, :, None]).all()


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    pixels = noise(4, 6)
    alpha = np.arange(24, dtype=np.uint8).reshape(4, 6, 1) * 10
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "rgba.png")
    assert (read_image(tmp_path / "rgba.png") == pixels).all()
    Image.fromarray(np.concatenate([pixels[:, :, :1], alpha], axis=2)).save(tmp_path / "la.png")
    assert (read_image(tmp_path / "la.png") == pixels[:, :, :1]).all()


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([1, 0])
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "palette.png").tolist() == [[[40, 50, 60], [10, 20, 30]]]


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, [[0, 1, 2], [3, 4, 5]]),
        (2, [[2, 1, 0], [5, 4, 3]]),
        (3, [[5, 4, 3], [2, 1, 0]]),
        (4, [[3, 4, 5], [0, 1, 2]]),
        (5, [[0, 3], [1, 4], [2, 5]]),
        (6, [[3, 0], [4, 1], [5, 2]]),
        (7, [[5, 2], [4, 1], [3, 0]]),
        (8, [[2, 5], [1, 4], [0, 3]]),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turned: list[list[int]]) -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[:, :, 0].tolist() == turned


def test_unreadable_exif_counts_as_absent(tmp_path: Path) -> None:
    pixels = noise(2, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_image(tmp_path / "a.png") == pixels).all()


def test_the_shipped_photograph_is_read() -> None:
    assert read_image(shipped.path("chelsea.png")).shape == (300, 451, 3)


# --- files that are refused ------------------------------------------------------------------------------------------


def refused(path: Path, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.png", "there is no such file")
    refused(tmp_path, "a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "the file is empty")
    (tmp_path / "text.png").write_text("not an image\n" * 100)
    refused(tmp_path / "text.png", r"not an image of a kind that is read here \(BMP, GIF, JPEG, PNG, PPM, WEBP\)")
    refused(tmp_path / "text.png" / "below", "no such file")
    refused(tmp_path / ("long" * 100), "cannot be read|no such file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


@pytest.mark.parametrize("kind", ["tiff", "eps"])
def test_other_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(noise(4, 4)).save(tmp_path / f"a.{kind}")
    refused(tmp_path / f"a.{kind}", "not an image of a kind")


def test_deep_grey_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(tmp_path / "deep.png")
    refused(tmp_path / "deep.png", r"more than 8 bits per grey pixel \(I;16\); convert it to 8 bits first")
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 1 65535 \x01\x02\x03\x04")
    refused(tmp_path / "deep.pgm", "more than 8 bits per grey pixel")


@pytest.mark.parametrize("side", [11, 20])  # Pillow warns above its limit and raises above twice the limit
def test_enormous_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(noise(side, side)).save(tmp_path / "bomb.png")
    refused(tmp_path / "bomb.png", f"{side * side} pixels.*decompression bomb")
    Image.fromarray(noise(10, 10)).save(tmp_path / "fine.png")
    assert read_image(tmp_path / "fine.png").shape == (10, 10, 3)


def test_missing_pillow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(RefnetError, match=r"^images need Pillow: pip install 'refnet\[tools\]'$"):
        read_image(tmp_path / "a.png")


KINDS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP"]


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(6, 7)).save(file, kind)
    return file.getvalue()


def read_or_refuse(file: Path) -> Pixels | str:
    try:
        return read_image(file)
    except FormatError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    """Half an image must never pass for a whole one; what follows the last pixel may be missing."""
    data, file = encoded(kind), tmp_path / "a"
    file.write_bytes(data)
    whole, refusals = read_image(file), 0
    for length in range(len(data)):
        file.write_bytes(data[:length])
        outcome = read_or_refuse(file)
        if isinstance(outcome, str):
            assert "\n" not in outcome
            refusals += 1
        else:
            assert (outcome == whole).all()
    assert refusals >= len(data) - 24  # PNG ends in a checksum and a 12-byte trailer, with 4 of its data's before them


@settings(max_examples=200)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(kind))
    for place, value in changes:
        data[place % len(data)] = value
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(bytes(data))
    outcome = read_or_refuse(file)
    assert "\n" not in outcome if isinstance(outcome, str) else outcome.ndim == 3


def test_an_enormous_image_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A PNG of 88 million pixels, whose data never come."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 11_000, 8_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    refused(tmp_path / "a.png", "8000 x 11000 pixels in a file of 69 bytes; take an image of at most 29 million")


def test_a_mask_is_cut_where_its_picture_is() -> None:
    """Of a picture whose pixels are their labels, in a centre that is cut before the resize and in one cut behind."""
    labels = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) // 8 * 8
    picture = np.repeat(labels[..., None], 3, axis=2)
    for first in (True, False):
        rule = replace(pre.RAW, resize=(3, 2), interpolation="nearest", cut_first=first)
        assert (prepare(picture, rule, (8, 8))[0, 0] == prepare_mask(labels, rule, (8, 8))).all()
