"""Logits that are not finite: numbers that grow from layer to layer, in a port in float32; or nothing but NaN."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.language.changes import Mistake
from refnet.graph import SOURCE
from refnet.judge.reference import Reference
from refnet.judge.tensors import Judged, judge_tensors
from refnet.report.mistakes.bugs import of_port
from refnet.report.mistakes.features import feature_sentence


@pytest.fixture(scope="module")
def grown():
    """A network whose numbers leave float32 where batch norm is left out, as of a port that does so.

    The second image is so dark that they stay within for it.
    """
    graph = build("torchvision/mnasnet0_5", width=0.25, size=(32, 32), classes=5)
    params = random_params(graph)
    for unit in graph.units():
        if unit.norm is not None:
            params[f"{unit.conv.name}.w"] = params[f"{unit.conv.name}.w"] * np.float32(2**20)
            params[f"{unit.norm.name}.mean"] = params[f"{unit.norm.name}.mean"] * np.float32(2**20)
            params[f"{unit.norm.name}.var"] = params[f"{unit.norm.name}.var"] * np.float32(2**40)
    x = probe(graph, 2) * np.float32([1, 0]).reshape(2, 1, 1, 1)
    golden = Network(graph, params).trace(x) | {SOURCE: x}
    bare = graph.without({unit.norm.name: unit.conv.name for unit in graph.units() if unit.norm is not None})
    with np.errstate(all="ignore"):
        y = Network(bare, {name: params[name] for name in bare.params()})(x)
    return Reference.of(graph, params, golden), y


def judged(reference: Reference, y: np.ndarray) -> Judged:
    return judge_tensors(reference, {reference.graph.output: y}, partial=True)


def test_a_mistake_everywhere_by_which_numbers_leave_float32_is_named(grown):
    """Batch norm brings large sums back; where a port leaves it out they grow with every layer."""
    reference, y = grown
    assert not np.isfinite(y[0]).any()
    assert np.isfinite(y[1]).all()
    causes = judged(reference, y).causes[reference.graph.output]
    assert {cause.ids for cause in causes} >= {("bn-missing",)}
    assert all("sum-overflow" not in cause.ids for cause in causes)


def test_what_only_makes_nan_of_all_that_is_nan_is_no_cause(grown):
    reference, y = grown
    causes = judged(reference, np.full_like(y, np.nan)).causes.get(reference.graph.output, [])
    assert {cause.ids for cause in causes} <= {("sum-overflow",)}  # sums that do leave float16


def test_it_is_said_where_what_is_not_finite_begins(grown):
    reference, y = grown
    graph = reference.graph
    (feature,) = judged(reference, np.where([[0], [1]], np.nan, y[1])).features[graph.output]
    assert feature.facts["first"] == (1, 0)
    assert feature.facts["dump"] in graph
    assert feature_sentence(feature).startswith("5 of 10 values are NaN, the first at [1, 0]; they begin somewhere")
    golden = {name: np.asarray(reference.golden(name), np.float32) for name in ("stem.conv", "stem.bn")}
    golden["stem.bn"][0, 1, 2, 3] = np.inf
    (feature,) = judge_tensors(reference, golden, partial=True).features["stem.bn"]
    assert (
        "1 of 4,096 values are infinite, the first at [0, 1, 2, 3]; what it is made of is finite"
        in feature_sentence(feature)
    )


@pytest.mark.parametrize(
    ("past", "words"), [(True, "70000 is beyond float16"), (False, "63100 may be rounded on its way")]
)
def test_a_sum_that_rounding_takes_out_of_a_format_is_not_called_beyond_it(past, words):
    facts = {"store": "float16", "most": 70000.0 if past else 63100.0, "largest": 65504.0, "past": past}
    assert words in of_port(Mistake("sum-overflow", "n", "result", facts))


def test_a_gate_whose_exponential_leaves_float16_is_told_by_what_it_reads():
    """A sigmoid as e^x / (1 + e^x); its own result leaves no format."""
    graph = build("timm/semnasnet_050", width=0.5, size=(32, 32), classes=5)
    params, x, gate = random_params(graph), probe(graph, 1), "block4.se.gate"
    golden = {SOURCE: x, **Network(graph, params).trace(x)}
    read = golden[graph[gate].inputs[0]]
    limit = np.sort(read.ravel())[-6:-4].mean()
    dumped = golden | {gate: np.where(read > limit, np.nan, golden[gate])}
    found = judge_tensors(Reference.of(graph, params, golden), dumped, partial=True)
    (cause, *_) = found.causes[gate]
    assert cause.mistakes[0].form == "above from"
    assert of_port(cause.mistakes[0]).startswith("it is not finite where what it reads is above")
