"""How much memory a session takes, and in how many pieces it works: by hand, for steps on small maps.

Sizes are in elements; a tensor takes whole cache lines, of 16 of them in float32. A tensor takes the lowest place that
is free.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from programs import STEM, made, pointwise, products, spatial

from refnet.graph import SOURCE, Node

# The stem's tensor; the image's 4 channels with a border, 8 x 10; and windows of 37 for each of 48 pixels.
STEM_TAKES = 192 + 320 + 37 * 48


def test_a_stem_takes_a_row_of_windows_for_each_pixel():
    assert made(STEM).buffers == 4 * STEM_TAKES
    assert made(STEM, dtype=np.float64).buffers == 8 * STEM_TAKES


def test_a_hard_swish_takes_as_much_memory_again_as_it_works_on():
    act = Node("act", "hard_swish", ("stem",))
    assert made(STEM, act).buffers == 4 * (STEM_TAKES + 192)
    assert made(STEM, replace(act, op="relu6")).buffers == 4 * STEM_TAKES


def test_a_stem_takes_its_windows_tile_by_tile(tile):
    """Two rows of 8 windows of 37 are 592; tiles are as even as can be."""
    tile(592)
    assert made(STEM).buffers == 4 * (192 + 320 + 592)
    assert products(made(STEM)) == [(16, 37, 4)] * 3
    tile(592 - 1)
    assert products(made(STEM)) == [(8, 37, 4)] * 6
    tile(5 * 296)
    assert products(made(STEM)) == [(24, 37, 4)] * 2
    tile(3 * 296 - 1)
    assert products(made(STEM)) == [(16, 37, 4)] * 3


def test_a_stem_of_stride_two_has_its_columns_by_phase():
    """Of 10 columns with their border 5 in each phase; an image of 3 x 4 comes of it."""
    one = made(spatial("stem", "conv2d", SOURCE, (4, 4, 3, 3), stride=(2, 2)))
    assert one.buffers == 4 * (48 + 4 * 2 * 8 * 5 + 37 * 12 + 4)  # 37 x 12 is 4 short of whole lines
    assert products(one) == [(12, 37, 4)]


def test_tensors_that_nothing_reads_any_more_make_room():
    """Of six maps of 400 channels two are there at a time."""
    names = [f"p{index}" for index in range(6)]
    chain = [
        pointwise(name, before, 400, 400 if index else 4)
        for index, (name, before) in enumerate(zip(names, ["stem", *names], strict=False))
    ]
    large = 400 * 48
    assert made(STEM, *chain).buffers == 4 * (2 * large + 192)
    assert made(STEM, *chain, keep=names).buffers == 4 * (6 * large + 192)


def test_a_shortcut_is_held_until_it_is_added():
    chain = (pointwise("a", "stem", 400, 4), pointwise("b", "a", 400, 400), pointwise("c", "b", 400, 400))
    assert made(STEM, *chain, Node("s", "add", ("c", "a"))).buffers == 4 * (3 * 400 * 48 + 192)


def test_a_pointwise_convolution_is_run_tile_by_tile(tile):
    """Rows of 8 pixels of 10 channels are 80."""
    one = made(STEM, pointwise("a", "stem", 10, 4))
    assert products(one)[1:] == [(48, 4, 10)]
    tile(4 * 80)
    assert products(made(STEM, pointwise("a", "stem", 10, 4)))[-2:] == [(24, 4, 10)] * 2
    tile(3 * 80 - 1)
    assert products(made(STEM, pointwise("a", "stem", 10, 4)))[-3:] == [(16, 4, 10)] * 3
    tile(1)
    assert products(made(STEM, pointwise("a", "stem", 10, 4)))[-6:] == [(8, 4, 10)] * 6
