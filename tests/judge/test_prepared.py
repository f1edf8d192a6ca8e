"""How a pack's input was made, where its network's vendor makes it otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from feeding import KERAS, SIZE, V2, network, picture, pixels

from refnet import write_pack
from refnet.files.images import prepare, write_picture
from refnet.graph import SOURCE
from refnet.judge.compare import compare
from refnet.judge.prepared import preprocessing_of, scale_of
from refnet.networks.preprocessing import NAMED, TORCHVISION_V1
from refnet.report.comparison import cause_sentence
from refnet.report.comparison_notes import comparison_notes

NOISE = np.random.default_rng(5).integers(0, 256, (150, 210, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"interpolation": "float-bilinear"},
        {"interpolation": "opencv-area", "resize": None},
        {"resize": (232, 224)},
        {"resize": (min(SIZE) + 9, min(SIZE))},
        {"resize": (min(SIZE) + 9, min(SIZE)), "interpolation": "bicubic"},
        {"scale": 1.0, "mean": (103.939, 116.779, 123.68), "std": (1.0, 1.0, 1.0)},
        {"interpolation": "bicubic", "scale": 127.5, "mean": (1.0, 1.0, 1.0), "std": (1.0, 1.0, 1.0)},
        {"scale": 255.0, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)},
        {"resize": (1, 1), "cut_first": True, "interpolation": "opencv-area"},
        {"cut_first": True, "interpolation": "float-bilinear"},
    ],
)
def test_the_recipe_of_an_input_is_found_with_its_figures(edits):
    made = replace(TORCHVISION_V1, **edits)
    found = preprocessing_of(picture(), prepare(picture(), made, SIZE), TORCHVISION_V1)
    assert replace(found, origin=made.origin) == made


def test_a_network_of_no_known_recipe_has_the_one_that_makes_its_input():
    made = NAMED["signed"]
    found = preprocessing_of(picture(), prepare(picture(), made, SIZE), None)
    assert replace(found, origin=made.origin) == made


@pytest.mark.parametrize("x", [prepare(NOISE, TORCHVISION_V1, SIZE), np.zeros((1, 3, *SIZE)), np.zeros((2, 3, *SIZE))])
def test_an_input_of_another_picture_has_no_recipe(x):
    assert preprocessing_of(picture(), np.asarray(x, np.float32), TORCHVISION_V1) is None


@pytest.mark.parametrize("name", NAMED)
def test_an_input_of_bytes_under_another_scale_has_that_scale(name):
    rule = NAMED[name]
    _, known = network(KERAS)
    found = scale_of(rule.apply(pixels()), known)
    assert (found.scale, found.mean, found.std) == (rule.scale, rule.mean, rule.std)
    assert (found.resize, found.interpolation) == (known.resize, known.interpolation)


def test_an_input_that_is_no_bytes_has_the_recipe_of_its_network():
    _, known = network(KERAS)
    assert scale_of(np.random.default_rng(0).normal(size=(2, 3, 8, 9)), known) is known
    assert scale_of(np.ones((1, 1, 8, 9)), None) is None


def test_a_port_is_held_against_the_recipe_that_made_the_input(tmp_path):
    """The pack's input was resized as TensorFlow 2 does it, the port's as TensorFlow 1 did."""
    net, own = network(KERAS)
    write_picture(tmp_path / "it.png", picture())
    made = prepare(picture(), replace(own, interpolation="float-bilinear"), SIZE)
    write_pack(net, made, tmp_path / "pack", origin={})
    x = prepare(picture(), replace(own, interpolation="bilinear-tf1"), SIZE)
    port = {SOURCE: x, **net.trace(x)}
    found = compare(tmp_path / "pack", port, image=tmp_path / "it.png")
    sentences = [cause_sentence(cause) for cause in found.causes[SOURCE]]
    assert sentences == ["the picture is resized by TensorFlow 1's bilinear kernel"]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"interpolation": "first-nearest"}, "the picture is resized by"),
        ({"resize": None}, "the picture is"),
    ],
)
def test_a_port_is_held_against_an_input_whose_picture_was_cut_before_it_was_resized(edits, words, tmp_path):
    net, own = network(V2)
    own = replace(own, resize=(1, 1), cut_first=True, interpolation="opencv-area")
    write_picture(tmp_path / "it.png", picture())
    write_pack(net, prepare(picture(), own, SIZE), tmp_path / "pack", origin={})
    x = prepare(picture(), replace(own, **edits), SIZE)
    found = compare(tmp_path / "pack", {SOURCE: x}, image=tmp_path / "it.png", partial=True)
    assert cause_sentence(found.causes[SOURCE][0]).startswith(words)


def test_caffes_means_are_named_where_the_packs_input_is_in_0_to_1(tmp_path):
    """Nothing but the input says that it is: the network's vendor has -1 to 1."""
    net, _ = network(KERAS)
    write_pack(net, NAMED["unit"].apply(pixels()), tmp_path / "pack", origin={})
    wrong = net.trace(pixels()[:, ::-1] - np.array([103.939, 116.779, 123.68], np.float32).reshape(3, 1, 1))
    found = compare(tmp_path / "pack", {"stem.conv": wrong["stem.conv"]}, partial=True)
    assert cause_sentence(found.causes["stem.conv"][0]).startswith("only the mean of the colours is subtracted")


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (np.floor, "cut off to whole numbers"),
        (lambda pixels: np.floor(pixels - 1e-6 * (np.arange(SIZE[1]) < 1)), "cut off to whole numbers"),
        (np.rint, "rounded to whole numbers"),
        (lambda pixels: np.floor(pixels + 0.5), "rounded to whole numbers, halves up"),
    ],
)
def test_whole_pixels_are_said_where_some_lie_at_what_rounding_turns(whole, words, tmp_path):
    net, own = network(KERAS)
    write_picture(tmp_path / "it.png", picture())
    fractions = prepare(picture(), replace(NAMED["raw"], interpolation="float-bilinear"), SIZE)
    fractions[0, :, 0] = np.rint(fractions[0, :, 0] * 2) / 2
    write_pack(net, own.apply(fractions), tmp_path / "pack", origin={})
    port = own.apply(whole(fractions.astype(np.float64)).astype(np.float32))
    found = compare(tmp_path / "pack", {SOURCE: port}, partial=True)
    assert cause_sentence(found.causes[SOURCE][0]) == f"the resized pixels are {words}"


def test_a_picture_that_does_not_make_the_input_is_of_no_use_and_verdicts_need_none(tmp_path):
    net, own = network(V2)
    write_picture(tmp_path / "other.png", NOISE)
    x = prepare(picture(), own, SIZE)
    write_pack(net, x, tmp_path / "pack", origin={})
    found = compare(tmp_path / "pack", {SOURCE: x}, image=tmp_path / "other.png", partial=True)
    assert found.holds
    assert [note for note in comparison_notes(found) if "other.png" in note and "of no use" in note]
