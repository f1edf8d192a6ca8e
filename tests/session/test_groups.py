"""Images that a session runs together, and products that it divides: by hand, for steps on small maps."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from programs import pointwise, products, spatial

from refnet import build, random_params
from refnet.graph import SOURCE, Graph, Node, Recipe, Unit, check
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.shapes import shapes
from refnet.session.arena import Arena
from refnet.session.program import SMALL, Programs
from refnet.session.steps import steps
from refnet.session.weights import Weights
from refnet.session.writer import CallWriter, together

LARGE = spatial("stem", "conv2d", SOURCE, (4, 3, 3, 3), (2, 2))
SIDE = 2 * int(SMALL**0.5) + 2  # of an image whose first map is large, and the second one small


def grouped(nodes, images, keep=()):
    graph = check(Graph(Recipe("", 1.0, (SIDE, SIDE), 1, 3), nodes))
    sizes, kept = shapes(graph), {*keep, *graph.outputs}
    programs = Programs(steps(graph, sizes, kept), Weights(random_params(graph).items()), sizes, kept)
    return programs, programs.of(images)


def late_block(C=64):
    """4 channels on 17 x 17 -> C channels on 9 x 9 -> 4 channels on 9 x 9, twice."""
    nodes = [LARGE]
    for number, stride in enumerate(((2, 2), (1, 1))):
        nodes += [
            pointwise(f"expand{number}", nodes[-1].name, C, 4),
            spatial(f"depthwise{number}", "depthwise_conv2d", f"expand{number}", (C, 3, 3), stride),
            pointwise(f"project{number}", f"depthwise{number}", 4, C),
        ]
    return tuple(nodes)


def test_steps_whose_maps_are_all_small_are_run_for_a_group_at_once():
    """The block that makes maps small reads a large one, image by image: so only the last one is the group's."""
    programs, three = grouped(late_block(), 3)
    late = [(*args[0].shape, args[1].shape[1]) for call, args in three.late if call is np.matmul]
    assert late == [(3 * 81, 4, 64), (3 * 81, 64, 4)]
    assert [args[0].shape[0] for call, args in three.early if call is np.matmul] == [289, 289, 81]
    assert programs.of(1).late == []


def test_several_vectors_are_multiplied_with_64_columns_at_a_time_and_with_the_rest(monkeypatch):
    monkeypatch.setattr("refnet.session.writer.has_small_kernels", lambda: True)
    mean = {"kernel": (17, 17), "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    programs, three = grouped(
        (LARGE, Node("pool", "avg_pool2d", ("stem",), {}, mean), pointwise("a", "pool", 130, 4)), 3
    )
    sizes = [args[1].size // 4 for call, args in three.late if call is np.matmul]
    assert sizes == [128, 2]
    assert products(SimpleNamespace(calls=programs.of(1).early))[-1:] == [(1, 4, 130)]


def test_a_tile_of_small_maps_is_some_whole_images(tile):
    """A border goes around each, as rows of it are read by none of the others."""
    tile(2 * 81 * 64)
    _, five = grouped(late_block(), 5)
    assert [args[0].shape[0] for call, args in five.late if call is np.matmul] == [162, 162, 162, 162, 81, 81]
    tile(81 * 64 - 1)  # less than an image: its rows, of which the last needs none but those before
    _, five = grouped(late_block(), 5)
    assert [args[0].shape[0] for call, args in five.late if call is np.matmul] == [54, 45, 27, 36] * 5


def test_images_are_taken_together_until_they_give_196_rows_whatever_a_tile_holds(tile, monkeypatch):
    tile(81 * 64)
    monkeypatch.setattr(sys.modules["refnet.session.residual"], "ROWS", 196)
    _, five = grouped(late_block(), 5)
    assert [args[0].shape[0] for call, args in five.late if call is np.matmul] == [162, 162, 162, 162, 81, 81]


def test_images_that_a_stride_leaves_small_are_projected_together(tile):
    """Maps of 9 x 9 x 64 are filtered one by one; 5 x 5 x 64 of both are projected in one go."""
    tile(2 * 81 * 64 - 1)
    nodes = (replace(LARGE, attrs={**LARGE.attrs, "stride": (4, 4)}), *late_block()[1:])
    _, two = grouped(nodes, 2)
    assert [args[0].shape[0] for call, args in two.late if call is np.matmul] == [81, 81, 50, 50, 50]


def test_programs_of_all_groups_share_their_weights_and_their_memory(tile):
    """Besides, a group takes two small maps of each image, 9 x 9 x 4, where a tile has one image at most."""
    tile(81 * 64)
    programs, _ = grouped(late_block(), 1)
    alone, weights = programs.buffers, programs.weights.packed_bytes
    programs.of(8)
    assert programs.weights.packed_bytes == weights
    assert programs.buffers <= alone + 2 * 8 * 4 * 336
    most = programs.buffers
    for images in range(8, 0, -1):
        programs.of(images)
    assert programs.buffers == most


def test_a_network_with_large_maps_at_its_end_is_run_image_by_image():
    nodes = (LARGE, pointwise("a", "stem", 10, 4), Node("r", "resize_bilinear", ("a",), {}, RESIZED))
    _, three = grouped(nodes, 3)
    assert three.late == []


RESIZED = {"size": (20, 20), "align_corners": False}


@pytest.mark.parametrize(
    ("model", "alone", "grouped"),
    [("mobilenet_v3_large", 2.75, 4.25), ("mobilenet_v3_small", 2.75, 3.25), ("mobilenet_v2", 3.5, 4.0)],
)
def test_a_group_takes_little_more_memory_than_an_image(model, alone, grouped):
    """MiB at the vendor's size."""
    graph = build(f"torchvision/{model}")
    folded, params = fold_batch_norm(graph, random_params(graph))
    sizes, kept = shapes(folded), set(folded.outputs)
    programs = Programs(steps(folded, sizes, kept), Weights(params.items()), sizes, kept)
    programs.of(1)
    assert programs.buffers <= alone * 2**20
    programs.of(8)
    assert programs.buffers <= grouped * 2**20


@pytest.mark.parametrize(
    ("pixels", "C", "K", "rows"),
    [
        (784, 48, 144, 98),
        (392, 48, 288, 56),
        (784, 184, 80, 784),
        (196, 96, 576, 196),
        (56, 24, 72, 56),
        (797, 48, 144, 797),
    ],
)
def test_large_products_with_few_weights_are_divided_for_kernels_of_small_ones(pixels, C, K, rows):
    assert together(pixels, C, K) == rows


@pytest.mark.parametrize("gated", [False, True])
def test_a_divided_product_is_the_product(monkeypatch, gated):
    monkeypatch.setattr("refnet.session.writer.has_small_kernels", lambda: True)
    rng = np.random.default_rng(0)
    x, w = rng.random((2, 784, 48), np.float32), rng.random((2, 48, 144) if gated else (48, 144), np.float32)
    z = np.zeros((2, 784, 160), np.float32)
    writer = CallWriter(Weights([]), {}, Arena(np.dtype(np.float32)))
    writer.product(x, w, z[..., 8:152])
    ((call, args),) = writer.calls
    call(*args)
    assert args[0].shape == (2, 8, 98, 48)
    np.testing.assert_allclose(z[..., 8:152], x @ w, rtol=1e-5)
    assert not z[..., :8].any()


@pytest.mark.parametrize(
    ("small", "products"), [(True, [(3, 48, 64), (3, 48, 64), (3, 48, 22)]), (False, [(3, 48, 150)])], ids=["", "none"]
)
def test_several_vectors_are_multiplied_a_few_columns_at_a_time_where_blas_has_kernels_of_small_products(
    small, products, monkeypatch
):
    """(m, C, K) of each product; without such kernels there is one, by a matrix that is transposed beforehand."""
    monkeypatch.setattr("refnet.session.writer.has_small_kernels", lambda: small)
    rng = np.random.default_rng(0)
    x, w, b = (rng.random(shape, np.float32) for shape in ((3, 48), (150, 48), 150))
    writer = CallWriter(Weights([("head.w", w), ("head.b", b)]), {}, Arena(np.dtype(np.float32)))
    z = np.zeros((3, 150), np.float32)
    writer.vectors(Unit(pointwise("head", "x", 150, 48), None, None), x, z, [slice(0, 150)])
    found = []
    for call, args in writer.calls:
        call(*args)
        if call is np.matmul:
            found += [(3, 48, args[1].shape[-1])] * (args[1].size // (48 * args[1].shape[-1]))
    assert found == products
    assert bool(writer.weights.packed.keys() & {("head", "w")}) is not small
    np.testing.assert_allclose(z, x @ w.T + b, rtol=1e-5)
