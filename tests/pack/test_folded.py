"""A folded pack: ports that fold by themselves, in float32 and in other orders, and ports that do not fold, hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, read_pack, write_pack
from refnet.judge.compare import compare
from refnet.networks.rewrite import fold_graph, norms
from refnet.pack.folded import fold_slack

MODEL, SIZE = "torchvision/mobilenet_v2", (64, 96)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build(MODEL, width=0.35, size=SIZE, classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("folded") / "pack"
    write_pack(net.fold(), x, path)
    return net, x, path


def folded_by_hand(net, edit=lambda name, array: array):
    """Folded in NumPy's float32, as w * (gamma * (1 / sqrt(var + eps))): a port's own."""
    params = dict(net.params)
    for conv, norm in norms(net.graph).items():
        gamma, beta, mean, var = (params.pop(f"{norm.name}.{slot}") for slot in norm.params)
        s = gamma * (np.float32(1) / np.sqrt(var + np.float32(norm.attrs["eps"])))
        w = params[f"{conv}.w"]
        params[f"{conv}.w"] = edit(conv, w * s.reshape(-1, *[1] * (w.ndim - 1)))
        params[f"{conv}.b"] = beta - mean * s
    return Network(fold_graph(net.graph), params)


def test_a_port_that_folds_by_itself_holds(made):
    net, x, path = made
    assert compare(path, folded_by_hand(net).trace(x)).holds


def test_without_the_folds_own_rounding_it_would_not(made, monkeypatch):
    net, x, path = made
    pack = read_pack(path)
    manifest = {key: value for key, value in pack.manifest.items() if key != "folded"}
    assert not compare(replace(pack, manifest=manifest), folded_by_hand(net).trace(x), explain=False).holds


def test_a_port_that_does_not_fold_holds(made):
    net, x, path = made
    found = compare(path, net.trace(x))
    assert found.holds
    assert not found.matching.unmatched


def test_a_fold_with_another_eps_does_not_hold(made):
    net, x, path = made
    nodes = tuple(replace(n, attrs={"eps": 1e-3}) if n.op == "batch_norm" else n for n in net.graph.nodes)
    other = folded_by_hand(Network(replace(net.graph, nodes=nodes), net.params))
    assert len(compare(path, other.trace(x), explain=False).wrong()) > 0.9 * len(norms(net.graph))


def test_one_weight_that_is_off_by_a_thousandth_is_seen(made):
    net, x, path = made

    def edit(conv, w):
        return w * np.float32(1.001) if conv == "block3.expand" else w

    assert compare(path, folded_by_hand(net, edit).trace(x), explain=False).wrong() == ["block3.expand"]


def test_the_slack_is_of_the_terms_that_cancel(made):
    net, _, path = made
    slack = fold_slack(read_pack(path))
    assert set(slack) == {f"{conv}.{slot}" for conv in norms(net.graph) for slot in ("w", "b")}
    b = np.abs(net.fold().params["stem.conv.b"])
    assert (slack["stem.conv.b"] >= 10 * 2.0**-24 * b).all()
    assert (slack["stem.conv.b"] < 1e-4 * (b + 10)).all()
