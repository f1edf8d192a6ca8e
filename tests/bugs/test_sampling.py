"""Bugs of pooling, resizing and flattening, and of shapes, on graphs of a few nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, Row, Table, build, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.detectability import detectability
from refnet.bugs.language.changes import identity
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.sites import sites
from refnet.graph import SOURCE, Graph, Node, Recipe, check, interpret, walk
from refnet.judge.tensors import Reference, judge_tensors
from refnet.pack.probe import probe
from refnet.readings import fast
from refnet.readings.shapes import shapes
from refnet.report.comparison import cause_sentence
from refnet.report.mistakes.bugs import of_port

SIDES = (5, 7)
X = np.random.default_rng(3).standard_normal((2, 3, *SIDES)).astype(np.float32)
POOL = {"kernel": (2, 2), "stride": (2, 2), "pad": ((0, 0), (0, 0))}


def graph(*nodes: Node) -> Graph:
    return check(Graph(Recipe("none of them", 1.0, SIDES, 10), nodes))


def found_in(net: Graph, candidate: np.ndarray):
    """What is said of a candidate that has the last tensor of a graph without params."""
    exact = walk(net, fast, {}, {SOURCE: X.astype(np.float64)})
    golden = {SOURCE: X} | {node.name: y.astype(np.float32) for node, y in exact}
    return judge_tensors(Reference.of(net, {}, golden), {net.output: candidate}, partial=True)


def windows(x, rows, columns, reduce):
    """Windows of two by two from every second pixel, as far as they go; those at the end may be smaller."""
    parts = [[x[:, :, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2] for q in range(columns)] for p in range(rows)]
    return np.array([[reduce(part, axis=(2, 3)) for part in row] for row in parts]).transpose(2, 3, 0, 1)


@pytest.mark.parametrize(("op", "reduce"), [("max_pool2d", np.max), ("avg_pool2d", np.mean)])
def test_a_pool_in_ceil_mode_shows_as_a_shape(op, reduce):
    net = graph(Node("pool", op, (SOURCE,), {}, POOL))
    found = found_in(net, windows(X, 3, 4, reduce))
    assert [finding.judgement.verdict for finding in found.findings if finding.name == "pool"] == ["shape"]
    assert [cause.ids for cause in found.causes["pool"]] == [("pool-ceil",)]
    assert "rounded up (ceil_mode), not down: (3, 4)" in cause_sentence(found.causes["pool"][0])


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"kernel": (3, 3), "pad": ((1, 1), (1, 1))}, "kernel is 2 instead of 3, padded (0, 0)"),
        ({"kernel": (3, 3), "pad": ((0, 1), (0, 1))}, "kernel is 2 instead of 3, padded (0, 0)"),
        ({"stride": (1, 1)}, "stride is 2 instead of 1"),
        ({"pad": ((1, 1), (1, 1))}, "padding is (0, 0) instead of (1, 1)"),
    ],
)
@pytest.mark.parametrize(("op", "reduce"), [("max_pool2d", np.max), ("avg_pool2d", np.mean)])
def test_a_pool_with_another_window_is_named(op, reduce, reference, words):
    net = graph(Node("pool", op, (SOURCE,), {}, POOL | reference))
    (cause,) = found_in(net, windows(X, 2, 3, reduce)).causes["pool"]
    assert cause_sentence(cause) == f"the pool's {words}"


def test_a_pool_of_the_other_kind_is_named():
    net = graph(Node("pool", "avg_pool2d", (SOURCE,), {}, POOL))
    (cause,) = found_in(net, windows(X, 2, 3, np.max)).causes["pool"]
    assert cause_sentence(cause) == "the pool takes the largest of its points, not the mean"


def test_another_shape_with_other_numbers_is_no_pool_in_ceil_mode():
    net = graph(Node("pool", "max_pool2d", (SOURCE,), {}, POOL))
    assert not found_in(net, windows(X, 3, 4, np.min)).causes


def test_a_pool_in_ceil_mode_before_a_global_pool_is_named():
    """The head of PaddleOCR's classifier."""
    everything = {"kernel": (2, 3), "stride": (2, 3), "pad": ((0, 0), (0, 0))}
    net = graph(
        Node("pool", "max_pool2d", (SOURCE,), {}, POOL),
        Node("act", "relu", ("pool",)),
        Node("mean", "avg_pool2d", ("act",), {}, everything),
    )
    candidate = np.maximum(windows(X, 3, 4, np.max), 0).mean(axis=(2, 3), keepdims=True)
    assert [cause.ids for cause in found_in(net, candidate).causes["mean"]] == [("pool-ceil",)]


def test_a_pool_whose_reference_counts_in_ceil_mode_is_named_when_it_does_not():
    net = graph(Node("pool", "max_pool2d", (SOURCE,), {}, {**POOL, "pad": ((0, 1), (0, 1))}))
    assert [cause.ids for cause in found_in(net, windows(X, 2, 3, np.max)).causes["pool"]] == [("pool-ceil",)]


def test_ceil_mode_does_not_apply_where_it_changes_nothing():
    """Windows that fit, and the global pool."""
    for kernel in ((5, 7), (3, 3)):
        net = graph(Node("pool", "max_pool2d", (SOURCE,), {}, {**POOL, "kernel": kernel}))
        tensors = {SOURCE: X, "pool": np.zeros((2, 3, *shapes(net)["pool"][1:]), np.float32)}
        assert "pool-ceil" not in {site.bug for site in sites(net, {}, tensors.items())}


def padded(op, pad, kernel=3, *, counted=False):
    """A pool with a padding that counts for nothing, or of zeros."""
    border = Node("border", "pad", (SOURCE,), {}, {"pad": pad, "mode": "constant", "value": 0.0})
    attrs = {"kernel": (kernel, kernel), "stride": (1, 1), "pad": ((0, 0), (0, 0)) if counted else pad}
    pool = Node("pool", op, ("border" if counted else SOURCE,), {}, attrs)
    return graph(border, pool) if counted else graph(pool)


AROUND, BEHIND, BEFORE = ((1, 1), (1, 1)), ((0, 1), (0, 1)), ((1, 0), (1, 0))


@pytest.mark.parametrize(
    ("net", "port", "bug"),
    [
        (padded("avg_pool2d", AROUND), padded("avg_pool2d", AROUND, counted=True), "pool-count"),
        (padded("max_pool2d", AROUND), padded("max_pool2d", AROUND, counted=True), "pool-count"),
        (padded("avg_pool2d", AROUND, counted=True), padded("avg_pool2d", AROUND), "pool-count"),
        (padded("max_pool2d", BEHIND, 2), padded("max_pool2d", BEFORE, 2), "pad-lower"),
        (padded("avg_pool2d", BEFORE, 2), padded("avg_pool2d", BEHIND, 2), "pad-same"),
    ],
)
def test_another_padding_of_a_pool_is_named(net, port, bug):
    found = found_in(net, interpret(port, fast, {}, {SOURCE: X}))
    assert found.causes["pool"][0].ids == (bug,)


@pytest.mark.parametrize("last", ["flatten", "softmax"])
def test_a_map_flattened_channels_last_is_named(last):
    nodes = [Node("flatten", "flatten", (SOURCE,)), Node("softmax", "softmax", ("flatten",))]
    candidate = X.transpose(0, 2, 3, 1).reshape(2, -1)
    if last == "softmax":
        candidate = np.exp(candidate) / np.exp(candidate).sum(axis=1, keepdims=True)
    found = found_in(graph(*nodes[: 1 if last == "flatten" else 2]), candidate)
    assert [cause.ids for cause in found.causes[last]] == [("flatten-order",)]


def asymmetric(x, P, Q):
    """Bilinear with output p of P at p n / P of n inputs."""
    for axis, outputs in ((2, P), (3, Q)):
        n = x.shape[axis]
        at = np.arange(outputs) * n / outputs
        low = at.astype(int)
        part = (at - low).reshape((-1, 1) if axis == 2 else -1)
        x = x.take(low, axis) * (1 - part) + x.take(np.minimum(low + 1, n - 1), axis) * part
    return x


def test_tensorflow_1_s_way_of_resizing_is_named():
    net = graph(Node("up", "resize_bilinear", (SOURCE,), {}, {"size": (12, 14), "align_corners": False}))
    found = found_in(net, asymmetric(X.astype(np.float64), 12, 14).astype(np.float32))
    assert [cause.ids for cause in found.causes["up"]] == [("resize-corners",)]
    assert "asymmetrically" in cause_sentence(found.causes["up"][0])


def by_kernel(x, size, step, kernel):
    """A map resized at centres of pixels, point by point along either axis; beyond it its last rows go on."""
    for axis, outputs in ((2, size[0]), (3, size[1])):
        n = x.shape[axis]
        lines = []
        for p in range(outputs):
            at = (p + 0.5) * step[axis - 2] - 0.5
            taps = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
            lines.append(sum(kernel(abs(at - i)) * x.take(min(max(i, 0), n - 1), axis) for i in taps))
        x = np.stack(lines, axis)
    return x


def cubic(d):
    """Keys' kernel with a = -1/2."""
    return 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def test_a_resize_by_a_whole_factor_that_is_cropped_and_a_cubic_one_are_named():
    size = (2 * X.shape[2] - 1, 2 * X.shape[3] - 1)
    net = graph(Node("up", "resize_bilinear", (SOURCE,), {}, {"size": size, "align_corners": False}))
    twice = by_kernel(X.astype(np.float64), size, (0.5, 0.5), lambda d: max(1 - d, 0.0))
    (cause,) = found_in(net, twice.astype(np.float32)).causes["up"]
    assert "it is enlarged 2 times, and what is over is cut off" in cause_sentence(cause)
    steps = tuple(n / outputs for n, outputs in zip(X.shape[2:], size, strict=True))
    (cause,) = found_in(net, by_kernel(X.astype(np.float64), size, steps, cubic).astype(np.float32)).causes["up"]
    assert "a bicubic kernel (a = -0.5) makes it" in cause_sentence(cause)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda at, n, P: np.floor(at * (n - 1) / (P - 1) + 0.5), "the nearest pixel is taken, with corners aligned"),
        (None, "zeros are mixed in at the border, as by a transposed convolution"),
    ],
)
def test_the_nearest_pixel_with_corners_aligned_and_zeros_at_the_border_are_named(rule, words):
    size = (3 * X.shape[2], 3 * X.shape[3])
    net = graph(Node("up", "resize_bilinear", (SOURCE,), {}, {"size": size, "align_corners": False}))
    if rule is None:
        wide = by_kernel(np.pad(X.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1))), *_around(size))
        y = wide[:, :, 3:-3, 3:-3]
    else:
        rows, columns = (rule(np.arange(P), n, P).astype(int) for n, P in zip(X.shape[2:], size, strict=True))
        y = X[:, :, rows][..., columns]
    (cause,) = found_in(net, y.astype(np.float32)).causes["up"]
    assert words in cause_sentence(cause)


def _around(size):
    return tuple(side + 6 for side in size), (1 / 3, 1 / 3), lambda d: max(1 - d, 0.0)


@pytest.fixture(scope="module")
def small():
    net = build("torchvision/mobilenet_v3_small", width=0.5, size=(32, 40), classes=10)
    own = Network(net, random_params(net))
    x = probe(net, 1)
    golden = {SOURCE: x, **own.trace(x)}
    return own, golden, Reference.of(net, own.params, golden)


def test_a_stride_that_is_left_out_beside_a_pool_that_stands_elsewhere_is_run():
    net = build("torchvision/mobilenet_v2", width=0.1, size=(32, 40), classes=4)
    segment = cut(Parts(net), random_params(net), net.output, {SOURCE: probe(net, 1)}, judged=False)
    (early,) = BUGS["head-act-pool"].changes(segment)
    both = segment.changed(early)
    strides = [each for each in BUGS["stride-changed"].changes(both) if each.node == "block14.depthwise"]
    assert strides
    assert {run(both.changed(each)).shape for each in strides} == {(1, 4)}


STAGES = tuple(
    Row(3, 48 if out > 8 else 8, out, False, "relu6", stride)
    for out, stride in ((8, 1), (12, 2), (12, 1), (16, 2), (16, 1), (16, 1), (24, 2), (24, 1))
)


def test_a_stride_in_a_later_block_of_a_stage_is_named_by_the_end_alone():
    net = build(Table(stem=8, rows=STAGES), size=(64, 80), classes=7)
    strides = {"block4.depthwise": (1, 1), "block6.depthwise": (2, 2)}
    nodes = []
    for node in net.nodes:
        if node.name in strides:
            node = replace(node, attrs={**node.attrs, "stride": strides[node.name]})
        nodes.append(identity(node.name, "block6.project.bn", 4) if node.name == "block6.add" else node)
    params, x = random_params(net), probe(net, 1)
    golden, port = ({SOURCE: x, **Network(own, params).trace(x)} for own in (net, replace(net, nodes=tuple(nodes))))
    found = judge_tensors(Reference.of(net, params, golden), {SOURCE: x, net.output: port[net.output]})
    (cause,) = found.causes[net.output]
    assert "the stride is left to block6.depthwise in the last block of the stage" in cause_sentence(cause)


def test_strides_that_are_all_left_to_the_next_block_are_one_mistake_by_the_end_alone():
    net = build("torchvision/mobilenet_v2", width=0.25, size=(64, 80), classes=7)
    strides = {f"block{first}.depthwise": (1, 1) for first in (2, 4, 7, 14)}
    strides |= {f"block{later}.depthwise": (2, 2) for later in (3, 5, 8, 15)}
    nodes = []
    for node in net.nodes:
        block = node.name.partition(".")[0]
        if node.name in strides:
            node = replace(node, attrs={**node.attrs, "stride": strides[node.name]})
        is_none = node.op == "add" and strides.get(f"{block}.depthwise") == (2, 2)
        nodes.append(identity(node.name, f"{block}.project.bn", 4) if is_none else node)
    params, x = random_params(net), probe(net, 1)
    golden, port = ({SOURCE: x, **Network(own, params).trace(x)} for own in (net, replace(net, nodes=tuple(nodes))))
    found = judge_tensors(Reference.of(net, params, golden), {SOURCE: x, net.output: port[net.output]})
    (pattern,) = found.patterns
    assert of_port(pattern.mistake) == "the stride is left to the next block"
    assert pattern.nodes == tuple(f"block{first}.depthwise" for first in (2, 4, 7, 14))


def test_a_squeeze_width_taken_from_the_blocks_input_is_named(small):
    net, golden, reference = small
    inputs, own = shapes(net.graph)["stem.act"][0], shapes(net.graph)["block1.se.reduce"][0]
    assert inputs // 4 != own
    dumped = golden | {"block1.se.reduce": np.ones((1, inputs // 4, 1, 1), np.float32)}
    found = judge_tensors(reference, dumped, partial=True)
    assert found.wrong() == ["block1.se.reduce"]
    assert found.causes["block1.se.reduce"][0].ids == ("se-width",)
    assert "a quarter of" in cause_sentence(found.causes["block1.se.reduce"][0])


def test_a_squeeze_width_that_no_rule_gives_has_no_cause(small):
    _, golden, reference = small
    dumped = golden | {"block1.se.reduce": np.ones((1, 77, 1, 1), np.float32)}
    found = judge_tensors(reference, dumped, partial=True)
    assert found.wrong() == ["block1.se.reduce"]
    assert not found.causes


def test_a_kernel_as_large_as_its_map_is_not_dilated():
    """As of a global depthwise convolution: a wider kernel would leave nothing of the map."""
    attrs = {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
    net = graph(Node("last", "depthwise_conv2d", (SOURCE,), {"w": (3, *SIDES)}, attrs))
    found = detectability(Network(net, {"last.w": np.ones((3, *SIDES), np.float32)}), X)
    assert "dilation" not in {each.bug.id for each in found if each.places}


@pytest.mark.parametrize(
    ("step", "pad", "words"),
    [
        ((2, 1), ((2, 2), (1, 1)), "the dilation is (2, 1) instead of 2"),
        ((1, 2), ((1, 1), (2, 2)), "the dilation is (1, 2) instead of 2"),
        ((1, 1), ((1, 1), (1, 1)), "the dilation is 1 instead of 2"),
        ((4, 4), ((4, 4), (4, 4)), "the dilation is 4 instead of 2"),
    ],
)
def test_a_dilation_of_one_axis_or_by_another_number_is_named(step, pad, words):
    attrs = {"stride": (1, 1), "pad": ((2, 2), (2, 2)), "dilation": (2, 2)}
    params = {"wide.w": np.random.default_rng(0).standard_normal((3, 3, 3)).astype(np.float32)}
    made = []
    for own in (attrs, {**attrs, "pad": pad, "dilation": step}):
        net = graph(Node("wide", "depthwise_conv2d", (SOURCE,), {"w": (3, 3, 3)}, own))
        made.append((net, Network(net, params).trace(X)["wide"]))
    (net, right), (_, wrong) = made
    found = judge_tensors(Reference.of(net, params, {SOURCE: X, "wide": right}), {"wide": wrong})
    assert words in [cause_sentence(cause) for cause in found.causes["wide"]]


def test_a_pool_that_another_bug_has_put_there_has_no_other_windows():
    net = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=10)
    whole = cut(Parts(net), random_params(net), "block2.depthwise", {SOURCE: probe(net, 1)}, judged=False)
    moved = whole.changed(next(BUGS["stride-place"].changes(whole)))
    assert not list(BUGS["pool-window"].changes(moved))


@pytest.mark.parametrize(
    ("first", "form", "bug"),
    [
        ("pool-count", "", "pool-part"),
        ("act-on-linear", "hard_swish made", "vector-index"),
        ("stride-pooled", "mean cut", "stride-moved"),
    ],
)
def test_what_another_bug_has_put_there_is_passed_over(first, form, bug):
    net = build("torchvision/mobilenet_v3_small", width=0.25, size=(48, 64), classes=5)
    whole = cut(Parts(net), random_params(net), net.output, {SOURCE: probe(net, 1)}, judged=False)
    change = next(change for change in BUGS[first].changes(whole) if change.form == form)
    places = [change.node for change in BUGS[bug].changes(whole.changed(change))]
    assert {*places} <= {node.name for node in net.nodes}
