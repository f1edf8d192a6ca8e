"""Random legal things for Hypothesis: arrays, convolutions, small networks, and graphs that no vendor built."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from refnet import build, models
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.ops import ACTIVATIONS, GATES, OPS
from refnet.readings.shapes import shape_after, well_formed

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))
SIDES = st.tuples(st.integers(0, 3), st.integers(0, 3))
DTYPES = st.sampled_from([np.float32, np.float64])


@st.composite
def arrays(draw, *shape, dtype=np.float32):
    """Normal numbers of mixed sign, sometimes large, small or exactly zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal(shape) * draw(st.sampled_from([1.0, 1.0, 1e-3, 30.0]))
    x[rng.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    return x.astype(dtype)


@st.composite
def geometry(draw, depthwise=False):
    """(x, w, b, attributes) of a convolution: H != W, asymmetric pads, pairs for stride and dilation, some output."""
    dtype = draw(DTYPES)
    kernel, stride, dilation = draw(PAIR), draw(PAIR), draw(PAIR)
    pad = draw(st.tuples(SIDES, SIDES))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(max(1, r - sum(p)), r + 4)) for r, p in zip(reach, pad, strict=True)]
    N, C, K = draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    x = draw(arrays(N, C, *size, dtype=dtype))
    w = draw(arrays(*((C,) if depthwise else (K, C)), *kernel, dtype=dtype))
    b = draw(st.none() | arrays(len(w), dtype=dtype))
    return x, w, b, {"stride": stride, "pad": pad, "dilation": dilation}


@st.composite
def groups(draw):
    """(x, w, b, attributes) of a convolution in groups, of which each has as many channels and filters."""
    x, w, b, attrs = draw(geometry())
    groups, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x = draw(arrays(len(x), groups * w.shape[1], *x.shape[2:], dtype=x.dtype))
    w = draw(arrays(groups * filters, *w.shape[1:], dtype=x.dtype))
    b = None if b is None else draw(arrays(len(w), dtype=x.dtype))
    return x, w, b, {**attrs, "groups": groups}


@st.composite
def maps(draw, most=6):
    """An (N, C, H, W) array with H and W drawn apart."""
    shape = [draw(st.integers(1, 2)), *(draw(st.integers(1, most)) for _ in range(3))]
    return draw(arrays(*shape, dtype=draw(DTYPES)))


@st.composite
def windows(draw):
    """(x, attributes) of a pool whose every window touches the image."""
    x = draw(maps(7))
    kernel = tuple(draw(st.integers(1, side)) for side in x.shape[2:])
    pad = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    return x, {"kernel": kernel, "stride": draw(PAIR), "pad": pad}


@st.composite
def graphs(draw):
    """A small network: any model at a narrow width and a small, usually not square, size."""
    name = draw(st.sampled_from([name for name in models() if not name.endswith("anysize")]))
    size = (draw(st.integers(32, 48)), draw(st.integers(32, 48)))
    return build(name, width=draw(st.sampled_from([0.25, 0.35, 0.5])), size=size, classes=draw(st.integers(1, 7)))


class Maker:
    """Adds nodes that read whatever is there, most often what was made last; names are an exporter's, not refnet's.

    Some names are what another node's parameter is called, or the beginning of another name.
    """

    NONE = ((0, 0), (0, 0))
    NAMES = ("a", "a.w", "a.b.w", "Conv_0", "features.0.0", "block1.add", "tf.nn.relu", "x-1")

    def __init__(self, random: Random) -> None:
        self.random, self.values = random, np.random.default_rng(random.randrange(2**32))
        self.sizes = {SOURCE: tuple(random.randint(1, most) for most in (4, 10, 10))}
        self.nodes: list[Node] = []
        self.params: dict[str, np.ndarray] = {}

    def add(self, op: str, *inputs: str, attrs: dict[str, Any] | None = None, **params: tuple[int, ...]) -> str:
        """One node; the last tensor as it was if a kernel would not fit."""
        name = self.random.choice(self.NAMES)
        name = f"{name}.{len(self.nodes)}" if name in self.sizes else name
        node = Node(name, op, inputs, params, attrs or {})
        size = shape_after(node, *(self.sizes[name] for name in inputs))
        if min(size) < 1:
            return inputs[0]
        self.nodes.append(node)
        self.sizes[node.name] = size
        for slot, shape in params.items():
            drawn = self.values.standard_normal(shape)
            self.params[f"{node.name}.{slot}"] = drawn**2 + 0.1 if slot == "var" else drawn
        return node.name

    def geometry(self) -> dict[str, Any]:
        pick = self.random.randint
        stride, dilation = ((pick(1, most), pick(1, most)) for most in (3, 2))
        return {"stride": stride, "dilation": dilation, "pad": tuple((pick(0, 2), pick(0, 2)) for _ in range(2))}

    def act(self, x: str) -> str:
        return self.add(self.random.choice(ELEMENTWISE), x)

    def pool(self, x: str) -> str:
        return self.add("avg_pool2d", x, attrs={"kernel": self.sizes[x][1:], "stride": (1, 1), "pad": self.NONE})

    def norm(self, x: str) -> str:
        C = self.sizes[x][0]
        return self.add("batch_norm", x, gamma=(C,), beta=(C,), mean=(C,), var=(C,), attrs={"eps": 1e-3})

    def pointwise(self, x: str, filters: int) -> str:
        bias = {"b": (filters,)} if self.random.random() < 0.5 else {}
        return self.add("pointwise_conv2d", x, w=(filters, self.sizes[x][0]), **bias)

    def excite(self, x: str) -> str:
        gate = self.pointwise(self.add("relu", self.pointwise(self.pool(x), 2)), self.sizes[x][0])
        y = self.add("scale", x, self.add("sigmoid", gate) if self.random.random() < 0.8 else gate)
        return self.act(y) if self.random.random() < 0.5 else y

    def depthwise(self, x: str, kernel: tuple[int, int]) -> str:
        C = self.sizes[x][0]
        return self.add("depthwise_conv2d", x, w=(C, *kernel), b=(C,), attrs=self.geometry())

    def grow(self) -> None:
        """One more node, or some that a session runs in one go."""
        random, every = self.random, [name for name, size in self.sizes.items() if len(size) == 3]
        x = every[-1] if random.random() < 0.75 else random.choice(every)
        C, K = self.sizes[x][0], random.randint(1, 9)
        kernel = (random.randint(1, 3), random.randint(1, 3))
        rules = (
            (6, lambda: self.pointwise(x, K)),
            (4, lambda: self.depthwise(x, kernel)),
            (3, lambda: self.pointwise(self.excite(self.depthwise(x, kernel)), K)),
            (2, lambda: self.act(self.norm(self.pointwise(x, K)))),
            (1, lambda: self.add("add", self.pointwise(x, K), self.pointwise(x, K))),
            (1, lambda: self.add("conv2d", x, w=(K, C, *kernel), attrs=self.geometry())),
            (1, lambda: self.norm(x)),
            (3, lambda: self.act(x)),
            (1, lambda: self.grouped(x, kernel)),
            (1, lambda: self.add("leaky_relu", x, attrs={"slope": 0.1})),
            (1, lambda: self.prelu(self.pointwise(x, K) if random.random() < 0.7 else x)),
            (1, lambda: self.add("thresholded_relu", x, attrs={"threshold": 0.25})),
            (1, lambda: self.add("clip", x, attrs={"low": -0.5, "high": 1.25})),
            (1, lambda: self.add("concat", x, *(random.choice(self.beside(x)) for _ in range(random.randint(1, 3))))),
            (1, lambda: self.add("resize_legacy", x, attrs={"size": kernel})),
            (1, lambda: self.nearest(x)),
            (1, lambda: self.add("affine", x, attrs={"slope": 1.5, "offset": 0.5})),
            (1, lambda: self.add("hard_sigmoid", x, attrs={"slope": 0.2, "offset": 0.5})),
            (2, lambda: self.add("add", x, random.choice([y for y in every if self.sizes[y] == self.sizes[x]]))),
            (1, lambda: self.pool(x)),
            (3, lambda: self.excite(x)),
            (1, lambda: self.add("max_pool2d", x, attrs={"kernel": (2, 2), "stride": (1, 1), "pad": ((0, 1), (1, 0))})),
            (1, lambda: self.add("avg_pool2d", x, attrs={"kernel": (2, 3), "stride": (2, 1), "pad": ((1, 1), (2, 0))})),
            (1, lambda: self.add("resize_bilinear", x, attrs={"size": kernel, "align_corners": random.random() < 0.5})),
            (1, lambda: self.border(x)),
            (1, lambda: self.add("flatten", x)),
        )
        random.choices([rule for _, rule in rules], [weight for weight, _ in rules])[0]()

    def beside(self, x: str) -> list[str]:
        """The maps that can be joined with one."""
        return [y for y, size in self.sizes.items() if size[1:] == self.sizes[x][1:]]

    def grouped(self, x: str, kernel: tuple[int, int]) -> str:
        C = self.sizes[x][0]
        groups = self.random.choice([n for n in range(1, C + 1) if C % n == 0])
        w = (groups * self.random.randint(1, 3), C // groups, *kernel)
        return self.add("grouped_conv2d", x, w=w, b=w[:1], attrs={**self.geometry(), "groups": groups})

    def prelu(self, x: str) -> str:
        return self.add("prelu", x, alpha=self.sizes[x][: self.random.choice((1, 3))])

    def nearest(self, x: str) -> str:
        size = tuple(side * self.random.randint(1, 2) for side in self.sizes[x][1:])
        kind = self.random.choice(("align_corners", "half_pixel", "neither"))
        attrs = {key: key == kind for key in ("align_corners", "half_pixel")}
        return self.add("resize_nearest", x, attrs={"size": size, **attrs})

    def border(self, x: str) -> str:
        mode = self.random.choice(("constant", "edge") if min(self.sizes[x][1:]) < 3 else ("constant", "reflect"))
        return self.add("pad", x, attrs={"pad": ((1, 0), (0, 2)), "mode": mode, "value": 0.25})

    def graph(self, outputs: int = 1) -> Graph:
        """What has been made; of several outputs any, in any order."""
        channels, *size = self.sizes[SOURCE]
        nodes = tuple(self.nodes)
        names = [node.name for node in nodes]
        returns = () if outputs == 1 else tuple(self.random.sample(names, min(outputs, len(names))))
        return well_formed(Graph(Recipe("", 1.0, tuple(size), 1, channels), nodes, returns))


ELEMENTWISE = tuple(op for op in (*ACTIVATIONS, *GATES) if not OPS[op].attrs and not OPS[op].params)


@st.composite
def own_graphs(draw, outputs=None):
    """(graph, params in float64) of a graph that no vendor built: tensors read twice, one output or several."""
    maker = Maker(draw(st.randoms(use_true_random=False)))
    maker.pointwise(SOURCE, 3)
    for _ in range(draw(st.integers(1, 15))):
        maker.grow()
    if draw(st.booleans()):
        maker.add("softmax", list(maker.sizes)[-1])
    return maker.graph(draw(st.integers(1, 3)) if outputs is None else outputs), maker.params
