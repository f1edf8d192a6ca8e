"""Tables in an activation's place, told from what is none: over every activation of a network, whatever its map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.judge.causes.lookup_table import looked_up
from refnet.judge.scorecard import FAMILIES, FLOAT32, subject
from refnet.ops import ACTIVATIONS, GATES
from refnet.readings.orders import rounded

OTHERS = {
    "itself": lambda y: y,
    "float16": lambda y: rounded(y, "float16"),
    "bfloat16": lambda y: rounded(y, "bfloat16"),
    "noise": lambda y: y * (1 + 1e-3 * np.random.default_rng(0).normal(size=y.shape)),
    "another order": lambda y: np.roll(y, 1, axis=1),
    "another end": lambda y: np.minimum(y, 1),
    "a step": lambda y: y > 0,
    "nothing": np.zeros_like,
}


@pytest.fixture(scope="module")
def segments():
    one = subject(FAMILIES["V3 Small"], 1)
    parts = Parts(one.graph)
    names = [node.name for node in one.graph.nodes if node.op in (*ACTIVATIONS, *GATES)]
    found = [cut(parts, one.net.params, name, one.tensors) for name in names]
    return [segment for segment in found if segment.candidate.size >= 512]


def told(segment, y):
    found = looked_up(replace(segment, candidate=np.asarray(y, np.float32)), FLOAT32)
    return None if found is None else found.facts


def by_table(segment, entries, index):
    """What a table of so many entries over the range of an activation's input makes of it."""
    (x,) = segment.given.values()
    low, high = float(x.min()), float(x.max())
    grid = np.linspace(low, high, entries).reshape(1, -1, 1, 1)
    (source,) = segment.given
    values = run(replace(segment, given={source: grid})).ravel()
    return values[index((x - low) / (high - low) * (entries - 1)).astype(int)]


@pytest.mark.parametrize("index", [np.rint, np.floor])
@pytest.mark.parametrize("entries", [16, 64, 128])
def test_nearly_every_table_is_seen(segments, entries, index):
    found = [told(segment, by_table(segment, entries, index)) for segment in segments]
    assert len(found) > 10
    assert np.mean([each is not None for each in found]) >= 0.9


@pytest.mark.parametrize("what", OTHERS)
def test_nothing_else_is_taken_for_one(segments, what):
    assert not any(told(segment, OTHERS[what](segment.candidate)) for segment in segments)


def test_a_table_has_three_entries_at_least(segments):
    segment = segments[0]
    assert told(segment, by_table(segment, 3, np.rint))["entries"] == 3
    assert told(segment, np.where(segment.candidate > 0.3, 0.7, 0.2)) is None
