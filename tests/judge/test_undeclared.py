"""Factors and sums in short formats from the end alone: declared they hold; of tf32 it is said that it would."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_input, random_params
from refnet.graph import SOURCE, interpret, walk
from refnet.judge.measures import yardstick
from refnet.judge.tensors import Reference, judge_tensors
from refnet.judge.undeclared import TF32, would_hold_in
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS, by_sign, factor_rules, rounded
from refnet.readings.precision import FLOATS
from refnet.readings.short_sums import SHORT_SUMS

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(48, 40), classes=20)
PARAMS, X = random_params(GRAPH), probe(GRAPH, 2)
REFERENCE = Reference.of(
    GRAPH, PARAMS, {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
)
WIDE = [op for op in CONVOLUTIONS if op != "depthwise_conv2d"]


def logits(ops=CONVOLUTIONS, params=PARAMS):
    """Of a port with sums in another order than refnet's runs, and factors of some operations in tf32."""
    return {"head.flatten": interpret(GRAPH, factor_rules(ORDERS["sequential"], "tf32", ops), params, {SOURCE: X})}


def judged(tensors, precision=None):
    return judge_tensors(REFERENCE, tensors, precision=precision, partial=True, explain=False)


def test_factors_are_rounded_to_eleven_bits_and_nothing_else_is():
    x, w, b = (np.float32([1 + 2.0**-12]).reshape(shape) for shape in ((1, 1, 1, 1), (1, 1), (1,)))
    y = factor_rules(fast, "tf32", WIDE).pointwise_conv2d(x, w, b)
    assert FLOATS["tf32"].u == 2.0**-11
    assert y.ravel().tolist() == [2 + 2.0**-12]


@pytest.mark.parametrize("ops", [CONVOLUTIONS, WIDE], ids=["all", "products"])
def test_factors_that_are_declared_to_be_in_tf32_hold_from_logits_alone(ops):
    assert judged(logits(ops)).wrong() == ["head.flatten"]
    assert not judged(logits(ops), TF32).wrong()


def test_a_mistake_does_not_hold_so():
    wrong = {**PARAMS, "block3.project.bn.beta": PARAMS["block3.project.bn.beta"] * np.float32(0)}
    assert judged(logits(params=wrong), TF32).wrong() == ["head.flatten"]


def test_what_would_hold_is_told_of_what_nothing_explains():
    tensors = logits(WIDE)
    assert would_hold_in(TF32, judged(tensors), REFERENCE, tensors)
    wrong = logits(params={**PARAMS, "block3.project.bn.beta": PARAMS["block3.project.bn.beta"] * np.float32(0)})
    assert not would_hold_in(TF32, judged(wrong), REFERENCE, wrong)


def test_an_error_far_smaller_than_short_factors_leave_is_not_of_them():
    right, wrong = Network(GRAPH, PARAMS).trace(X)["head.flatten"], logits(WIDE)["head.flatten"]
    tensors = {"head.flatten": right + (wrong - right) / np.float32(32)}
    assert judged(tensors).wrong() == ["head.flatten"]
    assert not would_hold_in(TF32, judged(tensors), REFERENCE, tensors)


def test_nor_is_it_told_of_what_holds():
    right = {"head.flatten": Network(GRAPH, PARAMS).trace(X)["head.flatten"]}
    assert not would_hold_in(TF32, judged(right), REFERENCE, right)


def of_short_sums(store, base, width, size, dumped):
    """Which tensors are wrong, of those that a port dumps whose sums are in a format, as it declares."""
    graph = build("torchvision/mobilenet_v3_small", width=width, size=size, classes=20)
    params, x = random_params(graph), random_input(graph, batch=2)
    golden = {SOURCE: x, **{node.name: y for node, y in walk(graph, fast, params, {SOURCE: x}, keep=True)}}
    dtype = SHORT_SUMS[store].dtype
    short = {name: rounded(y, store).astype(dtype) for name, y in params.items()}
    made = walk(graph, by_sign(base), short, {SOURCE: rounded(x, store).astype(dtype)}, keep=True)
    tensors = {node.name: y for node, y in made if node.name in dumped}
    declared = Precision.of(store, accumulate=store)
    reference = Reference.of(graph, params, golden)
    return judge_tensors(reference, tensors, precision=declared, partial=True, explain=False).wrong()


def test_sums_in_float16_that_drift_by_sign_hold_where_such_sums_are_declared(monkeypatch):
    port = "float16", ORDERS["backwards"], 0.5, (65, 83), ["head.flatten"]
    assert not of_short_sums(*port)
    plain = SHORT_SUMS["float16"]._replace(orders=SHORT_SUMS["float16"].orders[:-1])
    monkeypatch.setattr(yardstick, "SHORT_SUMS", {"float16": plain})
    assert of_short_sums(*port)


def test_sums_in_bfloat16_behind_many_nodes_hold_where_such_sums_are_declared(monkeypatch):
    port = "bfloat16", SHORT_SUMS["bfloat16"].orders[2], 0.35, (33, 41), ["block3.add", "block6.add", "head.flatten"]
    assert not of_short_sums(*port)
    monkeypatch.setattr(yardstick, "_SHORT_MOST", 0)  # no runs, so that nothing vouches for it
    assert of_short_sums(*port)
