"""Maps that are read by other indices, pitches or borders than they were written by are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from few_ports import GRAPH, PARAMS, is_short, named, ran

from refnet.graph import Graph, interpret
from refnet.readings import fast


def gathered(x, pad, place):
    """A padded map whose points are read from where `place` finds them: an index into memory, -1 for zero."""
    (top, bottom), (left, right) = pad
    N, C, H, W = x.shape
    y = np.zeros((N, C, H + top + bottom, W + left + right), x.dtype)
    for n, c, i, j in np.ndindex(y.shape):
        y[n, c, i, j] = place(x, n, c, i - top, j - left)
    return y


def flat_in_channel(x, n, c, i, j):
    at = i * x.shape[3] + j
    return x[n, c].ravel()[at] if 0 <= at < x[n, c].size else 0


def clamped_in_channel(x, n, c, i, j):
    return x[n, c].ravel()[min(max(i * x.shape[3] + j, 0), x[n, c].size - 1)]


def flat_in_tensor(x, n, c, i, j):
    at = ((n * x.shape[1] + c) * x.shape[2] + i) * x.shape[3] + j
    return x.ravel()[at] if 0 <= at < x.size else 0


def columns_checked(x, n, c, i, j):
    at = ((n * x.shape[1] + c) * x.shape[2] + i) * x.shape[3] + j
    return x.ravel()[at] if 0 <= j < x.shape[3] and 0 <= at < x.size else 0


def bounds_exchanged(x, n, c, i, j):
    at = ((n * x.shape[1] + c) * x.shape[2] + i) * x.shape[3] + j
    return x.ravel()[at] if 0 <= i < x.shape[3] and 0 <= j < x.shape[2] and at < x.size else 0


def flat_in_nhwc(x, n, c, i, j):
    at = ((n * x.shape[2] + i) * x.shape[3] + j) * x.shape[1] + c
    return x.transpose(0, 2, 3, 1).ravel()[at] if 0 <= at < x.size else 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (flat_in_channel, "neighbouring row: only the index into the channel's memory is checked"),
        (clamped_in_channel, "neighbouring row: the index into the channel's memory is clamped"),
        (flat_in_tensor, "neighbouring row or channel: only the index into the tensor's memory is checked"),
        (columns_checked, "neighbouring channel: columns are checked, rows are not"),
        (bounds_exchanged, "rows are checked against the map's width, and columns against its height"),
        (flat_in_nhwc, "neighbouring row or image: only the index into the tensor's memory (NHWC) is checked"),
    ],
)
def test_points_beside_the_map_are_read_from_memory(place, words):
    def change(node, made):
        if node.op != "depthwise_conv2d" or not node.name.startswith(("block2.", "block3.")):
            return None
        wide = gathered(made[node.inputs[0]], node.attrs["pad"], place)
        inner = replace(node, attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
        return interpret(Graph(GRAPH.recipe, (inner,)), fast, PARAMS, {node.inputs[0]: wide})

    (said,) = named(ran(change))
    assert words in said


def repitched(x, row, plane, found_row, found_plane):
    """A map in memory with rows and channels so far apart, read with them as far apart as is found."""
    N, C, H, W = x.shape
    memory, y = np.zeros(N * C * (plane + found_plane) + H * (row + found_row), x.dtype), np.empty_like(x)
    for n, c, i in np.ndindex(N, C, H):
        begin = (n * C + c) * plane + i * row
        memory[begin : begin + W] = x[n, c, i]
    for n, c, i in np.ndindex(N, C, H):
        begin = (n * C + c) * found_plane + i * found_row
        y[n, c, i] = memory[begin : begin + W]
    return y


@pytest.mark.parametrize("name", ["stem.conv", "block4.depthwise"])
def test_a_layer_whose_height_and_width_are_exchanged(name):
    """Whatever it is: a loop goes on in memory as if the map was one of W x H."""

    def change(node, made):
        if node.name != name:
            return None
        x = made[node.inputs[0]]
        given = {node.inputs[0]: x.reshape(*x.shape[:2], x.shape[3], x.shape[2])}
        y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, given)
        return y.reshape(*y.shape[:2], y.shape[3], y.shape[2])

    (said,) = named(ran(change))
    assert "height and width are exchanged" in said


def test_a_map_within_a_border_that_is_read_as_if_it_was_bare():
    def change(node, made):
        if node.name != "block3.depthwise":
            return None
        x = made[node.inputs[0]]
        wide = np.pad(x, ((0, 0), (0, 0), *node.attrs["pad"])).reshape(*x.shape[:2], -1)
        given = {node.inputs[0]: wide[..., : x[0, 0].size].reshape(x.shape)}
        return interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, given)

    (said,) = named(ran(change))
    assert said == "the map lies within a border in memory, and its rows are read as if they did not"


@pytest.mark.parametrize("name", ["block4.expand", "block4.depthwise"])
@pytest.mark.parametrize(
    ("pitches", "words"),
    [
        (lambda H, W: (W, H * W, H, H * W), "H stands for W in the index"),
        (lambda H, W: (8, 8 * H, W, 8 * H), "rows that are filled up to a multiple of 4 in memory are read without"),
        (lambda H, W: (8, 8 * H, W, H * W), "maps whose rows are filled up to a multiple of 4 in memory"),
        (lambda H, W: (W, H * W, W, H * W + 2), "maps are read as if they were filled up to a multiple of 4 numbers"),
    ],
)
def test_rows_that_are_read_by_another_pitch_than_they_were_written_by(name, pitches, words):
    """Maps of 5 x 6."""

    def change(node, made):
        if node.name != name:
            return None
        x = made[node.inputs[0]]
        given = {node.inputs[0]: repitched(x, *pitches(*x.shape[2:]))}
        return interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, given)

    (said,) = named(ran(change))
    assert words in said


def test_coordinates_kept_inside_the_map_at_two_sides():
    def change(node, made):
        if node.op != "depthwise_conv2d" or not is_short(node) or node.attrs["stride"] != (1, 1):
            return None
        (top, bottom), (left, right) = node.attrs["pad"]
        wide = np.pad(made[node.inputs[0]], ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
        inner = replace(node, attrs={**node.attrs, "pad": ((top, 0), (left, 0))})
        return interpret(Graph(GRAPH.recipe, (inner,)), fast, PARAMS, {node.inputs[0]: wide})

    assert named(ran(change)) == {"the padding below and on the right is of mode edge instead of zeros"}
