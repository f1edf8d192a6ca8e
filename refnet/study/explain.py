"""One number of a tensor in the open: which inputs, which weights, every product, the sum, and what follows it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Node, Unit
from refnet.network import Network
from refnet.ops import OPS, POOLS, WINDOWED

__all__ = ["Explanation", "Term", "explain_number"]

Array = npt.NDArray[Any]


class Term(NamedTuple):
    """One term of a sum: the number `x` of the tensor `source` at `at`, times `factor`."""

    source: str
    at: tuple[int, ...]
    x: float
    factor: float

    @property
    def product(self) -> float:
        """What it adds."""
        return self.x * self.factor


class Explanation(NamedTuple):
    """How one number comes about, in float64.

    Attributes
    ----------
    node : that makes it
    at : its place in the node's tensor, without the image
    kind : 'sum' of terms; 'product', 'largest' of them; 'function' of the one term, by the node's operation
    terms : those inside the image, in order; beyond it `outside` more count as nothing
    bias : added to the sum; None where there is none
    y : the number
    after : the batch norm and the activation that follow a convolution, with what they make of it
    """

    node: Node
    at: tuple[int, ...]
    kind: str
    terms: tuple[Term, ...]
    outside: int
    bias: float | None
    y: float
    after: tuple[tuple[Node, float], ...]


def explain_number(net: Network, x: Array, name: str, at: Sequence[int] | None = None) -> Explanation:
    """Take one number of a node's tensor apart.

    Parameters
    ----------
    x : (N, C, H, W); the first image is looked at
    name : of a node
    at : the place, as many numbers as the tensor has axes without the image's, or the channel where it is one point; by
        default that of the largest number

    Raises
    ------
    RequestError
        if there is no such node, no such place, or an operation whose numbers are no sum of a few others.
    """
    graph = net.graph
    if name not in graph:
        near = ", ".join(difflib.get_close_matches(name, list(graph.by_name), n=3, cutoff=0.4))
        raise RequestError(f"the network has no node {name!r}{f'; nearest: {near}' if near else ''}")
    node, wide = graph[name], net.astype(np.float64)
    unit = next((each for each in graph.units() if each.conv.name == name), Unit(node))
    wanted = {*node.inputs, *(each.name for each in unit.nodes)}
    values: dict[str, Array] = {SOURCE: np.asarray(x[:1], np.float64)}
    for each, y in wide.steps(values[SOURCE]):
        if each.name in wanted:
            values[each.name] = np.array(y)
        if each.name == unit.output:
            break
    y = values[name][0]
    place = _place(name, y, at)
    params = {slot: wide.params[f"{name}.{slot}"] for slot in node.params}
    terms, outside = _terms(node, [values[source][0] for source in node.inputs], params, place)
    kind = {"scale": "product", "max_pool2d": "largest"}.get(node.op, "sum" if node.op in _SUMS else "function")
    after = tuple((each, float(values[each.name][0][place])) for each in unit.nodes[1:])
    bias = _bias(node, params, place[0])
    return Explanation(node, place, kind, tuple(terms), outside, bias, float(y[place]), after)


_SUMS = (
    "conv2d",
    "depthwise_conv2d",
    "grouped_conv2d",
    "pointwise_conv2d",
    "avg_pool2d",
    "add",
    "batch_norm",
    "affine",
)


def _place(name: str, y: Array, at: Sequence[int] | None) -> tuple[int, ...]:
    if at is None:
        return tuple(int(i) for i in np.unravel_index(int(np.abs(y).argmax()), y.shape))
    if all(side == 1 for side in y.shape[len(at) :]):  # of one point the channel is enough
        at = (*at, *(0 for _ in y.shape[len(at) :]))
    if len(at) != y.ndim or not all(0 <= i < side for i, side in zip(at, y.shape, strict=True)):
        raise RequestError(f"{name} has no place {','.join(map(str, at))}: it is {' x '.join(map(str, y.shape))}")
    return tuple(at)


def _bias(node: Node, params: dict[str, Array], c: int) -> float | None:
    """What is added to the sum."""
    if node.op == "batch_norm":
        return float(params["beta"][c] - params["mean"][c] * _factor(node, params, c))
    if node.op == "affine":
        return float(node.attrs["offset"])
    return float(params["b"][c]) if "b" in params else None


def _factor(node: Node, params: dict[str, Array], c: int) -> float:
    """Of a batch norm: gamma / sqrt(var + eps)."""
    return float(params["gamma"][c]) / math.sqrt(float(params["var"][c]) + node.attrs["eps"])


def _terms(node: Node, inputs: list[Array], params: dict[str, Array], at: tuple[int, ...]) -> tuple[list[Term], int]:
    """The terms inside the image, and how many lie beyond it."""
    source, x, c = node.inputs[0], inputs[0], at[0]
    if node.op in WINDOWED or node.op in POOLS:
        return _window(node, x, params, at)
    if node.op == "pointwise_conv2d":
        return [Term(source, (i, *at[1:]), float(x[(i, *at[1:])]), float(params["w"][c, i])) for i in range(len(x))], 0
    if node.op == "add":
        return [Term(name, at, float(y[at]), 1.0) for name, y in zip(node.inputs, inputs, strict=True)], 0
    if node.op == "scale":
        return [Term(source, at, float(x[at]), float(inputs[1][c].item()))], 0
    if node.op == "flatten":
        place = tuple(int(i) for i in np.unravel_index(c, x.shape))
        return [Term(source, place, float(x[place]), 1.0)], 0
    if OPS[node.op].kind not in ("norm", "activation", "gate", "arithmetic"):
        raise RequestError(f"{node.name}: {node.op} makes no number of a few others; take a node before it")
    factor = {"batch_norm": lambda: _factor(node, params, c), "affine": lambda: float(node.attrs["slope"])}
    return [Term(source, at, float(x[at]), factor.get(node.op, lambda: 1.0)())], 0


def _window(node: Node, x: Array, params: dict[str, Array], at: tuple[int, ...]) -> tuple[list[Term], int]:
    """The points under a kernel, channel by channel."""
    c, p, q = at
    w = params.get("w")
    R, S = node.attrs["kernel"] if w is None else w.shape[-2:]
    places = list(_places(node, (R, S), p, q))
    inside = [(r, s, h, v) for r, s, h, v in places if 0 <= h < x.shape[1] and 0 <= v < x.shape[2]]
    first, count = c, 1
    if node.op in ("conv2d", "grouped_conv2d") and w is not None:
        count = w.shape[1]
        first = c // (len(w) // node.attrs.get("groups", 1)) * count
    terms = []
    for i in range(count):
        for r, s, h, v in inside:
            if w is None:
                factor = 1.0 if node.op == "max_pool2d" else 1 / len(inside)
            else:
                factor = float(w[c, r, s] if w.ndim == 3 else w[c, i, r, s])
            terms.append(Term(node.inputs[0], (first + i, h, v), float(x[first + i, h, v]), factor))
    return terms, (len(places) - len(inside)) * count


def _places(node: Node, kernel: tuple[int, int], p: int, q: int) -> Iterator[tuple[int, int, int, int]]:
    """(r, s) of the kernel, and (h, v) of the image below it."""
    (top, _), (left, _) = node.attrs["pad"]
    down, along = node.attrs.get("dilation", (1, 1))
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            yield r, s, p * node.attrs["stride"][0] - top + r * down, q * node.attrs["stride"][1] - left + s * along
