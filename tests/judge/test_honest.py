"""Honest ports are found neither wrong nor suspect: PyTorch, onnxruntime, other orders of summation, short formats."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from support import DATA

from refnet import Network, build, random_params
from refnet.bugs.sites import styles
from refnet.files.containers import npz
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.compare import compare
from refnet.judge.scorecard import FAMILIES
from refnet.judge.tensors import Reference, judge_tensors
from refnet.pack.pack import write_pack
from refnet.pack.probe import probe
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS, rounded

SAVED = sorted((DATA / "honest").glob("*.npz"))
OVERFLOWS = ("MnasNet B1", "float16")  # its values leave the format's range, so the port is not honest


class Setting(NamedTuple):
    net: Network
    x: np.ndarray
    reference: Reference


@cache
def setting(family):
    model, width, size = FAMILIES[family]
    graph = build(model, width=width, size=size, classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    return Setting(net, x, reference(net, x))


def reference(net, x):
    trace = net.astype(np.float64).trace(x.astype(np.float64))
    golden = {SOURCE: x} | {name: y.astype(np.float32) for name, y in trace.items()}
    return Reference.of(net.graph, net.params, golden)


def alarms(reference, tensors, store=None):
    """What is not explained by rounding, however the port is dumped: every tensor, or those a fusing runtime has."""
    precision = None if store is None else Precision.of(store)
    ways = styles(reference.graph)
    return [
        (way, finding.name, finding.judgement)
        for way in ("all", "fused")
        for finding in judge_tensors(
            reference, {name: tensors[name] for name in ways[way]}, precision=precision, explain=False
        ).findings
        if not finding.judgement.holds
    ]


def stored(net, x, store):
    """A port that stores every tensor, its params and its input in a short format and computes in float32."""
    params = {name: rounded(array, store) for name, array in net.params.items()}
    tensors = {SOURCE: rounded(x, store)}
    with np.errstate(invalid="ignore", over="ignore"):
        for node in net.graph.nodes:
            given = {name: tensors[name] for name in node.inputs}
            y = interpret(Graph(net.graph.recipe, (node,)), fast, params, given)
            tensors[node.name] = rounded(y, store)
    return tensors


def read(path):
    arrays = npz.read(path)
    return json.loads(str(arrays.pop("meta"))), arrays


def test_the_saved_candidates_are_small_and_say_what_they_are():
    assert len(SAVED) == 6
    assert sum(path.stat().st_size for path in SAVED) < 1_500_000
    for path in SAVED:
        meta, _ = read(path)
        assert meta["format"] == "refnet honest 1"
        assert {"versions", "origin", "script"} <= set(meta)


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_pytorch_and_onnxruntime(path, tmp_path):
    meta, tensors = read(path)
    graph = build(meta["model"], width=meta["width"], size=tuple(meta["size"]), classes=meta["classes"])
    write_pack(Network(graph, random_params(graph)), probe(graph, 1), tmp_path / "golden", origin={})
    judged = compare(tmp_path / "golden", tensors, explain=False)
    assert judged.wrong() == []
    assert judged.holds
    assert judged.matching.unmatched == []
    if path.stem.endswith("onnx"):  # what a fusing runtime has, found by content
        assert {matched.how for matched in judged.matching.tensors.values()} == {"content"}
        fused = set(styles(graph)["fused"]) - {"head.logits"}  # which is flattened at once
        assert set(judged.matching.tensors) == fused


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_wrong_statistic_of_one_batch_norm_would_be_seen(path, tmp_path):
    """The bounds can fail: the same tensors against a network of which one statistic is off by 1 %."""
    meta, tensors = read(path)
    graph = build(meta["model"], width=meta["width"], size=tuple(meta["size"]), classes=meta["classes"])
    params = random_params(graph)
    params["block3.depthwise.bn.var"] = params["block3.depthwise.bn.var"] * np.float32(1.01)
    write_pack(Network(graph, params), probe(graph, 1), tmp_path / "golden", origin={})
    wrong = compare(tmp_path / "golden", tensors, explain=False).wrong()
    assert wrong in (["block3.depthwise.bn"], ["block3.depthwise.act"])


@pytest.mark.parametrize(
    ("family", "order"), [("V3 Small", "backwards"), *((family, "pairwise") for family in FAMILIES)]
)
def test_other_orders_of_summation(family, order):
    net, x, golden = setting(family)
    tensors = {node.name: y for node, y in walk(net.graph, ORDERS[order], net.params, {SOURCE: x})}
    assert alarms(golden, tensors) == []


@pytest.mark.parametrize(
    ("family", "store"), [OVERFLOWS, ("V3 Small", "float16"), *((family, "bfloat16") for family in FAMILIES)]
)
def test_short_storage(family, store):
    """Params and tensors rounded to the format; the pack has the params as they were."""
    net, x, _ = setting(family)
    tensors = stored(net, x, store)
    x = tensors.pop(SOURCE)
    found = alarms(reference(net, x), tensors, store)
    if (family, store) == OVERFLOWS:
        assert {judgement.verdict for _, _, judgement in found} == {"nonfinite"}
    else:
        assert found == []


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_short_storage_of_folded_params(store):
    net, x, _ = setting("V3 Small")
    tensors = stored(net.fold(), x, store)
    x = tensors.pop(SOURCE)
    norms = {node.inputs[0]: node.name for node in net.graph.nodes if node.op == "batch_norm"}
    tensors = {norms.get(name, name): y for name, y in tensors.items()}
    found = judge_tensors(reference(net, x), tensors, precision=Precision.of(store), explain=False)
    assert found.wrong() == []
    assert found.holds


def test_short_storage_hides_no_wrong_padding():
    """The bounds of bfloat16 are wide, not endless."""
    net, x, _ = setting("V3 Small")
    tensors = stored(net, x, "bfloat16")
    x = tensors.pop(SOURCE)
    y = tensors["block4.depthwise"]
    tensors["block4.depthwise"] = np.concatenate([y[:, :, 1:], y[:, :, -1:]], axis=2)
    found = judge_tensors(reference(net, x), tensors, precision=Precision.of("bfloat16"), explain=False)
    assert found.wrong()[:1] == ["block4.depthwise"]
