"""Bugs of sums that leave their format: what is made of them is not finite.

A sum may leave a format though what is stored in the end would not: that of a pool before it is divided, the product of
a hard swish before it is, an exponential of a softmax.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.reach import stays_within
from refnet.graph import Graph, Node, interpret
from refnet.ops import CONVOLUTIONS, GATES
from refnet.readings import fast
from refnet.readings.carried import LAMBDA
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_ROUNDED = 1 + 1e-9  # in float64, by the order of a sum
_WITHIN_ONE = (*GATES, "tanh", "softmax")  # whose results no format is too short for
_OTHERWISE = 3  # roundings of what is no sum of many terms: the product of a hard swish has most


class Overflow(NamedTuple):
    """A sum that leaves a format, and which elements of the result are not finite for it: surely, and perhaps."""

    change: Change
    surely: Array
    perhaps: Array


def sum_overflow(segment: Segment) -> Iterator[Change]:
    """a sum beyond the format that it is kept in.

    Source: https://github.com/tensorflow/tensorflow/issues/41715
    """
    yield from (each.change for each in overflows(segment, "float16"))


def overflows(segment: Segment, store: str) -> Iterator[Overflow]:
    """Every node whose sums leave a format, before it divides them, and after."""
    largest, near = FLOATS[store].largest, _near(segment.graph, store)
    if stays_within(segment.graph, segment.params, segment.given, largest * (1 - near)):
        return
    params = {name: np.asarray(segment.params[name], np.float64) for name in segment.graph.params()}
    values: dict[str, Array] = {name: np.asarray(y, np.float64) for name, y in segment.given.items()}
    for index, node in enumerate(segment.graph.nodes):
        y = _one(segment, node, values, params)
        every = [(form, sums, sums) for form, sums in _sums(node, values[node.inputs[0]], y)]
        way = _partial(segment, node, values[node.inputs[0]], y, largest * (1 - near))
        for form, least, sums in [*every, *way]:
            most = float(np.abs(sums).max(initial=0.0))
            if most > largest * (1 - near):
                either = (sums, -sums) if form == "terms" else (sums,)  # in another order they have either sign
                surely, here, *perhaps = (
                    _not_finite(segment, index, {**values, node.name: _beyond(y, each, limit)}, params, further)
                    for each, limit, further in (
                        (least, largest * (1 + near), np.inf),
                        (sums, largest, np.inf),
                        *((each, largest * (1 - near), largest * (1 - near)) for each in either),
                    )
                )
                facts = {"store": store, "most": most, "largest": largest, "past": most > largest}
                change = Change(node.name, form, facts, view=partial(_spoilt, here))
                yield Overflow(change, surely, np.logical_or.reduce(perhaps))
        values[node.name] = y


def _near(graph: Graph, store: str) -> float:
    """From how far, as a part of the largest number, rounding may take a sum to the other side of it.

    A sum of K terms is off by 6 sqrt(K) u, as in `readings.bounds`; the longest of the graph stands for all.
    """
    terms = [_OTHERWISE]
    for node in graph.nodes:
        if node.op in CONVOLUTIONS:
            terms.append(math.prod(node.params["w"][1:]) + ("b" in node.params))
        elif node.op == "avg_pool2d":
            terms.append(math.prod(node.attrs["kernel"]))
    return LAMBDA * math.sqrt(max(terms)) * FLOATS[store].u


def _beyond(y: Array, sums: Array, largest: float) -> Array:
    """A tensor in which sums that leave a format are infinite, with their sign: a ReLU may make zero of that."""
    return np.where(np.abs(sums) > largest, np.copysign(np.inf, sums), y)


def sizes_of_sums(segment: Segment) -> Iterator[tuple[Node, str, Array]]:
    """What leaves a format somewhere on the way: by node and form what it sums up, and what it reads, with its sign.

    Of a sum the size counts; before a ReLU only what is above zero.
    """
    params = {name: np.asarray(segment.params[name], np.float64) for name in segment.graph.params()}
    values: dict[str, Array] = {name: np.asarray(y, np.float64) for name, y in segment.given.items()}
    nodes = segment.graph.nodes
    for index, node in enumerate(nodes):
        x = values[node.inputs[0]]
        values[node.name] = y = _one(segment, node, values, params)
        cut = any(later.op in ("relu", "relu6") for later in nodes[index + 1 :])
        for form, sums in _sums(node, x, y):
            yield node, form, sums if cut else np.abs(sums)
        yield node, "above", x
        yield node, "below", -x


def _spoilt(mask: Array, y: Array) -> Array:
    return np.where(mask, np.inf, y)


def _sums(node: Node, x: Array, y: Array) -> Iterator[tuple[str, Array]]:
    """What a node sums up, in the order in which that is likely to leave a format."""
    if node.op == "avg_pool2d":
        yield "pool", y * (node.attrs["kernel"][0] * node.attrs["kernel"][1])
    elif node.op == "hard_swish":
        yield "product", x * np.clip(x + 3, 0, 6)
    elif node.op == "softmax":
        with np.errstate(over="ignore"):
            yield "exponential", np.exp(x)
    if node.op not in _WITHIN_ONE:
        yield "result", y


def _partial(segment: Segment, node: Node, x: Array, y: Array, largest: float) -> Iterator[tuple[str, Array, Array]]:
    """What a 1x1 layer sums up on the way: the largest sum there if one input follows another; in any order its terms.

    The first of two is what must leave the format, the second what may; neither where all terms together stay within.
    """
    if node.op != "pointwise_conv2d":
        return
    w = np.asarray(segment.param(node, "w"), np.float64)
    if fast.pointwise_conv2d(np.abs(x), np.abs(w), None).max(initial=0.0) * _ROUNDED <= largest:
        return
    sums = np.zeros(y.shape)
    most, single, terms = (np.zeros_like(sums) for _ in range(3))
    for c in range(w.shape[1]):
        product = x[:, c : c + 1] * w[None, :, c, None, None]
        sums += product
        most = _larger(most, sums)
        single = _larger(single, product)
        terms += np.abs(product)
    yield "partial", most, _larger(most, single)
    yield "terms", y, terms


def _larger(one: Array, other: Array) -> Array:
    """Of each two numbers the one of larger magnitude, with its sign."""
    return np.where(np.abs(other) > np.abs(one), other, one)


def _one(segment: Segment, node: Node, values: dict[str, Array], params: dict[str, Array]) -> Array:
    part = Graph(segment.graph.recipe, (node,))
    made: Array = interpret(part, fast, params, {name: values[name] for name in node.inputs})
    return made


def _not_finite(
    segment: Segment, index: int, values: dict[str, Array], params: dict[str, Array], largest: float
) -> Array:
    """Which elements of the result are not finite, if a tensor on the way is as given, and later ones reach so far."""
    with np.errstate(all="ignore"):
        for node in segment.graph.nodes[index + 1 :]:
            y = _one(segment, node, values, params)
            values[node.name] = _beyond(y, y, largest)
    return ~np.isfinite(values[segment.end])
