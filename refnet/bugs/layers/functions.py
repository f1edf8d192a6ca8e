"""Functions that stand in an activation's place, each as the nodes that compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from refnet.bugs.language.changes import with_op
from refnet.bugs.layers.activations import ACTS
from refnet.graph import Node

__all__ = ["FUNCTIONS"]

_SLOPES = (0.01, 0.1, 0.2, 0.3)  # PyTorch's, Darknet's, TensorFlow's and Keras'
_OF_TANH = 2 * math.sqrt(2 / math.pi)
# The logit of the normal distribution at x, by x: the least error of GELU with so many powers is 7e-8, as of float32.
_OF_NORMAL = (
    1.59576843,
    7.26685684e-2,
    -6.62610208e-5,
    -1.10479983e-4,
    7.93816827e-6,
    -2.66889313e-7,
    3.61114470e-9,
)
# 2 artanh(w) by w, of which as many terms leave 1e-8 up to a third: log(1 + v) = 2 artanh(v / (2 + v)) with v up to 1.
_OF_ARTANH = tuple(2 / (2 * power + 1) for power in range(7))
# e^y = s + s^2 + s^3 + ..., s = sigmoid(y): of a y that is 3 or more below zero seven terms leave 1e-8 of e^(y + 3).
# Farther below fewer would do, but what a sigmoid rounds is multiplied by e^3.
_BELOW, _TERMS = 3.0, 7
_SATURATED = 7.0  # where the normal distribution is 1 but for 1e-12, and beyond which powers would round by more
_NONE = -1e30  # no end
_SELU = 1.0507009873554805, 1.6732632423543772


def _as(node: Node, op: str) -> tuple[Node, ...]:
    return with_op(node, op)[node.name]


def _leaky(node: Node, slope: float) -> tuple[Node, ...]:
    return with_op(node, "leaky_relu", slope=slope)[node.name]


def _odd(name: str, x: str, powers: Sequence[float]) -> tuple[Node, ...]:
    """x p(x^2), p by its coefficients, the constant first; the last node has the name."""
    if len(powers) == 1:
        return (Node(name, "affine", (x,), {}, {"slope": powers[0], "offset": 0.0}),)
    made = [Node(f"{name}.square", "scale", (x, x))]
    source, slope = made[0].name, powers[-1]
    for place, power in enumerate(powers[-2::-1], start=2):
        total = Node(f"{name}.sum{place}", "affine", (source,), {}, {"slope": slope, "offset": power})
        is_last = place == len(powers)
        source, slope = name if is_last else f"{name}.product{place}", 1.0
        made += [total, Node(source, "scale", (total.name, x if is_last else made[0].name))]
    return tuple(made)


def _gated(node: Node, powers: Sequence[float]) -> tuple[Node, ...]:
    """x sigmoid(x p(x^2)), with several powers of no more than where that is x or 0."""
    (x,), name = node.inputs, node.name
    logit, gate, cut = f"{name}.logit", f"{name}.gate", f"{name}.cut"
    made = [Node(cut, "clip", (x,), {}, {"low": -_SATURATED, "high": _SATURATED})] if len(powers) > 1 else []
    made += _odd(logit, cut if made else x, powers)
    return (*made, Node(gate, "sigmoid", (logit,)), Node(name, "scale", (x, gate)))


def _softplus(name: str, x: str) -> tuple[Node, ...]:
    """log(1 + e^x) = relu(x) + log(1 + e^-|x|); the last node has the name."""
    size, away, part, log, plain = (f"{name}.{each}" for each in ("size", "away", "part", "log", "plain"))
    return (
        Node(size, "leaky_relu", (x,), {}, {"slope": -1.0}),
        Node(away, "affine", (size,), {}, {"slope": -1.0, "offset": -math.log(2)}),
        Node(part, "sigmoid", (away,)),
        *_odd(log, part, _OF_ARTANH),
        Node(plain, "relu", (x,)),
        Node(name, "add", (plain, log)),
    )


def _mish(node: Node) -> tuple[Node, ...]:
    """x tanh(log(1 + e^x))."""
    (x,), name = node.inputs, node.name
    soft, gate = f"{name}.soft", f"{name}.gate"
    return (*_softplus(soft, x), Node(gate, "tanh", (soft,)), Node(name, "scale", (x, gate)))


def _fifth(node: Node) -> tuple[Node, ...]:
    """x clip(0.2 x + 0.5, 0, 1): the hard sigmoid that Keras had before its third version."""
    gate = Node(f"{node.name}.gate", "hard_sigmoid", node.inputs, {}, {"slope": 0.2, "offset": 0.5})
    return gate, Node(node.name, "scale", (*node.inputs, gate.name))


def _elu(node: Node, above: float, below: float) -> tuple[Node, ...]:
    """above * x from zero on, above * below * (e^x - 1) under it."""
    (x,), name = node.inputs, node.name
    low, far, small, under, plain = (f"{name}.{each}" for each in ("low", "far", "small", "under", "plain"))
    size = above * below
    made = [
        Node(low, "clip", (x,), {}, {"low": _NONE, "high": 0.0}),
        Node(far, "affine", (low,), {}, {"slope": 1.0, "offset": -_BELOW}),
        Node(small, "sigmoid", (far,)),
    ]
    for term in range(1, _TERMS):
        more, product = f"{name}.more{term}", f"{name}.product{term}"
        made.append(Node(more, "affine", (made[-1].name,), {}, {"slope": 1.0, "offset": 1.0}))
        made.append(Node(product, "scale", (more, small)))
    made += [
        Node(under, "affine", (made[-1].name,), {}, {"slope": size * math.exp(_BELOW), "offset": -size}),
        Node(plain, "relu", (x,)),
    ]
    if above != 1.0:
        made.append(Node(f"{name}.above", "affine", (plain,), {}, {"slope": above, "offset": 0.0}))
    return (*made, Node(name, "add", (made[-1].name, under)))


FUNCTIONS: Mapping[str, Callable[[Node], tuple[Node, ...]]] = {
    "swish": partial(_as, op="swish"),
    "gelu": partial(_gated, powers=_OF_NORMAL),
    "gelu tanh": partial(_gated, powers=(_OF_TANH, 0.044715 * _OF_TANH)),
    "gelu sigmoid": partial(_gated, powers=(1.702,)),
    "hard fifth": _fifth,
    "mish": _mish,
    "softplus": lambda node: _softplus(node.name, *node.inputs),
    "elu": partial(_elu, above=1.0, below=1.0),
    "selu": partial(_elu, above=_SELU[0], below=_SELU[1]),
    **{f"leaky {slope:g}": partial(_leaky, slope=slope) for slope in _SLOPES},
    "abs": partial(_leaky, slope=-1.0),
    **{op: partial(_as, op=op) for op in (*ACTS, "tanh", "sigmoid")},
}
