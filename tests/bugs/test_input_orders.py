"""Another input: in which order its numbers lie, and how its rows are filled up, is said."""

from __future__ import annotations

import numpy as np
import pytest
from feeding import FLOAT32, SIZE, V2, column, network, pixels, said

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.comparison import cause_sentence

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
