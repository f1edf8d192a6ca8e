"""A port that convolves by a fast algorithm: declared it holds, undeclared it is suspect and told why."""

from __future__ import annotations

import numpy as np
import pytest
from data.ports.fast_convolution import PORTS

from refnet import Network, RequestError, build, probe, random_params, write_pack
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.compare import compare
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
    assert "--algorithm" in note
    assert name in note


def test_a_bug_beside_a_declared_algorithm_is_seen(pack):
    tensors = port("winograd-f2")
    tensors["block3.depthwise"] = tensors["block3.depthwise"] * np.float32(1.001)
    found = compare(pack, tensors, algorithm="winograd-f2", explain=False)
    assert found.wrong() == ["block3.depthwise"]  # what reads it goes on with the numbers that were right


def test_an_unknown_algorithm_is_refused(pack):
    with pytest.raises(RequestError, match="take one of winograd-f2"):
        compare(pack, {SOURCE: X}, algorithm="karatsuba")
