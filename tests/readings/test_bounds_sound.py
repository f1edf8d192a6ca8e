"""Bounds are never exceeded: any shape, order of summation and format, and every number that float16 has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import strategies as some
from bounding import judged
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import Graph, Node, Recipe
from refnet.graph import interpret
from refnet.judge.verdicts import judge
from refnet.networks.rewrite import fold_batch_norm
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.bounds import Precision, bound
from refnet.readings.orders import ORDERS, rounded, short_rules

# How a port may compute: what it stores tensors and params in, and what it sums in.
FORMATS = {
    "float64": Precision.of("float64"),
    "float32": Precision.of("float32"),
    "tf32": Precision.of("tf32"),
    "float16": Precision.of("float16"),
    "bfloat16": Precision.of("bfloat16"),
    "float16 sums": Precision.of("float16", "float16"),
    "int8 weights": Precision.of("float32")._replace(levels=127),
}
PORTS = st.tuples(st.sampled_from(list(FORMATS)), st.sampled_from(list(ORDERS)))
RECIPE = Recipe("", 1.0, (1, 1), 1)


def tf32(x):
    """To 11 bits, half to even."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def integers(w):
    """To 255 levels of each filter, real again."""
    step = np.abs(w).reshape(len(w), -1).max(axis=1).reshape(-1, *[1] * (w.ndim - 1)) / 127
    return (np.rint(w / np.where(step > 0, step, 1)) * step).astype(np.float32)


def params_in(name, params):
    """Params as a port in a format has them."""
    match name:
        case "float64":
            return {slot: array.astype(np.float64) for slot, array in params.items()}
        case "float16" | "bfloat16":
            return {slot: rounded(array.astype(np.float32), name) for slot, array in params.items()}
        case "float16 sums":
            return {slot: array.astype(np.float16) for slot, array in params.items()}
        case "tf32" | "int8 weights":
            short = tf32 if name == "tf32" else integers
            return {slot: (short(array) if slot.endswith("w") else array) for slot, array in params.items()}
    return params


def rules_in(name, order):
    """Rules that sum and store as a port in a format does."""
    base = ORDERS[order]
    if name == "tf32":  # the other factor of each product is rounded as well
        convolutions = {
            op: lambda x, *args, op=op, **attrs: getattr(base, op)(tf32(x), *args, **attrs) for op in CONVOLUTIONS
        }
        return SimpleNamespace(**{**vars(base), **convolutions})
    return short_rules(base, name) if name in ("float16", "bfloat16") else base


def given_in(name, x):
    """An input that is of the format already."""
    dtype = {"float64": np.float64, "float16 sums": np.float16}.get(name, np.float32)
    x = x.astype(dtype)
    return rounded(x, name) if name in ("float16", "bfloat16") else x


def holds(port, graph, inputs, params, other=None):
    """A port's run of a graph (of another one with other params, if it is folded) lies within the worst case.

    But for runs in which something leaves the format's range.
    """
    name, order = port
    own = {f"x{i}": given_in(name, x) for i, x in enumerate(inputs)}
    run, arrays = (graph, params) if other is None else other
    with np.errstate(all="ignore"):
        y = interpret(run, rules_in(name, order), params_in(name, arrays), own)
    if np.isfinite(y).all():
        verdict = judge(y, bound(graph, params, own, FORMATS[name]))
        assert verdict.worst <= 1, verdict


def one(port, op, inputs, params=None, **attrs):
    """The same of a graph of one node."""
    arrays = {f"y.{slot}": array.astype(np.float32) for slot, array in (params or {}).items() if array is not None}
    slots = {name.removeprefix("y."): array.shape for name, array in arrays.items()}
    node = Node("y", op, tuple(f"x{i}" for i in range(len(inputs))), slots, attrs)
    holds(port, Graph(RECIPE, (node,)), inputs, arrays)


@settings(max_examples=150)
@given(PORTS, some.geometry())
def test_conv2d(port, case):
    x, w, b, attrs = case
    one(port, "conv2d", [x], {"w": w, "b": b}, **attrs)


@settings(max_examples=150)
@given(PORTS, some.geometry(depthwise=True))
def test_depthwise_conv2d(port, case):
    x, w, b, attrs = case
    one(port, "depthwise_conv2d", [x], {"w": w, "b": b}, **attrs)


@given(PORTS, some.maps(), st.data())
def test_pointwise_conv2d(port, x, data):
    K = data.draw(st.integers(1, 4))
    w = data.draw(some.arrays(K, x.shape[1]))
    one(port, "pointwise_conv2d", [x], {"w": w, "b": data.draw(st.none() | some.arrays(K))})


@given(PORTS, some.maps(), st.data())
def test_batch_norm(port, x, data):
    gamma, beta, mean, var = (data.draw(some.arrays(x.shape[1])) for _ in range(4))
    one(port, "batch_norm", [x], {"gamma": gamma, "beta": beta, "mean": mean, "var": np.abs(var)}, eps=1e-3)


@settings(max_examples=150)
@given(PORTS, some.maps(), st.booleans(), st.booleans(), st.data())
def test_convolution_batch_norm_and_activation_folded_or_not(port, x, folded, biased, data):
    C, K = x.shape[1], data.draw(st.integers(1, 4))
    w, *vectors = (data.draw(some.arrays(*shape)) for shape in ((K, C), (K,), (K,), (K,), (K,), (K,)))
    b, gamma, beta, mean, var = vectors
    params = {"a.w": w, "n.gamma": gamma, "n.beta": beta, "n.mean": mean, "n.var": np.abs(var)}
    params |= {"a.b": b} if biased else {}
    nodes = (
        Node("a", "pointwise_conv2d", ("x0",), {"w": (K, C), **({"b": (K,)} if biased else {})}),
        Node("n", "batch_norm", ("a",), dict.fromkeys(("gamma", "beta", "mean", "var"), (K,)), {"eps": 1e-3}),
        Node("y", "hard_swish", ("n",)),
    )
    graph, dtype = Graph(RECIPE, nodes), np.float64 if port[0] == "float64" else np.float32
    params = {name: array.astype(dtype) for name, array in params.items()}
    holds(port, graph, [x], params, fold_batch_norm(graph, params) if folded else None)


@given(PORTS, some.windows())
def test_avg_pool2d(port, case):
    x, attrs = case
    one(port, "avg_pool2d", [x], **attrs)


@given(PORTS, some.maps(), some.PAIR, st.booleans())
def test_resize_bilinear(port, x, factor, align_corners):
    size = tuple(side * f - (f > 1) for side, f in zip(x.shape[2:], factor, strict=True))
    one(port, "resize_bilinear", [x], size=size, align_corners=align_corners)


@given(PORTS, some.maps(), st.data())
def test_scale_and_add(port, x, data):
    one(port, "scale", [x, data.draw(some.arrays(*x.shape[:2], 1, 1))])
    one(port, "add", [x, data.draw(some.arrays(*x.shape))])


@given(PORTS, st.integers(1, 2), st.integers(1, 40), st.data())
def test_softmax(port, n, k, data):
    one(port, "softmax", [data.draw(some.arrays(n, k))])


# ------------------------------------------------------------------------------------- the spellings of an activation

SPELLINGS = {
    "affine": (
        lambda x, n: x * n(1 / 127.5) - n(1),
        lambda x, n: x / n(127.5) - n(1),
    ),
    "hard_sigmoid": (
        lambda x, n: np.clip(x * n(1 / 6) + n(0.5), n(0), n(1)),
        lambda x, n: np.clip(x + n(3), n(0), n(6)) / n(6),
        lambda x, n: np.clip(x + n(3), n(0), n(6)) * n(1 / 6),
    ),
    "hard_swish": (
        lambda x, n: x * np.clip(x + n(3), n(0), n(6)) / n(6),
        lambda x, n: x * (np.clip(x + n(3), n(0), n(6)) / n(6)),
        lambda x, n: x * (np.clip(x + n(3), n(0), n(6)) * n(1 / 6)),
        lambda x, n: x * np.clip(x + n(3), n(0), n(6)) * n(1 / 6),
        lambda x, n: x * np.clip(x * n(1 / 6) + n(0.5), n(0), n(1)),
    ),
    "sigmoid": (
        lambda x, n: n(1) / (n(1) + np.exp(-x)),
        lambda x, n: np.exp(x) / (n(1) + np.exp(x)),
        lambda x, n: n(0.5) * (n(1) + np.tanh(x * n(0.5))),
        lambda x, n: fast.sigmoid(x),
    ),
    "tanh": (
        lambda x, n: np.tanh(x),
        lambda x, n: n(2) / (n(1) + np.exp(n(-2) * x)) - n(1),
        lambda x, n: np.copysign((n(1) - np.exp(n(-2) * abs(x))) / (n(1) + np.exp(n(-2) * abs(x))), x),
    ),
    "leaky_relu": (
        lambda x, n: np.where(x > 0, x, x * n(0.1)),
        lambda x, n: np.maximum(x, n(0)) + n(0.1) * np.minimum(x, n(0)),
        lambda x, n: np.maximum(x, n(0.1) * x),
    ),
    "clip": (lambda x, n: np.clip(x, n(-1.3), n(0.7)),),
    "swish": (
        lambda x, n: x / (n(1) + np.exp(-x)),
        lambda x, n: x * (n(1) / (n(1) + np.exp(-x))),
    ),
}
ATTRS = {
    "affine": {"slope": 1 / 127.5, "offset": -1.0},
    "hard_sigmoid": {"slope": 1 / 6, "offset": 0.5},
    "leaky_relu": {"slope": 0.1},
    "clip": {"low": -1.3, "high": 0.7},
}


@pytest.mark.parametrize(("op", "index"), [(op, i) for op, each in SPELLINGS.items() for i in range(len(each))])
def test_every_number_of_float16(op, index):
    """All 63 thousand, in float16 throughout; a spelling may overflow for the largest."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = every[np.isfinite(every)]
    with np.errstate(all="ignore"):
        y = SPELLINGS[op][index](x, np.float16)
    x, y = (each[np.isfinite(y)].reshape(1, 1, 1, -1) for each in (x, y))
    assert x.size > 50_000
    assert judged(op, [x], y, FORMATS["float16 sums"], **ATTRS.get(op, {})).worst <= 1


# The largest error that one of the spellings makes, in units of the worst case, and at least so much of it.
REACHED = {
    "affine": 0.3,
    "hard_sigmoid": 0.49,
    "hard_swish": 0.55,
    "sigmoid": 0.3,
    "swish": 0.35,
    "tanh": 0.1,
    "leaky_relu": 0.3,
    "clip": 0.2,
}


@pytest.mark.parametrize("op", REACHED)
def test_some_spelling_comes_near_the_bound_of_an_activation(op):
    x = np.linspace(0, 255, 400_001) if op == "affine" else np.linspace(-9, 9, 400_001)
    x = x.astype(np.float32).reshape(1, 1, 1, -1)
    found = [
        judged(op, [x], spelling(x, np.float32), FORMATS["float32"], **ATTRS.get(op, {})).worst
        for spelling in SPELLINGS[op]
    ]
    assert REACHED[op] <= max(found) <= 1
