"""Folded layers that differ in batch norm's numbers alone: the one sentence, whichever numbers they are."""

from __future__ import annotations

import numpy as np
import pytest
from exporting import checkpoint, exported, network

from refnet.networks.rewrite import fold_batch_norm
from refnet.report.verdict import sentence
from refnet.verification.behaviour import Behaviour
from refnet.verification.renormalised import renormalised
from refnet.verification.sides import pair
from refnet.verification.values import match_arrays
from refnet.verification.verify import Verified

_MOVES = {
    "mean": lambda rng, y: y + rng.normal(0, 0.05, y.shape),
    "var": lambda rng, y: y * rng.uniform(0.9, 1.1, y.shape),
    "gamma": lambda rng, y: y * rng.uniform(0.9, 1.1, y.shape),
    "beta": lambda rng, y: y + rng.normal(0, 0.05, y.shape),
}


def moved(params, *slots, layers=".bn."):
    """The arrays with batch norm's numbers moved, by channel, in some layers."""
    rng, made = np.random.default_rng(0), dict(params)
    for name in params:
        slot = name.rpartition(".")[2]
        if slot in slots and layers in name:
            made[name] = _MOVES[slot](rng, params[name]).astype(np.float32)
    return made


def verified(one, other):
    """What is said of the arrays; neither network is run."""
    sides = pair(one, other)
    values = renormalised(match_arrays(sides), sides)
    return Verified(sides.original, sides, (), values, Behaviour(), (), ("folded",))


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        (("mean", "var"), "only the running statistics of batch norm differ, in 27 of 27 folded layers: each channel"),
        (("var",), "only the running variances, or gammas, of batch norm differ, in 27 of 27 folded layers: each"),
        (("gamma",), "only the running variances, or gammas, of batch norm differ, in 27 of 27 folded layers: each"),
        (("mean",), "only the running means, or betas, of batch norm differ, in 27 of 27 folded layers: the weights"),
    ],
)
def test_which_of_batch_norms_numbers_were_moved_before_the_fold_is_one_sentence(slots, words):
    graph, params = network("v1")
    found = verified(checkpoint(graph, params), exported(graph, moved(params, *slots)))
    assert words in sentence(found)
    assert {value.kind for value in found.faults} == {"renormalised"}


@pytest.mark.parametrize("short", [False, True])
def test_where_both_files_are_folded_the_statistics_are_told_too(short):
    graph, params = network("v3-small")
    other = exported(graph, moved(params, "mean", "var"))
    for name in [name for name in other.params if short and name.endswith(".w")]:  # weights of 8 bits
        w = other.params[name]
        step = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / 127
        other.params[name] = (np.rint(w / step) * step).astype(np.float32)
    found = verified(exported(graph, params), other)
    assert "only the running statistics of batch norm differ, in 34 of 34 folded layers" in sentence(found)


def test_statistics_that_were_moved_in_layers_of_one_kind_are_told_with_these():
    graph, params = network("v2")
    other = exported(graph, moved(params, "mean", "var", layers=".depthwise.bn."))
    said = sentence(verified(checkpoint(graph, params), other))
    assert "in 17 of 52 folded layers, in all depthwise layers: each channel" in said


def test_outputs_that_are_scaled_with_their_biases_are_no_other_statistics():
    graph, params = fold_batch_norm(*network("v2"))
    rng, other = np.random.default_rng(0), dict(params)
    for name in ("block3.project", "block4.project", "block5.project"):
        factor = rng.uniform(0.9, 1.1, len(params[f"{name}.b"])).astype(np.float32)
        other |= {f"{name}.{slot}": (params[f"{name}.{slot}"].T * factor).T for slot in ("w", "b")}
    found = verified(checkpoint(graph, params), checkpoint(graph, other, "copy"))
    assert {value.kind for value in found.faults} == {"channel-scaled", "stale"}


def test_one_bias_that_differs_beside_right_weights_is_stale():
    graph, params = network("v2")
    found = verified(checkpoint(graph, params), exported(graph, moved(params, "mean", layers="block5.expand.bn")))
    assert [(value.name, value.kind) for value in found.faults] == [("block5.expand.b", "stale")]


def test_factors_below_zero_are_no_other_statistics():
    graph, params = network("v1")
    other = moved(params, "mean", "var")
    for name in [name for name in params if name.endswith(".gamma")]:
        other[name] = other[name] * np.where(np.arange(len(other[name])) % 2, 1, -1).astype(np.float32)
    found = verified(checkpoint(graph, params), exported(graph, other))
    assert "renormalised" not in {value.kind for value in found.values}


def test_scaled_channels_beside_a_batch_norm_of_their_own_are_no_other_numbers_of_it():
    graph, params = network("v2")
    w = params["block3.project.w"]
    factor = np.linspace(0.9, 1.1, len(w), dtype=np.float32)
    found = verified(
        checkpoint(graph, params), checkpoint(graph, {**params, "block3.project.w": (w.T * factor).T}, "copy")
    )
    assert [value.kind for value in found.faults] == ["channel-scaled"]
