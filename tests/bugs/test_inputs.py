"""Another input: what was done to the pixels is found in a list, or solved for from the first layer, and said."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.files.images import decodings, prepare, read_image
from refnet.files.images import resized as resized_pixels
from refnet.files.resample import KERNELS
from refnet.graph import SOURCE
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded
from refnet.report.comparison import cause_sentence

FLOAT32 = Precision.of("float32")
SIZE = (48, 64)


@cache
def network(model, size=SIZE):
    graph = build(model, width=0.35, size=size, classes=10)
    net = Network(graph, random_params(graph))
    return net, graph.recipe.preprocessing


@cache
def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, 3, *SIZE)).astype(np.float32)


def column(*numbers):
    return np.array(numbers, np.float32).reshape(-1, 1, 1)


def said(model, made, ends=("stem.conv",), store="float32"):
    """What is said of a port that makes its input in another way and dumps some tensors."""
    net, own = network(model)
    x = own.apply(pixels())
    fed = np.ascontiguousarray(made(pixels(), x, own), dtype=np.float32)
    tensors = {SOURCE: fed, **net.trace(fed)}
    if store != "float32":
        tensors = {name: rounded(y, store) for name, y in tensors.items()}
    exact = net.astype(np.float64).trace(x.astype(np.float64))
    reference = Reference.of(net.graph, net.params, {SOURCE: x, **exact})
    found = judge_tensors(
        reference, {name: tensors[name] for name in ends}, precision=Precision.of(store), partial=True
    )
    assert found.wrong()[:1] == [ends[0]]
    return [cause_sentence(cause) for cause in found.causes[ends[0]]]


V2, KERAS = "torchvision/mobilenet_v2", "keras/MobileNetV2"
MADE = {
    "levels of video": (
        V2,
        lambda p, x, own: ((16 + p * 219 / 255) / 255 - column(*own.mean)) / column(*own.std),
        "the pixels are levels of video, from 16 to 235, taken for 0 to 255: 16 + 219/255 of each",
    ),
    "a factor and an offset": (
        V2,
        lambda p, x, own: 1.02 * x + 0.1,
        "the input is 1.02 times what it should be plus 0.1",
    ),
    "divided by 256": (
        V2,
        lambda p, x, own: (p / 256 - column(*own.mean)) / column(*own.std),
        "the pixels are divided by 256, not 255",
    ),
    "divided by 250": (
        V2,
        lambda p, x, own: (p / 250 - column(*own.mean)) / column(*own.std),
        "the pixels are divided by 250, not 255",
    ),
    "divided by 128": (KERAS, lambda p, x, own: p / 128 - 1, "the pixels are divided by 128, not 127.5"),
    "one std": (
        V2,
        lambda p, x, own: (p / 255 - column(*own.mean)) / np.float32(0.226),
        "one standard deviation, 0.226, is applied to all channels, not (0.229, 0.224, 0.225)",
    ),
    "one mean": (
        V2,
        lambda p, x, own: (p / 255 - np.float32(0.449)) / column(*own.std),
        "one mean, 0.449, is applied to all channels, not (0.485, 0.456, 0.406)",
    ),
    "a slip in one figure": (
        V2,
        lambda p, x, own: (p / 255 - column(*own.mean)) / column(0.229, 0.224, 0.275),
        "the standard deviation is (0.229, 0.224, 0.275), not (0.229, 0.224, 0.225)",
    ),
    "another rule": (
        V2,
        lambda p, x, own: (p / 255 - 0.45) / 0.225,
        "the pixels become (pixel / 255 - 0.45) / 0.225",
    ),
    "each channel": (
        V2,
        lambda p, x, own: x * column(1.1, 0.9, 1.05) + column(0, 0.2, -0.1),
        "the input's channels are multiplied by (1.1, 0.9, 1.05), plus (0, 0.2, -0.1)",
    ),
    "reversed colours and one std": (
        V2,
        lambda p, x, own: (p[:, ::-1] / 255 - column(*own.mean)) / np.float32(0.226),
        "the colours are in the order blue, green, red, and one standard deviation, 0.226, is applied to all channels, "
        "not (0.229, 0.224, 0.225)",
    ),
    "mixed colours": (
        V2,
        lambda p, x, own: np.einsum(
            "ij,njhw->nihw", [[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.1]], x
        ),
        "the input's colours are mixed, by the matrix [0.299 0.587 0.114; -0.147 -0.289 0.436; 0.615 -0.515 -0.1], "
        "plus 0",
    ),
    "alpha first": (
        V2,
        lambda p, x, own: own.apply(np.concatenate([np.full_like(p[:, :1], 255), p[:, :2]], axis=1)),
        "the pixels are the first three of alpha (255), red, green, blue",
    ),
    "colours in the next one's place": (
        V2,
        lambda p, x, own: own.apply(p[:, [1, 2, 0]]),
        "the colours are in the order green, blue, red, under constants for red, green, blue",
    ),
    "shares of hue": (
        V2,
        lambda p, x, own: own.apply(255 * by_pixel(colorsys.rgb_to_hsv, p / 255).astype("f")),
        "the pixels are hue, saturation and value, each a share of 255, taken for red, green, blue",
    ),
    "whole numbers of hue": (
        V2,
        lambda p, x, own: own.apply(np.floor(255 * by_pixel(colorsys.rgb_to_hsv, p / 255)).astype("f")),
        "the pixels are hue, saturation and value, each a share of 255, cut off to whole numbers (Pillow), taken for "
        "red, green, blue",
    ),
    "lightness": (
        KERAS,
        lambda p, x, own: own.apply(
            np.rint(column(180, 255, 255) * by_pixel(colorsys.rgb_to_hls, p / 255)).astype("f")
        ),
        "the pixels are OpenCV's hue, lightness and saturation, taken for red, green, blue",
    ),
    "red twice": (
        V2,
        lambda p, x, own: own.apply(p[:, [0, 0, 2]]),
        "the pixels' red, green and blue are red, red and blue",
    ),
    "grey": (
        V2,
        lambda p, x, own: own.apply(np.repeat((p * column(0.299, 0.587, 0.114)).sum(1, keepdims=True), 3, 1)),
        "the image is grey",
    ),
    "no mean": (V2, lambda p, x, own: p / 255 / column(*own.std), "the mean is not subtracted"),
    "reversed colours": (V2, lambda p, x, own: x[:, ::-1], "the colours are in the order blue, green, red"),
    "constants in the other order": (
        V2,
        lambda p, x, own: own.apply(p[:, ::-1]),
        "the colours are in the order blue, green, red, under constants for red, green, blue",
    ),
    "reshaped": (
        V2,
        lambda p, x, own: x.transpose(0, 2, 3, 1).reshape(x.shape),
        "the input's numbers lie in HWC order under a CHW shape: reshaped, not transposed",
    ),
    "reshaped back": (
        V2,
        lambda p, x, own: x.reshape(1, *SIZE, 3).transpose(0, 3, 1, 2),
        "the input's numbers lie in CHW order under an HWC shape: reshaped, not transposed",
    ),
    "mirrored": (V2, lambda p, x, own: x[..., ::-1], "the image is mirrored left to right"),
    "made light of": (
        V2,
        lambda p, x, own: own.apply(
            (255 * np.where(p > 10.3, ((p / 255 + 0.055) / 1.055) ** 2.4, p / 255 / 12.92)).astype("f")
        ),
        "the pixels are made light of (sRGB undone) before they are normalised",
    ),
    "Caffe's colours": (
        KERAS,
        lambda p, x, own: p[:, ::-1] - column(103.939, 116.779, 123.68),
        "only the mean of the colours is subtracted, (123.68, 116.779, 103.939); then the colours are put in reverse "
        "order",
    ),
    "clipped": (V2, lambda p, x, own: x.clip(-1, 1), "the input is clipped to [-1, 1]"),
    "divided behind the constants": (
        V2,
        lambda p, x, own: (p - column(*own.mean)) / column(*own.std) / 255,
        "mean and standard deviation are applied to pixels that are divided only after them",
    ),
    "divided before the mean": (
        V2,
        lambda p, x, own: p / 255 / column(*own.std) - column(*own.mean),
        "the pixels are divided by the standard deviation before the mean is subtracted",
    ),
    "one constant in the other order": (
        V2,
        lambda p, x, own: (p / 255 - column(*own.mean)) / column(*own.std[::-1]),
        "the standard deviation is applied in the order blue, green, red",
    ),
    "each image by itself": (
        V2,
        lambda p, x, own: (p - p.mean()) / p.std(),
        "each image is made of mean 0 and standard deviation 1 by its own numbers",
    ),
    "grey bytes": (
        V2,
        lambda p, x, own: own.apply(np.rint((p * column(0.299, 0.587, 0.114)).sum(1, keepdims=True)).repeat(3, 1)),
        "the image is grey, rounded to whole pixels",
    ),
    "signed bytes": (
        KERAS,
        lambda p, x, own: p.astype(np.uint8).view(np.int8) / np.float32(128),
        "bytes of pixels are taken for signed ones, and divided by 128",
    ),
    "a difference of bytes": (
        KERAS,
        lambda p, x, own: (p.astype(np.uint8) - np.uint8(127)) / np.float32(127.5),
        "the mean is subtracted in bytes, so that what is below it wraps at 256",
    ),
    "a division of whole numbers": (
        V2,
        lambda p, x, own: (p // 255 - column(*own.mean)) / column(*own.std),
        "the pixels are divided as whole numbers, and the rest is dropped",
    ),
    "negatives": (V2, lambda p, x, own: own.apply(255 - p), "the pixels are negatives: 255 less each"),
    "a mean of pixels": (
        V2,
        lambda p, x, own: (p / 255 - 255 * column(*own.mean)) / column(*own.std),
        "the mean is in units of a pixel, and subtracted from pixels that are divided",
    ),
    "a camera of 16 bits": (
        V2,
        lambda p, x, own: own.apply((p.astype(np.uint8) & np.array([[[0xF8]], [[0xFC]], [[0xF8]]])).astype(np.float32)),
        "pixels have 5, 6 and 5 bits (RGB565), the rest being 0",
    ),
    "colours of another range": (
        V2,
        lambda p, x, own: own.apply(of_video(p, lambda y, b, r: (1.164383 * (y - 16), 1.138393 * b, 1.138393 * r))),
        "the colours are decoded as if luma was in [16, 235] (studio range), and it is in [0, 255]",
    ),
    "colours exchanged": (
        V2,
        lambda p, x, own: own.apply(of_video(p, lambda y, b, r: (y, r, b))),
        "the two colours of YCbCr are exchanged (NV21 for NV12)",
    ),
}


def by_pixel(change, pixels):
    """Another space of colours, by a function of one pixel."""
    planes = [change(*map(float, pixel)) for pixel in pixels[0].reshape(3, -1).T]
    return np.array(planes).T.reshape(1, 3, *SIZE)


def of_video(pixels, change):
    """Pixels as bytes of luma and two colours, and back, by the figures of JPEG's standard."""
    red, green, blue = (pixels[:, index].astype(np.float64) for index in range(3))
    luma = np.rint(0.299 * red + 0.587 * green + 0.114 * blue)
    b, r = (
        np.rint((colour - luma_exact) * factor + 128) - 128
        for colour, luma_exact, factor in (
            (blue, 0.299 * red + 0.587 * green + 0.114 * blue, 0.564334),
            (red, 0.299 * red + 0.587 * green + 0.114 * blue, 0.713267),
        )
    )
    luma, b, r = change(luma, b.clip(-128, 127), r.clip(-128, 127))
    made = (luma + 1.402 * r, luma - 0.344136 * b - 0.714136 * r, luma + 1.772 * b)
    return np.rint(np.stack(made, axis=1)).clip(0, 255).astype(np.float32)


@pytest.mark.parametrize("case", MADE)
@pytest.mark.parametrize(
    "ends", [("stem.conv", "stem.bn"), ("stem.act", "block1.depthwise.act"), (SOURCE, "stem.conv")]
)
def test_what_was_done_to_the_input_is_said(case, ends):
    model, made, words = MADE[case]
    assert said(model, made, ends)[:1] == [words]


# Red, green, blue; then what OpenCV 4 makes of it: HSV of 180 and of 256 steps of hue, and Lab.
OPENCV = np.array(
    [
        [193, 54, 192, 150, 184, 193, 214, 184, 193, 126, 197, 85],
        [88, 85, 76, 23, 35, 88, 32, 35, 88, 92, 128, 134],
        [51, 70, 25, 43, 164, 70, 61, 164, 70, 69, 112, 152],
        [35, 54, 224, 117, 215, 224, 166, 215, 224, 89, 182, 42],
        [17, 152, 194, 97, 233, 194, 138, 233, 194, 149, 110, 97],
        [98, 77, 203, 125, 158, 203, 178, 158, 203, 106, 169, 65],
        [114, 129, 63, 37, 130, 129, 52, 130, 129, 131, 112, 162],
        [180, 154, 121, 17, 84, 180, 24, 84, 180, 166, 133, 149],
        [86, 7, 252, 130, 248, 252, 184, 248, 252, 93, 207, 29],
        [216, 36, 39, 179, 213, 216, 255, 213, 216, 120, 194, 173],
        [245, 125, 127, 0, 125, 245, 255, 125, 245, 169, 174, 148],
        [64, 64, 64, 0, 0, 64, 0, 0, 64, 69, 128, 128],
    ]
)


def test_tables_of_hue_are_those_of_opencv():
    colours, hsv, full, lab = (OPENCV[:, first : first + 3].T[None, :, :, None] for first in (0, 3, 6, 9))
    net, own = network(V2)
    x = own.apply(colours.astype(np.float32))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x}, judged=False)
    made = {change.form: change.given[SOURCE] for change in BUGS["input-space"].changes(segment)}
    for form, wanted in (("HSV", hsv), ("HSV 256", full), ("Lab", lab)):
        off = np.abs(made[form].value - own.apply(wanted.astype(np.float32)))
        assert (off <= made[form].slack).all()


def test_images_of_a_batch_in_another_order_are_said():
    net, own = network(V2)
    x = np.concatenate([own.apply(pixels(seed)) for seed in (0, 1, 2)])
    reference = Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)})
    for fed, words in (
        (x[::-1], "the images of the batch are in reverse order"),
        (np.repeat(x[:1], 3, axis=0), "every image of the batch is the first one"),
        (np.roll(x, 1, axis=0), "each image of the batch is in the next one's place"),
        (x.swapaxes(0, 1).reshape(x.shape), "the batch is written as (C, N, H, W), and read as (N, C, H, W)"),
    ):
        end = {"head.flatten": net.trace(np.ascontiguousarray(fed))["head.flatten"]}
        found = judge_tensors(reference, end, partial=True)
        assert [cause_sentence(cause) for cause in found.causes["head.flatten"]] == [words]


def test_a_square_image_on_its_side_is_said():
    net, own = network(V2, (64, 64))
    x = own.apply(np.random.default_rng(3).integers(0, 256, (1, 3, 64, 64)).astype(np.float32))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(np.rot90(x, 1, (2, 3)))})
    assert [cause_sentence(each) for each in diagnose(segment, FLOAT32)] == [
        "the image is turned by 90 degrees to the left"
    ]


def test_hard_swish_is_undone_where_it_can_be():
    words = said("torchvision/mobilenet_v3_small", lambda p, x, own: 0.5 * x - 0.25, ("stem.act",))
    assert words[0] == "the input is 1/2 times what it should be minus 0.25"


@pytest.mark.parametrize("form", ["stretched to [0, 1]", "divided by the largest of them"])
def test_a_dark_image_that_is_made_bright_first_is_said(form):
    net, own = network(V2)
    dark = 40 + 0.5 * pixels()
    bright = dark / dark.max() if form.startswith("divided") else (dark - dark.min()) / np.ptp(dark)
    x, fed = own.apply(dark), own.apply(bright * np.float32(255))
    found = judge_tensors(
        Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}),
        {"stem.act": net.trace(fed)["stem.act"]},
        partial=True,
    )
    words = f"the pixels of each image are {form} before mean and standard deviation"
    assert words in [cause_sentence(cause) for cause in found.causes["stem.act"]]


def test_a_short_format_hides_no_rule():
    assert said(V2, MADE["one std"][1], store="float16")[0].startswith("one standard deviation, 0.226,")


def test_nothing_is_solved_for_in_an_honest_input_and_in_another_bug():
    net, own = network(V2)
    x = own.apply(pixels())
    tensors = {SOURCE: x, **net.trace(x)}
    tensors["stem.conv"] = np.roll(tensors["stem.conv"], 1, axis=3)
    segment = cut(Parts(net.graph), net.params, "stem.conv", tensors)
    assert not any("input-solved" in cause.ids for cause in diagnose(segment, FLOAT32))


# ------------------------------------------------------------------------------------------------------- pictures


@cache
def picture():
    """Smooth, in colour, and no square."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (30, 42, 3)).astype(np.uint8)
    return KERNELS["float-bicubic"].resize(coarse, (150, 210)).clip(0, 255).astype(np.uint8)


def resized(change, kernel=None, image=None):
    """What is said of a port that makes its input of a picture in another way."""
    net, own = network(V2, (64, 64))
    x = prepare(picture(), own, (64, 64))
    fed = prepare(picture(), change(own), (64, 64), kernel)
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    causes = diagnose(replace(segment, image=picture() if image is None else image), FLOAT32)
    return [cause_sentence(cause) for cause in causes]


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


def boxed(pixels, shape):
    """The whole picture in the middle of grey, as a detector wants it."""
    made = np.full((*shape, 3), 114, np.float32)
    height = round(shape[1] * pixels.shape[0] / pixels.shape[1])
    top = (shape[0] - height) // 2
    made[top : top + height] = resized_pixels(pixels, (height, shape[1]), "bilinear")
    return made


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
    "bars": (lambda own: replace(own, resize=None), boxed, "the whole picture lies between grey (114) bars"),
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


ORDERS = {
    "by columns": (
        lambda x: x.transpose(0, 1, 3, 2).reshape(x.shape),
        "the input's numbers lie in CWH order and are read in CHW order",
    ),
    "colours of a row": (
        lambda x: x.transpose(0, 2, 1, 3).reshape(x.shape),
        "the input's numbers lie in HCW order and are read in CHW order",
    ),
    "green first": (lambda x: x[:, [1, 2, 0]], "the colours are in the order green, blue, red"),
    "a pixel more": (
        lambda x: (
            np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=-9)
            .transpose(0, 2, 3, 1)
            .reshape(1, -1)[:, : x.size]
            .reshape(1, *SIZE, 3)
            .transpose(0, 3, 1, 2)
        ),
        "rows that are 3 numbers longer in memory are read without the rest: each lies aslant",
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_an_input_that_lies_in_another_order_is_said(case):
    made, words = ORDERS[case]
    ends = ("stem.conv",) if case != "a pixel more" else (SOURCE,)  # what lies in the gap, the input alone shows
    assert said(V2, lambda p, x, own: made(x), ends)[0] == words


def test_planes_that_are_five_numbers_wider_show_it_in_the_ports_own_input():
    def wide(p, x, own):
        flat = np.append(x.ravel(), np.zeros(5 * 3 * SIZE[0]))
        return np.stack([flat[69 * row : 69 * row + 64] for row in range(144)]).reshape(x.shape)

    assert said(V2, wide, (SOURCE,)) == ["rows of planes are read as if they were 5 numbers longer than they are"]


def test_an_input_made_of_whole_pixels_may_round_in_another_order():
    net, own = network(V2)
    x = own.apply(pixels())
    fed = (pixels() * np.float32(1 / 255) - column(*own.mean)) * (1 / column(*own.std))
    assert 0 < np.abs(fed - x).max() < 1e-6
    reference = Reference.of(net.graph, net.params, {SOURCE: x, **net.astype(np.float64).trace(x.astype(np.float64))})
    assert judge_tensors(reference, {SOURCE: fed, **net.trace(fed)}).holds


def test_rows_of_normalised_numbers_that_are_filled_with_zero_are_said():
    net, own = network(V2, (48, 66))
    x = own.apply(np.random.default_rng(5).integers(0, 256, (1, 3, 48, 66)).astype(np.float32))
    fed = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 14))).reshape(1, 3, -1)[:, :, : 48 * 66].reshape(x.shape)
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    assert [cause_sentence(each) for each in diagnose(segment, FLOAT32)] == [
        "rows of 80 pixels in memory, filled with zero, are read as rows of 66"
    ]


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


PIPELINES = {
    "opencv-bilinear": (
        lambda p: p[:, ::-1] / 255,
        "the picture is resized by OpenCV's bilinear kernel, which is not antialiased, the colours are in the order "
        "blue, green, red, and the pixels are in [0, 1]",
    ),
    "opencv-area": (
        lambda p: p / 127.5 - 1,
        "the picture is resized by OpenCV's INTER_AREA, and the pixels are in [-1, 1]",
    ),
}


@pytest.mark.parametrize("kernel", PIPELINES)
def test_another_librarys_whole_pipeline_is_said_from_the_end_alone(kernel):
    rule, words = PIPELINES[kernel]
    net, own = network(V2, (32, 32))
    x = prepare(picture(), own, (32, 32))
    bytes_ = prepare(
        picture(), replace(own, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3), (32, 32), KERNELS[kernel].resize
    )
    end = net.trace(np.asarray(rule(bytes_), np.float32))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert [cause_sentence(cause) for cause in found.causes["head.flatten"]][:1] == [words]


def test_a_kernel_that_rounds_a_few_pixels_otherwise_is_said_from_the_end_alone():
    net, own = network(V2, (64, 64))
    x = prepare(picture(), own, (64, 64))

    def area(pixels, shape):
        made = KERNELS["opencv-area"].resize(pixels, shape)
        made[::9, ::7] += 1
        return made

    end = net.trace(prepare(picture(), own, (64, 64), area))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert [cause_sentence(cause) for cause in found.causes["head.flatten"]] == [
        "the picture is resized by OpenCV's INTER_AREA"
    ]


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_of_another_library_is_said(name):
    found = resized(lambda own: own, KERNELS[name].resize)
    assert found
    assert found[0].startswith("the picture is resized by")
    assert len(found) <= 2  # OpenCV's is the same kernel, rounded


def test_a_kernel_of_floats_may_round_where_it_reads():
    """Places in float32, as PyTorch and TensorFlow compute them, from the end alone."""
    net, own = network(V2, (64, 64))
    x = prepare(picture(), own, (64, 64))

    def places(pixels, shape):
        made = pixels.astype(np.float32)
        for axis in (1, 0):
            n, p = made.shape[axis], shape[axis]
            at = np.maximum((np.arange(p, dtype=np.float32) + 0.5) * np.float32(n / p) - np.float32(0.5), 0)
            first = at.astype(int)
            share = (at - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
            made = made.take(first, axis) * (1 - share) + made.take(np.minimum(first + 1, n - 1), axis) * share
        return made

    end = net.trace(prepare(picture(), own, (64, 64), places))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert next(cause_sentence(cause) for cause in found.causes["head.flatten"]).startswith(
        "the picture is resized by a bilinear kernel without antialiasing"
    )


def test_without_the_picture_nothing_is_resized():
    net, own = network(V2, (64, 64))
    x = prepare(picture(), own, (64, 64))
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(x)})
    assert segment.image is None
    assert resized(lambda own: replace(own, resize=None), image=np.zeros_like(picture())) == []
