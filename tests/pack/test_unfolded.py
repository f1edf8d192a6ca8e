"""Beside a folded pack, a port that does not fold: what its convolutions make before batch norm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.judge.compare import compare
from refnet.ops import ACTIVATIONS, CONVOLUTIONS
from refnet.report.comparison_notes import comparison_notes

OPS = {"conv": CONVOLUTIONS, "norm": ("batch_norm",), "act": tuple(ACTIVATIONS)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(64, 64), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("unfolded") / "pack"
    write_pack(net.fold(), x, path)
    return net, x, path


def dumped(net, x, *kinds):
    """What such nodes make, and the logits."""
    ops = [op for kind in kinds for op in OPS[kind]]
    return {name: y for name, y in net.trace(x).items() if net.graph[name].op in ops or name == "head.logits"}


def judged(path, tensors):
    return compare(path, tensors, partial=True, explain=False)


def with_flipped(net, *names):
    return replace(net, params={**net.params, **{f"{name}.w": net.params[f"{name}.w"][..., ::-1] for name in names}})


@pytest.mark.parametrize(
    ("kinds", "named"),
    [
        (("conv",), True),
        (("conv",), False),
        (("conv", "norm"), True),
        (("conv", "act"), True),
        (("conv", "norm", "act"), False),
    ],
)
def test_an_honest_port_holds_whatever_of_it_was_dumped(made, kinds, named):
    net, x, path = made
    tensors = dumped(net, x, *kinds)
    found = judged(path, tensors if named else {f"t{index}": y for index, y in enumerate(tensors.values())})
    assert found.holds
    assert not found.matching.unmatched


def test_convolutions_alone_are_judged_each_with_a_line_for_its_channels(made):
    net, x, path = made
    found = judged(path, dumped(net, x, "conv"))
    assert len(found.matching.unfolded) == 52
    assert not found.matching.extras
    assert any("before batch norm" in note for note in comparison_notes(found))


def test_beside_their_batch_norms_convolutions_add_nothing(made):
    net, x, path = made
    found = judged(path, dumped(net, x, "conv", "norm"))
    assert not found.matching.unfolded
    assert {each.kind for each in found.matching.extras} == {"before-norm"}
    assert len(found.matching.extras) == 52


def test_behind_activations_only_the_wrong_convolutions_are_wrong(made):
    net, x, path = made
    wrong = ["block3.depthwise", "block9.depthwise"]
    found = judged(path, dumped(with_flipped(net, *wrong), x, "conv", "act"))
    assert {name.removesuffix(".act") for name in found.wrong()} == {*wrong}


def test_what_is_behind_a_wrong_convolution_is_not_judged_where_nothing_else_is_there(made):
    net, x, path = made
    found = judged(path, dumped(with_flipped(net, "block3.depthwise"), x, "conv"))
    assert found.wrong() == ["block3.depthwise", "head.logits"]
    assert {each.node for each in found.matching.extras} >= {"block3.project", "block17.project"}


@pytest.mark.parametrize("kinds", [("conv",), ("conv", "act")])
def test_a_folded_port_without_its_biases_is_not_taken_for_one_that_does_not_fold(made, kinds):
    net, x, path = made
    folded = net.fold()
    params = {name: np.zeros_like(w) if name.endswith(".b") else w for name, w in folded.params.items()}
    found = judged(path, dumped(replace(folded, params=params), x, *kinds))
    assert "stem.conv" in found.wrong()
    assert not found.matching.unfolded


@pytest.mark.parametrize("kinds", [("conv",), ("conv", "act")])
def test_a_folded_port_whose_channels_are_scaled_is_not_taken_for_one_that_does_not_fold(made, kinds):
    net, x, path = made
    folded = net.fold()
    params = {
        name: w * np.linspace(0.5, 1.5, len(w), dtype=np.float32).reshape(-1, *[1] * (w.ndim - 1))
        for name, w in folded.params.items()
        if name.endswith(".w") and w.ndim > 2
    }
    found = judged(path, dumped(replace(folded, params={**folded.params, **params}), x, *kinds))
    assert "stem.conv" in found.wrong()
    assert not found.matching.unfolded


def test_the_first_convolution_alone_holds(made):
    net, x, path = made
    found = judged(path, {"stem.conv": net.trace(x)["stem.conv"]})
    assert found.holds
    assert list(found.matching.unfolded) == ["stem.conv"]
