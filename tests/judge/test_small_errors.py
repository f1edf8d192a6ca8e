"""Errors that are hardly larger than what sums round: the right cause leaves a visible part of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.systematic import everywhere
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.measures.yardstick import NEAR, near
from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS

FLOAT32 = Precision.of("float32")
GRAPH = build("torchvision/mobilenet_v3_small", width=0.5, size=(64, 64), classes=10)
NET = Network(GRAPH, random_params(GRAPH))


def block(times):
    """A block on numbers that are so many times as large; a true swish is as far from a hard one on any numbers."""
    trace = NET.trace(probe(GRAPH, 1))
    given = {"block8.add": (times * trace["block8.add"]).astype(np.float32), "block9.project.bn": None}
    segment = cut(Parts(GRAPH), NET.params, "block9.project.bn", given, judged=False)
    (changes, changed), *_ = everywhere(BUGS["hswish-swish"], segment)
    assert len(changes) == 2
    return replace(segment, candidate=run(changed, np.float32, ORDERS["backwards"]))


@pytest.mark.parametrize("times", [1, 70])
def test_a_cause_is_found_that_leaves_what_sums_round(times):
    assert ("hswish-swish",) in [cause.ids for cause in diagnose(block(times), FLOAT32)]  # tied with other words for it


def test_what_a_cause_may_leave_grows_with_what_sums_round():
    segment = block(1)
    assert near(segment, FLOAT32, 1.0, 0.0) == near(segment, FLOAT32, 0.0, 0.1) == NEAR
    assert near(segment, FLOAT32, 1.0, 0.1) == 0.2
