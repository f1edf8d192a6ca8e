"""Fast algorithms of convolution: honest ones lie within their bounds, which are tight and can fail."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_params
from refnet.graph import SOURCE, Graph, Node
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, algorithms, bound

FLOAT32 = Precision.of("float32")
SINGLE = np.float32
PAD = ((1, 1), (1, 1))


def winograd(form, x, w):
    """F(m x m, 3 x 3) in float32, stage by stage."""
    A, B, G = (matrix.astype(SINGLE) for matrix in (form.A, form.B, form.G))
    m, (N, C, H, W) = form.m, x.shape
    rows, columns = -(-H // m), -(-W // m)
    wide = np.zeros((N, C, rows * m + 2, columns * m + 2), SINGLE)
    wide[:, :, 1 : H + 1, 1 : W + 1] = x
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (m + 2, m + 2), axis=(2, 3))[:, :, ::m, ::m]
    d = np.einsum("...aj,jb->...ab", np.einsum("ia,ncpqij->ncpqaj", B, tiles), B)
    g = np.einsum("...as,bs->...ab", np.einsum("ar,...rs->...as", G, w), G)
    made = d * g[:, None, None] if w.ndim == 3 else np.einsum("ncpqab,kcab->nkpqab", d, g)
    y = np.einsum("nkpqmb,bo->nkpmqo", np.einsum("am,nkpqab->nkpqmb", A, made), A)
    return y.reshape(N, y.shape[1], rows * m, columns * m)[:, :, :H, :W]


def fourier(x, w):
    from scipy import fft

    (H, W), sides = x.shape[2:], (x.shape[2] + 4, x.shape[3] + 4)
    d = fft.rfft2(np.pad(x, ((0, 0), (0, 0), *PAD)), s=sides)
    g = np.conj(fft.rfft2(w, s=sides))
    return fft.irfft2(d * g if w.ndim == 3 else np.einsum("nchw,kchw->nkhw", d, g), s=sides)[:, :, :H, :W]


def strassen(x, w):
    K, C = w.shape
    N, _, H, W = x.shape
    X = x.transpose(1, 0, 2, 3).reshape(C, -1)
    k, c, p = K // 2, C // 2, X.shape[1] // 2
    (a11, a12), (a21, a22) = (w[:k, :c], w[:k, c:]), (w[k:, :c], w[k:, c:])
    (b11, b12), (b21, b22) = (X[:c, :p], X[:c, p:]), (X[c:, :p], X[c:, p:])
    m1, m2, m3 = (a11 + a22) @ (b11 + b22), (a21 + a22) @ b11, a11 @ (b12 - b22)
    m4, m5 = a22 @ (b21 - b11), (a11 + a12) @ b22
    m6, m7 = (a21 - a11) @ (b11 + b12), (a12 - a22) @ (b21 + b22)
    y = np.block([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]])
    return y.reshape(K, N, H, W).transpose(1, 0, 2, 3)


PORTS = {
    "winograd-f2": lambda x, w: winograd(algorithms._F2, x, w),
    "winograd-f4": lambda x, w: winograd(algorithms._F4, x, w),
    "fft": fourier,
    "strassen": strassen,
}
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
    node = graph["block2.depthwise"]  # of stride 2
    part = Graph(graph.recipe, (Node(node.name, node.op, (SOURCE,), node.params, node.attrs),))
    x = np.random.default_rng(0).standard_normal((1, node.params["w"][0], 16, 16))
    plain, fast = (bound(part, random_params(graph), {SOURCE: x}, FLOAT32._replace(algorithm=a)) for a in ("", name))
    np.testing.assert_array_equal(plain.worst, fast.worst)
