"""Ports of 8 bits against packs of floats: sums that leave out zero points; folded layers under convolutions' names."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, interpret
from refnet.judge.compare import TensorScale, compare
from refnet.readings import fast


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(64, 48), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("zero") / "pack"
    write_pack(net, x, path)
    return net, x, path


def port(net, x, left_out=()):
    """Integers of a port, and their scales; its sums do not take off the zero points of some sides."""
    graph, stored, scales, real = net.graph, {}, {}, {SOURCE: x}
    for name in styles(graph)["fused"]:
        y = interpret(graph.leading_to(name, starts=set(real)), fast, net.params, real).astype(np.float64)
        step = float(max(y.max(), 0) - min(y.min(), 0)) / 255
        zero = round(-128 - float(min(y.min(), 0)) / step)
        if graph[name].op == "add":
            for side in left_out:
                scale = scales[graph[name].inputs[side]]
                y = y + scale.scale * scale.zero_point
        stored[name] = np.clip(np.rint(y / step) + zero, -128, 127).astype(np.int8)
        scales[name] = TensorScale(step, zero)
        real[name] = ((stored[name].astype(np.float64) - zero) * step).astype(np.float32)
    return stored, scales


def test_zero_points_that_sums_leave_out_are_named(made):
    net, x, path = made
    stored, scales = port(net, x, (0, 1))
    found = compare(path, stored, scales=scales)
    sums = [node.name for node in net.graph.nodes if node.op == "add"]
    assert found.wrong() == sums
    (pattern, *_) = found.judged.patterns
    assert (pattern.mistake.bug, pattern.mistake.form) == ("join-zero-points", "both -128")
    assert len(pattern.nodes) > 0.7 * len(sums)


def test_folded_layers_of_8_bits_under_names_of_convolutions_are_matched(made):
    net, x, path = made
    stored, scales = port(net, x, (0, 1))
    short = {name.removesuffix(".bn"): name for name in stored}
    found = compare(path, {n: stored[f] for n, f in short.items()}, scales={n: scales[f] for n, f in short.items()})
    assert found.wrong() == [node.name for node in net.graph.nodes if node.op == "add"]
