"""Another input: what was done to the pixels is found in a list, or solved for from the first layer, and said."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
from feeding import FLOAT32, KERAS, SIZE, V2, column, network, pixels, said, shallow

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.comparison import cause_sentence

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
    "signed bytes in steps of 1/127": (
        V2,
        lambda p, x, own: np.rint(x * 127).clip(-127, 127) / np.float32(127),
        "the input is held in 8 bits: rounded to steps of 0.007874, from -1 to 1",
    ),
    "bytes from 0 to 1": (
        V2,
        lambda p, x, own: np.trunc(x * 255).clip(0, 255) / np.float32(255),
        "the input is held in 8 bits: cut off to steps of 0.003922, from 0 to 1",
    ),
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


ENDS = (("stem.conv", "stem.bn"), ("stem.act", "block1.depthwise.act"), (SOURCE, "stem.conv"))


@pytest.mark.parametrize(("case", "ends"), [*zip(MADE, itertools.cycle(ENDS))])
def test_what_was_done_to_the_input_is_said(case, ends):
    model, made, words = MADE[case]
    assert said(model, made, ends)[:1] == [words]


@pytest.mark.parametrize("case", ["a factor and an offset", "levels of video"])
def test_what_was_done_to_the_input_is_said_of_the_output_of_a_block(case):
    """Where other ways to decode colours, which have room for a port's own rounding, leave much of the error."""
    model, made, words = MADE[case]
    assert said(model, made, ("block1.project.bn",))[:1] == [words]


def test_an_input_in_bytes_may_reach_as_far_as_its_own_numbers():
    made = lambda p, x, own: np.rint(x / (abs(x).max() / 127)) * (abs(x).max() / 127)  # noqa: E731
    (words, *_) = said(V2, made, ("stem.act",))
    assert words.startswith("the input is held in 8 bits: rounded to steps of 0.0")


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
    net, own = shallow(SIZE)
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
