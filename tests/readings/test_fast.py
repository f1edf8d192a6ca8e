"""`fast` against the definition, on random legal shapes, within derived bounds: no tolerance is guessed."""

from __future__ import annotations

import numpy as np
import pytest
import strategies as some
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import Graph, Node, Recipe, build, random_input, random_params
from refnet.graph import walk
from refnet.judge.verdicts import judge
from refnet.readings import fast, loops
from refnet.readings.bounds import Precision, bound


def drawn(*strategies, **named):
    """Fifty random cases: two executions of simple rules are compared."""
    return lambda test: settings(max_examples=50)(given(*strategies, **named)(test))


def agree(op, arrays, params=None, attrs=None):
    """Both executions of one node lie within the bound of one exact result, in dtype and shape alike."""
    params = {slot: array for slot, array in (params or {}).items() if array is not None}
    names = tuple(f"x{i}" for i in range(len(arrays)))
    shapes = {slot: array.shape for slot, array in params.items()}
    node = Node("y", op, names, shapes, attrs or {})
    graph = Graph(Recipe("test", 1.0, (1, 1), 1), (node,))
    values = {f"y.{slot}": array for slot, array in params.items()}
    given = dict(zip(names, arrays, strict=True))
    limit = bound(graph, values, given, Precision.of(str(arrays[0].dtype)))
    for rules in (loops, fast):
        ((_, y),) = walk(graph, rules, values, given)
        assert y.dtype == arrays[0].dtype
        verdict = judge(y, limit)
        assert verdict.worst <= 1, f"{rules.__name__}: {verdict}"


@drawn(some.geometry())
def test_conv2d(case):
    x, w, b, attrs = case
    agree("conv2d", [x], {"w": w, "b": b}, attrs)


@drawn(some.geometry(depthwise=True))
def test_depthwise_conv2d(case):
    x, w, b, attrs = case
    agree("depthwise_conv2d", [x], {"w": w, "b": b}, attrs)


@drawn(some.groups())
def test_grouped_conv2d(case):
    x, w, b, attrs = case
    agree("grouped_conv2d", [x], {"w": w, "b": b}, attrs)


@drawn(some.maps(), st.data())
def test_pointwise_conv2d(x, data):
    K = data.draw(st.integers(1, 4))
    w = data.draw(some.arrays(K, x.shape[1], dtype=x.dtype))
    agree("pointwise_conv2d", [x], {"w": w, "b": data.draw(st.none() | some.arrays(K, dtype=x.dtype))})


@drawn(some.maps(), st.data())
def test_batch_norm(x, data):
    gamma, beta, mean = (data.draw(some.arrays(x.shape[1], dtype=x.dtype)) for _ in range(3))
    var = np.abs(data.draw(some.arrays(x.shape[1], dtype=x.dtype)))
    params = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
    agree("batch_norm", [x], params, {"eps": data.draw(st.sampled_from([1e-3, 1e-5]))})


@drawn(some.maps(), some.SIDES, some.SIDES, st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]))
def test_pad(x, rows, columns, mode):
    if mode == "reflect":  # the mirror needs a second row
        rows, columns = (tuple(min(p, n - 1) for p in ps) for ps, n in ((rows, x.shape[2]), (columns, x.shape[3])))
    agree("pad", [x], attrs={"pad": (rows, columns), "mode": mode, "value": -1.5})


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("affine", {"slope": 0.1, "offset": -1.0}),
        ("relu", {}),
        ("relu6", {}),
        ("leaky_relu", {"slope": 0.1}),
        ("leaky_relu", {"slope": -1.5}),
        ("thresholded_relu", {"threshold": -0.4}),
        ("clip", {"low": -1.3, "high": 0.7}),
        ("tanh", {}),
        ("hard_sigmoid", {"slope": 1 / 6, "offset": 0.5}),
        ("hard_swish", {}),
        ("sigmoid", {}),
        ("swish", {}),
    ],
)
@drawn(x=some.maps())
def test_elementwise(op, attrs, x):
    agree(op, [x], attrs=attrs)


@drawn(some.maps(), st.booleans(), st.data())
def test_prelu(x, by_point, data):
    agree("prelu", [x], {"alpha": data.draw(some.arrays(*x.shape[1 : 4 if by_point else 2], dtype=x.dtype))})


@drawn(some.maps(), st.integers(1, 3), st.data())
def test_concat(x, count, data):
    others = [data.draw(some.arrays(len(x), c + 1, *x.shape[2:], dtype=x.dtype)) for c in range(count)]
    agree("concat", [x, *others])
    agree("concat", [x[:, :, 0, 0], *(y[:, :, 0, 0] for y in others)])


@pytest.mark.parametrize("op", ["avg_pool2d", "max_pool2d"])
@drawn(case=some.windows())
def test_pools(op, case):
    x, attrs = case
    agree(op, [x], attrs=attrs)


@drawn(some.maps(), st.data())
def test_scale_and_add(x, data):
    agree("scale", [x, data.draw(some.arrays(*x.shape[:2], 1, 1, dtype=x.dtype))])
    agree("add", [x, data.draw(some.arrays(*x.shape, dtype=x.dtype))])


@drawn(some.maps())
def test_flatten(x):
    agree("flatten", [x])


@drawn(some.maps(), some.PAIR, st.booleans())
def test_resize_bilinear(x, factor, align_corners):
    size = tuple(side * f - (f > 1) for side, f in zip(x.shape[2:], factor, strict=True))
    agree("resize_bilinear", [x], attrs={"size": size, "align_corners": align_corners})


@drawn(some.maps(), some.PAIR)
def test_resize_legacy(x, factor):
    size = tuple(side * f - (f > 1) for side, f in zip(x.shape[2:], factor, strict=True))
    agree("resize_legacy", [x], attrs={"size": size})


@drawn(some.maps(), st.tuples(st.integers(1, 19), st.integers(1, 19)), st.sampled_from(["corners", "centres", "none"]))
def test_resize_nearest(x, size, how):
    attrs = {"size": size, "align_corners": how == "corners", "half_pixel": how == "centres"}
    agree("resize_nearest", [x], attrs=attrs)


@drawn(st.integers(1, 2), st.integers(1, 9), some.DTYPES, st.data())
def test_softmax(n, k, dtype, data):
    agree("softmax", [data.draw(some.arrays(n, k, dtype=dtype))])


def test_results_do_not_depend_on_how_the_input_lies_in_memory():
    g = build("torchvision/mobilenet_v3_small", width=0.35, size=(33, 40))
    params, x = random_params(g), random_input(g)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for (_, one), (_, other) in zip(
        walk(g, fast, params, {"input": x}), walk(g, fast, params, {"input": channels_last}), strict=True
    ):
        assert np.array_equal(one, other)


def test_an_image_does_not_depend_on_its_batch():
    """In float64, to the last bits: matrix products of other heights may sum in other orders."""
    g = build("torchvision/mobilenet_v3_small", width=0.35, size=(33, 40))
    params, x = random_params(g, np.float64), random_input(g, 3, np.float64)
    whole = [y for _, y in walk(g, fast, params, {"input": x})][-1]
    alone = [y for _, y in walk(g, fast, params, {"input": x[1:2]})][-1]
    assert np.abs(whole[1] - alone[0]).max() <= 1e-11 * np.abs(whole).max()


def test_inputs_are_left_as_they_were():
    g = build("torchvision/mobilenet_v3_small", width=0.35, size=32)
    params, x = random_params(g), random_input(g)
    before = {"input": x.copy(), **{name: array.copy() for name, array in params.items()}}
    list(walk(g, fast, params, {"input": x}))
    assert all(np.array_equal(before[name], array) for name, array in {"input": x, **params}.items())
