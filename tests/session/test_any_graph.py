"""A session on graphs that no vendor built: nodes in any order, tensors read twice, any of them kept."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.bugs.segments import cut
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, bound
from refnet.readings.shapes import shape_after, shapes
from refnet.session import Session

ACTIVATIONS = ("relu", "relu6", "hard_swish", "sigmoid", "swish")
NONE = ((0, 0), (0, 0))


class Maker:
    """Adds nodes that read whatever is there, most often what was made last."""

    def __init__(self, random: Random) -> None:
        self.random, self.values = random, np.random.default_rng(random.randrange(2**32))
        self.sizes = {SOURCE: tuple(random.randint(1, most) for most in (4, 10, 10))}
        self.nodes: list[Node] = []
        self.params: dict[str, np.ndarray] = {}

    def add(self, op: str, *inputs: str, attrs: dict[str, Any] | None = None, **params: tuple[int, ...]) -> str:
        """One node; the last tensor as it was if a kernel would not fit."""
        node = Node(f"n{len(self.nodes)}", op, inputs, params, attrs or {})
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

    def pool(self, x: str) -> str:
        return self.add("avg_pool2d", x, attrs={"kernel": self.sizes[x][1:], "stride": (1, 1), "pad": NONE})

    def pointwise(self, x: str, filters: int) -> str:
        bias = {"b": (filters,)} if self.random.random() < 0.5 else {}
        return self.add("pointwise_conv2d", x, w=(filters, self.sizes[x][0]), **bias)

    def excite(self, x: str) -> str:
        gate = self.pointwise(self.add("relu", self.pointwise(self.pool(x), 2)), self.sizes[x][0])
        y = self.add("scale", x, self.add("sigmoid", gate) if self.random.random() < 0.8 else gate)
        return self.add(self.random.choice(ACTIVATIONS), y) if self.random.random() < 0.5 else y

    def depthwise(self, x: str, kernel: tuple[int, int]) -> str:
        C = self.sizes[x][0]
        return self.add("depthwise_conv2d", x, w=(C, *kernel), b=(C,), attrs=self.geometry())

    def grow(self) -> None:
        """One more node, or some that a session runs in one go."""
        random, every = self.random, list(self.sizes)
        x = every[-1] if random.random() < 0.75 else random.choice(every)
        C, K = self.sizes[x][0], random.randint(1, 9)
        kernel = (random.randint(1, 3), random.randint(1, 3))
        rules = (
            (6, lambda: self.pointwise(x, K)),
            (4, lambda: self.depthwise(x, kernel)),
            (3, lambda: self.pointwise(self.excite(self.depthwise(x, kernel)), K)),
            (1, lambda: self.add("add", self.pointwise(x, K), self.pointwise(x, K))),
            (1, lambda: self.add("conv2d", x, w=(K, C, *kernel), attrs=self.geometry())),
            (1, lambda: self.add("batch_norm", x, gamma=(C,), beta=(C,), mean=(C,), var=(C,), attrs={"eps": 1e-3})),
            (3, lambda: self.add(random.choice(ACTIVATIONS), x)),
            (1, lambda: self.add("affine", x, attrs={"slope": 1.5, "offset": 0.5})),
            (2, lambda: self.add("add", x, random.choice([y for y in every if self.sizes[y] == self.sizes[x]]))),
            (1, lambda: self.pool(x)),
            (3, lambda: self.excite(x)),
            (1, lambda: self.add("max_pool2d", x, attrs={"kernel": (2, 2), "stride": (1, 1), "pad": ((0, 1), (1, 0))})),
            (1, lambda: self.add("resize_bilinear", x, attrs={"size": kernel, "align_corners": False})),
        )
        random.choices([rule for _, rule in rules], [weight for weight, _ in rules])[0]()

    def graph(self) -> Graph:
        channels, *size = self.sizes[SOURCE]
        return check(Graph(Recipe("handmade", 1.0, tuple(size), 1, channels), tuple(self.nodes)))


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.integers(1, 15))
def test_every_tensor_of_any_graph_is_inside_its_bounds(random, count):
    maker = Maker(random)
    maker.pointwise(SOURCE, 3)
    for _ in range(count):
        maker.grow()
    if random.random() < 0.3:
        maker.add("softmax", maker.add("flatten", list(maker.sizes)[-1]))
    graph = maker.graph()
    x = maker.values.standard_normal((2, *graph.input_shape))
    names = [node.name for node in graph.nodes]
    tensors = Session(graph, maker.params, threads=1, keep=random.sample(names, random.randint(0, len(names)))).tensors(
        x
    )
    for name, y in tensors.items():
        part = cut(graph, maker.params, name, {SOURCE: x, **tensors}, shapes(graph))
        judgement = judge(y, bound(part.graph, maker.params, part.given, Precision.of("float64")))
        assert judgement.verdict != "wrong", (name, judgement)  # so few elements may be 'suspect' by chance
