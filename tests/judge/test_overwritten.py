"""A depthwise convolution that writes over the map that it reads, by rows or points, before or behind what is fused."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(40, 56), classes=6)
PARAMS = random_params(GRAPH)
X = probe(GRAPH, 2)
PLACES = ("block1.depthwise", "block3.depthwise", "block5.depthwise")


def overwritten(name, x, columns, behind):
    node, rest = GRAPH[name], Graph(GRAPH.recipe, tuple(GRAPH[each] for each in behind))
    memory = np.pad(x, ((0, 0), (0, 0), *node.attrs["pad"]))
    w, (H, W) = PARAMS[f"{name}.w"], x.shape[2:]
    for p in range(H):
        for q in range(0, W, columns):
            window = memory[:, :, p : p + 3, q : q + columns + 2]
            some = np.lib.stride_tricks.sliding_window_view(window, (3, 3), (2, 3))
            made = np.einsum("nchwrs,crs->nchw", some, w)
            if behind:
                made = interpret(rest, fast, PARAMS, {name: made})
            memory[:, :, p + 1 : p + 2, q + 1 : q + 1 + columns] = made
    return memory[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize(
    ("columns", "fused", "words"),
    [
        (None, False, "rows are made of rows that were overwritten before"),
        (1, False, "points are made of points that were overwritten before"),
        (None, True, "rows are made of rows that were overwritten before, normalised and activated"),
        (1, True, "points are made of points that were overwritten before, normalised and activated"),
    ],
)
def test_what_is_overwritten_is_told(columns, fused, words):
    dumped = {SOURCE: X}
    for node in GRAPH.nodes:
        place = node.name.removesuffix(".bn").removesuffix(".act").removesuffix(".bn")
        if place in PLACES and fused and node.op != "relu6":
            continue
        if place in PLACES and (fused or node.name == place):
            x = dumped[GRAPH[place].inputs[0]]
            behind = (f"{place}.bn", f"{place}.act") if fused else ()
            y = overwritten(place, x, columns or x.shape[3], behind)
        else:
            y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, {name: dumped[name] for name in node.inputs})
        dumped[node.name] = np.asarray(y, np.float32)
    golden = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
    found = judge_tensors(Reference.of(GRAPH, PARAMS, golden), dumped, partial=True)
    (pattern,) = found.patterns
    assert set(pattern.nodes) == set(PLACES)
    assert of_port(pattern.mistake) == f"it is computed in place: {words}"
