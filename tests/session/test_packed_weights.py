"""How a session packs weights, once, and which rows of a kernel it leaves out."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from programs import STEM, block, made, pointwise, programs, spatial

from refnet.session.taps import repetitions


def test_weights_are_packed_once():
    """A stem's with a bias of zeros, 37 x 4; a kernel repeated along a row of 8 columns; the rest as they are."""
    assert made(STEM).weights == 4 * 37 * 4
    assert made(STEM, pointwise("a", "stem", 10, 4)).weights == 4 * (148 + 40)
    assert made(*block(stride=(1, 1))).weights == 4 * (148 + 256 + 9 * 64 * 8 + 256)


def test_a_kernel_of_stride_2_is_repeated_along_the_row_too():
    assert made(*block()).weights == 4 * (148 + 256 + 9 * 64 * 4 + 256)


def test_a_kernel_is_repeated_along_a_row_until_it_has_about_so_many_numbers():
    """Over as many columns as divide the row: all 14, 7 or 1 of them, and one where a kernel is large."""
    assert [repetitions(14, 9 * C) for C in (16, 200, 480, 960, 2000)] == [14, 14, 7, 7, 2]
    assert [repetitions(14, 25 * C) for C in (120, 240, 2000)] == [14, 7, 1]
    assert [repetitions(columns, 9 * 64) for columns in (1, 13, 112)] == [1, 13, 56]


def test_weights_that_are_packed_as_they_are_are_held_once():
    one = programs(STEM, pointwise("a", "stem", 10, 4))
    one.of(1)
    w, packed = one.weights.params["a.w"], one.weights.packed["a", "w"]
    assert np.shares_memory(w, packed)
    assert np.array_equal(w, packed.T)


def test_a_kernel_is_packed_as_it_is_repeated(monkeypatch):
    """9 taps of 64 channels for 8 columns, or for one of them."""
    assert made(*block(stride=(1, 1))).weights == 4 * (148 + 256 + 9 * 64 * 8 + 256)
    monkeypatch.setattr(sys.modules["refnet.session.taps"], "KERNEL", 1)
    assert made(*block(stride=(1, 1))).weights == 4 * (148 + 256 + 9 * 64 + 256)


def kernel_rows(one):
    """How many rows of a depthwise kernel are multiplied, for each row of the output; of each of its phases."""
    sums = [call for call, _ in one.early if isinstance(call, partial) and len(call.args) == 3]
    return [len(each.args[2]) for each in sums for _ in range(each.keywords["out"].shape[1])]


@pytest.mark.parametrize(
    ("stride", "dilation", "reached"),
    [
        ((1, 1), (1, 1), [3, 4, 5, 5, 4, 3]),
        ((2, 2), (1, 1), [3, 3, 5, 5, 4, 4]),
        ((1, 1), (2, 2), [3, 3, 3, 3, 3, 3]),
    ],
    ids=["", "stride 2", "dilation 2"],
)
def test_rows_of_a_kernel_that_meet_only_zeros_are_left_out_where_that_is_worth_a_call(
    stride, dilation, reached, monkeypatch
):
    """Of a kernel of 5 x 5 on 6 rows: how many of its rows are multiplied for each row of the output; the same bits."""
    pad = 2 * dilation[0]
    node = spatial("depthwise", "depthwise_conv2d", "stem", (4, 5, 5), stride, pad, dilation=dilation)
    taps = sys.modules["refnet.session.taps"]
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 8)).astype(np.float32)
    results = []
    for saved, wanted in ((-1, reached), (10**6, [5] * len(reached))):
        monkeypatch.setattr(taps, "SAVED", saved)
        one = programs(STEM, node).of(1)
        assert kernel_rows(one) == wanted
        one.run(x)
        results.append(one.kept["depthwise"].copy())
    assert np.array_equal(*results)


def test_an_image_is_run_to_the_tensors_that_are_kept():
    one = made(STEM, pointwise("a", "stem", 10, 4), keep=["stem"])
    assert {name: y.shape for name, y in one.kept.items()} == {"stem": (1, 4, 6, 8), "a": (1, 10, 6, 8)}
    assert [(buffer.shape, index) for buffer, index in one.loads] == [((4, 6, 8), np.s_[:, :, 0::1])]
