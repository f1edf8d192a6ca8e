"""Another input: how a picture is decoded, cut and resized, and where it lies, is said."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from feeding import FLOAT32, V2, network, picture, resized

from refnet.bugs.inputs.letterbox import boxes
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.files.images import decodings, prepare, read_image, shape_to_crop
from refnet.files.resample import KERNELS
from refnet.files.resample import resized as resized_pixels
from refnet.graph import SOURCE
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.causes.pictured import cuts_of_pictures, kernels_of_pictures
from refnet.judge.causes.ways import Ways
from refnet.report.comparison import cause_sentence

CUT = {
    "squashed": ({"resize": None}, "the picture is squashed to the input's size, not cropped"),
    "232": ({"resize": (232, 224)}, "the picture is resized to 232 before the crop of 224, in proportion"),
    "bicubic": (
        {"interpolation": "bicubic"},
        "the picture is resized by Pillow's bicubic kernel, which is antialiased",
    ),
    "central": ({"resize": None, "keep": (7, 8)}, "the picture is cut to its central 0.875, then squashed"),
    "two steps": (
        {"resize": None, "interpolation": "bicubic"},
        "the picture is resized by Pillow's bicubic kernel, which is antialiased, and the picture is squashed to the "
        "input's size, not cropped",
    ),
}


@pytest.mark.parametrize("case", CUT)
def test_how_a_picture_is_cut_is_said(case):
    edits, words = CUT[case]
    assert resized(lambda own: replace(own, **edits)) == [words]


def whole(own):
    return replace(own, resize=None)


def boxed(pixels, shape, kernel="bilinear", **around):
    """The whole picture, in the middle of what is around it; of 150 x 210 pixels in 64 x 64."""
    made = resized_pixels(pixels, (46, 64), kernel)
    return np.pad(made, [(9, 9), (0, 0), (0, 0)], **around)


PLACED = {
    "a pixel on": (
        lambda own: own,
        lambda pixels, shape: np.roll(resized_pixels(pixels, shape, "bilinear"), (-1, 1), axis=(0, 1)),
        "the crop begins +1 pixels down and -1 to the right of its place",
    ),
    "corner": (
        lambda own: own,
        lambda pixels, shape: resized_pixels(pixels, shape, "bilinear")[:64, :64],
        "the crop begins at the picture's corner, not in its middle",
    ),
    "not resized": (
        lambda own: own,
        lambda pixels, shape: pixels,
        "the crop is cut from the picture as it is, not resized",
    ),
    "a larger side": (
        lambda own: own,
        lambda pixels, shape: resized_pixels(pixels, (74, 74 * 210 // 150), "bilinear"),
        "the picture is resized to a pixel more on its shorter side before the crop",
    ),
    "bars": (whole, partial(boxed, constant_values=114), "the whole picture lies between grey (114) bars"),
    "edges": (
        whole,
        partial(boxed, kernel="opencv-area", mode="edge"),
        "the picture is resized by OpenCV's INTER_AREA, and the whole picture lies between repetitions of its edge",
    ),
    "filled": (
        whole,
        lambda pixels, shape: resized_pixels(np.pad(pixels, [(0, 60), (0, 0), (0, 0)]), shape, "opencv-bilinear"),
        "the picture is resized by OpenCV's bilinear kernel, which is not antialiased, and the whole picture lies "
        "between black bars, in its corner, filled up so before it is resized",
    ),
    "middle": (
        whole,
        lambda pixels, shape: resized_pixels(np.ascontiguousarray(pixels[:, 30:180]), shape, "opencv-area"),
        "the picture is resized by OpenCV's INTER_AREA, and the middle of the picture is cut to the input's "
        "proportions before it is resized",
    ),
    "aslant": (
        lambda own: own,
        lambda pixels, shape: read_on(resized_pixels(pixels, shape, "bilinear")),
        "the crop's rows are read on in the resized picture, whose rows are longer: each lies aslant",
    ),
}


def read_on(pixels):
    """A crop of 64 x 64 of which only the beginning is computed."""
    top, left = ((n - 64) // 2 for n in pixels.shape[:2])
    flat = pixels.reshape(-1, 3)[top * pixels.shape[1] + left :]
    made = np.zeros((64 * 64, 3), pixels.dtype)
    made[: len(flat)] = flat[: 64 * 64]
    return made.reshape(64, 64, 3)


def test_tensorflows_quotients_may_leave_a_side_a_pixel_short():
    """Of 341 x 512 pixels in 224 x 224, a picture has 149 x 223: 512 over 512 / 224 is 223.99998 in float32."""
    rules = {box.rule for box in boxes((341, 512), (224, 224)) if not box.filled_first}
    assert "37x0x149x223" in rules


def test_keras_fills_a_picture_up_by_as_much_on_both_sides():
    """Of 410 x 370 pixels in 64 x 96, 615 columns have the right proportions, and `Resizing` makes 614 of them."""
    wholes = {box.whole for box in boxes((410, 370), (64, 96)) if box.filled_first and not box.corner}
    assert wholes == {(410, 615), (410, 614)}


def test_every_kernel_is_tried_of_the_nearest_parts_of_a_picture_and_the_nearest_kernel_of_every_part():
    net, own = network(V2, (64, 64))
    fed = prepare(picture(), whole(own), (64, 64), partial(boxed, kernel="opencv-bilinear", constant_values=114))
    x = prepare(picture(), own, (64, 64))
    segment = replace(cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)}), image=picture())
    ways = Ways(segment, SearchBudget(), long=False)
    found = [*cuts_of_pictures(ways), *kernels_of_pictures(ways)]
    by_cut = Counter(way.mistake.facts["cut"] for way in found if way.mistake.facts["kernel"])
    fully = {name for name, count in by_cut.items() if count >= len(KERNELS) - 1} - {""}
    best = min(found, key=lambda way: way.residual)
    assert best.mistake.form == "opencv-bilinear 114"
    assert "114" in fully
    assert len(fully) <= 4
    assert {"114", "black", "mean", "zero"} <= {
        way.mistake.facts["cut"] for way in found if way.mistake.facts["kernel"] == "opencv-bilinear"
    }
    assert not any(way.vague for way in found if way.mistake.bug == "input-placed")


@pytest.mark.parametrize("case", PLACED)
def test_where_a_picture_lies_is_said(case):
    change, kernel, words = PLACED[case]
    assert resized(change, kernel) == [words]


def test_a_picture_that_is_cut_before_it_is_resized_is_said():
    def middle(pixels, shape):
        return resized_pixels(np.ascontiguousarray(pixels[:, 30:180]), shape, "bilinear")

    assert resized(lambda own: replace(own, resize=None), middle) == [
        "the middle of the picture is cut to the input's proportions before it is resized"
    ]


def test_rows_that_are_filled_up_are_said():
    """66 pixels of three bytes, so that a row is filled up by two bytes to a multiple of 4."""
    net, own = network(V2, (48, 66))
    bytes_ = np.random.default_rng(5).integers(0, 256, (48, 66, 3)).astype(np.uint8)
    filled = np.pad(bytes_.reshape(48, 198), ((0, 0), (0, 2))).ravel()[: 48 * 198].reshape(48, 66, 3)
    x, fed = (own.apply(each.transpose(2, 0, 1)[None].astype(np.float32)) for each in (bytes_, filled))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    assert [cause_sentence(each) for each in diagnose(segment, FLOAT32)] == [
        "rows that are filled up to a multiple of 4 bytes are read without the filling"
    ]


def relaid(image, how):
    """Bytes (H, W, 3) as a port reads them whose memory is laid out in another way."""
    H, W, _ = image.shape
    flat = image.ravel()
    if how == "longer":
        return np.pad(image, ((0, 0), (0, 14), (0, 0))).ravel()[: H * W * 3].reshape(image.shape)
    if how == "shorter":
        return np.stack([np.pad(flat, (0, 9 * H))[i * (W + 3) * 3 :][: W * 3].reshape(W, 3) for i in range(H)])
    if how == "four":
        return np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255).ravel()[: H * W * 3].reshape(image.shape)
    return np.pad(flat, (0, H * W)).reshape(H, W, 4)[..., :3]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("longer", "rows of 80 pixels in memory are read as rows of 66"),
        ("shorter", "rows of 66 pixels in memory are read as rows of 69"),
        ("four", "pixels of four bytes (red, green, blue, alpha) are read as of three"),
        ("three", "pixels of three bytes are read as of four"),
    ],
)
def test_a_sheared_picture_is_said_by_the_length_of_its_rows(how, words):
    net, own = network(V2, (48, 66))
    bytes_ = np.random.default_rng(5).integers(0, 256, (48, 66, 3)).astype(np.uint8)
    x, fed = (own.apply(each.transpose(2, 0, 1)[None].astype(np.float32)) for each in (bytes_, relaid(bytes_, how)))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    assert [cause_sentence(each) for each in diagnose(segment, FLOAT32)] == [words]


FILES = {
    "white": "the picture's transparency is blended with white, not dropped",
    "luma": "the picture is made grey before it is resized",
    "1/4": "the JPEG is decoded at a quarter of its size before it is resized",
    "stored": "the picture is not turned as its EXIF orientation says",
}


@pytest.mark.parametrize("form", FILES)
def test_how_a_file_is_decoded_is_said(tmp_path, form):
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / ("a.jpg" if form in ("1/4", "stored") else "a.png")
    made = image.fromarray(picture())
    if form == "white":
        made.putalpha(image.fromarray(np.linspace(0, 255, 150 * 210).reshape(150, 210).astype(np.uint8)))
    exif = image.Exif()
    exif[0x0112] = 6 if form == "stored" else 1
    made.save(file, **({"exif": exif, "quality": 95} if file.suffix == ".jpg" else {}))
    net, own = network(V2, (64, 64))
    others = decodings(file)
    x, fed = (prepare(each, own, (64, 64)) for each in (read_image(file), others[form]))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    causes = diagnose(replace(segment, image=read_image(file), decoded=others), FLOAT32)
    assert [cause_sentence(cause) for cause in causes][:1] == [FILES[form]]


@pytest.mark.parametrize(
    ("whole", "words"), [(False, ""), (True, ", in the whole picture's proportions")], ids=["own", "whole"]
)
def test_a_picture_that_is_made_smaller_before_it_is_resized_is_said(whole, words):
    """By the means of squares of pixels; then in its own proportions, or in those of the whole picture."""
    image = pytest.importorskip("PIL.Image")
    net, own = network(V2, (64, 64))
    pixels = picture()[:149, :207]
    small = np.asarray(image.fromarray(pixels).reduce(4))
    H, W = shape_to_crop((pixels if whole else small).shape, own, (64, 64))
    made = np.asarray(image.fromarray(small).resize((W, H), image.Resampling.BILINEAR))
    top, left = round((H - 64) / 2), round((W - 64) / 2)
    fed = own.apply(made[top : top + 64, left : left + 64].transpose(2, 0, 1)[None].astype(np.float32))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: prepare(pixels, own, (64, 64)), **net.trace(fed)})
    causes = diagnose(replace(segment, image=pixels), FLOAT32)
    said = f"the picture is made 4 times smaller, by means of 4 by 4 pixels, before it is resized{words}"
    assert [cause_sentence(cause) for cause in causes][:1] == [said]
