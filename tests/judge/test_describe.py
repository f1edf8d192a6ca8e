"""What can be seen in an error: each feature with its figures, and nothing where nothing stands out."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.judge.causes.describe import describe
from refnet.readings.bounds import Precision

FLOAT32 = Precision.of("float32")


def features(y, port, precision=FLOAT32):
    """By kind, the figures of what is seen where y should be and the port has something else."""
    y, flat = np.asarray(y, np.float32), np.ndim(y) == 2
    image = y.reshape(*y.shape, 1, 1) if flat else y
    node = Node("y", "flatten" if flat else "relu", (SOURCE,))
    parts = Parts(Graph(Recipe("", 1.0, image.shape[2:], 1, image.shape[1]), (node,)))
    tensors = {SOURCE: image, "y": np.asarray(port, np.float32)}
    return {each.kind: dict(each.facts) for each in describe(cut(parts, {}, "y", tensors), precision)}


def noise(*shape, seed=0):
    """Positive numbers, so that relu leaves them."""
    return np.random.default_rng(seed).random(shape) + 0.5


Y = noise(2, 6, 9, 10)


def spoiled(where, by=None):
    """Y, off at some places by noise."""
    port = Y.copy()
    port[where] += noise(*port[where].shape, seed=1) if by is None else by
    return port


def test_nothing_is_seen_where_nothing_is_off():
    assert features(Y, Y) == {}


def test_nothing_is_seen_in_another_shape():
    assert features(Y, Y[:, :5]) == {}


def test_noise_has_no_feature():
    assert features(Y, noise(*Y.shape, seed=1)) == {}


# ------------------------------------------------------------------------------------------------------ ratio, affine


@pytest.mark.parametrize("factor", [0.5, 1.01, -2])
def test_a_factor_is_seen(factor):
    found = features(Y, factor * Y)
    assert found["ratio"]["factor"] == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize(("step", "steps"), [(0.0, {}), (0.01, {"steps": 25})])
def test_what_is_added_throughout_is_seen_and_of_integers_in_steps(step, steps):
    found = features(Y, Y + np.float32(0.25), FLOAT32._replace(step=step / 2))
    assert found["offset"].pop("constant") == pytest.approx(0.25, rel=1e-6)
    assert found == {"offset": steps}


def test_a_factor_is_seen_if_it_leaves_what_rounding_does_and_not_if_it_leaves_more():
    """In eleven bits 1.5 Y may be off by u rms(Y) as the segment makes it, times 1.5, and by u rms(1.5 Y) as stored."""
    coarse, rms = FLOAT32._replace(u_store=2.0**-11), float(np.sqrt(np.mean(Y**2)))
    signs = np.where(np.indices(Y.shape).sum(axis=0) % 2, 1, -1)
    port = {times: 1.5 * Y + times * 2**-11 * rms * signs for times in (2.9, 3.1)}
    assert "ratio" in features(Y, port[2.9], coarse)
    assert "ratio" not in features(Y, port[3.1], coarse)


def test_a_slope_and_an_offset_for_each_channel_are_seen():
    slope, offset = (noise(6, 1, 1, seed=seed) for seed in (1, 2))
    assert list(features(Y, slope * Y + offset)) == ["affine"]
    assert features(Y, slope * Y + offset + 0.01 * noise(*Y.shape, seed=3)) == {}


def test_a_line_is_not_read_off_two_points():
    """Through two points there always is one."""
    assert "affine" not in features(Y[:1, :, :1, :2], noise(1, 6, 1, 2, seed=1))
    slope = noise(6, 1, 1, seed=1)
    assert "affine" in features(Y[:1, :, :1, :3], slope * Y[:1, :, :1, :3])


def test_a_channel_that_is_constant_has_an_offset_and_no_slope():
    y = Y.copy()
    y[:, 2] = 1
    assert list(features(y, noise(6, 1, 1, seed=1) * y)) == ["affine"]


# --------------------------------------------------------------------------------------------------- where the error is


@pytest.mark.parametrize("channels", [(3,), (0, 5), (1, 2, 4)])
def test_a_few_channels_are_named(channels):
    assert features(Y, spoiled(np.s_[:, list(channels)])) == {"channels": {"channels": channels, "of": 6}}


def test_a_run_of_channels_is_told_by_its_ends():
    assert features(Y, spoiled(np.s_[:, 2:])) == {"channel-run": {"first": 2, "last": 5, "of": 6}}
    assert features(Y, spoiled(np.s_[:, 1:5])) == {"channel-run": {"first": 1, "last": 4, "of": 6}}


def test_a_channel_of_two_points_that_may_be_right_by_chance_ends_no_run():
    """Of ten elements one is right, and both in the first channel: that is so once in a hundred times."""
    y = spoiled(np.s_[:, 1:])[:2, :, :1, :1]
    y[0, 3] = Y[0, 3, :1, :1]
    assert "channel-run" not in features(Y[:2, :, :1, :1], y)


def test_four_channels_are_no_few_and_all_of_three_are_not_some():
    assert features(Y, spoiled(np.s_[:, [0, 1, 3, 5]])) == {}
    assert features(Y[:, :3], spoiled(np.s_[:, :3])[:, :3]) == {}
    assert "channels" in features(Y[:, :3], spoiled(np.s_[:, :2])[:, :3])


def test_a_few_classes_are_named_too():
    y = noise(1, 10)
    port = y.copy()
    port[0, 7] += 0.3
    assert features(y, port) == {"channels": {"channels": (7,), "of": 10}}


@pytest.mark.parametrize(
    ("where", "sides"),
    [
        (np.s_[:, :, 0, 4], ("top",)),
        (np.s_[:, :, 1, 4], ("top",)),
        (np.s_[:, :, 8, 4], ("bottom",)),
        (np.s_[:, :, 7, 4], ("bottom",)),
        (np.s_[:, :, 4, 1], ("left",)),
        (np.s_[:, :, 4, 8], ("right",)),
        (np.s_[:, :, 0, 9], ("top", "right")),
        (np.s_[:, :, 8], ("bottom", "left", "right")),
        (np.s_[:, :, 2, 0], ("left",)),
        (np.s_[:, :, 6, 9], ("right",)),
        (np.s_[:, :, 0, 2], ("top",)),
        (np.s_[:, :, 8, 7], ("bottom",)),
    ],
)
def test_the_sides_of_a_border_are_named(where, sides):
    assert features(Y, spoiled(where)) == {"border": {"sides": sides}}


@pytest.mark.parametrize("where", [np.s_[:, :, 2, 4], np.s_[:, :, 4, 2], np.s_[:, :, 6, 4], np.s_[:, :, 4, 7]])
def test_the_third_row_is_no_border(where):
    assert "border" not in features(Y, spoiled(where))


def test_columns_that_were_never_written_are_told_with_what_they_hold():
    port = Y.copy()
    port[..., 8:] = 0
    assert features(Y, port) == {"lines": {"axis": "columns", "first": 8, "count": 2, "of": 10, "value": 0.0}}


def test_many_rows_at_an_end_are_told_and_some_in_the_middle_are_not():
    where = np.s_[:, :, :4]
    assert features(Y, spoiled(where)) == {"lines": {"axis": "rows", "first": 0, "count": 4, "of": 9}}
    assert "lines" not in features(Y, spoiled(np.s_[:, :, 2:5]))


def test_every_second_channel_is_told_by_its_step():
    wide = noise(2, 12, 9, 10)
    port = wide.copy()
    port[:, 1::2] += noise(2, 6, 9, 10, seed=1)
    assert features(wide, port) == {"channel-step": {"first": 1, "step": 2, "of": 12}}


def test_every_eighth_channel_is_told_though_some_of_them_are_right_by_chance():
    wide = noise(2, 96, 3, 4)
    port = wide.copy()
    off = [index for index in range(7, 96, 8) if index not in (23, 55)]
    port[:, off] += noise(2, len(off), 3, 4, seed=1)
    assert features(wide, port) == {"channel-step": {"first": 7, "step": 8, "of": 96}}


def test_a_few_channels_of_many_that_a_step_would_reach_are_told_by_none():
    wide = noise(2, 96, 3, 4)
    port = wide.copy()
    port[:, [7, 23, 31, 71]] += noise(2, 4, 3, 4, seed=1)
    assert "channel-step" not in features(wide, port)


def test_a_map_of_four_rows_is_all_border():
    port = spoiled(np.s_[:, :, 0])
    assert "border" in features(Y[:, :, :5], port[:, :, :5])
    assert "border" not in features(Y[:, :, :4], port[:, :, :4])


# --------------------------------------------------------------------------------------------------- moved and permuted


@pytest.mark.parametrize("pixels", [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)])
def test_a_shift_by_up_to_two_pixels_is_seen(pixels):
    assert features(Y, np.roll(Y, pixels, axis=(2, 3)))["shift"] == {"pixels": pixels}


@pytest.mark.parametrize("pixels", [(3, 0), (0, -3)])
def test_a_shift_by_three_is_only_another_order(pixels):
    assert list(features(Y, np.roll(Y, pixels, axis=(2, 3)))) == ["permuted"]


def test_what_a_shift_brings_in_at_the_border_does_not_matter():
    port = np.roll(Y, (1, -1), axis=(2, 3))
    port[:, :, :2] = port[..., -2:] = port[..., :2] = 9
    assert list(features(Y, port)) == ["shift"]


def test_a_map_of_four_rows_is_too_small_for_a_shift():
    assert "shift" in features(Y[:, :, :5], np.roll(Y[:, :, :5], 1, axis=2))
    assert "shift" not in features(Y[:, :, :4], np.roll(Y[:, :, :4], 1, axis=2))


def test_the_same_values_in_another_order_are_seen():
    assert list(features(Y, np.sort(Y, axis=3))) == ["permuted"]
    assert list(features(noise(1, 9), noise(1, 9)[:, ::-1])) == ["permuted"]


def test_wrong_values_at_a_border_that_right_ones_outnumber_are_no_other_order():
    y = noise(1, 8, 48, 48)
    port = y.copy()
    port[:, :, 0, ::2] += 0.2
    port[:, :, 0, 1::2] -= 0.2
    integers = FLOAT32._replace(step=0.01)
    assert list(features(y, np.rint(port / 0.02) * 0.02, integers)) == ["border"]


def test_the_same_values_but_for_a_hundredth_are_not():
    assert "permuted" not in features(Y, np.sort(Y, axis=3) * (1 + 0.01 * noise(*Y.shape, seed=1)))


# ------------------------------------------------------------------------------------------------------------ cut off


@pytest.mark.parametrize(
    ("least", "most"), [(None, 1.25), (0.75, None), (0.75, 1.25)], ids=["above", "below", "both ends"]
)
def test_the_ends_at_which_values_are_cut_off_are_named(least, most):
    ends = ({} if most is None else {"above": most}) | ({} if least is None else {"below": least})
    assert features(Y, Y.clip(least, most)) == {"cut-off": ends}


def test_values_that_are_cut_off_and_spoiled_elsewhere_are_not_only_cut_off():
    port = Y.clip(None, 1.25)
    port[0, :, 4, 4] = 0.9
    assert "cut-off" not in features(Y, port)


def test_a_coarse_precision_hides_what_it_explains():
    """An error of a hundredth in one channel is none in three bits."""
    port = spoiled(np.s_[:, 3], 0.01)
    assert "channels" in features(Y, port)
    assert "channels" not in features(Y, port, FLOAT32._replace(u_store=2.0**-4))
