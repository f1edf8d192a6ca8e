"""What the first channels of a tensor refute is not looked at further, and is nothing that would have held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import build, random_params
from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.graph import SOURCE
from refnet.judge.measures import yardstick
from refnet.judge.measures.yardstick import fits, judge_cause, judge_segment
from refnet.judge.verdicts import root_mean_square
from refnet.network import Network
from refnet.pack.probe import probe
from refnet.readings.bounds import Precision

FLOAT32 = Precision.of("float32")
GRAPH = build("torchvision/mobilenet_v3_small", width=0.5, size=(64, 64), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
TENSORS = {SOURCE: (x := probe(GRAPH, 2)), **NET.trace(x)}


@pytest.fixture(autouse=True)
def _every_size(monkeypatch):
    monkeypatch.setattr(yardstick, "_LARGE", 1)
    monkeypatch.setattr(yardstick, "_CHANNELS", 2)


def segment(end, start, candidate):
    given = {name: TENSORS[name] for name in (start, end)} | {end: candidate}
    return cut(Parts(GRAPH), NET.params, end, given)


@pytest.mark.parametrize(
    ("start", "end"), [("stem.act", "block1.depthwise.act"), ("block4.add", "block5.depthwise.bn")]
)
def test_a_cause_is_refuted_only_where_the_verdict_on_it_does_not_hold(start, end):
    if start not in TENSORS:
        start = GRAPH[end].inputs[0]
    honest = segment(end, start, TENSORS[end])
    refuted = 0
    for bug in REPLAYED:
        for change in bug.changes(honest):
            if change.shape is None and change.view is None and change.precision is None:
                wrong = honest.changed(change)
                made = segment(end, start, run(wrong, np.float32).astype(np.float32))
                assert fits(made.changed(change), FLOAT32) == judge_segment(made.changed(change), FLOAT32).holds
                assert fits(made, FLOAT32) == judge_segment(made, FLOAT32).holds
                refuted += yardstick.is_refuted(made, FLOAT32)
    assert refuted > 10


@pytest.mark.parametrize("bug", ["bn-eps", "act-missing", "kernel-flip"])
def test_what_leaves_too_much_of_a_block_is_refuted_only_where_the_verdict_on_it_does_not_hold(bug):
    honest, far = segment("block2.project.bn", "block1.project.bn", TENSORS["block2.project.bn"]), 0
    assert len(honest.graph) >= yardstick._SHORT
    right = next(BUGS[bug].changes(honest))
    made = replace(honest, candidate=run(honest.changed(right), np.float32))
    for change in (right, *(change for other in REPLAYED[:40] for change in other.changes(honest))):
        way = made.changed(change)
        if change.shape is None and change.view is None:
            leaves = root_mean_square(made.candidate - run(way))
            if yardstick._is_far(way, FLOAT32, leaves):
                assert not judge_segment(way, FLOAT32).holds
                far += 1
    assert far > 10
    assert judge_cause(made.changed(right), FLOAT32, "bound", lambda: None, 1e-7).holds
    assert judge_cause(made.changed(right), FLOAT32, "bound", lambda: None, 1.0) is None  # nothing more is run


def test_one_wrong_element_behind_the_first_channels_is_seen():
    y = TENSORS["block1.depthwise.act"].copy()
    y[0, -1, 3, 3] += 1
    made = segment("block1.depthwise.act", "block1.depthwise.bn", y)
    assert not yardstick.is_refuted(made, FLOAT32)
    assert not fits(made, FLOAT32)


def test_a_tensor_rounded_to_a_shorter_format_is_not_refuted_for_that():
    y = run(segment("block1.depthwise", "stem.act", TENSORS["block1.depthwise"])).astype(np.float16)
    made = segment("block1.depthwise", "stem.act", y)
    assert judge_segment(made, FLOAT32).verdict == "exact"
    assert fits(made, FLOAT32)
