"""Weights in 8 bits to all of which a part of a step was added, or whole steps: integers, and floats made of them."""

from __future__ import annotations

import numpy as np
import pytest
from exporting import checkpoint

from refnet import build, random_params
from refnet.report.mistakes.arrays import detail
from refnet.verification.sides import pair
from refnet.verification.values import match_arrays

NAME = "block3.project.w"
GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=32, classes=10)
PARAMS = {**random_params(GRAPH)}
PARAMS[NAME] = (PARAMS[NAME] ** 3 + 0.3 * np.abs(PARAMS[NAME] ** 3)).astype(np.float32)  # few are large; not about zero


def ends(w, per):
    axes = tuple(range(1, w.ndim)) if per == "channel" else None
    return np.minimum(w.min(axis=axes, keepdims=True), 0), np.maximum(w.max(axis=axes, keepdims=True), 0)


def quantised(how, per="tensor", levels=255, zero=0, read=1.0):
    """What the integers of a layer stand for, and their scale, which is `read` times that by which they were made."""
    w = PARAMS[NAME]
    low, high = ends(w, per)
    s = (high - low) / np.float32(levels)
    if how == "minimum":
        q, at = np.rint((w - low) / s), np.rint(-low / s)
    elif how == "maximum":
        q, at = 255 - np.rint((high - w) / s), np.rint(255 - high / s)
    elif how == "rounded":
        q, at = np.rint(w / s) + np.rint(-low / s), np.rint(-low / s)
    else:
        q, at = np.rint(w / s + np.float32(how)) + np.rint(-low / s), np.rint(-low / s)
    s = np.float32(read) * s
    return (np.clip(q, 0, 255) - at + zero) * s, s


def finding(copy, s=None):
    """What is found of the layer; with `s` its copy holds integers of that scale, else floats."""
    sides = pair(checkpoint(GRAPH, PARAMS), checkpoint(GRAPH, {**PARAMS, NAME: copy.astype(np.float32)}, "copy"))
    steps = {} if s is None else {NAME: np.broadcast_to(s.astype(np.float64), copy.shape)}
    (value,) = [each for each in match_arrays(sides, steps) if each.name == NAME]
    return value


@pytest.mark.parametrize("stored", ["integers", "floats"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("end", ["minimum", "maximum"])
def test_integers_that_count_from_an_unrounded_end_have_a_part_of_a_step_too_much(end, per, stored):
    """Of 255 steps of the range both ends say as much."""
    copy, s = quantised(end, per)
    value = finding(copy, s if stored == "integers" else None)
    assert value.kind == "unnudged"
    assert "the zero point is rounded" in detail(value)
    low, _ = ends(PARAMS[NAME], per)
    share = np.rint(low / s) - low / s
    assert value.mistake.facts["parts"] == pytest.approx((share.min(), share.max()), abs=1e-4)


@pytest.mark.parametrize("end", ["minimum", "maximum"])
def test_of_256_steps_the_other_end_is_cut_off_and_this_one_is_told(end):
    value = finding(*quantised(end, levels=256))
    assert value.kind == "unnudged"
    assert f"unrounded {end}, and the zero point is rounded" in detail(value)


@pytest.mark.parametrize("stored", ["integers", "floats"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_honest_integers_of_a_range_about_a_rounded_zero_are_no_fault(per, stored):
    copy, s = quantised("rounded", per)
    assert finding(copy, s if stored == "integers" else None).kind == "int8"


def test_a_part_of_a_step_that_no_end_explains_is_told_as_such():
    value = finding(*quantised(0.2))
    assert (value.kind, value.mistake.form) == ("unnudged", "part")
    assert value.mistake.facts["parts"] == pytest.approx((0.2, 0.2), abs=0.02)
    assert "of a step is added to every weight, as where integers count from an unrounded end" in detail(value)


@pytest.mark.parametrize(("levels", "read", "words"), [(255, 255 / 256, "255/256"), (256, 256 / 255, "256/255")])
def test_the_scale_of_a_level_more_or_fewer_beside_it_is_told_too(levels, read, words):
    value = finding(*quantised("minimum", levels=levels, read=read))
    assert value.kind == "unnudged"
    assert f"and the scale is {words} of that of the integers" in detail(value)


@pytest.mark.parametrize("levels", [255, 256])
def test_a_scale_of_a_level_more_or_fewer_alone_is_a_factor(levels):
    value = finding(*quantised("rounded", levels=levels, read=levels / (511 - levels)))
    assert value.kind == "scaled"
    assert value.mistake.facts["factor"] == pytest.approx(levels / (511 - levels), abs=1e-3)


@pytest.mark.parametrize("stored", ["integers", "floats"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("by", [-3, 1])
def test_a_zero_point_that_is_whole_steps_off_is_told(by, per, stored):
    copy, s = quantised("rounded", per, zero=by)
    value = finding(copy, s if stored == "integers" else None)
    assert value.kind == "misread"
    assert f"every integer is {by:+d} off: another zero point" in detail(value)


def test_whole_steps_and_a_part_of_one_are_told_together():
    value = finding(*quantised("minimum", zero=2))
    assert value.kind == "unnudged"
    assert "the zero point is not the nearest to it" in detail(value)


def test_a_factor_that_explains_no_more_than_one_does_is_not_told():
    """Integers that were rounded twice, and so are up to a step off."""
    w, s = PARAMS[NAME], np.float32(np.abs(PARAMS[NAME]).max() / 127)
    twice = np.rint(np.rint(w / s * 3.3) / np.float32(3.3)) * s
    assert finding(twice, s).kind not in ("scaled", "offset", "cut-off")


@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda q: np.where(q < 0, q + 256, q), "signed bytes are read as unsigned ones"),
        (lambda q: q + 128, "the zero point is left in: every integer is +128 off"),
        (lambda q: np.where(q < 0, q + 128, q - 128), "signed bytes are taken for unsigned ones moved by 128"),
    ],
)
def test_floats_that_were_made_of_integers_that_were_read_as_others_are_told(read, words, per):
    w = PARAMS[NAME]
    s = np.maximum(*map(np.abs, ends(w, per))) / np.float32(127)
    value = finding(read(np.rint(w / s)) * s)
    assert (value.kind, detail(value)) == ("misread", words)


def test_a_zero_point_of_its_own_that_is_left_in_is_told_with_it():
    w = PARAMS[NAME]
    low, high = ends(w, "tensor")
    s = (high - low) / np.float32(255)
    zero = np.rint(-low / s)
    value = finding((np.rint(w / s) + zero) * s)
    assert (value.kind, detail(value)) == (
        "misread",
        f"the zero point is left in: every integer is +{zero.item():.0f} off",
    )


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0])
def test_other_weights_on_a_grid_of_8_bits_are_stale(size):
    """Trained further, and quantised."""
    w = PARAMS[NAME] * (1 + size * np.random.default_rng(0).normal(size=PARAMS[NAME].shape))
    s = np.abs(w).max() / 127
    copy = np.rint(w / s) * s
    assert finding(copy).kind in ("stale", "coarse", "int8", "stepped")
    assert finding(copy, np.full(1, s)).kind in ("stale", "coarse", "int8", "stepped")
