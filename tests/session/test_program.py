"""How much memory a session takes, and in how many pieces it works: by hand, for steps on small maps.

Sizes are in elements; a tensor takes whole cache lines, of 16 of them in float32. A tensor takes the lowest place that
is free.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import build, random_params
from refnet.graph import SOURCE, Graph, Node, Recipe, Unit, check
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.shapes import shapes
from refnet.session.arena import Arena
from refnet.session.program import SMALL, Programs
from refnet.session.steps import steps
from refnet.session.taps import repetitions
from refnet.session.writer import CallWriter, together


def spatial(name, op, source, w, stride=(1, 1), pad=1, **attrs):
    sides = ((pad, pad), (pad, pad))
    return Node(name, op, (source,), {"w": w}, {"stride": stride, "pad": sides, "dilation": (1, 1), **attrs})


def pointwise(name, source, K, C):
    return Node(name, "pointwise_conv2d", (source,), {"w": (K, C)})


STEM = spatial("stem", "conv2d", SOURCE, (4, 4, 3, 3))  # 4 channels on 6 x 8: 192
# The stem's tensor; the image's 4 channels with a border, 8 x 10; and windows of 37 for each of 48 pixels.
STEM_TAKES = 192 + 320 + 37 * 48


@pytest.fixture
def tile(monkeypatch):
    """Sets how many elements are worked on at once."""

    def limited(size):
        for name in ("program", "residual", "stem"):
            monkeypatch.setattr(sys.modules[f"refnet.session.{name}"], "TILE", size)
        monkeypatch.setattr(sys.modules["refnet.session.residual"], "ROWS", 1)

    return limited


def programs(*nodes, keep=(), dtype=np.float32, returns=()):
    graph = check(Graph(Recipe("", 1.0, (6, 8), 1, 4), nodes, returns))
    sizes = shapes(graph)
    kept = {*keep, *graph.outputs}
    return Programs(steps(graph, sizes, kept), random_params(graph, dtype), sizes, kept)


def made(*nodes, **options):
    found = programs(*nodes, **options)
    one = found.of(1)
    return SimpleNamespace(
        calls=one.early, kept=one.kept, loads=one.loads, buffers=found.buffers, weights=found.weights
    )


def products(one):
    """(pixels, channels in, channels out) of every matrix product."""
    each = ((args[0].reshape(-1, args[0].shape[-1]), args[1]) for call, args in one.calls if call is np.matmul)
    return [(*x.shape, w.size // x.shape[1]) for x, w in each]


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


# -------------------------------------------------------------------------------------------------- inverted residuals


def block(C=64, stride=(2, 2), *, expand=True, project=True):
    """4 channels on 6 x 8 -> C channels on 3 x 4 -> 4 channels."""
    nodes = [STEM]
    if expand:
        nodes += [pointwise("expand", "stem", C, 4), Node("expand.act", "relu", ("expand",))]
    nodes.append(spatial("depthwise", "depthwise_conv2d", nodes[-1].name, (C, 3, 3), stride))
    if project:
        nodes.append(pointwise("project", "depthwise", 4, C))
    return tuple(nodes)


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


def gated(C=64, stride=(2, 2), *, act=False):
    """The block with a squeeze-and-excite of 16 channels, and an activation behind it."""
    head, last = block(C, stride)[:-1], "depthwise"
    size = tuple(6 // stride[0] if axis == 0 else 8 // stride[1] for axis in (0, 1))
    pool = {"kernel": size, "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    gate = (
        Node("pool", "avg_pool2d", (last,), {}, pool),
        pointwise("reduce", "pool", 16, C),
        pointwise("excite", "reduce", C, 16),
        Node("scale", "scale", (last, "excite")),
    )
    after = (Node("scale.act", "relu", ("scale",)),) if act else ()
    return (*head, *gate, *after, pointwise("project", "scale.act" if act else "scale", 4, C))


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


# -------------------------------------------------------------------------------------------------------------- weights


def test_weights_are_packed_once():
    """A stem's with a bias of zeros, 37 x 4; a kernel repeated along a row of 8 columns; the rest as they are."""
    assert made(STEM).weights == 4 * 37 * 4
    assert made(STEM, pointwise("a", "stem", 10, 4)).weights == 4 * (148 + 40)
    assert made(*block(stride=(1, 1))).weights == 4 * (148 + 256 + 9 * 64 * 8 + 256)


def test_a_kernel_of_stride_2_is_repeated_along_the_row_too():
    assert made(*block()).weights == 4 * (148 + 256 + 9 * 64 * 4 + 256)


def test_a_kernel_is_repeated_along_a_row_until_einsum_runs_over_about_a_thousand_numbers():
    """Over as many columns as divide the row: all 14, 7 or 1 of them, and one where the channels suffice."""
    assert [repetitions(14, C) for C in (16, 72, 120, 200, 480, 960)] == [14, 14, 7, 7, 2, 1]
    assert [repetitions(columns, 64) for columns in (1, 13, 112)] == [1, 13, 16]


def test_a_kernel_is_packed_as_it_is_repeated(monkeypatch):
    """9 taps of 64 channels for 8 columns, or for one of them."""
    assert made(*block(stride=(1, 1))).weights == 4 * (148 + 256 + 9 * 64 * 8 + 256)
    monkeypatch.setattr(sys.modules["refnet.session.taps"], "RUN", 1)
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


# --------------------------------------------------------------------------------------------------- groups of images

LARGE = spatial("stem", "conv2d", SOURCE, (4, 3, 3, 3), (2, 2))
SIDE = 2 * int(SMALL**0.5) + 2  # of an image whose first map is large, and the second one small


def grouped(nodes, images, keep=()):
    graph = check(Graph(Recipe("", 1.0, (SIDE, SIDE), 1, 3), nodes))
    sizes, kept = shapes(graph), {*keep, *graph.outputs}
    programs = Programs(steps(graph, sizes, kept), random_params(graph), sizes, kept)
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
    alone, weights = programs.buffers, programs.weights
    programs.of(8)
    assert programs.weights == weights
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
    programs = Programs(steps(folded, sizes, kept), params, sizes, kept)
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
    writer = CallWriter({}, {}, Arena(np.dtype(np.float32)), {})
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
    writer = CallWriter({"head.w": w, "head.b": b}, {}, Arena(np.dtype(np.float32)), {})
    z = np.zeros((3, 150), np.float32)
    writer.vectors(Unit(pointwise("head", "x", 150, 48), None, None), x, z, [slice(0, 150)])
    found = []
    for call, args in writer.calls:
        call(*args)
        if call is np.matmul:
            found += [(3, 48, args[1].shape[-1])] * (args[1].size // (48 * args[1].shape[-1]))
    assert found == products
    assert bool(writer.packed.keys() & {("head", "w")}) is not small
    np.testing.assert_allclose(z, x @ w.T + b, rtol=1e-5)
