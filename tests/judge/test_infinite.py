"""Logits of which none is finite: numbers that grow from layer to layer, in a port in float32."""

from __future__ import annotations

import numpy as np

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors


def test_a_mistake_everywhere_by_which_numbers_leave_float32_is_named():
    """Batch norm brings large sums back; where a port leaves it out they grow with every layer."""
    graph = build("torchvision/mnasnet0_5", width=0.25, size=(32, 32), classes=5)
    params = random_params(graph)
    for unit in graph.units():
        if unit.norm is not None:
            params[f"{unit.conv.name}.w"] = params[f"{unit.conv.name}.w"] * np.float32(2**20)
            params[f"{unit.norm.name}.mean"] = params[f"{unit.norm.name}.mean"] * np.float32(2**20)
            params[f"{unit.norm.name}.var"] = params[f"{unit.norm.name}.var"] * np.float32(2**40)
    x = probe(graph, 1)
    golden = Network(graph, params).trace(x) | {SOURCE: x}
    bare = graph.without({unit.norm.name: unit.conv.name for unit in graph.units() if unit.norm is not None})
    with np.errstate(all="ignore"):
        y = Network(bare, {name: params[name] for name in bare.params()})(x)
    assert np.isfinite(golden[graph.output]).all()
    assert not np.isfinite(y).any()
    found = judge_tensors(Reference.of(graph, params, golden), {graph.output: y}, partial=True)
    assert {cause.ids for cause in found.causes[graph.output]} >= {("bn-missing",)}
    assert all("sum-overflow" not in cause.ids for cause in found.causes[graph.output])
