"""A bound through many nodes is made once for the verdict and for what can be seen in the error."""

from typing import Any

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.language import segments
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut, limit
from refnet.readings.precision import Precision

FLOAT32 = Precision.of("float32")


def _made(monkeypatch: pytest.MonkeyPatch) -> tuple[Segment, list[Any]]:
    graph = build("torchvision/mobilenet_v2", width=0.1, size=(32, 32), classes=5)
    calls, bound = [], segments.bound

    def counted(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return bound(*given, **options)

    monkeypatch.setattr(segments, "bound", counted)
    return cut(Parts(graph), random_params(graph), graph.output, {"input": probe(graph, 1)}, judged=False), calls


def test_the_bound_of_a_long_segment_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = _made(monkeypatch)
    first, second = limit(whole, FLOAT32), limit(whole, FLOAT32)
    assert len(calls) == 1
    assert np.array_equal(first.expected, second.expected)


def test_another_precision_and_rounded_inputs_have_bounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = _made(monkeypatch)
    plain = limit(whole, FLOAT32)
    assert limit(whole, Precision.of("float16")).rms > plain.rms
    assert limit(whole, FLOAT32, rounded=True).rms > plain.rms
    assert len(calls) == 3
