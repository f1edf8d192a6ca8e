"""How much memory inverted residuals take in a session, and in how many pieces they are run: by hand.

Sizes are in elements; a tensor takes whole cache lines, of 16 of them in float32.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from programs import STEM, block, gated, made, pointwise, products, spatial

from refnet.graph import Node
from refnet.session.arena import Arena

# The stem's tensor is 192, the block's result 48. A column of zeros lies before the 4 columns of each phase of 7 rows,
# and behind the last ones.
BORDER, EXPANDED, SUMS = (7 * 2 * 5 + 1) * 64, 6 * 8 * 64, 3 * 4 * 64


def test_a_block_takes_its_map_with_a_border_and_without():
    """And the sums of odd columns, as columns lie by phase at stride 2; what is filtered lies in the map."""
    assert made(*block()).buffers == 4 * (240 + BORDER + EXPANDED + SUMS)


def test_what_is_filtered_has_its_own_memory_where_its_activation_takes_the_map():
    act = (Node("act", "hard_swish", ("depthwise",)), pointwise("project", "act", 4, 64))
    assert made(*block()[:-1], *act).buffers == 4 * (240 + BORDER + EXPANDED + SUMS + 3 * 4 * 64)


@pytest.mark.parametrize(("R", "pad", "gap"), [(3, 1, 1), (5, 2, 2), (3, 2, 2), (3, 0, 0)])
def test_rows_share_the_zeros_between_them(R, pad, gap):
    depthwise = spatial("depthwise", "depthwise_conv2d", "expand.act", (64, R, R), (1, 1), pad)
    P, Q = 6 + 2 * pad - R + 1, 8 + 2 * pad - R + 1
    one = made(*block()[:3], depthwise, pointwise("project", "depthwise", 4, 64))
    border, inner = ((P + R - 1) * (8 + gap) + gap) * 64, max(48, P * Q) * 64
    assert one.buffers == 4 * (192 + P * Q * 4 + border + inner)


def test_a_block_is_run_tile_by_tile(tile):
    """A row of the result takes two of the expanded map, 2 x 8 x 64."""
    tile(2 * 1024)
    one = made(*block())
    assert one.buffers == 4 * (240 + (5 * 2 * 5 + 1) * 64 + 5 * 8 * 64 + 2 * 4 * 64)
    # Rows 0 to 3 of the image lie under rows 0 and 1 of the result; 4 and 5 under the last one.
    assert products(one)[-6:] == [(16, 4, 64)] * 2 + [(8, 64, 4)] + [(8, 4, 64)] * 2 + [(4, 64, 4)]
    tile(2 * 1024 - 1)
    assert [rows for rows, _, K in products(made(*block())) if K == 64] == [8] * 6


def test_long_rows_are_multiplied_straight_into_the_border(monkeypatch):
    """So that no map without a border is there."""
    monkeypatch.setattr(sys.modules["refnet.session.residual"], "LONG", 8)
    one = made(*block())
    assert one.buffers == 4 * (240 + BORDER + SUMS + 3 * 4 * 64)
    assert products(one)[-3:] == [(24, 4, 64), (24, 4, 64), (12, 64, 4)]


def test_a_hard_swish_inside_a_block_is_divided_in_the_weights_behind_it():
    """What is expanded and what is filtered is multiplied once; what is returned twice."""
    nodes = [replace(node, op="hard_swish") if node.op == "relu" else node for node in block()[:-1]]
    nodes += [Node("act", "hard_swish", ("depthwise",)), pointwise("project", "act", 4, 64)]
    one = made(*nodes, Node("last", "hard_swish", ("project",)))
    assert sum(call is np.multiply for call, _ in one.calls) == 1 + 1 + 2


def test_a_row_that_two_tiles_share_is_expanded_once(tile):
    tile(1)
    rows = [rows for rows, _, K in products(made(*block(stride=(1, 1)))) if K == 64]
    assert rows == [16, 8, 8, 8, 8]  # the first tile reaches two rows, the last one no new row


def test_columns_of_many_channels_do_not_lie_by_phase():
    """Nor do they take the memory for that; up to 192 channels they do."""
    few, many = made(*block(192)), made(*block(193))
    assert few.buffers == 4 * (240 + 3 * (BORDER + EXPANDED + SUMS))
    assert many.buffers == 4 * (240 + (7 * 9 + 1) * 193 + 48 * 193)


def test_a_block_without_a_projection_filters_into_its_own_tensor():
    one = made(*block(project=False))
    assert one.buffers == 4 * (192 + 768 + BORDER + EXPANDED + SUMS)
    assert [rows for rows, _, K in products(one) if K == 64] == [24, 24]


VECTORS = 64 + 16 + 64  # what is pooled, reduced and opened


def test_a_gate_multiplies_the_weights_where_they_are_fewer_than_the_map_is():
    """12 pixels of 64 channels, which 64 x 4 weights project: scaled."""
    one = made(*gated())
    assert one.buffers == 4 * (240 + BORDER + EXPANDED + SUMS + VECTORS + 4 * 64)
    assert products(one)[1:] == [(24, 4, 64), (24, 4, 64), (1, 12, 64), (1, 64, 16), (1, 16, 64), (12, 64, 4)]


def test_an_activation_behind_a_gate_takes_a_map():
    assert made(*gated(act=True)).buffers == 4 * (240 + BORDER + EXPANDED + SUMS + VECTORS)


@pytest.mark.parametrize(
    ("nodes", "kept"),
    [
        ((STEM,), 1),
        ((STEM, pointwise("a", "stem", 10, 4), pointwise("b", "a", 4, 10), Node("s", "add", ("b", "stem"))), 1),
        (block(), 1),
        (block(stride=(1, 1)), 1),
        (block(project=False), 1),
        (block(expand=False, C=4), 1),
        (gated(), 1),
        (gated(act=True), 1),
        (gated(64, (1, 1)), 1),
    ],
    ids=["stem", "shortcut", "block", "dense", "no projection", "no expansion", "gate", "gate and activation", "large"],
)
def test_all_that_a_run_takes_but_what_is_kept_is_let_go(nodes, kept, monkeypatch):
    arenas = []

    class Watched(Arena):
        def __init__(self, *args):
            super().__init__(*args)
            arenas.append(self)

    monkeypatch.setattr(sys.modules["refnet.session.program"], "Arena", Watched)
    made(*nodes)
    assert [len(arena._taken) for arena in arenas] == [kept, kept]
