"""A bound on sums by channels: never below what a run makes."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_params
from refnet.bugs.language.narrow import first_channels
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.numbers.reach import stays_within
from refnet.graph import SOURCE
from refnet.network import Network
from refnet.pack.probe import probe

NAMES = ("torchvision/mobilenet_v3_small", "timm/mobilenetv1_100", "keras/MobileNetV3Small")


def blocks(name):
    """A network's segments of a few nodes, each with the largest number in it."""
    graph = build(name, width=0.5, size=(40, 48), classes=10)
    net, x = Network(graph, random_params(graph)).astype(np.float64), probe(graph, 2).astype(np.float64)
    tensors = {SOURCE: x, **net.trace(x)}
    names = [SOURCE, *(node.name for node in graph.nodes)]
    for place in range(4, len(names), 5):
        given = {each: tensors[each] for each in names[: place - 3]}
        segment = cut(Parts(graph), net.params, names[place], given, judged=False)
        yield segment, max(float(np.abs(tensors[node.name]).max()) for node in segment.graph.nodes)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_run_is_larger_than_what_it_is_said_to_stay_within(name):
    for segment, most in blocks(name):
        assert not stays_within(segment.graph, segment.params, segment.given, 0.999 * most)


def test_small_tensors_stay_within_float16_and_large_ones_need_not():
    found = [
        (
            stays_within(segment.graph, segment.params, segment.given, 65504.0),
            stays_within(segment.graph, segment.params, {each: 1e6 * y for each, y in segment.given.items()}, 65504.0),
        )
        for segment, _ in blocks("torchvision/mobilenet_v3_small")
    ]
    assert sum(small for small, _ in found) > len(found) / 2
    assert not any(large for _, large in found[:3])


def test_what_is_no_number_stays_within_nothing():
    (segment, _), *_ = blocks("torchvision/mobilenet_v3_small")
    given = {each: np.full_like(y, np.nan) for each, y in segment.given.items()}
    assert not stays_within(segment.graph, segment.params, given, 1e300)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_channels_of_a_segment_are_those_of_its_result(name):
    narrow = 0
    for segment, _ in blocks(name):
        y, part = run(segment), first_channels(segment, 3)
        if part is not None:
            narrow += 1
            np.testing.assert_allclose(run(part), y[:, :3], rtol=1e-12, atol=1e-12 * np.abs(y).max())
    assert narrow > 3
