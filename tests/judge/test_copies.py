"""Lines of a tensor that are copies of others of it: of the tensor as it is dumped, or of a convolution's sums."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, interpret
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(64, 48), classes=10)
PARAMS, X = random_params(GRAPH), probe(GRAPH, 1)
REFERENCE = Reference.of(GRAPH, PARAMS, {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)})


def run(changes, kept):
    tensors = {SOURCE: X}
    for node in GRAPH.nodes:
        y = interpret(GRAPH.leading_to(node.name, starts=set(tensors)), fast, PARAMS, tensors)
        tensors[node.name] = changes[node.name](y) if node.name in changes else y
    return judge_tensors(REFERENCE, {name: y for name, y in tensors.items() if name in (SOURCE, *kept)})


def lanes(y):
    y = y.copy()
    y[:, 3::4] = y[:, 2::4][:, : y[:, 3::4].shape[1]]
    return y


def last_rows(y):
    return np.concatenate([y[:, :, :-2], y[:, :, -3:-2], y[:, :, -3:-2]], axis=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lanes, "12 of 48 channels, from number 3 on in steps of 4, are copies of those 1 before them"),
        (last_rows, "2 of 16 rows, from number 14 on in steps of 1, are copies of those 1 before them"),
    ],
)
def test_lines_that_are_copies_are_told(change, words):
    name = "block3.depthwise"
    found = run({name: change}, GRAPH.by_name)
    assert found.wrong() == [name]
    (mistake,) = found.causes[name][0].mistakes
    assert (mistake.bug, words in of_port(mistake)) == ("left-over", True)


def test_copies_of_sums_are_named_behind_batch_norm_and_activation():
    names = [node.name for node in GRAPH.nodes if node.op == "depthwise_conv2d"][:6]
    found = run(dict.fromkeys(names, lanes), styles(GRAPH)["fused"])
    assert found.wrong() == [f"{name}.act" for name in names]
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.nodes) == ("lanes-repeated", tuple(names))
