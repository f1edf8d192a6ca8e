"""A port that convolves by a fast algorithm: declared it holds, undeclared it is suspect and told why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.ports.fast_convolution import PORTS

from refnet import Network, RequestError, build, probe, random_params, write_pack
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit, run
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.causes import fast_algorithms
from refnet.judge.compare import compare
from refnet.judge.scorecard import FLOAT32
from refnet.readings import fast
from refnet.report.comparison import comparison_document

GRAPH = build("torchvision/mobilenet_v2", width=0.5, size=(48, 64), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("fast") / "golden"
    write_pack(NET, X, path)
    return path


def port(name):
    tensors = {SOURCE: X}
    for node in GRAPH.nodes:
        if node.op == "depthwise_conv2d" and node.attrs["stride"] == (1, 1):
            y = PORTS[name](tensors[node.inputs[0]], NET.params[f"{node.name}.w"])
        else:
            given = {each: tensors[each] for each in node.inputs}
            y = interpret(Graph(GRAPH.recipe, (node,)), fast, NET.params, given)
        tensors[node.name] = np.asarray(y, np.float32)
    return tensors


@pytest.mark.parametrize("name", ["winograd-f2", "winograd-f4", "fft"])
def test_declared_it_holds_and_undeclared_it_is_suspect(pack, name):
    tensors = port(name)
    assert compare(pack, tensors, algorithm=name).holds
    found = compare(pack, tensors)
    assert not found.holds
    assert {finding.judgement.verdict for finding in found.findings} <= {"exact", "rounding", "suspect"}
    (note,) = comparison_document(found, pack="", candidate="", precision="")["notes"]
    assert f"what {name} leaves of rounding" in note  # the closest of those that have room for it
    assert f"--algorithm {name}." in note


def test_a_bug_beside_a_declared_algorithm_is_seen(pack):
    tensors = port("winograd-f2")
    tensors["block3.depthwise"] = tensors["block3.depthwise"] * np.float32(1.001)
    found = compare(pack, tensors, algorithm="winograd-f2", explain=False)
    assert found.wrong() == ["block3.depthwise"]  # what reads it goes on with the numbers that were right


def test_an_unknown_algorithm_is_refused(pack):
    with pytest.raises(RequestError, match="take one of winograd-f2"):
        compare(pack, {SOURCE: X}, algorithm="karatsuba")


def test_an_algorithm_that_the_first_channels_refute_is_not_bounded_whole(monkeypatch):
    """But Strassen's, which adds up channels before it multiplies."""
    node = GRAPH["block3.depthwise"]
    x = np.ones((1, len(NET.params[f"{node.name}.w"]), 24, 32), np.float32)
    segment = cut(Parts(GRAPH), NET.params, node.name, {node.inputs[0]: x}, judged=False)
    bounded = []
    for name in ("limit", "useful_limit"):
        monkeypatch.setattr(
            fast_algorithms, name, lambda segment, own: bounded.append(own.algorithm) or limit(segment, own)
        )
    for off, count in ((1.1, 0), (1.0, 1)):  # the second is right, so that its plain bound is looked at
        y = (off * run(segment)).astype(np.float32)
        assert fast_algorithms.fast_algorithms(replace(segment, candidate=y), FLOAT32) == ()
        assert len(bounded) == count


def test_an_algorithm_whose_bound_says_nothing_of_a_long_segment_explains_no_noise():
    graph = build("torchvision/mobilenet_v3_small", width=0.5, size=(64, 64), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    given = {"block3.add": net.trace(x)["block3.add"]}
    segment = cut(Parts(graph), net.params, "block6.expand", given, judged=False)
    y = run(segment)
    noise = np.random.default_rng(0).standard_normal(y.shape) * y.std() / 10
    port = replace(segment, candidate=(y + noise).astype(np.float32))
    assert fast_algorithms.fast_algorithms(port, FLOAT32) == ()
