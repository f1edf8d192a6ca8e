"""Fast algorithms of convolution: honest ones lie within their bounds, which are tight and can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.ports.fast_convolution import PAD, PORTS

from refnet import build, random_params
from refnet.graph import SOURCE, Graph, Node
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, bound

FLOAT32 = Precision.of("float32")
SINGLE = np.float32


CASES = [(name, op) for name in PORTS for op in (("pointwise",) if name == "strassen" else ("depthwise", "dense"))]


def layer(op, seed):
    """A layer with an input whose maps are of very different sizes from place to place, as real ones are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 12, 18, 26)) * np.exp(rng.normal(0, 2, (1, 12, 18, 26)))
    shape = {"depthwise": (12, 3, 3), "dense": (8, 12, 3, 3), "pointwise": (10, 12)}[op]
    w = rng.standard_normal(shape)
    attrs = {} if op == "pointwise" else {"stride": (1, 1), "pad": PAD, "dilation": (1, 1)}
    name = {"depthwise": "depthwise_conv2d", "dense": "conv2d", "pointwise": "pointwise_conv2d"}[op]
    graph = Graph(build("torchvision/mobilenet_v2").recipe, (Node("y", name, (SOURCE,), {"w": shape}, attrs),))
    return graph, x.astype(SINGLE), w.astype(SINGLE)


def judged(op, seed, made, algorithm):
    graph, x, w = layer(op, seed)
    limit = bound(graph, {"y.w": w}, {SOURCE: x}, FLOAT32._replace(algorithm=algorithm))
    return judge(made(x, w), limit)


@pytest.mark.parametrize(("name", "op"), CASES)
def test_an_honest_run_is_rounding(name, op):
    for seed in range(8):
        assert judged(op, seed, PORTS[name], name).holds


@pytest.mark.parametrize(("name", "op"), CASES)
def test_as_a_plain_sum_it_would_not_hold(name, op):
    assert not all(judged(op, seed, PORTS[name], "").holds for seed in range(8))


@pytest.mark.parametrize(("name", "op"), CASES)
def test_the_bound_is_tight(name, op):
    """Honest runs use a good part of it: the rms, of which the transform's is known from above only."""
    most = max(judged(op, seed, PORTS[name], name).rms for seed in range(8))
    assert most > (0.005 if name == "fft" else 0.02)


@pytest.mark.parametrize(("name", "op"), CASES)
def test_a_weight_that_is_off_is_seen(name, op):
    def damaged(x, w):
        w = w.copy()
        w[(0,) * w.ndim] *= SINGLE(1.01)
        return PORTS[name](x, w)

    assert not judged(op, 0, damaged, name).holds


@pytest.mark.parametrize("name", PORTS)
def test_where_the_algorithm_does_not_apply_the_bound_is_the_plain_one(name):
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(32, 32))
    node = graph["block2.expand" if name == "fft" else "block2.depthwise"]  # of stride 2
    part = Graph(graph.recipe, (Node(node.name, node.op, (SOURCE,), node.params, node.attrs),))
    x = np.random.default_rng(0).standard_normal(
        (1, node.params["w"][-1] if name == "fft" else node.params["w"][0], 16, 16)
    )
    plain, fast = (bound(part, random_params(graph), {SOURCE: x}, FLOAT32._replace(algorithm=a)) for a in ("", name))
    np.testing.assert_array_equal(plain.worst, fast.worst)


def test_a_transform_may_keep_every_other_point():
    graph, x, w = layer("depthwise", 0)
    x[:, :, :9] = 0  # where a plain sum is exactly zero, and a transform is not
    (node,) = graph.nodes
    strided = replace(graph, nodes=(replace(node, attrs={**node.attrs, "stride": (2, 2)}),))
    y = PORTS["fft"](x, w)[:, :, ::2, ::2]
    for algorithm, holds in (("fft", True), ("", False)):
        assert judge(y, bound(strided, {"y.w": w}, {SOURCE: x}, FLOAT32._replace(algorithm=algorithm))).holds == holds
