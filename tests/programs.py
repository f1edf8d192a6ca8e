"""Programs of sessions made of a few nodes on small maps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from refnet import random_params
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.readings.shapes import shapes
from refnet.session.program import Programs
from refnet.session.steps import steps
from refnet.session.weights import Weights


def spatial(name, op, source, w, stride=(1, 1), pad=1, **attrs):
    sides = ((pad, pad), (pad, pad))
    return Node(name, op, (source,), {"w": w}, {"stride": stride, "pad": sides, "dilation": (1, 1), **attrs})


def pointwise(name, source, K, C):
    return Node(name, "pointwise_conv2d", (source,), {"w": (K, C)})


_VECTORS = dict.fromkeys(("gamma", "beta", "mean", "var"), (2,))
TWO_NORMS = (  # of which a session folds the first
    Node("conv", "pointwise_conv2d", (SOURCE,), {"w": (2, 2)}),
    Node("first", "batch_norm", ("conv",), _VECTORS, {"eps": 0.0}),
    Node("second", "batch_norm", ("first",), _VECTORS, {"eps": 0.0}),
)
STEM = spatial("stem", "conv2d", SOURCE, (4, 4, 3, 3))  # 4 channels on 6 x 8: 192


def programs(*nodes, keep=(), dtype=np.float32, returns=()):
    graph = check(Graph(Recipe("", 1.0, (6, 8), 1, 4), nodes, returns))
    sizes = shapes(graph)
    kept = {*keep, *graph.outputs}
    return Programs(steps(graph, sizes, kept), Weights(random_params(graph, dtype).items()), sizes, kept)


def made(*nodes, **options):
    found = programs(*nodes, **options)
    one = found.of(1)
    return SimpleNamespace(
        calls=one.early, kept=one.kept, loads=one.loads, buffers=found.buffers, weights=found.weights.packed_bytes
    )


def products(one):
    """(pixels, channels in, channels out) of every matrix product."""
    each = ((args[0].reshape(-1, args[0].shape[-1]), args[1]) for call, args in one.calls if call is np.matmul)
    return [(*x.shape, w.size // x.shape[1]) for x, w in each]


def block(C=64, stride=(2, 2), *, expand=True, project=True):
    """4 channels on 6 x 8 -> C channels on 3 x 4 -> 4 channels."""
    nodes = [STEM]
    if expand:
        nodes += [pointwise("expand", "stem", C, 4), Node("expand.act", "relu", ("expand",))]
    nodes.append(spatial("depthwise", "depthwise_conv2d", nodes[-1].name, (C, 3, 3), stride))
    if project:
        nodes.append(pointwise("project", "depthwise", 4, C))
    return tuple(nodes)


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
