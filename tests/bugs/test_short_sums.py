"""Sums in a short format: named where the numbers show them, and of no other small errors."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE, walk
from refnet.judge.measures.yardstick import judge_segment
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors
from refnet.network import Network
from refnet.readings import fast
from refnet.readings.orders import rounded
from refnet.readings.precision import Precision

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
PARAMS = random_params(GRAPH)
FLOAT32 = Precision.of("float32")
SUMS = BUGS["fp16-accumulate"]


def summed(x, w, store):
    """Products added one by one, each sum rounded to a format."""
    total = np.zeros((x.shape[0], len(w), *x.shape[2:]), np.float32)
    for c in range(w.shape[1]):
        total = rounded(total + x[:, c : c + 1] * w[None, :, c, None, None], store)
    return total


def pointwise(end, make):
    """A segment from what a projection reads on, with what a port made of that."""
    w, norm = PARAMS["block9.project.w"], GRAPH["block9.project.bn"]
    x = np.random.default_rng(1).normal(size=(1, w.shape[1], 8, 8)).astype(np.float32)
    y = make(x, w)
    if end == norm.name:
        y = fast.batch_norm(y, *(PARAMS[f"{end}.{slot}"] for slot in norm.params), **norm.attrs)
    start = GRAPH["block9.project"].inputs[0]
    return cut(Parts(GRAPH), PARAMS, end, {start: x, end: y.astype(np.float32)})


@pytest.mark.parametrize("end", ["block9.project", "block9.project.bn"])
@pytest.mark.parametrize(("store", "form"), [("float16", ""), ("bfloat16", "bfloat16")])
def test_sums_show_the_format_that_they_are_kept_in(end, store, form):
    segment = pointwise(end, lambda x, w: summed(x, w, store))
    (change,) = SUMS.changes(segment)
    assert change.form == form
    assert judge_segment(segment.changed(change), FLOAT32).holds


@pytest.mark.parametrize("size", [1e-3, 1e-4])
def test_errors_of_no_format_are_no_sums_in_one(size):
    noise = np.random.default_rng(2)
    segment = pointwise(
        "block9.project",
        lambda x, w: (y := fast.pointwise_conv2d(x, w, None)) * (1 + size * noise.normal(size=y.shape)),
    )
    assert not any(SUMS.changes(segment))


def traced():
    x = probe(GRAPH, 1)
    return Network(GRAPH, PARAMS).trace(x) | {SOURCE: x}


def test_where_few_terms_show_but_what_is_stored_the_sums_of_other_layers_are_the_cause():
    def pointwise_conv2d(x, w, b):
        y = summed(x, w, "bfloat16")
        return y if b is None else rounded(y + b[:, None, None], "bfloat16")

    def depthwise_conv2d(*args, **geometry):
        return rounded(fast.depthwise_conv2d(*args, **geometry), "bfloat16")

    rules = vars(fast) | {"pointwise_conv2d": pointwise_conv2d, "depthwise_conv2d": depthwise_conv2d}
    trace, (start,) = traced(), GRAPH["block9.expand"].inputs
    part = GRAPH.leading_to("block9.project.bn", starts={start})
    made = {node.name: y for node, y in walk(part, SimpleNamespace(**rules), PARAMS, {start: trace[start]})}
    tensors = {start: trace[start], **made}
    found = judge_tensors(Reference.of(GRAPH, PARAMS, trace), tensors, partial=True)
    assert {"block9.expand", "block9.depthwise", "block9.project"} <= {*found.wrong()}
    assert {causes[0].ids for causes in found.causes.values()} == {("fp16-accumulate",)}
