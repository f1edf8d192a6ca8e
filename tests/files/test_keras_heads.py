"""Keras' names of weights alone, of a network without a head or with one of its own: read by their names and shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refnet import FormatError, build, load, random_input, random_params
from refnet.files.checkpoint import identify
from refnet.files.schemes import entries
from refnet.graph import Graph, interpret
from refnet.readings import fast

GRAPH = build("keras/MobileNetV2", width=0.35, size=64)
PARAMS = random_params(GRAPH)
X = random_input(GRAPH, batch=2)
RNG = np.random.default_rng(5)
KERNELS = [RNG.standard_normal(shape).astype(np.float32) for shape in ((1280, 12), (12, 3))]
BIASES = [RNG.standard_normal(size).astype(np.float32) for size in (12, 3)]
NORM = [np.abs(RNG.standard_normal(12)).astype(np.float32) for _ in range(4)]
SCHEMES = {"keras": "mobilenetv2_0.35_64/", "keras-numbers": "layers/functional/"}


def file(folder: Path, scheme: str, prefix: str = "", **head: Any) -> Path:
    """The network without its head, by the names of a scheme, behind a prefix; and other arrays."""
    body = {
        prefix + entry.key: entry.theirs(PARAMS[ours])
        for ours, entry in entries(GRAPH, scheme).items()
        if not ours.startswith("head.logits")
    }
    np.savez(folder / "weights.npz", **body, **head)
    return folder / "weights.npz"


def in_float64(graph: Graph, params: Any) -> np.ndarray:
    wide = {name: array.astype(np.float64) for name, array in params.items()}
    return interpret(graph, fast, wide, {"input": X.astype(np.float64)})


def features() -> np.ndarray:
    return in_float64(GRAPH.leading_to("head.pool"), PARAMS)[:, :, 0, 0]


def same(net: Any, expected: np.ndarray) -> bool:
    return bool(np.abs(in_float64(net.graph, net.params) - expected).max() <= 1e-11 * np.abs(expected).max())


def dense(scheme: str, *layers: int) -> dict[str, np.ndarray]:
    """Linear layers, as the first or several of a model."""
    slots = ("kernel", "bias") if scheme == "keras" else ("vars/0", "vars/1")
    paths = [("dense" if scheme == "keras" else "layers/dense") + (f"_{i}" if i else "") for i in range(len(layers))]
    found = {f"{path}/{slots[0]}": KERNELS[i] for path, i in zip(paths, layers, strict=True)}
    return found | {f"{path}/{slots[1]}": BIASES[i] for path, i in zip(paths, layers, strict=True)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_a_head_it_is_the_beginning_of_the_network(tmp_path, scheme):
    path = file(tmp_path, scheme)
    assert identify(path).standing.kind == "beginning"
    assert same(load(path, size=64), features())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_linear_head_beside_a_nested_network_is_the_networks_head(tmp_path, scheme):
    path = file(tmp_path, scheme, SCHEMES[scheme], **dense(scheme, 0))
    net = load(path, size=64)
    assert net.graph.recipe.classes == 12
    assert np.array_equal(net.params["head.logits.w"], KERNELS[0].T)
    logits = net.graph.leading_to("head.flatten")  # what is called as the vendor's own has its softmax, too
    assert same(replace(net, graph=logits), features() @ KERNELS[0] + BIASES[0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_stands_between_the_layers_of_a_head_is_asked_for(tmp_path, scheme):
    names = (
        ("gamma", "beta", "moving_mean", "moving_variance") if scheme == "keras" else [f"vars/{i}" for i in range(4)]
    )
    group = "batch_normalization" if scheme == "keras" else "layers/batch_normalization"
    norm = {f"{group}/{name}": array for name, array in zip(names, NORM, strict=True)}
    path = file(tmp_path, scheme, SCHEMES[scheme], **norm, **dense(scheme, 0, 1))  # as Keras sorts them
    with pytest.raises(FormatError, match=r"what stands between '(layers/)?dense"):
        load(path)
    net = load(path, size=64, head="linear,relu,batch_norm,linear")
    ops = ["avg_pool2d", "pointwise_conv2d", "relu", "batch_norm", "pointwise_conv2d", "flatten"]
    assert [node.op for node in net.graph.nodes[-6:]] == ops
    assert net.graph["head.hidden.bn"].attrs["eps"] == 1e-3  # Keras' own
    hidden = np.maximum(features() @ KERNELS[0] + BIASES[0], 0)
    gamma, beta, mean, var = NORM
    normed = (hidden - mean) / np.sqrt(var.astype(np.float64) + 1e-3) * gamma + beta
    assert same(net, normed @ KERNELS[1] + BIASES[1])


def test_layers_that_fit_in_two_orders_are_no_head(tmp_path):
    square = {f"{name}/kernel": np.eye(1280, dtype=np.float32)[:, :1280] for name in ("one", "two")}
    norm = dict.fromkeys(("n/gamma", "n/beta", "n/moving_mean", "n/moving_variance"), np.ones(1280, np.float32))
    with pytest.raises(FormatError, match="fit keras/MobileNetV2"):
        load(file(tmp_path, "keras", SCHEMES["keras"], **norm, **square))


def test_a_softmax_of_one_number_is_left_out(tmp_path):
    graph = build("keras/MobileNetV2", width=0.35, size=64, classes=1)
    params = random_params(graph)
    np.savez(tmp_path / "one.npz", **{e.key: e.theirs(params[ours]) for ours, e in entries(graph, "keras").items()})
    net = load(tmp_path / "one.npz", size=64)
    assert net.graph.nodes[-1].op == "flatten"
    assert np.ptp(net(X)) > 0
