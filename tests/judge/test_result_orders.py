"""A tensor of the right numbers in another order: it is solved for, and named by its axes."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.mistakes.bugs import of_port
from refnet.report.mistakes.features import feature_sentence

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=6)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 3)
HONEST = {SOURCE: X, **NET.trace(X)}
REFERENCE = Reference.of(GRAPH, NET.params, HONEST)
NEAR = {"block5.add": ("block4.project.bn", "block5.project.bn"), "head.flatten": ("head.hidden.act",)}


def judged(end, move, dtype=np.float32):
    """A port that dumps one tensor in another order, and what it is made of."""
    y = HONEST[end]
    moved = np.ascontiguousarray(move(y)).reshape(y.shape)
    held = {name: HONEST[name] for name in NEAR[end]} | {end: moved}
    return judge_tensors(REFERENCE, {name: each.astype(dtype) for name, each in held.items()}, partial=True)


def blocked(y):
    N, C, H, W = y.shape
    return y.reshape(N, C // 4, 4, H, W).transpose(0, 1, 3, 4, 2)


@pytest.mark.parametrize(
    ("end", "move", "words"),
    [
        ("head.flatten", lambda y: y.T, "its numbers lie as CN in memory, under a shape of NC"),
        ("head.flatten", lambda y: y.reshape(6, 3).T, "which lie as NC in memory, are taken to lie as CN"),
        ("head.flatten", lambda y: y[[1, 0, 2]], "images 0 and 1 are exchanged"),
        ("head.flatten", lambda y: y.ravel()[::-1], "all its numbers are in reverse order"),
        ("block5.add", lambda y: y.swapaxes(0, 1), "its numbers lie as CNHW in memory, under a shape of NCHW"),
        ("block5.add", lambda y: y.swapaxes(2, 3), "its numbers lie as NCWH in memory, under a shape of NCHW"),
        ("block5.add", lambda y: y.transpose(3, 2, 1, 0), "its numbers lie as WHCN in memory, under a shape of NCHW"),
        ("block5.add", lambda y: y.reshape(3, 3, 4, 16).transpose(0, 3, 1, 2), "are taken to lie as NHWC"),
        ("block5.add", blocked, "its channels lie in blocks of 4 (NC4HW4)"),
        ("block5.add", lambda y: y[:, ::-1], "the channels are in reverse order"),
        ("block5.add", lambda y: y.reshape(3, 4, 4, 3, 4).swapaxes(1, 2), "the channels are shuffled in 4 groups"),
        ("block5.add", lambda y: y[:, :, ::-1], "the rows are in reverse order"),
        ("block5.add", lambda y: y[:, :, ::-1, ::-1], "its maps are turned by 180 degrees"),
        ("block5.add", lambda y: np.roll(y, 1, axis=3), "the columns are rolled by 1"),
    ],
)
def test_right_numbers_in_another_order_are_named_by_their_axes(end, move, words):
    (cause,) = judged(end, move).causes[end]
    assert cause.ids == ("result-order",)
    assert words in of_port(cause.mistakes[0])


def test_an_order_by_no_rule_is_only_seen():
    found = judged("block5.add", np.random.default_rng(0).permuted)
    assert found.causes["block5.add"] == []
    assert [feature_sentence(each) for each in found.features["block5.add"]] == [
        "it holds the reference's values in another order"
    ]


def test_what_follows_a_tensor_in_another_order_is_right_in_short_formats_too():
    y = HONEST["block5.add"]
    dumped = {**HONEST, "block5.add": y[:, :, ::-1]}
    found = judge_tensors(REFERENCE, {name: each.astype(np.float16) for name, each in dumped.items()})
    assert found.wrong() == ["block5.add"]
