"""What is accepted as a cause, and in what order ways are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from refnet import build, random_input, random_params
from refnet.bugs.catalogue import BUGS, LATE
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.graph import SOURCE
from refnet.judge.causes import acceptance, ways
from refnet.judge.causes import diagnose as diagnosing
from refnet.judge.causes.acceptance import Acceptance
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.diagnose import Diagnosis, diagnose
from refnet.judge.causes.likely import RARER
from refnet.judge.measures import yardstick
from refnet.judge.scorecard import FLOAT32


def test_a_cause_that_gives_another_shape_is_run_no_further(monkeypatch):
    monkeypatch.setattr(yardstick, "lens", lambda segment: lambda y: y)
    monkeypatch.setattr(yardstick, "run", lambda segment: np.zeros((1, 5)))
    segment = SimpleNamespace(precision=None, candidate=np.zeros((1, 4)))
    found = yardstick.judge_cause(segment, FLOAT32, "spread", lambda: None)
    assert (found.verdict, found.yardstick) == ("shape", "none")


def test_every_pair_that_is_looked_at_is_counted(monkeypatch):
    budget = SearchBudget()
    monkeypatch.setattr(acceptance, "likely_pairs", lambda error, alone, least, most: iter([("one", "other")] * 3))
    monkeypatch.setattr(acceptance, "both_ways", lambda ways, one, other: SimpleNamespace(residual=1.0))
    ways = SimpleNamespace(segment=None, budget=budget, error=None, before=1.0, rounding=0.0)
    assert list(Acceptance(ways, FLOAT32, "spread").likeliest([])) == []
    assert (budget.looked, budget.ways) == (3, 3)


class NoneAccepted:
    """In place of what accepts ways, where there are none but pairs."""

    looked = ()

    @property
    def ways(self):
        return self

    def close(self, tried):
        return tried

    def likeliest(self, alone):
        return ["pairs"]

    def __getattr__(self, name):
        return lambda *_, **__: ()


def nothing_likely(self, accepted, told):
    """In place of the first steps."""
    yield from ()
    return [], []


def test_of_mistakes_from_a_block_on_the_likeliest_come_before_two_at_once_and_no_other_is_left_out(monkeypatch):
    monkeypatch.setattr(Diagnosis, "_likely", nothing_likely)
    monkeypatch.setattr(diagnosing, "begun_soon", lambda ways, whole: ())
    monkeypatch.setattr(diagnosing, "begun", lambda ways, whole: ([f"start {index}"] for index in range(100)))
    segment = SimpleNamespace(graph=SimpleNamespace(nodes=()), candidate=None)
    one = Diagnosis(segment, FLOAT32, SearchBudget(), "spread")
    seen = [each for step in one._long(NoneAccepted(), tuple) for each in step]
    assert seen == [
        *(f"start {index}" for index in range(32)),
        "pairs",
        *(f"start {index}" for index in range(32, 100)),
    ]


def test_what_few_ports_have_is_looked_for_in_all_layers_of_an_operation_of_a_long_segment(monkeypatch):
    monkeypatch.setattr(Diagnosis, "_likely", nothing_likely)
    monkeypatch.setattr(diagnosing, "begun_soon", lambda ways, whole: ())
    monkeypatch.setattr(diagnosing, "begun", lambda ways, whole: ())
    asked = set()

    class Asked(NoneAccepted):
        def of_kinds(self, bugs, forms=None, kinds=("layers",)):
            asked.update(bug.id for bug in bugs if "layers" in kinds)
            return ()

    segment = SimpleNamespace(graph=SimpleNamespace(nodes=()), candidate=None)
    for _ in Diagnosis(segment, FLOAT32, SearchBudget(), "spread")._long(Asked(), tuple):
        pass
    assert {"kernel-flip", "kernel-cut", "bn-order"} <= asked


@dataclass(frozen=True)
class Changed:
    """In place of a segment."""

    name: str
    candidate: object = None


def test_of_the_pairs_that_leave_next_to_nothing_the_first_that_fits_is_the_cause(monkeypatch):
    """The first pair leaves too much, the second does not fit, the fourth is not looked at."""
    asked, budget = [], SearchBudget()
    way = {name: SimpleNamespace(mistake=name, extent=f"where {name} is") for name in "abcdefgh"}
    pairs = [(way[one], way[other]) for one, other in ("ab", "cd", "ef", "gh")]

    def both(_, one, other):
        name = one.mistake + other.mistake
        return SimpleNamespace(residual=0.01 if name == "ab" else 0.0099, changed=Changed(name))

    def judged(own, precision, yardstick, check, residual):
        asked.append(own)
        assert (precision, yardstick, check, residual) == (FLOAT32, "spread", budget.check, 0.0099)
        return SimpleNamespace(holds=own.name == "ef")

    monkeypatch.setattr(acceptance, "judge_cause", judged)
    monkeypatch.setattr(acceptance, "likely_pairs", lambda error, alone, least, most: iter(pairs))
    monkeypatch.setattr(acceptance, "both_ways", both)
    segment = SimpleNamespace(candidate="y")
    ways = SimpleNamespace(
        segment=segment, budget=budget, error=None, before=1.0, rounding=0.0, changed=lambda together: together.changed
    )
    (cause,) = Acceptance(ways, FLOAT32, "spread").likeliest([])
    assert asked == [Changed("cd", "y"), Changed("ef", "y")]
    assert (cause.mistakes, cause.extents) == (("e", "f"), ("where e is", "where f is"))
    assert (budget.looked, budget.ways) == (3, 4)


def test_the_first_of_two_bugs_is_never_one_of_precision():
    exact = {bug: ways.Way(Mistake(bug, "", "", {}), None, 1.0, None, None).is_exact for bug in BUGS}
    assert exact["bn-eps"]
    assert not exact["weights-fp16"]
    assert not exact["fp16-accumulate"]


def test_a_stride_that_one_layer_lacks_is_looked_for_among_what_is_most_frequent(monkeypatch):
    graph = build("paper/mobilenet_v1", width=0.25, size=64, classes=30)
    segment = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: random_input(graph, 1)}, judged=False)
    wrong = segment.changed(
        next(each for each in BUGS["stride-changed"].changes(segment) if each.node == "block4.depthwise")
    )
    monkeypatch.setattr(Acceptance, "foremost", None)
    found = diagnose(replace(segment, candidate=run(wrong, np.float32)), FLOAT32)
    assert [(cause.ids, cause.nodes) for cause in found] == [(("stride-changed",), ("block4.depthwise",))]


class InOrder(NoneAccepted):
    """What says which of its steps come when."""

    def one_by_one(self, bugs, others):
        return ["one place"] if bugs is RARER else []

    def everywhere(self, tried):
        return ["many places, of few ports"] if {*LATE} & {*tried} else []


def test_one_place_is_looked_at_before_what_few_ports_have_at_many(monkeypatch):
    monkeypatch.setattr(Diagnosis, "_likely", nothing_likely)
    for name in ("begun_soon", "begun"):
        monkeypatch.setattr(diagnosing, name, lambda ways, whole: iter(()))
    segment = SimpleNamespace(graph=SimpleNamespace(nodes=()), candidate=None)
    one = Diagnosis(segment, FLOAT32, SearchBudget(), "spread")
    seen = [each for step in one._long(InOrder(), tuple) for each in step]
    assert [*dict.fromkeys(seen)] == ["one place", "many places, of few ports", "pairs"]


def test_of_numbers_beyond_all_that_a_step_makes_nobody_is_warned():
    def steps():
        np.float32(3e38) * np.float32(10)
        yield ()

    with np.errstate(all="raise"):
        assert Diagnosis(None, FLOAT32, SearchBudget(), "spread")._take(steps())
